"""What a site remembers from one experience to the next, on its own disk.

A snapshot is written when an experience begins and when it ends, and after a round in which an
update was compressed, the adaptor is held for updates of it to come, or the strategy's site part
remembers something. A round that is repeated
after a kill reads the same memory, for it reads what was written before it, and writes the same
bytes.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file, save

from fedretune.compression import Vector
from fedretune.errors import UserError
from fedretune.methods.method import Memory
from fedretune.paths import writing

#: Rounds of which something is kept: as many rounds as a resumed run may repeat, and more.
KEPT = 8


@dataclass(frozen=True)
class SiteMemory:
    """The snapshots of one site in one run, in `folder`."""

    folder: Path

    @classmethod
    def of(cls, root: str, run: str, site: str) -> "SiteMemory":
        """Return the memory of a site in a run whose folder is ``<root>/<run>``.

        Raises
        ------
        UserError
            The run's name, which a server sent, is not one folder's name.
        """
        if run in ("", "..") or run != Path(run).name:
            raise UserError(f"The server calls the run '{run}', which is no folder's name.")
        return cls(Path(root).expanduser() / run / "memory" / site.replace("/", "-"))

    def begun(self, experience: int) -> Memory | None:
        """Return the memory with which an experience began, or None if it has not begun."""
        path = self._path(experience, "begun")
        return load_file(path) if path.is_file() else None

    def latest(self, experience: int) -> Memory:
        """Return the memory that the last experience before this one left; empty if none did."""
        for earlier in range(experience - 1, -1, -1):
            path = self._path(earlier, "ended")
            if path.is_file():
                return load_file(path)
        return {}

    def begin(self, experience: int, memory: Memory) -> None:
        """Keep the memory with which an experience begins."""
        self._write(experience, "begun", memory)

    def end(self, experience: int, memory: Memory) -> None:
        """Keep the memory that an experience leaves."""
        self._write(experience, "ended", memory)

    def residual(self, experience: int, round_: int) -> Vector | None:
        """Return what the last update before this round left unsent; None if there was none."""
        return self.left("residual", experience, round_).get("residual")

    def keep_residual(self, experience: int, round_: int, residual: Vector) -> None:
        """Keep what the update of this round leaves unsent."""
        self.leave("residual", experience, round_, {"residual": residual})

    def left(self, what: str, experience: int, round_: int) -> Memory:
        """Return the memory of a kind that the last round before this one left; empty if none."""
        path = self._round(what, experience, round_)
        earlier = [each for each in self._rounds(what) if each < path]
        return load_file(earlier[-1]) if earlier else {}

    def at(self, what: str, experience: int, round_: int) -> Memory:
        """Return the memory of a kind that this very round left; empty if it left none."""
        path = self._round(what, experience, round_)
        return load_file(path) if path.is_file() else {}

    def leave(self, what: str, experience: int, round_: int, memory: Memory) -> None:
        """Keep a memory of a kind after a round, and forget what is long past."""
        path = self._round(what, experience, round_)
        self._save(path, memory)
        # Later ones are of a run that was killed, and are written again.
        for old in [each for each in self._rounds(what) if each <= path][:-KEPT]:
            old.unlink()

    def _round(self, what: str, experience: int, round_: int) -> Path:
        return self.folder / f"{what}-{experience:04}-{round_:05}.safetensors"

    def _rounds(self, what: str) -> list[Path]:
        return sorted(self.folder.glob(f"{what}-*.safetensors"))

    def _write(self, experience: int, which: str, memory: Memory) -> None:
        self._save(self._path(experience, which), memory)

    def _save(self, path: Path, memory: Memory) -> None:
        with writing(path) as file:
            file.write(save(dict(memory)))

    def _path(self, experience: int, which: str) -> Path:
        return self.folder / f"{experience:04}-{which}.safetensors"
