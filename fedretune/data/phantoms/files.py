"""Phantoms on disk: a manifest and its images, whole or not there at all."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from fedretune.data.phantoms.cohort import manifest_of, sample_cohort
from fedretune.data.phantoms.drawing import Film, draw_row
from fedretune.data.phantoms.worker import Progress, render_in_processes
from fedretune.errors import UserError
from fedretune.paths import cache_folder, filling

#: About 12,000 images: what two cores render in under a minute.
DEFAULT_PATIENTS = 5100


def render(cohort: pd.DataFrame, seed: int, size: int = 128, namespace: str = "run") -> Film:
    """Return the radiographs of a cohort's rows, ``[N, size, size]`` uint8, in this process.

    An image depends on `seed`, its patient, number, view, site and severities alone: neither on
    the other rows nor on their number. `seed` and `namespace` are those of `sample_cohort`.
    """
    images = [draw_row(row, seed, size, namespace) for row in cohort.to_dict("records")]
    return np.stack(images) if images else np.empty((0, size, size), np.uint8)


def render_cohort(
    patients: int,
    sites: int,
    seed: int,
    size: int = 128,
    namespace: str = "run",
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, Film]:
    """Return a cohort and its radiographs ``[N, size, size]``, rendered on all cores."""
    cohort = sample_cohort(patients, sites, seed, namespace)
    films = np.empty((len(cohort), size, size), np.uint8)
    with tempfile.TemporaryDirectory() as out:
        task = _task(patients, sites, seed, size, namespace, Path(out), arrays=True)
        parts = render_in_processes(task, len(cohort), progress)
        for part in range(parts):
            films[part::parts] = np.load(Path(out) / f"{part}.npy")
    return cohort, films


def write(
    folder: Path,
    patients: int,
    sites: int,
    seed: int,
    size: int = 128,
    progress: Progress | None = None,
) -> Path:
    """Write a cohort's PNG images and, beside them, ``manifest.csv``; return its path.

    The folder is filled under another name and renamed when whole: never half there.

    Parameters
    ----------
    folder : Path
        Must not exist, or be empty.
    patients, sites, seed : int
        See `sample_cohort`; `size` is the width and height in pixels.
    progress : callable (default: None)
        Called now and then with the number of images done and their total.

    Raises
    ------
    UserError
        If the folder has something in it, cannot be written, or a number is out of range.
    """
    folder = Path(folder)
    if size < 32:
        raise UserError(f"--size must be at least 32 pixels, not {size}.")
    cohort = sample_cohort(patients, sites, seed)
    try:
        with filling(folder) as draft:
            _fill(draft, cohort, _task(patients, sites, seed, size, "run", draft), progress)
    except OSError as error:
        raise UserError(f"Cannot write phantoms to '{folder}': {error}.") from error
    return folder / "manifest.csv"


def default_manifest(sites: int, seed: int = 0, progress: Progress | None = None) -> Path:
    """Return the manifest of the embedded default data, rendered once and kept in the cache.

    Two processes that ask at once get the same: the second waits for the first. The key names
    all that the pixels depend on, the renderer's own code among it.
    """
    home = cache_folder() / "phantoms"
    name = f"sites{sites}-seed{seed}-patients{DEFAULT_PATIENTS}-{_renderer_version()}"
    manifest = home / name / "manifest.csv"
    if manifest.exists():
        return manifest
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f"{name}.lock"):
            if manifest.exists():
                return manifest
            return write(home / name, DEFAULT_PATIENTS, sites, seed, progress=progress)
    except OSError as error:
        raise UserError(
            f"Cannot write to the cache '{home}': {error}. Set FEDRETUNE_CACHE to a folder you own."
        ) from error


def _fill(
    draft: Path, cohort: pd.DataFrame, task: dict[str, Any], progress: Progress | None
) -> None:
    (draft / "images").mkdir()
    render_in_processes(task, len(cohort), progress)
    manifest_of(cohort).to_csv(draft / "manifest.csv", index=False)


def _task(
    patients: int,
    sites: int,
    seed: int,
    size: int,
    namespace: str,
    out: Path,
    *,
    arrays: bool = False,
) -> dict[str, Any]:
    return {
        "patients": patients,
        "sites": sites,
        "seed": seed,
        "size": size,
        "namespace": namespace,
        "out": str(out),
        "arrays": arrays,
    }


def _renderer_version() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        if source.name not in ("sheet.py", "__init__.py"):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
