"""How well an attack tells members from non-members, and how sure that is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedretune.seeds import derive_seed

#: Fewer non-members than this cannot show a rate of one in a thousand.
ENOUGH = 1000
#: False-positive rates at which the true-positive rate is told.
RATES = (0.01, 0.001)
DRAWS = 200

Scores = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Separation:
    """What scores tell of membership; every interval is a bootstrap's middle 95 %.

    Parameters
    ----------
    members, others : int
        How many of each were scored.
    auc : float
        The chance that a member scores above a non-member; 0.5 tells nothing.
    auc_interval : (float, float)
    tpr : tuple[float, ...]
        True-positive rate at each of `RATES`, the largest that a threshold has there.
    tpr_intervals : tuple[(float, float), ...]
    advantage : float
        The largest true-positive minus false-positive rate (Yeom et al. 2018).
    """

    members: int
    others: int
    auc: float
    auc_interval: Interval
    tpr: tuple[float, ...]
    tpr_intervals: tuple[Interval, ...]
    advantage: float

    @property
    def enough(self) -> bool:
        """Whether there are non-members enough for the rates to be told."""
        return self.others >= ENOUGH


def separation(members: Scores, others: Scores, seed: int = 0) -> Separation:
    """Measure how members' scores ``[m]`` lie above non-members' ``[n]``.

    Raises ValueError without a score on either side, or where one is no finite number.
    """
    for each in (members, others):
        if not len(each) or not np.isfinite(each).all():
            raise ValueError("membership is measured on finite scores of both sides")
    auc, tpr, advantage = _figures(members, others)
    rng = np.random.default_rng(derive_seed(seed, "bootstrap"))
    drawn = np.array(
        [
            (found[0], *found[1])
            for found in (
                _figures(rng.choice(members, len(members)), rng.choice(others, len(others)))
                for _ in range(DRAWS)
            )
        ]
    )
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return Separation(
        len(members), len(others), auc, intervals[0], tpr, tuple(intervals[1:]), advantage
    )


def _figures(members: Scores, others: Scores) -> tuple[float, tuple[float, ...], float]:
    from sklearn.metrics import auc, roc_curve

    truth = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    false, true, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    at = tuple(float(true[false <= rate].max()) for rate in RATES)
    return float(auc(false, true)), at, float((true - false).max())
