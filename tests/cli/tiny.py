"""A run small enough to start dozens of times: 40 patients at two sites, a random backbone."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedretune.data.phantoms import write
from tests.backbones.tiny import write_folder

Row = dict[str, str]


@dataclass(frozen=True)
class Tiny:
    """The files of a run: `manifest` with its images, and the folder of a `backbone`."""

    manifest: Path
    backbone: Path

    def options(self, out: Path, **changes: object) -> list[str]:
        """Return the options of a run of two experiences and one round, with some changed."""
        options = {
            "manifest": self.manifest,
            "backbone": f"local-dir:{self.backbone}",
            "experiences": 2,
            "rounds": 1,
            "out": out,
            "name": "it",
            **changes,
        }
        return [text for key, value in options.items() for text in (f"--{key}", str(value))]

    def copy(self, folder: Path) -> "Tiny":
        """Return the same files in a folder of one's own, to be spoilt."""
        shutil.copytree(self.manifest.parent, folder / "phantoms")
        shutil.copytree(self.backbone, folder / "backbone")
        return Tiny(folder / "phantoms" / "manifest.csv", folder / "backbone")

    def image(self, row: int) -> Path:
        """Return the image of a row, counted from 0; it stands on line `row` + 2."""
        return self.manifest.parent / self.rows()[row]["image"]

    def rows(self) -> list[Row]:
        """Return the manifest's rows."""
        with self.manifest.open(newline="") as file:
            return list(csv.DictReader(file))

    def edit(self, change: Callable[[list[Row]], None]) -> None:
        """Write the manifest again after `change` has had its rows."""
        rows = self.rows()
        change(rows)
        with self.manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def make_tiny(folder: Path) -> Tiny:
    """Write the files into `folder`."""
    manifest = write(folder / "phantoms", patients=40, sites=2, seed=1, size=64)
    return Tiny(manifest, write_folder(folder / "backbone"))
