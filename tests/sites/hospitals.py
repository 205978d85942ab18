"""Two hospitals in folders of their own, and a federation of them in this process."""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

import clients.app
import server.app
from fedretune.sites.folder import NewSite, init_site
from server.simulator import simulate
from tests.cli.tiny import Tiny

NAMES = ("north", "south")


@dataclass(frozen=True)
class Hospitals:
    """The folders of the hospitals, in `root`; all their images are in one pooled `manifest`."""

    root: Path
    manifest: Path
    backbone: str
    names: tuple[str, ...] = NAMES

    def folder(self, name: str) -> Path:
        """Return a hospital's folder."""
        return self.root / name

    def change(self, name: str, file: str, **values: object) -> None:
        """Set keys of one of a hospital's files; ``a_b`` stands for ``a-b``."""
        path = self.folder(name) / file
        text = path.read_text()
        for key, value in values.items():
            line = f"{key.replace('_', '-')} = {json.dumps(value)}"
            text, found = re.subn(
                rf"^{key.replace('_', '-')} = .*$", lambda _, line=line: line, text, flags=re.M
            )
            assert found == 1
        path.write_text(text)

    def run(self, out: Path, **values: object) -> tuple[Path, dict[str, object]]:
        """Run a federation of them; return its folder and summary."""
        config = self._config(out, "real", values)
        simulate(server.app.app, self._app, config, len(self.names))
        return self._result(out / "real")

    def pooled(self, out: Path, **values: object) -> tuple[Path, dict[str, object]]:
        """Run a simulation over the pooled manifest; return its folder and summary."""
        data = {"manifest": str(self.manifest), "backbone": self.backbone}
        simulate(
            server.app.app,
            clients.app.app,
            self._config(out, "pooled", {**data, **values}),
            len(self.names),
        )
        return self._result(out / "pooled")

    def _app(self, message, context):
        name = self.names[context.node_id - 1]
        context.node_config = {"site": str(self.folder(name) / "site.toml")}
        return clients.app.app(message, context)

    def _config(self, out: Path, name: str, values: dict[str, object]) -> dict[str, object]:
        given = {key.replace("__", ".").replace("_", "-"): each for key, each in values.items()}
        size = {"sites": len(self.names), "experiences": 2, "rounds": 1, "train.epochs": 1}
        return {"out": str(out), "name": name, **size, **given}

    def _result(self, folder: Path) -> tuple[Path, dict[str, object]]:
        return folder, json.loads((folder / "summary.json").read_text())


def statuses(folder: Path) -> list[tuple[str, str, str]]:
    """Return (site, status, reason) of each row of ``sites.csv`` but the ordinary ones."""
    with (folder / "sites.csv").open(newline="") as file:
        rows = [(row["site"], row["status"], row["reason"]) for row in csv.DictReader(file)]
    return [row for row in rows if row[1] not in ("joined", "trained")]


def make_hospitals(root: Path, tiny: Tiny, names: tuple[str, ...] = NAMES) -> Hospitals:
    """Make the hospitals' folders; their images stay where they are."""
    table = pd.read_csv(tiny.manifest)
    table["image"] = [str(tiny.manifest.parent / image) for image in table["image"]]
    if names == NAMES:
        sites = dict(zip(sorted(table["site"].unique()), NAMES, strict=True))
        table["site"] = table["site"].map(sites)
    else:  # the patients of both, dealt among all
        table["site"] = [names[place % len(names)] for place in pd.factorize(table["patient"])[0]]
    root.mkdir(parents=True)
    table.to_csv(root / "manifest.csv", index=False)
    backbone = f"local-dir:{tiny.backbone}"
    for name in names:
        own = root / f"{name}.csv"
        table[table["site"] == name].drop(columns="site").to_csv(own, index=False)
        init_site(root / name, NewSite(name, str(own), backbone))
    return Hospitals(root, root / "manifest.csv", backbone, names)
