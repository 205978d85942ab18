"""The tables of `study lora`: ``table.csv`` and ``table.md``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedretune.study.lora.plan import LoraCell
from fedretune.study.tables import markdown, write_tables

TASK = ["model", "data", "ratio"]

NOTES = """\
AUROC: the mean over findings on the test images, tested once, at the epoch that was best on the
validation images; findings without both classes are left out. With several seeds: mean ± standard
deviation (with n - 1). Bytes: what a site would send in a round, and get, were this its adaptor.
Memory: the GPU's peak, or else the process' peak, code and libraries with it. Seconds: of one cell,
while others ran beside it. Recipe: `study` where the settings are the study's, `ours` where they
are not known or it has no such tuning."""

FEDERATED = """\
AUROC: the mean over experiences of the pooled macro over findings, at the end of the run; with
several seeds, mean ± standard deviation (with n - 1). Bytes: what a site sends in a round. Seconds:
of one run, while others ran beside it. All settings but LoRA's rank are ours."""

PUBLISHED = """\
Of the study's own table its abstract alone is known here: LoRA above full fine-tuning in 13 of 18
tasks, by at most 2.9%; AUROC 80.6 at 1% of NIH ChestX-ray14. Nothing else."""


@dataclass
class LoraReport:
    """What is told of the study's cells as they end.

    Parameters
    ----------
    folder : Path
        Where the tables go.
    order : sequence of str
        The names of all cells, in the order of the plan.
    about : mapping
        What was run, for the end of ``table.md``: lines by their heads.
    federated : bool (default: False)
        Whether cells are simulations, which have other columns.
    """

    folder: Path
    order: Sequence[str]
    about: Mapping[str, str]
    federated: bool = False
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a finished cell."""
        self.rows[row["run"]] = row

    def frame(self) -> pd.DataFrame:
        """Return the rows as a frame, in the order of the plan."""
        frame = pd.DataFrame([self.rows[name] for name in self.order if name in self.rows])
        figures = ("auroc", "val_auroc", "forgetting", "backward_transfer")
        return frame.astype({name: float for name in figures if name in frame})

    def write(self) -> None:
        """Write both tables, each whole or not at all."""
        if self.rows:
            frame = self.frame()
            write_tables(self.folder, frame, self._lines(frame))

    def _lines(self, frame: pd.DataFrame) -> Iterator[str]:
        done, all_ = len(self.rows), len(self.order)
        yield from ("# fedretune study lora", "")
        yield f"{all_} cells." if done == all_ else f"**Unfinished: {done} of {all_} cells.**"
        notes = FEDERATED if self.federated else NOTES
        yield from ("", notes, "", PUBLISHED, "", "## Test AUROC", "")
        yield from markdown(by_task(frame))
        yield from ("", *verdict(frame), "", "## Costs", "", *markdown(costs(frame)))
        yield from ("", "## What was run", "", f"- date: {date.today().isoformat()}")
        yield from (f"- {head}: {text}" for head, text in self.about.items())


def row_of(cell: LoraCell, summary: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a cell's row of ``table.csv``."""
    return {
        "model": cell.model,
        "data": cell.data,
        "ratio": cell.ratio,
        "tuning": cell.tuning,
        "seed": cell.seed,
        "recipe": source,
        **{name: summary[name] for name in ("auroc", "val_auroc", "best_epoch")},
        "undefined": len(summary["undefined_findings"]),
        "train_images": summary["images"]["train"],
        **{name: summary[name] for name in ("trained_parameters", "bytes", "peak_bytes")},
        "run": cell.name,
        "wall_seconds": summary["wall_seconds"],
    }


def by_task(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the AUROC of each task (rows) and tuning, `*` beside what is not the study's."""
    tunings = list(dict.fromkeys(frame["tuning"]))
    rows = []
    for task, group in frame.groupby(TASK, sort=False):
        model, data, ratio = map(str, task)
        parts = dict(iter(group.groupby("tuning", sort=False)))
        cells = [_cell(parts[name]) if name in parts else "-" for name in tunings]
        rows.append([model, data, f"{ratio}%", str(group["train_images"].iloc[0]), *cells])
    return pd.DataFrame(rows, columns=["model", "data set", "labels", "images", *tunings])


def verdict(frame: pd.DataFrame) -> Iterator[str]:
    """Say in how many tasks LoRA is above full fine-tuning, where both are there."""
    yield "`*`: by settings of ours."
    means = frame.groupby([*TASK, "tuning"], sort=False)["auroc"].mean().unstack()
    if {"lora", "full"}.issubset(means):
        both = means.dropna(subset=["lora", "full"])
        ahead = int((both["lora"] > both["full"]).sum())
        most = float((both["lora"] - both["full"]).max()) if len(both) else 0.0
        yield (
            f"LoRA is above full fine-tuning in {ahead} of {len(both)} tasks, by {most:+.3f} at "
            "most."
        )


#: Columns of the table of costs: heading, column of the frame, factor, form.
_COSTS = (
    ("trained parameters", "trained_parameters", 1.0, ",.0f"),
    ("kB a site and direction", "bytes", 1e-3, ",.1f"),
    ("peak memory, MB", "peak_bytes", 1e-6, ",.0f"),
    ("forgetting", "forgetting", 1.0, ".3f"),
    ("seconds", "wall_seconds", 1.0, ",.1f"),
)


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what each task (rows: model, data set, labels, tuning) costs, the mean over seeds."""
    columns = [each for each in _COSTS if each[1] in frame]
    rows = []
    for (model, data, ratio, tuning), group in frame.groupby([*TASK, "tuning"], sort=False):
        means = [group[name].mean() * factor for _, name, factor, _ in columns]
        forms = [form for *_, form in columns]
        cells = [
            "-" if np.isnan(mean) else format(mean, form)
            for mean, form in zip(means, forms, strict=True)
        ]
        rows.append([model, data, f"{ratio}%", tuning, group["recipe"].iloc[0], *cells])
    names = ["model", "data set", "labels", "tuning", "recipe"]
    return pd.DataFrame(rows, columns=[*names, *(heading for heading, *_ in columns)])


def _cell(group: pd.DataFrame) -> str:
    values = group["auroc"].to_numpy(dtype=float)
    star = "" if group["recipe"].iloc[0] == "study" else "*"
    if np.isnan(values).all():
        return f"-{star}"
    text = f"{np.nanmean(values):.3f}"
    spread = f" ± {np.nanstd(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{text}{spread}{star}"
