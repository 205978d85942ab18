"""Which images of a manifest cannot be read, found before a run stumbles over one."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fedretune.data.images import open_image
from fedretune.data.manifest import Manifest, load_manifest, write_manifest
from fedretune.errors import UserError
from fedretune.workers import cores

#: Called with the images done and the images asked for.
Progress = Callable[[int, int], None]


def unreadable(manifest: Manifest, progress: Progress | None = None) -> dict[int, str]:
    """Decode every image; return why not, by row, for each that cannot be."""

    def fault(image: Path) -> str | None:
        try:
            open_image(image)
        except UserError as error:
            return str(error)
        return None

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(cores()) as pool:
        for row, message in enumerate(pool.map(fault, manifest.images)):
            if message:
                bad[row] = message
            if progress:
                progress(row + 1, len(manifest))
    return bad


def check_readable(manifest: Manifest, progress: Progress | None = None) -> None:
    """Raise `UserError` if an image cannot be decoded; names the first and counts the rest."""
    bad = unreadable(manifest, progress)
    if bad:
        row, message = next(iter(bad.items()))
        others = (
            f" {len(bad):,} of {len(manifest):,} images cannot be read." if len(bad) > 1 else ""
        )
        raise UserError(f"{manifest.where(row)}: {message}{others}")


def write_without(manifest: Manifest, bad: Mapping[int, str], out: Path) -> Manifest:
    """Write the manifest without its bad rows; the splits and sites of the others stay.

    Raises
    ------
    UserError
        No row is left; the file cannot be written.
    """
    if len(bad) == len(manifest):
        raise UserError(f"No image of {manifest.path} can be read. The first: {bad[0]}")
    folder = out.expanduser().absolute().parent
    table = manifest.table.drop(index=list(bad))
    images = [image for row, image in enumerate(manifest.images) if row not in bad]
    table["image"] = [_relative(image, folder) for image in images]
    return load_manifest(write_manifest(table, out))


def _relative(image: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:  # another drive
        return image.as_posix()
