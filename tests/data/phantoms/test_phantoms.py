"""The phantoms' promises: the same pixels anywhere, and findings that show."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedretune.data import phantoms
from fedretune.data.phantoms import anatomy, canvas, drawing, files
from fedretune.data.phantoms.scanner import decay
from fedretune.errors import UserError
from fedretune.findings import NIH14


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    return phantoms.sample_cohort(2000, 4, 0)


def _film(severities: dict[str, float], patient: str = "p7", size: int = 128) -> np.ndarray:
    return drawing.draw("run", 3, patient, 0, "PA", "site-1", severities, size).astype(int)


def test_an_image_does_not_depend_on_the_others_of_its_batch(cohort: pd.DataFrame) -> None:
    whole = phantoms.render(cohort.iloc[:12], 0, size=64)
    alone = [phantoms.render(cohort.iloc[[k]], 0, size=64)[0] for k in (11, 3, 7)]
    assert np.array_equal(whole[[11, 3, 7]], np.stack(alone))


def test_a_patient_does_not_depend_on_how_many_patients_there_are(cohort: pd.DataFrame) -> None:
    few = phantoms.sample_cohort(20, 4, 0)
    pd.testing.assert_frame_equal(few, cohort.iloc[: len(few)])


def test_another_process_renders_the_same_pixels() -> None:
    code = (
        "import hashlib; from fedretune.data import phantoms as p;"
        "print(hashlib.sha256(p.render(p.sample_cohort(5, 2, 9), 9, 64).tobytes()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
        ).stdout
        for threads in ("1", "2")
    }
    assert len(seen) == 1


@given(seed=st.integers(-(2**70), 2**70), other=st.integers(-(2**70), 2**70))
@settings(max_examples=30)
def test_pretraining_shares_no_patient_with_any_run(seed: int, other: int) -> None:
    run = phantoms.sample_cohort(3, 2, seed)
    pretraining = phantoms.sample_cohort(3, 2, other, "pretraining")
    assert not set(run["patient"]) & set(pretraining["patient"])
    draws = {
        drawing.stream(name, s, patient, "anatomy").bytes(16)
        for name, s, table in (("run", seed, run), ("pretraining", other, pretraining))
        for patient in table["patient"].unique()
    }
    assert len(draws) == 6


def test_the_same_seed_gives_other_patients_to_pretraining() -> None:
    run = phantoms.render(phantoms.sample_cohort(6, 2, 1), 1, 64)
    table = phantoms.sample_cohort(6, 2, 1, "pretraining")
    other = phantoms.render(table, 1, 64, "pretraining")
    assert not {x.tobytes() for x in run} & {x.tobytes() for x in other}


def test_a_patient_is_in_one_split_and_at_one_site(cohort: pd.DataFrame) -> None:
    per_patient = cohort.groupby("patient")[["split", "site"]].nunique()
    assert (per_patient == 1).all(axis=None)
    shares = cohort.groupby("split")["patient"].nunique() / cohort["patient"].nunique()
    assert shares["train"] == pytest.approx(0.65, abs=0.04)
    assert shares["test"] == pytest.approx(0.25, abs=0.04)


def test_prevalence_is_that_of_a_hospital(cohort: pd.DataFrame) -> None:
    share = cohort[list(NIH14)].mean()
    assert share.between(0.02, 0.20).all()
    assert cohort[list(NIH14)].any(axis=1).mean() == pytest.approx(0.53, abs=0.06)


def test_findings_occur_together_as_their_causes_do(cohort: pd.DataFrame) -> None:
    together = cohort[list(NIH14)].corr()
    for a, b in (
        ("Effusion", "Atelectasis"),
        ("Cardiomegaly", "Edema"),
        ("Consolidation", "Pneumonia"),
        ("Emphysema", "Pneumothorax"),
    ):
        assert together.loc[a, b] > 0.15


def test_findings_last_over_a_patients_images(cohort: pd.DataFrame) -> None:
    first = cohort[cohort["number"] == 0].set_index("patient")["Effusion"]
    second = cohort[cohort["number"] == 1].set_index("patient")["Effusion"]
    both = pd.concat([first, second], axis=1, join="inner").to_numpy()
    assert both[both[:, 0] == 1, 1].mean() > 3 * both[both[:, 0] == 0, 1].mean()


def test_exams_of_a_patient_follow_each_other(cohort: pd.DataFrame) -> None:
    ordered = cohort.sort_values(["patient", "number"])
    assert ordered.groupby("patient")["date"].apply(lambda s: s.is_monotonic_increasing).all()


@pytest.mark.parametrize("finding", NIH14)
def test_a_finding_shows_more_the_more_severe_it_is(finding: str) -> None:
    change = np.zeros(3)
    for patient in range(6):
        normal = _film({}, f"p{patient}")
        for k, severity in enumerate((0.0, 0.5, 1.0)):
            change[k] += np.abs(_film({finding: severity}, f"p{patient}") - normal).mean()
    assert 0 < change[0] < change[1] < change[2]


@pytest.mark.parametrize("size", [64, 96, 200])
def test_other_sizes_show_the_same_chest(size: int) -> None:
    def coarse(film: np.ndarray) -> np.ndarray:
        small = Image.fromarray(film.astype(np.uint8)).resize((16, 16), Image.Resampling.BOX)
        return np.asarray(small, dtype=float).ravel()

    film = _film({"Effusion": 0.8}, size=size)
    assert film.shape == (size, size)
    assert np.corrcoef(coarse(film), coarse(_film({"Effusion": 0.8})))[0, 1] > 0.97


def test_cardiomegaly_is_a_heart_over_half_the_chest() -> None:
    for k in range(30):
        normal = anatomy.sample_anatomy(np.random.default_rng(k))
        lesion = drawing.lesion_of("run", 0, f"p{k}", "Cardiomegaly", 0.0)
        large = drawing.SHAPES["Cardiomegaly"](normal, lesion)
        assert normal.cardiothoracic_ratio < 0.5 < large.cardiothoracic_ratio


def test_sites_differ_by_their_scanner() -> None:
    films = [drawing.draw("run", 0, "p1", 0, "PA", f"site-{k}", {}, 64) for k in range(4)]
    assert len({x.tobytes() for x in films}) == 4


@given(depth=st.floats(0.0, 12.0))
def test_the_beam_decays_as_beer_and_lambert_say(depth: float) -> None:
    share = float(decay(np.array([depth], np.float32))[0])
    assert share == pytest.approx(np.exp(-depth), abs=0.005)


@given(st.integers(8, 80), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_a_splat_keeps_its_weight(size: int, u: float, v: float) -> None:
    spread = canvas.splat(canvas.grid(size), np.array([u]), np.array([v]), 1.0)
    assert spread.sum() == pytest.approx(size / 128, rel=1e-4)


def test_write_gives_a_manifest_and_the_images_that_it_names(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = phantoms.write(tmp_path / "p", 8, 2, 5, 64, lambda a, b: seen.append((a, b)))
    table = pd.read_csv(path)
    assert list(table.columns) == ["image", "patient", "split", "site", "view", "date", *NIH14]
    films = phantoms.render(phantoms.sample_cohort(8, 2, 5), 5, 64)
    read = [np.asarray(Image.open(path.parent / name)) for name in table["image"]]
    assert np.array_equal(np.stack(read), films)
    assert seen[-1] == (len(table), len(table))


def test_rendering_in_processes_changes_nothing() -> None:
    table, films = phantoms.render_cohort(190, 2, 5, size=32)
    assert len(films) == len(table) >= 400
    assert np.array_equal(films, phantoms.render(table, 5, 32))


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        phantoms.write(tmp_path, 2, 1, 0)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(files, "render_in_processes", broken)
    with pytest.raises(UserError, match="disk full"):
        phantoms.write(tmp_path / "p", 2, 1, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("patients", "sites"), [(0, 2), (3, 0)])
def test_a_count_below_one_is_refused(patients: int, sites: int) -> None:
    with pytest.raises(UserError, match="at least 1"):
        phantoms.sample_cohort(patients, sites, 0)


def _ask(cache: str) -> str:
    os.environ["FEDRETUNE_CACHE"] = cache
    files.DEFAULT_PATIENTS = 6
    return str(files.default_manifest(2))


def test_two_processes_that_ask_at_once_get_the_same_default_data(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_ask, [str(tmp_path), str(tmp_path)])
    assert first == second
    assert Path(first).is_file()
    folders = [p for p in (tmp_path / "phantoms").iterdir() if p.is_dir()]
    assert len(folders) == 1
