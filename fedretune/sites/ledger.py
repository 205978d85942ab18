"""What a site has let out: a line a reply, in a file of its own. No server can change it."""

import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedretune.errors import UserError

COLUMNS = ("time", "run", "kind", "experience", "round", "bytes", "refusal")


@dataclass(frozen=True)
class Ledger:
    """The file ``left.csv``; it grows by a line a reply, also a refused one."""

    path: Path

    def note(
        self, run: str, kind: str, experience: int, round_: int, size: int, refusal: str
    ) -> None:
        """Append a reply of `size` bytes. Raises `UserError` if it cannot be written."""
        text = io.StringIO()
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        row = (now, run, kind, experience, round_, size, refusal)
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
                f"Cannot write the ledger {self.path} ({error.strerror}): nothing leaves without "
                "a line in it. Make room, or mend its permissions."
            ) from error

    def trained(self) -> Iterator[str]:
        """Yield the run's name of each training reply that has left, repeated ones too."""
        for row in self.rows():
            if row["kind"] == "train" and not row["refusal"]:
                yield row["run"]

    def rows(self) -> list[dict[str, str]]:
        """Return every line, by column; none where there is no file. Raises `UserError`."""
        if not self.path.is_file():
            return []
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"Cannot read the ledger {self.path}: {error}.") from error
        if any(None in row or None in row.values() for row in rows):
            raise UserError(f"The ledger {self.path} is damaged: mend it from a backup.")
        return rows
