"""What a study runs: its cells, each one run of a method in a scenario with a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedretune.errors import UserError
from fedretune.methods import method_of

#: What `study retune` compares, in the order of the table's rows.
METHODS = (
    "zero-shot",
    "untrained",
    "retune",
    "retune+ewc",
    "retune+lwf",
    "retune+replay",
    "retune+anchor",
    "retune+offsets",
    "joint",
    "joint-withheld",
    "offsets+joint",
    "linear-probe",
    "mlp-probe",
    "local",
    "central",
)
SCENARIOS = ("data-incremental", "class-incremental", "label-incremental")
#: What becomes of labels that a scenario withholds: which of them is taken decides who wins.
CONVENTIONS = ("mask", "negative")
SEEDS = (1, 2, 3)

#: `--quick`: as little of everything as still shows the whole table.
QUICK: Mapping[str, str | int] = {
    "experiences": 2,
    "rounds": 1,
    "train.epochs": 1,
    "remedy.replay": 10,
}
QUICK_SEEDS = (1, 2)


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Parameters
    ----------
    scenario : str
    unlabelled : str
        One of `CONVENTIONS`; empty where the scenario withholds no label.
    method : str
    seed : int
    """

    scenario: str
    unlabelled: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its run folder."""
        parts = (self.scenario, self.unlabelled, self.method, f"seed-{self.seed}")
        return ".".join(part for part in parts if part)

    @property
    def label(self) -> str:
        """What is told of it while it runs."""
        where = f"{self.scenario} {self.unlabelled}"
        return f"{where:<27}  {self.method:<14}  seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Return the keys of the config that make the run this cell."""
        keys = {"scenario": self.scenario, "method": self.method, "seed": self.seed}
        return {**keys, "unlabelled": self.unlabelled} if self.unlabelled else keys

    def __str__(self) -> str:
        where = f"{self.scenario} {self.unlabelled}".rstrip()
        return f"{where}, {self.method}, seed {self.seed}"


def make_plan(
    withholds: Mapping[str, bool],
    conventions: Sequence[str],
    methods: Sequence[str] | None,
    seeds: Sequence[int],
) -> list[Cell]:
    """Return a study's cells, each once: the first seed of everything, then the second, ...

    Parameters
    ----------
    withholds : mapping of a scenario's name to whether it withholds labels
        Only where it does is there a convention to choose.
    conventions, seeds
    methods : sequence of str | None
        None: `METHODS`, less those that a scenario excludes.
    """
    return [
        Cell(scenario, convention, method, seed)
        for seed in seeds
        for scenario, withheld in withholds.items()
        for convention in (conventions if withheld else ("",))
        for method in (_for(withheld) if methods is None else methods)
    ]


def names_in(text: str, option: str) -> tuple[str, ...]:
    """Return the names in a list with commas, each once. Raises `UserError` if there is none."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UserError(f"{option} is empty: give at least one name, or leave it out.")
    return names


def seeds_in(text: str) -> tuple[int, ...]:
    """Return the seeds in a list with commas, each once. Raises `UserError` for another text."""
    names = names_in(text, "--seeds")
    if not all(name.isascii() and name.isdigit() for name in names):
        raise UserError(f"--seeds is '{text}'; give whole numbers from 0, such as 1,2,3.")
    return tuple(dict.fromkeys(int(name) for name in names))


def _for(withheld: bool) -> list[str]:
    """Return the default methods for a scenario that withholds labels, or does not."""
    return [name for name in METHODS if withheld or method_of(name).order != "at-once-withheld"]
