"""What the sites' rows of ``auroc.csv`` come to, added up as they are read: they may be many."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

#: Model, after which experience.
Evaluation = tuple[str, int]


@dataclass
class Cell:
    """A site's test images of a finding, over all experiences."""

    positives: int = 0
    negatives: int = 0
    aurocs: list[float] = field(default_factory=list)

    @property
    def auroc(self) -> float:
        """The mean over experiences; NaN where it is undefined in each."""
        return _mean(self.aurocs)


@dataclass
class SiteFigures:
    """Each site's macro AUROC after each evaluation, and its findings' figures after the last."""

    last: Evaluation | None = None
    cells: dict[tuple[str, str], Cell] = field(default_factory=lambda: defaultdict(Cell))
    _sums: dict[tuple[Evaluation, str, int], list[float]] = field(default_factory=dict)

    def add(self, row: list[Any]) -> None:
        """Take in a row of ``auroc.csv`` whose score is the difference."""
        model, after, site, experience, finding, _, positives, negatives, auroc = row
        if (model, after) != self.last:
            self.last = (model, after)
            self.cells.clear()
        cell = self.cells[site, finding]
        cell.positives += positives
        cell.negatives += negatives
        total = self._sums.setdefault((self.last, site, experience), [0.0, 0])
        if not math.isnan(auroc):
            cell.aurocs.append(auroc)
            total[0] += auroc
            total[1] += 1

    def macro(self) -> dict[str, dict[Evaluation, float]]:
        """Return each site's AUROC by evaluation: over findings, then over experiences."""
        by_experience: dict[tuple[str, Evaluation], list[float]] = defaultdict(list)
        for (evaluation, site, _), (total, count) in self._sums.items():
            if count:
                by_experience[site, evaluation].append(total / count)
        found: dict[str, dict[Evaluation, float]] = defaultdict(dict)
        for (site, evaluation), values in by_experience.items():
            found[site][evaluation] = _mean(values)
        return dict(found)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
