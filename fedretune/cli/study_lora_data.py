"""What ``fedretune study lora`` works on: the study's checkpoints and data sets, or stand-ins."""

from pathlib import Path

from fedretune.cli.console import say
from fedretune.errors import UserError
from fedretune.study.lora.datasets import data_set
from fedretune.study.lora.plan import Wanted
from fedretune.study.lora.recipes import model_of


def prepare(
    wanted: Wanted, weights: Path | None, data: Path | None, out: Path, quick: bool
) -> dict[str, str]:
    """Write the manifests; return the backbones' names by model, each looked at.

    Raises
    ------
    UserError
        A checkpoint or a folder is missing or no such; with `quick`, one is named.
    """
    if quick and (weights or data):
        raise UserError("--quick brings models and images of its own: leave out --weights, --data.")
    if quick:
        weights = _stand_ins(wanted, out)
    elif weights is None or data is None:
        raise UserError(
            "--weights and --data say where the study's checkpoints and data sets lie "
            "(docs/lora-study.md has the layout); --quick needs neither."
        )
    backbones = {name: _backbone(name, weights) for name in wanted.models}
    if data is not None:
        _read(wanted, data, out)
    return backbones


def _stand_ins(wanted: Wanted, out: Path) -> Path:
    from fedretune.study.lora.quick import draw, write_phantom_manifests, write_stand_ins

    say("Drawing phantoms and training two small ViTs, once: about a minute.")
    write_phantom_manifests(draw(out / "phantoms"), wanted.ratios, out / "manifests")
    write_stand_ins(out / "weights")
    return out / "weights"


def _backbone(name: str, weights: Path) -> str:
    """Return the name of a model's backbone. Raises `UserError` where its file is none."""
    from fedretune.backbones import describe

    model = model_of(name)
    path = weights.expanduser().absolute() / model.checkpoint
    if not path.is_file():
        raise UserError(
            f"There is no checkpoint {path}. docs/lora-study.md says where {model.checkpoint} "
            f"comes from; --models leaves {name} out."
        )
    backbone = f"{model.backbone}:{path}"
    describe(backbone)
    return backbone


def _read(wanted: Wanted, data: Path, out: Path) -> None:
    from fedretune.study.lora.manifests import write_manifests

    for name in wanted.data_sets:
        say(f"Reading {data_set(name).title}.")
        write_manifests(data_set(name), data / name, wanted.ratios, out / "manifests")
