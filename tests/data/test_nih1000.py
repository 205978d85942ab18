"""The reader on real radiographs, where they are beside the project; they are no part of it."""

from pathlib import Path

import pytest

from fedretune.data.images import open_image
from fedretune.data.manifest import check_images
from fedretune.data.readers.assemble import Plan, make_manifest
from fedretune.data.summary import summarise

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.acceptance
@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not beside the project")
def test_a_thousand_real_radiographs_become_a_manifest(tmp_path: Path) -> None:
    files = {"labels": DATA / "nih1000_labels.csv"}
    plan = Plan(DATA / "nih1000_256", files, tmp_path / "manifest.csv", sites=3)
    made = make_manifest("nih14", plan)
    manifest, dropped = made.manifest, made.dropped
    summary = summarise(manifest)
    check_images(manifest)
    assert (summary.images, summary.patients, dropped) == (1000, 682, {})
    positives = {count.finding: count.positive for count in summary.findings}
    assert (positives["Pneumonia"], positives["Hernia"]) == (500, 3)
    assert {open_image(path).mode for path in manifest.images[::50]} == {"L"}
