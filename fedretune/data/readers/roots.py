"""Images under their root: found by path or by name, and never outside it.

Messages name lines, not images: a hospital's folders may be named after patients.
"""

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from fedretune.data.validation import Where
from fedretune.errors import UserError

#: Empty, absolute on any system, a step up, or a character that no path has.
_UNSAFE = r"^$|^[/\\]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)|[\x00-\x1f\x7f]"


#: What `normpath` would take out.
_ODD = r"//|/$|(?:^|/)\.(?:/|$)"


class Root:
    """The folder that a data set's images are in.

    Parameters
    ----------
    folder : Path
        It may itself be reached by links.
    follow_links : bool
        Whether links below it may lead out of it, and are searched.

    Raises
    ------
    UserError
        There is no such folder.
    """

    def __init__(self, folder: Path, follow_links: bool) -> None:
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}.")
        self.path = folder.resolve()
        self.follow_links = follow_links
        self._inside = posixpath.join(self.path, "")
        self._real = {"": str(self.path)}

    def locate(self, names: "pd.Series[str]", where: Where) -> list[str | None]:
        """Return each image's path relative to the root; None where there is none.

        An image is named by its path. A bare name that is not directly under the root is looked
        for in all folders below it.

        Raises
        ------
        UserError
            With the line: a path is absolute, goes up, or leads out by a link; a bare name is
            there twice.
        """
        unsafe = names.str.contains(_UNSAFE, regex=True).to_numpy()
        if unsafe.any():
            raise UserError(
                f"{where(int(unsafe.argmax()))}: the image's path is empty, absolute, goes up "
                f"('..') or has a control character. Give it relative to {self.path}."
            )
        paths = [
            posixpath.normpath(name) if odd else name
            for name, odd in zip(names.tolist(), names.str.contains(_ODD, regex=True), strict=True)
        ]
        there = [self.holds(path, where, row) for row, path in enumerate(paths)]
        bare = {
            path: row
            for row, (path, known) in enumerate(zip(paths, there, strict=True))
            if not known and "/" not in path
        }
        places = self._search(bare, where)
        return [
            path if known else places.get(path) for path, known in zip(paths, there, strict=True)
        ]

    def holds(self, path: str, where: Where, row: int) -> bool:
        """Return whether a relative path names a file. Raises `UserError` where it leads out."""
        folder, _, name = path.rpartition("/")
        file = f"{self._resolved(folder)}/{name}"
        try:
            mode = os.lstat(file).st_mode
            if stat.S_ISLNK(mode):
                mode = Path(file).stat().st_mode
                file = os.path.realpath(file)
        except (OSError, ValueError):
            return False
        if not stat.S_ISREG(mode):
            return False
        if not self.follow_links and not file.startswith(self._inside):
            raise UserError(
                f"{where(row)}: a link leads out of {self.path}. --follow-links allows it, if you "
                "trust the folder."
            )
        return True

    def walk(self) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
        """Give each folder, relative to the root and in order, and what it has beside folders.

        A folder that a link names is entered with `follow_links` alone, and each once.
        """
        seen, waiting = {str(self.path)}, [""]
        while waiting:
            folder, inner = waiting.pop(), []
            entries = self._entries(folder)
            for entry in entries:
                if _is_folder(entry, self.follow_links):
                    real = os.path.realpath(entry.path) if self.follow_links else entry.path
                    if real not in seen:
                        seen.add(real)
                        inner.append(posixpath.join(folder, entry.name))
            waiting.extend(reversed(inner))
            yield folder, [entry for entry in entries if not _is_folder(entry, True)]

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path / folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"Cannot list {self.path / folder}: {error.strerror}.") from error

    def _search(self, rows: Mapping[str, int], where: Where) -> dict[str, str]:
        """Return where in the tree the bare names are."""
        places: dict[str, str] = {}
        for folder, entries in self.walk() if rows else ():
            for name in (entry.name for entry in entries if entry.name in rows):
                path = posixpath.join(folder, name)
                if not self.holds(path, where, rows[name]):
                    continue
                if name in places:
                    raise UserError(
                        f"{where(rows[name])}: two images under {self.path} have its name. Rename "
                        "one, or give paths in place of names."
                    )
                places[name] = path
        return places

    def _resolved(self, folder: str) -> str:
        """Return a folder's real path, of which each part is looked at once."""
        if folder not in self._real:
            parent, _, name = folder.rpartition("/")
            real = f"{self._resolved(parent)}/{name}"
            self._real[folder] = os.path.realpath(real) if _is_link(real) else real
        return self._real[folder]


def _is_folder(entry: os.DirEntry[str], follow_links: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_links)
    except OSError:  # links in a circle
        return False


def _is_link(path: str) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:  # no such folder
        return False
