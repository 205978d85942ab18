"""What `study privacy` runs: defences, and what attacks find out against each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedretune.errors import one_of

#: Config keys of each defence. `clipped` has next to no noise.
DEFENCES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "secure-sum": {"secure-aggregation": True, "norm-bound": 0.0},
    "clipped": {"recipe": "private", "privacy.epsilon": 1e6},
    "epsilon-8": {"recipe": "private", "privacy.epsilon": 8.0},
    "epsilon-3": {"recipe": "private", "privacy.epsilon": 3.0},
    "epsilon-1": {"recipe": "private", "privacy.epsilon": 1.0},
}
#: Attacks on the final adaptor, and on what was sent.
ATTACKS = ("loss", "rmia", "lira", "alignment", "span")
#: `--quick`: as little of everything as still shows both tables.
QUICK: Mapping[str, int] = {"experiences": 2, "rounds": 2, "train.epochs": 2}
QUICK_DEFENCES = ("plain", "epsilon-3")


@dataclass(frozen=True)
class PrivacyCell:
    """One run: a defence and a seed."""

    defence: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.defence}.seed-{self.seed}"

    @property
    def label(self) -> str:
        """What is told of it while it runs."""
        return f"{self.defence:<10}  seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Return the keys of the config that make the run this cell."""
        return {**DEFENCES[self.defence], "seed": self.seed, "record-wire": True}


def make_plan(defences: Sequence[str], seeds: Sequence[int]) -> list[PrivacyCell]:
    """Return the cells. Raises `UserError` for a defence that is not known."""
    for name in defences:
        one_of("defence", name, DEFENCES)
    return [PrivacyCell(defence, seed) for seed in seeds for defence in defences]


def row_of(
    cell: PrivacyCell,
    attack: str,
    found: Mapping[str, Any],
    control: Mapping[str, Any] | None,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a row: what an attack found out about a run.

    Parameters
    ----------
    cell : PrivacyCell
    attack : str
    found : mapping
        Of everybody: `fedretune.privacy.measures.Separation`'s fields.
    control : mapping | None
        The same of an adaptor that was trained on nobody, or of updates of sites that trained on
        none of those; None where there is none.
    run : mapping
        ``final_auroc``, ``epsilon``, ``bound``, ``wall_seconds``.
    """
    low, high = found["auc_interval"]
    rates = {
        f"tpr_at_{name}": rate if found["enough"] else None
        for name, rate in zip(("1_percent", "0.1_percent"), found["tpr"], strict=True)
    }
    intervals = {
        f"tpr_at_{name}_interval": f"{a:.4f}-{b:.4f}" if found["enough"] else ""
        for name, (a, b) in zip(("1_percent", "0.1_percent"), found["tpr_intervals"], strict=True)
    }
    return {
        "defence": cell.defence,
        "attack": attack,
        "seed": cell.seed,
        "members": found["members"],
        "others": found["others"],
        "auc": found["auc"],
        "auc_low": low,
        "auc_high": high,
        "auc_control": control["auc"] if control else None,
        **rates,
        **intervals,
        "advantage": found["advantage"],
        **run,
        "run": cell.name,
    }
