"""The tables of `study attacks`: ``table.csv`` and ``table.md``."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from fedretune.study.attacks import NONE
from fedretune.study.tables import markdown, write_tables

#: How far the final AUROC may fall under attack, and be called as good as without.
NEAR = 0.01

NOTES = f"""\
Final AUROC (`difference` rule, pooled macro, the mean over experiences; the mean over seeds where
there are several), by attack and strategy, one table for each number of attackers. Attackers
answer evaluations honestly, so the same test images count in every row. **Caught** is the share of
the attackers' rounds of which the server took no reply, the mean over strategies. Under **what
holds**: how much less than `fedavg` reaches without attackers (the first row of each table), in
the worst of all attacks; {NEAR} or less counts as nothing lost. `-`: there is no figure, as the run
stopped, with a message and what it takes to be resumed, or is not done."""


@dataclass
class AttackReport:
    """What is told of the study's runs as they end.

    Parameters
    ----------
    folder : Path
        Where the tables go.
    order : sequence of str
        The names of all runs, in the order of the plan.
    settings : mapping
        The keys of the config that all runs share and that are not at their default.
    """

    folder: Path
    order: Sequence[str]
    settings: Mapping[str, Any]
    rows: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a finished run."""
        self.rows[row["run"]] = row

    def write(self) -> None:
        """Write both tables, each whole or not at all."""
        if self.rows:
            frame = self.frame()
            write_tables(self.folder, frame, self._lines(frame))

    def frame(self) -> pd.DataFrame:
        """Return the rows as a frame, in the order of the plan."""
        frame = pd.DataFrame([self.rows[name] for name in self.order if name in self.rows])
        numbers = ["final_auroc", "caught", "honest_left_out", "wall_seconds"]
        return frame.astype(dict.fromkeys(numbers, float))

    def _lines(self, frame: pd.DataFrame) -> Iterator[str]:
        done, all_ = len(self.rows), len(self.order)
        yield from ("# fedretune study attacks", "")
        yield f"{all_} runs." if done == all_ else f"**Finished: {done} of {all_} runs.**"
        yield from ("", NOTES, "", "## What holds", "", *markdown(holding(frame)))
        for count in sorted(set(frame["attackers"]) - {0}):
            yield from ("", f"## Attackers: {count}", "", *markdown(by_strategy(frame, count)))
        seconds, left_out = frame["wall_seconds"], frame["honest_left_out"].max()
        others = ", ".join(f"`{key} = {value}`" for key, value in self.settings.items())
        yield from ("", "## What was run", "", f"- date: {date.today().isoformat()}")
        yield f"- not at their default: {others or 'nothing'}"
        yield f"- seconds a run: {seconds.mean():.1f}; of all runs together: {seconds.sum():.0f}"
        yield f"- honest sites' replies left out, at most in a run: {left_out:.1%}"
        for why, names in self._reasons().items():
            yield f"- stopped: {why}: {', '.join(names)}"

    def _reasons(self) -> dict[str, list[str]]:
        """Return why runs stopped, without where that is said, and which."""
        reasons: dict[str, list[str]] = {}
        for name, why in self.stopped.items():
            reasons.setdefault(why.partition(";")[0], []).append(name)
        return reasons


def by_strategy(frame: pd.DataFrame, attackers: int) -> pd.DataFrame:
    """Return the final AUROC of each attack (rows) and strategy, beside how often it was caught."""
    chosen = frame[frame["attackers"].isin([0, attackers])]
    final = _pivot(chosen, ["attack"]).map(_figure)
    caught = chosen.groupby("attack", sort=False)["caught"].mean()
    final["caught"] = [_share(caught[attack]) for attack in final.index]
    return final.rename_axis("attack").reset_index()


def holding(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what each strategy (rows) loses in the worst of all attacks, by attackers."""
    reference = _reference(frame)
    finals = _pivot(frame, ["attackers", "attack"])
    columns: dict[str, list[str]] = {"strategy, by attackers": list(finals.columns)}
    for count in finals.index.unique("attackers"):
        losses = reference - finals.loc[count]
        columns[str(count)] = [_worst(losses[name]) for name in finals.columns]
    return pd.DataFrame(columns)


def _reference(frame: pd.DataFrame) -> float:
    """Return what `fedavg`, or else the first strategy, reaches without attackers."""
    honest = frame[frame["attack"] == NONE]
    averaged = honest[honest["strategy"] == "fedavg"]
    return float((averaged if len(averaged) else honest.head(1))["final_auroc"].mean())


def _pivot(frame: pd.DataFrame, rows: list[str]) -> pd.DataFrame:
    """Return the mean final AUROC over seeds, strategies as columns, in the frame's own order."""
    means = frame.groupby([*rows, "strategy"], sort=False)["final_auroc"].mean().unstack()
    order = list(dict.fromkeys(frame["strategy"]))
    keys = list(dict.fromkeys(frame[rows].itertuples(index=False, name=None)))
    index = [key[0] for key in keys] if len(rows) == 1 else keys
    return means.loc[index, order]


def _worst(losses: "pd.Series[float]") -> str:
    """Say how much is lost in the worst attack, and in which."""
    if losses.isna().any():
        return "-"
    loss = f"{max(losses.max(), 0.0):.3f}"
    return loss if losses.max() <= NEAR + 1e-9 else f"**{loss}** ({losses.idxmax()})"


def _figure(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.0%}"
