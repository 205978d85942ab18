"""The tables of `study lora`: what counts as ahead, what is marked, what a config's change is."""

import pytest

from fedretune.errors import UserError
from fedretune.study.lora.cell import _tell
from fedretune.study.lora.federated import base_of, settings_of
from fedretune.study.lora.plan import LoraCell, Wanted, config_of, differences
from fedretune.study.lora.recipes import recipe_of
from fedretune.study.lora.report import LoraReport, by_task, costs, row_of, verdict


def report_of(folder, aurocs) -> LoraReport:
    """Return a report of MRM on NIH at 1%, by (tuning, seed, recipe's source, AUROC)."""
    cells = [LoraCell("mrm", "nih14", 1, tuning, seed) for tuning, seed, _, _ in aurocs]
    report = LoraReport(folder, [cell.name for cell in cells], {"device": "cpu"})
    for cell, (*_, source, auroc) in zip(cells, aurocs, strict=True):
        summary = {
            "auroc": auroc,
            "val_auroc": 0.5,
            "best_epoch": 3,
            "undefined_findings": [],
            "images": {"train": 785},
            "trained_parameters": 159_758,
            "bytes": 639_032,
            "peak_bytes": 2_000_000,
            "wall_seconds": 1.0,
        }
        report.add(row_of(cell, summary, source))
    return report


def test_seeds_become_a_mean_and_settings_of_ours_are_marked(tmp_path) -> None:
    rows = [
        ("lora", 1, "study", 0.8),
        ("lora", 2, "study", 0.7),
        ("full", 1, "ours", 0.74),
        ("linear-probe", 1, "ours", None),
    ]
    frame = report_of(tmp_path, rows).frame()
    table = by_task(frame)
    assert table.iloc[0].tolist() == [
        "mrm",
        "nih14",
        "1%",
        "785",
        "0.750 ± 0.071",
        "0.740*",
        "-*",
    ]
    assert "LoRA is above full fine-tuning in 1 of 1 tasks, by +0.010 at most." in verdict(frame)
    assert costs(frame).iloc[0].tolist() == [
        "mrm",
        "nih14",
        "1%",
        "lora",
        "study",
        "159,758",
        "639.0",
        "2",
        "1.0",
    ]


def test_without_both_tunings_nobody_is_ahead(tmp_path) -> None:
    frame = report_of(tmp_path, [("lora", 1, "study", 0.8)]).frame()
    assert list(verdict(frame)) == ["`*`: by settings of ours."]


def test_an_unfinished_study_says_so(tmp_path) -> None:
    report = report_of(tmp_path, [("lora", 1, "study", 0.8), ("full", 1, "ours", 0.7)])
    del report.rows["mrm.nih14.1.full.seed-1"]
    report.write()
    assert "**Unfinished: 1 of 2 cells.**" in (tmp_path / "table.md").read_text()


def test_a_cell_made_elsewhere_of_the_same_files_is_the_same_and_of_others_is_not(tmp_path) -> None:
    cell, recipe = LoraCell("mrm", "nih14", 1, "lora", 1), recipe_of("mrm", "nih14", 1, "lora")
    files = {"fingerprint": "a", "content": "b", "blocks": 0, "device": "cpu", "out": "/here"}
    config = config_of(cell, recipe, "vit-mrm:/a.pth", tmp_path / "m.csv", **files)
    moved = {**config, "backbone": "vit-mrm:/b.pth", "out": "/there", "device": "cuda"}
    assert differences(config, moved) == ""
    assert differences(config, {**moved, "content": "c"}) == "content was b and is c"
    assert differences(config, {**moved, "recipe.lr": 1.0}) == "recipe.lr was 0.05 and is 1.0"


def test_recipes_that_are_not_known_are_told_with_their_number() -> None:
    wanted = Wanted(("mrm",), ("nih14", "rsna"), (1, 10), ("lora", "full"), (1,), {})
    with pytest.raises(UserError, match=r"mrm on nih14 at 10% is not known.*\(3 such in all\)"):
        wanted.recipes()
    assert len(Wanted(**{**vars(wanted), "fft_lr": {"mrm": 0.01}}).recipes()) == 8


def test_a_simulation_keeps_the_rank_of_the_recipe_and_full_tuning_says_that_it_sends_all() -> None:
    base = base_of({"rounds": 3}, quick=False)
    kept = {}
    for tuning in ("lora", "full", "linear-probe"):
        cell = LoraCell("mrm", "nih14", 10, tuning, 1)
        recipe = recipe_of("mrm", "nih14", 10, tuning, {"mrm": 0.01})
        kept[tuning] = settings_of(cell, recipe, base, "vit-mrm:/a.pth", "/m.csv", 4)
    assert kept["lora"]["adaptor.rank"] == 8
    assert "allow-backbone-on-wire" not in kept["lora"]
    assert kept["full"]["allow-backbone-on-wire"]
    assert kept["full"]["train.lr"] == pytest.approx(1e-4)
    assert kept["linear-probe"]["adaptor.kind"] == "head"
    assert {each["rounds"] for each in kept.values()} == {3}
    with pytest.raises(UserError, match="A study sets 'seed' itself"):
        base_of({"seed": 2}, quick=False)


def test_epochs_that_are_done_again_after_a_stop_give_way(tmp_path) -> None:
    for epoch in (1, 2, 3, 2, 3):
        _tell(tmp_path / "epochs.csv", epoch, 0.5, float("nan"))
    lines = (tmp_path / "epochs.csv").read_text().splitlines()
    assert lines == ["epoch,loss,val_auroc", "1,0.5,nan", "2,0.5,nan", "3,0.5,nan"]
