"""The tables of `study privacy`: ``table.csv``, ``recovery.csv`` and ``table.md``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from fedretune.study.tables import markdown, write_csv, write_tables

NOTES = """\
**AUC**: the chance that the attack scores an image that was trained on above one that was not, with
a bootstrap's middle 95 %; **control**: what the same attack makes of an adaptor that saw nobody, or
of another site's update: the two sides differ to begin with, and only what is beyond that is due to
training. **TPR**: members found where 1 or .1 % of the others are taken for members. **Epsilon**:
what the account says that the stream spent, at the run's delta; **at least**: what canaries refute,
with a certainty of 95 %, at delta 1e-5, for the rounds of one experience. `-`: no figure."""
RECOVERY = """\
One update of RE-tune's default adaptor, on so many images. **Cosine**: of the recovered vector with
the nearest image of the batch; **mean vector**: the same for the mean of all images. **Nearest**:
how often the nearest of all images is one of the batch. **By span**: the share of the batch among
as many images as it has, those that lie most in the span of the update; **chance**: by luck."""


#: An epsilon above it is no promise.
NOTHING = 1000


@dataclass
class PrivacyReport:
    """What is told of the study's runs as they end.

    Parameters
    ----------
    folder : Path
        Where the tables go.
    order : sequence of str
        The names of all runs, in the order of the plan.
    rows : dict of run to its rows, under ``rows``
    recovery : list of rows
    """

    folder: Path
    order: Sequence[str]
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    recovery: list[Mapping[str, Any]] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """Return a row an attack and run, in the order of the plan."""
        return pd.DataFrame(
            [row for name in self.order if name in self.rows for row in self.rows[name]["rows"]]
        )

    def write(self) -> None:
        """Write the tables, each whole or not at all."""
        if not self.rows:
            return
        write_tables(self.folder, self.frame(), self.lines())
        if self.recovery:
            write_csv(self.folder / "recovery.csv", pd.DataFrame(self.recovery))

    def lines(self) -> Iterator[str]:
        """Yield the lines of ``table.md``."""
        done, all_ = len(self.rows), len(self.order)
        yield from ("# fedretune study privacy", "")
        yield f"{all_} runs." if done == all_ else f"**Finished: {done} of {all_} runs.**"
        yield from ("", "## Who was trained on", "", NOTES, "", *markdown(membership(self.frame())))
        if self.recovery:
            table = recovered(pd.DataFrame(self.recovery))
            yield from ("", "## What an update gives away", "", RECOVERY, "", *markdown(table))
        yield from ("", f"Date: {date.today().isoformat()}.")


def membership(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is read of the attacks on membership: texts."""
    rows = frame.to_dict("records")
    return pd.DataFrame(
        {
            "defence": [str(row["defence"]) for row in rows],
            "attack": [str(row["attack"]) for row in rows],
            "in, out": [f"{row['members']}, {row['others']}" for row in rows],
            "AUC": [_interval(row) for row in rows],
            "control": [_figure(row["auc_control"]) for row in rows],
            "TPR at 1%": [_figure(row["tpr_at_1_percent"]) for row in rows],
            "TPR at .1%": [_figure(row["tpr_at_0.1_percent"]) for row in rows],
            "advantage": [_figure(row["advantage"]) for row in rows],
            "epsilon": [_epsilon(row["epsilon"]) for row in rows],
            "at least": [_figure(row["bound"], 2) for row in rows],
            "final AUROC": [_figure(row["final_auroc"]) for row in rows],
        }
    )


def recovered(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what is read of the recovery of images: texts."""
    names = {
        "cosine": "cosine",
        "baseline": "mean vector",
        "nearest": "nearest",
        "by_span": "by span",
        "chance": "chance",
    }
    found = frame[["training", "batch", "steps"]].astype(str)
    for column, heading in names.items():
        found[heading] = [_figure(value) for value in frame[column]]
    return found


def _epsilon(value: Any) -> str:
    """Return an epsilon; one beyond `NOTHING` promises nothing."""
    return f"> {NOTHING}" if value is not None and value > NOTHING else _figure(value, 2)


def _interval(row: Mapping[Any, Any]) -> str:
    return f"{row['auc']:.3f} ({row['auc_low']:.3f}-{row['auc_high']:.3f})"


def _figure(value: Any, digits: int = 3) -> str:
    return "-" if value is None or pd.isna(value) else f"{value:.{digits}f}"
