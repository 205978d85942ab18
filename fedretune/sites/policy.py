"""``policy.toml``: what a site allows. It is stricter than the server, or of no effect."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedretune.errors import UserError
from fedretune.sites.tables import Table


@dataclass(frozen=True)
class Proposal:
    """What a run asks of a site, in the words of a policy.

    Parameters
    ----------
    methods : collection of str
        The parts of the method: "ewc" and "replay" of "ewc+replay".
    adaptor : str
        The adaptor's kind, or "probe".
    records : collection of str
        What the strategy has the site send beside the adaptor.
    rounds : int
        Rounds of the whole run.
    private : bool
        Whether the site hides what it learns from, by differential privacy. That the server does
        is a promise of others, which no site can check.
    secure : bool
        Whether the server learns sums of what sites send alone.
    bundle : str
        The first hexadecimal digits of the SHA-256 of the app's bundle; empty if unknown.
    backbone : bool (default: False)
        Whether what travels is the backbone's own weights.
    """

    methods: Collection[str]
    adaptor: str
    records: Collection[str]
    rounds: int
    private: bool
    secure: bool
    bundle: str
    backbone: bool = False


class Policy(Table):
    """What a site allows. Numbers of 0 set no limit.

    Parameters
    ----------
    methods, adaptors, records : list of str
        The allowed ones; see `Proposal`.
    rounds : int
        Most rounds that a run may ask for, and most training replies to one run, repeated ones
        too: leave a few to spare for a resumed run.
    rounds_in_all : int
        Most training replies to all runs together, whatever they call themselves.
    epsilon, delta : float
        Most privacy loss over the whole life of the site, at this delta.
    smallest_shard : int
        Fewest images that are trained on, or evaluated.
    smallest_cell : int
        A cell of a histogram or a count that is neither 0 nor at least this is sent as 0.
    cell_noise : float
        Scale of the noise that each cell of a histogram gets, an empty one too.
    secure_aggregation : str
        "allowed", "required" (a run without it is declined) or "signed" (so is a sum with keys that
        are not signed by the sites on this site's own list).
    backbone_may_travel : bool
        Whether a run may tune, and send, every weight of the backbone (``adaptor.kind = full``).
    bundle : str
        SHA-256, in hex, of the only app bundle that may run here; empty for any.
    """

    methods: list[str]
    adaptors: list[str]
    records: list[str] = Field(default_factory=list)
    rounds: Annotated[int, Field(ge=0)] = 0
    rounds_in_all: Annotated[int, Field(ge=0)] = 0
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    smallest_shard: Annotated[int, Field(ge=0)] = 0
    smallest_cell: Annotated[int, Field(ge=0)] = 0
    cell_noise: Annotated[float, Field(ge=0, le=1000)] = 0.0
    secure_aggregation: Literal["allowed", "required", "signed"] = "allowed"
    backbone_may_travel: bool = False
    bundle: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""

    def check_run(self, asked: Proposal) -> None:
        """Raise `UserError`, whose public text is the reason, if a run is not allowed here."""
        _check_names("method", asked.methods, self.methods)
        _check_names("adaptor", [asked.adaptor], self.adaptors)
        _check_names("record of the strategy", asked.records, self.records)
        if asked.backbone and not self.backbone_may_travel:
            raise refused("no backbone to travel, and full tuning sends all of it")
        if self.rounds and asked.rounds > self.rounds:
            raise refused(f"at most {self.rounds} rounds in a run, and this one has {asked.rounds}")
        if self.epsilon and not asked.private:
            raise refused(
                f"an epsilon of at most {self.epsilon:g}, and the run has no differential privacy "
                "at the site"
            )
        if self.secure_aggregation != "allowed" and not asked.secure:
            raise refused("secure aggregation alone, and the run has none")
        if self.bundle and not (asked.bundle and self.bundle.startswith(asked.bundle)):
            raise refused("another app bundle, by its SHA-256")

    def check_left(self, run: str, trained: Iterable[str]) -> None:
        """Raise `UserError` if no more training replies may leave.

        `trained` names the run of each that has left, as `Ledger.trained` does.
        """
        left = Counter(trained)
        if self.rounds and left[run] >= self.rounds:
            raise refused(f"at most {self.rounds} training replies to a run, and they are spent")
        if self.rounds_in_all and left.total() >= self.rounds_in_all:
            raise refused(
                f"at most {self.rounds_in_all} training replies in all, and they are spent"
            )

    def check_epsilon(self, spent: float) -> None:
        """Raise `UserError` if, with the next round, more would be spent than is allowed."""
        if self.epsilon and spent > self.epsilon:
            raise refused(
                f"an epsilon of at most {self.epsilon:g}, and this round would bring it to "
                f"{spent:.3g}"
            )

    def check_shard(self, images: int) -> None:
        """Raise `UserError` if so few images may not be trained on, or evaluated."""
        if images < self.smallest_shard:
            raise refused(f"at least {self.smallest_shard} images, and there are fewer here")


def refused(allows: str) -> UserError:
    """Return the refusal of a site whose policy allows something else."""
    reason = f"the site's policy allows {allows}"
    return UserError(f"Declined: {reason}.", public=reason)


def without_small_cells(
    counts: NDArray[np.unsignedinteger[Any]], smallest: int
) -> tuple[NDArray[np.unsignedinteger[Any]], int]:
    """Return counts whose cells below `smallest` are 0, and how many of them were not before."""
    small = (counts > 0) & (counts < smallest)
    return np.where(small, np.zeros((), counts.dtype), counts), int(small.sum())


def with_noise(
    counts: NDArray[np.unsignedinteger[Any]], scale: float
) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts with two-sided geometric noise, P(k) ~ exp(-|k| / scale), and none below 0.

    Drawn from the operating system. One image more or less changes one cell by 1, so that of one
    histogram alone epsilon is 1 / scale (Ghosh, Roughgarden & Sundararajan 2012).
    """
    from fedretune.privacy.noise import uniform

    one, other = (
        np.floor(-scale * np.log(uniform(counts.size))).reshape(counts.shape) for _ in range(2)
    )
    most = np.iinfo(counts.dtype).max
    noised = np.clip(counts.astype(np.float64) + one - other, 0, most)
    return noised.astype(counts.dtype)


def _check_names(what: str, asked: Collection[str], allowed: Collection[str]) -> None:
    for name in asked:
        if name not in allowed:
            raise refused(f"no {what} '{name}'")
