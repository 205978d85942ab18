"""What an audit found, for machines; `fedretune.privacy.audit.page` says it to a person."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fedretune.privacy.recorded import RecordedMessage


@dataclass(frozen=True)
class Left:
    """One array or number that left.

    Parameters
    ----------
    kind : str
        Of the message: ``train``, ...
    record, name : str
    shape : tuple[int, ...]
        Empty for a number or a text.
    dtype : str
    times : int
        In how many messages.
    """

    kind: str
    record: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    times: int


@dataclass(frozen=True)
class SiteTotals:
    """What one site sent in one round (-1: in none), and in how many bytes."""

    site: str
    experience: int
    round: int
    messages: int
    bytes: int


@dataclass(frozen=True)
class Verdict:
    """The result of an audit.

    Parameters
    ----------
    run : str
    messages, bytes : int
        That left sites.
    sites : sequence of SiteTotals
    left : sequence of Left
        All that left, by name: nothing else did, or it is among the objections.
    objections : sequence of str
        What should not be. None: the run passes.
    images, pieces, names, unsearched : int
        What was searched for, and how many names were too short for it.
    found : int
        Of that, in the messages; each is an objection.
    controls : mapping of a form and a way to hide it to bool
        Whether the search found a canary that the audit itself had hidden so.
    """

    run: str
    messages: int
    bytes: int
    sites: Sequence[SiteTotals]
    left: Sequence[Left]
    objections: Sequence[str] = ()
    images: int = 0
    pieces: int = 0
    names: int = 0
    unsearched: int = 0
    found: int = 0
    controls: Mapping[str, bool] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing but what may leave did, as far as was looked."""
        return not self.objections

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dumps` can write."""
        return {"verdict": "pass" if self.passed else "fail", **asdict(self)}


def left_of(messages: Iterable[RecordedMessage]) -> list[Left]:
    """Return everything that is in messages, by name."""
    found: Counter[tuple[str, str, str, tuple[int, ...], str]] = Counter()
    for each in messages:
        for record, arrays in each.arrays().items():
            for name, array in arrays.items():
                found[each.kind, record, name, array.shape, array.dtype.name] += 1
        for record, values in each.scalars().items():
            for name, value in values.items():
                found[each.kind, record, name, (), type(value).__name__] += 1
    return [Left(*what, times) for what, times in found.items()]


def totals_of(messages: Iterable[RecordedMessage]) -> list[SiteTotals]:
    """Return what each site sent in each round, in the order of the messages."""
    sizes: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    for each in messages:
        sizes[each.site, each.experience, each.round].append(each.size)
    return [SiteTotals(*where, len(found), sum(found)) for where, found in sizes.items()]


def against_ledger(
    messages: Iterable[RecordedMessage], ledger: Iterable[Mapping[str, str]]
) -> list[str]:
    """Return what the ledger counts, in rows of ``traffic.csv``, that no recorded message is."""
    recorded = Counter(
        (each.site, each.experience, each.round, each.kind, each.size) for each in messages
    )
    counted = Counter(
        (row["site"], int(row["experience"]), int(row["round"]), row["kind"], int(row["bytes"]))
        for row in ledger
        if row["direction"] == "up"
    )
    return [
        f"The ledger counts {times} message(s) '{kind}' of {size} bytes from {site} (experience "
        f"{experience + 1}, round {round_ + 1}) that was not recorded."
        for (site, experience, round_, kind, size), times in (counted - recorded).items()
    ]
