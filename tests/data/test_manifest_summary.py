"""What is in a manifest, counted, and the command that says it."""

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from fedretune.cli.manifest import app
from fedretune.data.manifest import load_manifest
from fedretune.data.summary import summarise

MANIFEST = "image,patient,split,Mass,Edema,Hernia\na,1,train,0,,1\nb,2,test,-1,,0\n"


def test_findings_without_positives_or_labels_are_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(MANIFEST)
    summary = summarise(load_manifest(path))
    assert summary.warnings() == [
        "No image has the split 'val'.",
        "Mass: no positive image; its AUROC is undefined.",
        "Edema: no image is labelled.",
    ]
    mass, edema, hernia = summary.findings
    assert (mass.uncertain, mass.labelled, mass.unlabelled) == (1, 2, 0)
    assert (edema.labelled, edema.unlabelled) == (0, 2)
    assert hernia.prevalence == 0.5
    assert np.isnan(edema.prevalence)


def test_the_check_command_counts_a_good_manifest_and_names_a_missing_image(
    tmp_path: Path,
) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(MANIFEST)
    (tmp_path / "a").touch()
    bad = CliRunner().invoke(app, ["check", str(path)])
    assert "line 3" in str(bad.exception)
    (tmp_path / "b").touch()
    good = CliRunner().invoke(app, ["check", str(path), "--json"])
    printed = json.loads(good.stdout)
    assert printed["images"] == 2
    assert [finding["prevalence"] for finding in printed["findings"]] == [0, None, 0.5]
