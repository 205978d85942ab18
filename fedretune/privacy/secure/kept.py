"""What a site keeps of its secure sums on its own disk: each message may find a new process.

One file has the secrets of the sum under way, readable by its owner alone; it goes before the
reply that makes it dangerous leaves, and with the keys of the next sum at the latest. Another says,
for each sum that was unmasked, which sites were in it, and only ever grows.
"""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fedretune.paths import synced, writing
from fedretune.privacy.secure.site import Session, refused, told

#: What a session must have told before it has told the next thing.
_BEFORE = {"shared": "keys", "masked": "shared"}
#: Seconds to wait for another message's step.
PATIENCE = 30.0


@dataclass(frozen=True)
class Kept:
    """The files of one site in one run, in `folder`. Every method may raise `OSError`.

    A server may send two messages at once, to two processes: of two that would take one step, the
    second is refused. Else one mask would hide two vectors, or one sum be unmasked for two sets.
    """

    folder: Path

    def begin(self, session: Session) -> None:
        """Keep a new session in the place of the one before, whose secrets are gone with that."""
        with self._held():
            self._write(session)

    def advance(self, session: Session) -> None:
        """Keep a session that has gone a step further.

        Raises `UserError` if another message has taken that step, or begun another sum.
        """
        with self._held():
            now = self.session(session.about)
            if (now.phase, now.mask_seed) != (_BEFORE[session.phase], session.mask_seed):
                raise refused("one step of a sum twice")
            self._write(session)

    def session(self, about: str) -> Session:
        """Return the session of a sum. Raises `UserError` if it is not the one under way."""
        if not self._session.is_file():
            raise refused("a step of a sum that is not begun, or is over")
        session = Session.from_json(self._session.read_text(encoding="utf-8"))
        if session.about != about:
            raise refused("a step of another sum than the one under way")
        return session

    def tell(self, session: Session, survivors: Collection[str]) -> dict[str, bytes]:
        """Return what unmasks a sum, once: the session is over, and who was in it is kept.

        Raises
        ------
        UserError
            What `fedretune.privacy.secure.site.told` raises; or other sites were in the sum of this
            name before: from two sums that one site tells apart, that site's numbers follow.
        """
        shares, there = told(session, survivors), sorted(set(survivors))
        with self._held():
            if self.session(session.about) != session:
                raise refused("one step of a sum twice")
            before = self.unmasked()
            if before.get(session.about, there) != there:
                raise refused("a second sum in this place, of other sites than the first")
            with writing(self._told) as file:
                file.write(json.dumps({**before, session.about: there}, indent=1).encode())
            self._session.unlink()
            synced(self.folder)
        return shares

    def unmasked(self) -> dict[str, list[str]]:
        """Return, for each sum that this site has helped to unmask, who was in it."""
        if not self._told.is_file():
            return {}
        found: dict[str, list[str]] = json.loads(self._told.read_text(encoding="utf-8"))
        return found

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes out."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            raise refused("two steps of a sum at once") from None
        try:
            yield
        finally:
            lock.release()

    def _write(self, session: Session) -> None:
        with writing(self._session, mode=0o600) as file:
            file.write(session.to_json().encode())

    @property
    def _session(self) -> Path:
        return self.folder / "session.json"

    @property
    def _told(self) -> Path:
        return self.folder / "unmasked.json"
