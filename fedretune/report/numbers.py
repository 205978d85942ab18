"""The figures of a run, computed from its tables: so also of one that has not come to its end."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedretune.metrics.forgetting import Retention, summarise, summarise_findings
from fedretune.report.run import ADAPTED, BEFORE, FROZEN, Frame, Run
from fedretune.report.site_figures import Evaluation

DIFFERENCE, POSITIVE = "difference", "positive"
#: Statuses of ``sites.csv`` that say nothing bad.
IN_ORDER = ("joined", "trained", "no-images", "suppressed", "noised")


@dataclass(frozen=True)
class Numbers:
    """A run's figures. `table` is ``[evaluations, experiences]``, the pooled macro AUROC."""

    run: Run

    @cached_property
    def table(self) -> Frame:
        """Return the pooled macro AUROC scored by the difference, NaN where undefined."""
        return self.table_by(DIFFERENCE)

    def table_by(self, rule: str) -> Frame:
        """Return the table under a scoring rule: a row an evaluation, in order."""
        return _by_evaluation(self.run.auroc, rule, "experience")

    @cached_property
    def findings(self) -> Frame:
        """Return each finding's AUROC by the difference, ``[evaluations, findings]``."""
        return self.findings_by(DIFFERENCE)

    def findings_by(self, rule: str) -> Frame:
        """Return each finding's AUROC on all experiences' images, under a scoring rule."""
        table = _by_evaluation(self.run.findings, rule, "finding")
        return table[[name for name in self.run.finding_names if name in table]]

    @property
    def evaluations(self) -> list[Evaluation]:
        """What was evaluated, in order."""
        return [(str(model), int(after)) for model, after in self.table.index]

    @property
    def trained(self) -> list[Evaluation]:
        """The evaluations after an experience was trained."""
        return [each for each in self.evaluations if each[1] > BEFORE]

    @property
    def last(self) -> Evaluation | None:
        """What was evaluated last."""
        return self.evaluations[-1] if self.evaluations else None

    @property
    def experiences(self) -> int:
        """How many experiences there are to be tested on."""
        return int(self.table.shape[1])

    @property
    def at_once(self) -> bool:
        """Whether the stream has one step alone for several experiences, as `joint` has."""
        return len(self.trained) == 1 < self.experiences and self.run.status == "complete"

    def label(self, evaluation: Evaluation) -> str:
        """Return an evaluation's name."""
        model, after = evaluation
        if after == BEFORE:
            return "zero-shot" if model == FROZEN else "untrained"
        return "all at once" if self.at_once else f"after {after + 1}"

    def mean(self, evaluation: Evaluation | None) -> float:
        """Return the macro AUROC of an evaluation over experiences; NaN without one."""
        if evaluation is None or evaluation not in self.evaluations:
            return math.nan
        return float(self.table.loc[evaluation].mean())

    @property
    def zero_shot(self) -> float:
        """The frozen model's."""
        return self.mean((FROZEN, BEFORE))

    @property
    def final(self) -> float:
        """That of what was evaluated last."""
        return self.mean(self.last)

    @cached_property
    def retention(self) -> Retention:
        """What the stream left behind, by `fedretune.metrics.forgetting.FORMULAS`."""
        if not self.trained:
            return Retention(self.final, math.nan, math.nan, math.nan)
        before = (ADAPTED, BEFORE)
        untrained = self.table.loc[before].to_numpy() if before in self.evaluations else None
        return summarise(self._after_each(self.table), untrained)

    @cached_property
    def finding_forgetting(self) -> float:
        """The mean loss of a finding since it was best; the summary's where there is one."""
        told = self.run.summary.get("finding_forgetting")
        if isinstance(told, int | float):
            return float(told)
        if len(self.trained) < 2 or self.run.config.get("scenario") != "data-incremental":
            return math.nan  # which step first trained a finding is known to the stream alone
        rows = self._after_each(self.findings)
        return summarise_findings(rows, np.zeros(rows.shape[1], dtype=int)).forgetting

    @staticmethod
    def _after_each(table: Frame) -> Any:
        after = table.index.get_level_values("after_experience")
        return table[after > BEFORE].to_numpy()

    @property
    def bytes_by_direction(self) -> Mapping[str, int]:
        """All messages' bytes, ``up`` and ``down``."""
        totals = self.run.traffic.groupby("direction")["bytes"].sum()
        return {way: int(totals.get(way, 0)) for way in ("up", "down")}

    @property
    def bytes_up_per_site_round(self) -> float:
        """The mean size of a site's reply in a round; NaN before there is one."""
        sent = self.run.traffic
        sent = sent[(sent["kind"] == "train") & (sent["direction"] == "up")]
        return float(sent["bytes"].mean()) if len(sent) else math.nan

    @property
    def seconds(self) -> float:
        """Seconds spent so far; NaN where the run has told none."""
        told = [self.run.summary.get("wall_seconds")]
        told += [event["seconds"] for event in self.run.of("round")[-1:]]
        return next((float(each) for each in told if isinstance(each, int | float)), math.nan)

    @property
    def rounds(self) -> tuple[int, int]:
        """How many rounds are done, and of how many; 0 where that is not known."""
        done = {(event["experience"], event["round"]) for event in self.run.of("round")}
        starts = self.run.of("start")
        all_ = starts[-1]["experiences"] * starts[-1]["rounds"] if starts else 0
        return len(done), all_

    @property
    def left_out(self) -> Frame:
        """The rows of ``sites.csv`` that say that a site's reply is not part of a step."""
        return self.run.sites[~self.run.sites["status"].isin(IN_ORDER)]

    def sites(self) -> list[str]:
        """Return the names of the sites that ever took part, by their names."""
        known = self.run.sites[self.run.sites["status"].isin(IN_ORDER)]["site"]
        return natural(set(known) | set(self.run.by_site.macro()))


def _by_evaluation(rows: Frame, rule: str, by: str) -> Frame:
    """Return the mean AUROC ``[evaluations, by]`` under a scoring rule, in the file's order."""
    keys = ["model", "after_experience"]
    rows = rows[rows["scoring"] == rule]
    order = list(rows[keys].drop_duplicates().itertuples(index=False, name=None))
    return rows.groupby([*keys, by])["auroc"].mean().unstack(by).reindex(order)


def natural(names: Iterable[str]) -> list[str]:
    """Return names in the order of a person, who puts site-2 before site-10."""

    def key(name: str) -> list[tuple[int, str]]:
        parts = "".join(c if c.isdigit() else f"\0{c}\0" for c in name).split("\0")
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts if part]

    return sorted(names, key=key)


def size(count: float) -> str:
    """Return bytes as a person reads them."""
    if math.isnan(count):
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def figure(value: float | None, form: str = ".3f") -> str:
    """Return a figure, or that it is undefined."""
    return "undefined" if value is None or math.isnan(value) else format(value, form)
