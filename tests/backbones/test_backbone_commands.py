"""``fedretune backbones`` and ``fedretune embed``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from fedretune.backbones import describe
from fedretune.backbones.card import front_matter
from fedretune.cli import backbones, embed
from fedretune.errors import UserError
from tests.backbones.test_vit import mae_state
from tests.backbones.tiny import write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("backbones") / "tiny")


def verify(*arguments: str) -> tuple[int, dict[str, bool]]:
    result = CliRunner().invoke(backbones.app, ["verify", *arguments, "--json"])
    return result.exit_code, {check["name"]: check["passed"] for check in json.loads(result.stdout)}


def test_a_sound_backbone_passes_every_check(folder: Path) -> None:
    code, checks = verify(str(folder), "--sha256", describe(str(folder)).fingerprint.upper())
    assert code == 0
    told = ["files", "fingerprint", "preprocessing", "licence", "weights from"]
    assert list(checks) == [*told, "loads", "images", "tokenizer", "prompts"]
    assert all(checks.values())


def test_another_fingerprint_stops_the_checks_before_loading(folder: Path) -> None:
    assert verify(str(folder), "--sha256", "00") == (2, {"files": True, "fingerprint": False})


def test_a_faulty_folder_fails_the_check_that_found_it(folder: Path, tmp_path: Path) -> None:
    assert verify(str(tmp_path)) == (2, {"files": False})
    broken = write_folder(tmp_path / "broken")
    (broken / "open_clip_model.safetensors").write_bytes(b"no weights")
    checks = verify(str(broken))[1]
    assert checks.pop("loads") is False
    assert all(checks.values())


def test_dead_weights_fail_the_check_of_their_vectors(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_folder(tmp_path / "dead")
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"][:] = 0.0
    save_file(weights, folder / "open_clip_model.safetensors")
    code, checks = verify(str(folder))
    assert (code, checks["images"], "prompts" in checks) == (2, False, False)


def details(*arguments: str) -> dict[str, str]:
    result = CliRunner().invoke(backbones.app, ["verify", *arguments, "--json"])
    return {check["name"]: check["detail"] for check in json.loads(result.stdout)}


def test_licence_and_origin_are_what_the_card_says_and_else_unknown(
    folder: Path, tmp_path: Path
) -> None:
    said = details(str(folder))
    assert (said["licence"], said["weights from"]) == ("unknown", "unknown")
    carded = Path(shutil.copytree(folder, tmp_path / "carded"))
    front = (
        "---\nlanguage: en\ntags:\n- a: b\nlicense: 'mit'\nbase_model: some/model\n---\n# Card\n"
    )
    (carded / "README.md").write_text(front)
    said = details(str(carded))
    assert (said["licence"], said["weights from"]) == ("mit", "some/model")
    assert said["fingerprint"] == details(str(folder))["fingerprint"]


@pytest.mark.parametrize(
    "text", ["", "# no front matter\nlicense: mit", "---\nlicense: mit", "---"]
)
def test_a_card_without_front_matter_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert front_matter(tmp_path / "README.md") == {}


def test_an_image_tower_alone_is_verified_without_prompts(tmp_path: Path) -> None:
    torch.save({"model": mae_state()}, tmp_path / "MRM.pth")
    (tmp_path / "MRM.md").write_text("---\nlicense: apache-2.0\n---\n")
    said = details(f"vit-mrm:{tmp_path / 'MRM.pth'}")
    assert list(said)[-2:] == ["loads", "images"]
    assert said["licence"] == "apache-2.0"
    assert "missing, at its initial value: fc_norm.bias, fc_norm.weight" in said["loads"]


def test_the_list_names_what_is_shipped_on_stderr_and_json_on_stdout() -> None:
    result = CliRunner().invoke(backbones.app, ["list", "--json"])
    assert result.exit_code == 0
    assert isinstance(json.loads(result.stdout), list)


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDRETUNE_CACHE", str(tmp_path / "cache"))
    lines = ["image,patient,split,Mass"]
    for number in range(5):
        noise = np.random.default_rng(number).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number},train,0")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines))
    return path


def run_embed(manifest: Path, folder: Path) -> dict[str, int]:
    app = typer.Typer()
    app.command()(embed.command)
    arguments = [str(manifest), "--backbone", str(folder), "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return dict(json.loads(result.stdout))


def test_embedding_twice_says_what_was_new(manifest: Path, folder: Path) -> None:
    first, second = run_embed(manifest, folder), run_embed(manifest, folder)
    assert (first["encoded"], first["already_stored"]) == (5, 0)
    assert (second["encoded"], second["already_stored"]) == (0, 5)


def test_embedding_names_a_missing_image_before_it_starts(manifest: Path, folder: Path) -> None:
    (manifest.parent / "3.png").unlink()
    with pytest.raises(UserError, match=r"manifest\.csv, line 5: .*3\.png"):
        run_embed(manifest, folder)
