"""Pretraining in miniature, and the folder that ships."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fedretune.backbones import describe, load_backbone
from fedretune.backbones.pretrain import Recipe, folder, judge, learn, pretrain, recipe_for
from fedretune.backbones.pretrain.reports import UNMENTIONED, vocabulary
from fedretune.data.phantoms import render, sample_cohort
from fedretune.errors import UserError
from fedretune.findings import NIH14
from tests.backbones.tiny import write_folder

TINY = Recipe(patients=10, sites=2, steps=2, batch=8, ceiling_steps=1, judged_patients=12)
FILES = {
    "open_clip_config.json",
    "open_clip_model.safetensors",
    "tokenizer.json",
    "image_moments.npy",
    "MODEL_CARD.md",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain(tmp_path_factory.mktemp("pretrain") / "model", TINY, 3, lambda *_: None)


def test_pretraining_gives_a_whole_folder_and_nothing_beside_it(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} >= FILES
    assert [path.name for path in trained.parent.iterdir()] == ["model"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(trained: Path, tmp_path: Path) -> None:
    again = pretrain(tmp_path / "again", TINY, 3, lambda *_: None)
    name = "open_clip_model.safetensors"
    assert (again / name).read_bytes() == (trained / name).read_bytes()


def test_the_card_has_a_row_a_finding_and_says_which_are_new(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text()
    for finding in NIH14:
        new = r" \(new\)" if finding in UNMENTIONED else ""
        assert re.search(rf"^\| {finding}{new} \| \d+ \|", card, re.MULTILINE)


def test_a_saved_model_gives_the_vectors_that_it_gave(tmp_path: Path) -> None:
    model = folder.new_model(0).eval()
    folder.write_tokenizer(tmp_path)
    folder.write_weights(tmp_path, model)
    films = render(sample_cohort(4, 1, 0), 0)
    texts = ["No evidence of Pleural Thickening", "Findings suggesting Hernia"]
    tokens = folder.tokenizer_of(tmp_path)(texts)
    with torch.inference_mode():
        images, words = model.encode_image(learn.as_input(films)), model.encode_text(tokens)
    backbone = load_backbone(f"local-dir:{tmp_path}", device="cpu")
    pixels = torch.stack([backbone.preprocess(Image.fromarray(film)) for film in films])
    assert torch.allclose(backbone.encode_images(pixels), images, atol=5e-3, rtol=1e-2)
    assert torch.allclose(backbone.encode_texts(texts), words, atol=5e-3, rtol=1e-2)


def test_every_word_has_an_id_of_its_own_and_the_end_is_the_highest(tmp_path: Path) -> None:
    folder.write_tokenizer(tmp_path)
    ids = folder.tokenizer_of(tmp_path)(" ".join(vocabulary()[:20]))[0]
    words = ids[1:21].tolist()
    assert len(set(words)) == 20
    assert ids[21] == ids.max() == len(folder.tokens()) - 1
    unknown = folder.tokenizer_of(tmp_path)("xylophone")[0, 1]
    assert unknown == folder.tokens().index("[unk]")


def test_equal_texts_are_no_negatives_of_each_other() -> None:
    logits = torch.tensor([[2.0, 9.0, 0.0], [9.0, 2.0, 0.0], [0.0, 0.0, 2.0]])
    same = learn._symmetric(logits, ["a", "a", "b"])
    other = learn._symmetric(logits, ["a", "c", "b"])
    expected = -torch.log(torch.tensor([1 / (1 + np.exp(-2)), 1 / (1 + 2 * np.exp(-2))]))
    assert same == pytest.approx(float((2 * expected[0] + expected[1]) / 3), abs=1e-5)
    assert other > same + 1


def test_more_minutes_mean_more_steps_and_too_few_are_refused() -> None:
    assert recipe_for(4).steps < recipe_for(15).steps
    with pytest.raises(UserError, match="from 2 to 600"):
        recipe_for(0.5)


def test_a_used_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        pretrain(tmp_path, TINY, 0, lambda *_: None)


def test_the_command_refuses_too_few_minutes(tmp_path: Path) -> None:
    import typer

    from fedretune.cli.pretrain import command

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(tmp_path / "x"), "--minutes", "1"])
    assert isinstance(result.exception, UserError)


@pytest.mark.parametrize(
    ("tower", "trains"),
    [("resnet", "fedretune.backbones.pretrain"), ("vit", "fedretune.backbones.pretrain.distil")],
)
def test_the_command_tells_machines_what_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tower: str, trains: str
) -> None:
    import typer

    from fedretune.cli.pretrain import command

    name = "pretrain" if tower == "resnet" else "distil"
    monkeypatch.setattr(f"{trains}.{name}", lambda out, *_: write_folder(out))
    app = typer.Typer()
    app.command()(command)
    made = tmp_path / "made"
    result = CliRunner().invoke(app, [str(made), "--tower", tower, "--json"])
    info = describe(str(made))
    told = {"folder": str(made), "dim": info.dim, "fingerprint": info.fingerprint}
    assert json.loads(result.stdout) == told
    assert info.fingerprint in result.stderr


def _shipped() -> Path:
    path = load_backbone("phantom-clip", device="cpu").info.folder
    assert path is not None
    return path


def test_the_shipped_folder_is_whole_and_small() -> None:
    files = {path.name: path.stat().st_size for path in _shipped().iterdir()}
    assert set(files) >= FILES
    assert sum(files.values()) <= 8_000_000


@pytest.mark.slow
def test_the_shipped_cards_figures_hold_on_a_part_of_its_images() -> None:
    card = (_shipped() / "MODEL_CARD.md").read_text()
    stated = re.search(r"\*\*all 14\*\* \| \| \*\*(\d\.\d+)\*\*", card)
    assert stated
    cohort = sample_cohort(1500, 4, 0)
    part = cohort[cohort["split"] != "train"]
    vectors, prompts = judge.embed(_shipped(), render(part, 0))
    measured = judge.zero_shot(vectors, prompts, part[list(NIH14)].to_numpy())
    assert float(np.nanmean(measured)) == pytest.approx(float(stated[1]), abs=0.04)
