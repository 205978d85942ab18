"""A study's figures: a row a run, then mean and standard deviation over seeds."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedretune.study.plan import Cell

#: What runs are summed up over, and what they are summed up by.
OVER, GROUP = "seed", ["scenario", "unlabelled", "method"]


@dataclass(frozen=True)
class Column:
    """A column of the tables for people.

    Parameters
    ----------
    heading : str
    figure : str
        A column of the frame.
    form : str (default: ".3f")
        How a value is written.
    factor : float (default: 1.0)
        What it is multiplied by before.
    spread : bool (default: True)
        Whether the standard deviation is written beside the mean.
    """

    heading: str
    figure: str
    form: str = ".3f"
    factor: float = 1.0
    spread: bool = True


FINAL = Column("final AUROC", "final_auroc")
OF_JOINT = Column("% of joint", "of_joint", ".1f", 100)
FORGETTING = Column("forgetting", "forgetting")
FINDINGS = Column("finding forgetting", "finding_forgetting")
SECONDS = Column("seconds", "wall_seconds", ".1f")
COLUMNS = (
    FINAL,
    OF_JOINT,
    FORGETTING,
    FINDINGS,
    Column("backward transfer", "backward_transfer", "+.3f"),
    Column("forward transfer", "forward_transfer", "+.3f"),
    Column("average precision", "average_precision"),
    Column("F1", "f1"),
    Column("ECE", "ece"),
    Column("trained parameters", "trained_parameters", ",.0f", spread=False),
    Column("kB up a site and round", "bytes_up_per_site_round", ",.1f", 1e-3, spread=False),
    SECONDS,
)
#: What fits into 80 characters.
COMPACT = (FINAL, OF_JOINT, FORGETTING, FINDINGS, SECONDS)


def row_of(cell: Cell, summary: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """Return a run's row: what it was, and every figure of its summary that is one number."""
    rules = summary["by_scoring"]
    return {
        **{name: getattr(cell, name) for name in (*GROUP, OVER)},
        **_numbers(rules["difference"]),
        **{f"positive_{name}": value for name, value in _numbers(rules["positive"]).items()},
        "trained_parameters": parameters,
        **{name: summary[name] for name in ("bytes_up_per_site_round", "bytes_up", "bytes_down")},
        "left_out": sum(each["times"] for each in summary["quarantined"]),
        "run": cell.name,
        "wall_seconds": summary["wall_seconds"],
    }


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows as a frame, in their order, with ``of_joint`` beside ``final_auroc``.

    That is the share of what `joint` reached in the same scenario, convention and seed; NaN where
    that run is not among the rows.
    """
    frame = pd.DataFrame(list(rows))
    texts = [*GROUP, "run"]
    frame = frame.astype({name: float for name in frame.columns if name not in [*texts, OVER]})
    where = ["scenario", "unlabelled", OVER]
    joint = frame[frame["method"] == "joint"].set_index(where)["final_auroc"]
    reached = joint.reindex(pd.MultiIndex.from_frame(frame[where])).to_numpy()
    frame.insert(list(frame).index("final_auroc") + 1, "of_joint", frame["final_auroc"] / reached)
    return frame


#: Scenario, convention and method.
Group = tuple[str, str, str]
Figures = dict[str, float]


@dataclass(frozen=True)
class Statistics:
    """Means, standard deviations and counts over seeds: of each group, for each figure."""

    mean: dict[Group, Figures]
    sd: dict[Group, Figures]
    count: dict[Group, Figures]

    @classmethod
    def of(cls, frame: pd.DataFrame) -> "Statistics":
        """Summarise a frame; undefined figures are left out, and the sample's sd has n - 1."""
        groups = frame.drop(columns=[OVER, "run"]).groupby(GROUP, sort=False)
        each: Any = (groups.mean(), groups.std(ddof=1), groups.count())
        return cls(*(found.to_dict("index") for found in each))

    def cell(self, group: Group, column: Column) -> str:
        """Return "mean ± sd", the mean alone where there is one value, or "-"."""
        mean, sd = self.mean[group][column.figure], self.sd[group][column.figure]
        if math.isnan(mean):
            return "-"
        text = format(mean * column.factor, column.form)
        if math.isnan(sd) or not column.spread:
            return text
        return f"{text} ± {format(sd * column.factor, column.form.lstrip('+'))}"

    def seeds(self, group: Group) -> int:
        """Return of how many runs a group's figures are."""
        return int(self.count[group][FINAL.figure])

    def tables(self) -> dict[tuple[str, str], list[Group]]:
        """Return the groups of each table, by scenario and convention, in the frame's order."""
        found: dict[tuple[str, str], list[Group]] = {}
        for group in self.mean:
            found.setdefault(group[:2], []).append(group)
        return found


def title_of(scenario: str, unlabelled: str) -> str:
    """Return a table's title."""
    return f"{scenario}, unlabelled = {unlabelled}" if unlabelled else scenario


def markdown(statistics: Statistics) -> str:
    """Return one table for each scenario and convention, in GitHub's Markdown."""
    heads = ["method", *(column.heading for column in COLUMNS), "n"]
    lines = []
    for where, groups in statistics.tables().items():
        lines += [f"## {title_of(*where)}", "", _line(heads), _line(["---"] + ["---:"] * 13)]
        for group in groups:
            cells = [statistics.cell(group, column) for column in COLUMNS]
            lines.append(_line([group[2], *cells, str(statistics.seeds(group))]))
        lines.append("")
    return "\n".join(lines)


def short(text: str) -> str:
    """Return a figure without its leading zero: .874."""
    return re.sub(r"\b0\.", ".", text)


def records(statistics: Statistics) -> list[dict[str, Any]]:
    """Return the statistics for JSON: a record a group; null where a figure is undefined."""
    found = []
    for group, means in statistics.mean.items():
        figures = {
            name: {"mean": _json(mean), "sd": _json(statistics.sd[group][name])}
            for name, mean in means.items()
        }
        keys = dict(zip(GROUP, group, strict=True))
        found.append({**keys, "n": statistics.seeds(group), "figures": figures})
    return found


def _numbers(figures: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in figures.items() if not isinstance(value, list)}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")
