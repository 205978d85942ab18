"""A site's account of privacy: a line a round, written before its reply leaves."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fedretune.errors import UserError
from fedretune.privacy.accounting import Release, Spending, total_epsilon

COLUMNS = ("run", "experience", "round", "noise", "rate", "steps", "source", "disjoint")

#: Seconds to wait for another message's check and line.
PATIENCE = 30.0


@dataclass(frozen=True)
class PrivacyLedger:
    """The file ``privacy.csv`` of a site; it only grows, and outlives a restart.

    A round that is repeated after a kill draws other noise, and counts again: it may have left
    both times. From a seed it draws the same, and counts once.
    """

    path: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes out between a look at what is left and the line that spends it.

        A site may be asked by two runs at once. Raises `UserError` if the file cannot be had.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=PATIENCE):
                yield
        except Timeout:
            raise UserError(
                f"Another process holds the account of privacy {self.path}: end it, or wait."
            ) from None

    def note(self, release: Release) -> None:
        """Append a round. Raises `UserError` if it cannot be written: then it must not leave."""
        spent, where = release.spent, (release.run, release.experience, release.round)
        how = (repr(spent.noise), repr(spent.rate), spent.steps)
        row = (*where, *how, release.source, int(release.disjoint))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", newline="", encoding="utf-8") as file:
                if not file.tell():
                    writer.writerow(COLUMNS)
                writer.writerow(row)
                file.write(text.getvalue())  # at once: a line is there whole or not at all
        except OSError as error:
            raise UserError(
                f"Cannot write the account of privacy {self.path} ({error.strerror}): nothing "
                "leaves without a line in it. Make room, or mend its permissions."
            ) from error

    def releases(self) -> list[Release]:
        """Return every round so far, by time. Raises `UserError` if the file is damaged."""
        if not self.path.is_file():
            return []
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                found = [_release(row) for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise UserError(
                f"The account of privacy {self.path} is damaged ({error}): mend it from a backup. "
                "Without it nobody knows what is spent."
            ) from error
        return _once(found)

    def epsilon(self, delta: float, more: Release | None = None) -> float:
        """Return what is spent at `delta`, or would be with one more round."""
        return total_epsilon(_once([*self.releases(), *([more] if more else [])]), delta)


def _release(row: dict[str, str]) -> Release:
    spent = Spending(float(row["noise"]), float(row["rate"]), int(row["steps"]))
    where = int(row["experience"]), int(row["round"])
    return Release(row["run"], *where, spent, row["source"], bool(int(row["disjoint"])))


def _once(releases: list[Release]) -> list[Release]:
    """Leave out repetitions that drew the same noise."""
    seen: set[Release] = set()
    kept = []
    for each in releases:
        if each.source != "seeded" or each not in seen:
            kept.append(each)
        seen.add(each)
    return kept
