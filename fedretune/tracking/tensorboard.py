"""TensorBoard: event files in the run folder, for ``tensorboard --logdir runs``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedretune.errors import UserError

FOLDER = "tensorboard"


class TensorBoard:
    """Writes below the run folder. Raises `UserError` where the package is missing."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                "TensorBoard is not installed: pip install 'fedretune[tensorboard]'."
            ) from error
        self._make = SummaryWriter
        self._writer: Any = None

    def begin(self, run: Path, config: Mapping[str, Any], step: int) -> None:
        """Write the config as a text; what was written of rounds after `step` is void."""
        self._writer = self._make(str(run / FOLDER), purge_step=step + 1 if step else None)
        rows = "\n".join(f"| {key} | {value} |" for key, value in config.items())
        self._writer.add_text("config", f"| key | value |\n|---|---|\n{rows}", step)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write a point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
