"""`lite0-minilm`: two small real towers from PyPI, joined on this machine.

EfficientNet-Lite0 (ImageNet) sees, MiniLM-L6 (sentences) reads; neither has met a radiograph. What
joins them is fitted on phantoms and their templated reports, in closed form.
"""

from pathlib import Path

from fedretune.errors import UserError
from fedretune.paths import cache_folder

LITE0_MINILM = "lite0-minilm"


def built_folder() -> Path:
    """Return the folder of `lite0-minilm`. Raises `UserError` where it has not been built."""
    folder = cache_folder() / "backbones" / LITE0_MINILM
    if not folder.is_dir():
        raise UserError(
            f"The backbone '{LITE0_MINILM}' has not been built on this machine yet: "
            f"fedretune backbones build {LITE0_MINILM}"
        )
    return folder
