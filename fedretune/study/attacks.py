"""What `study attacks` runs, and the row that each run leaves: attack by strategy by attackers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedretune.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

#: The attack of a run without attackers.
NONE = "none"
ATTACKERS = (0, 1, 2, 3, 4)
#: A server does not know how many sites attack: this is what strategies that must be told are told,
#: 20% of `SITES`. Bulyan wants 4 f + 3 sites, and so is told of one.
EXPECTED: Mapping[str, Mapping[str, int | float]] = {
    "fedavg": {},
    "fedmedian": {},
    "fedtrimmedavg": {"aggregation.trimmed": 0.2},
    "krum": {"aggregation.attackers": 2},
    "multikrum": {"aggregation.attackers": 2},
    "bulyan": {"aggregation.attackers": 1},
}
SITES = 10
#: Small runs, long enough to come near what the default config reaches. Nobody is put aside: who is
#: answers no evaluation, and its test images would be missing in some rows.
SMALL: Mapping[str, int | float] = {
    "sites": SITES,
    "experiences": 2,
    "rounds": 4,
    "train.epochs": 2,
    "train.batch-size": 128,
    "train.lr": 2e-3,
    "patience": 0,
}
#: `--quick`: as little of everything as still shows the whole table.
QUICK: Mapping[str, int | float] = {**SMALL, "rounds": 1, "train.epochs": 1}
QUICK_ATTACKERS = (0, 2)
QUICK_STRATEGIES = ("fedavg", "fedmedian")


@dataclass(frozen=True)
class AttackCell:
    """One run: `attackers` sites that do `attack` to a server that aggregates by `strategy`."""

    attack: str
    attackers: int
    strategy: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        return f"{self.attack}.{self.attackers}.{self.strategy}.seed-{self.seed}"

    @property
    def label(self) -> str:
        """What is told of it while it runs."""
        return f"{self.attack:<15}  {self.attackers}  {self.strategy:<13}  seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Return the keys of the config that make the run this cell."""
        attack = "" if self.attack == NONE else self.attack
        keys = {"strategy": self.strategy, "attack": attack, "attackers": self.attackers}
        return {**EXPECTED.get(self.strategy, {}), **keys, "seed": self.seed}


def make_plan(
    attacks: Sequence[str],
    strategies: Sequence[str],
    attackers: Sequence[int],
    seeds: Sequence[int],
) -> list[AttackCell]:
    """Return the cells, each once; those without attackers first, whether 0 is named or not."""
    return [
        AttackCell(attack, count, strategy, seed)
        for seed in seeds
        for count in sorted({0, *attackers})
        for attack in (attacks if count else (NONE,))
        for strategy in strategies
    ]


def attackers_in(text: str) -> tuple[int, ...]:
    """Return the counts in a list with commas, each once. Raises `UserError` for another text."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--attackers is '{text}'; give whole numbers from 0, such as 0,2,4.")
    return tuple(dict.fromkeys(map(int, parts)))


def row_of(
    cell: AttackCell,
    kind: str,
    summary: Mapping[str, Any],
    sites: "pd.DataFrame",
    attackers: Collection[str],
) -> dict[str, Any]:
    """Return a run's row.

    Parameters
    ----------
    cell : AttackCell
    kind : str
        Of its attack; empty where there is none.
    summary : mapping
        The run's ``summary.json``.
    sites : DataFrame
        Its ``sites.csv``.
    attackers : collection of str
        The names of the sites that attacked.

    Returns
    -------
    ``caught`` is the share of the attackers' rounds, and ``honest_left_out`` of the others', of
    which the server took no reply; None where there is no such site.
    """
    rounds = sites[sites["round"] >= 0].groupby(["experience", "round"]).ngroups
    trained = sites.loc[sites["status"] == "trained", "site"].value_counts()
    honest = [site for site in summary["sites"] if site not in attackers]
    return {
        "attack": cell.attack,
        "kind": kind,
        "attackers": cell.attackers,
        "strategy": cell.strategy,
        "seed": cell.seed,
        "final_auroc": summary["final_auroc"],
        "caught": _missing(trained, attackers, rounds),
        "honest_left_out": _missing(trained, honest, rounds),
        "run": cell.name,
        "wall_seconds": summary["wall_seconds"],
    }


def _missing(trained: "pd.Series[int]", sites: Collection[str], rounds: int) -> float | None:
    """Return the share of the sites' rounds in which they are not among those trained."""
    if not sites or not rounds:
        return None
    there = sum(int(trained.get(site, 0)) for site in sites)
    return round(1 - there / (len(sites) * rounds), 6)
