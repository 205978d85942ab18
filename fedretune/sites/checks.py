"""Could this site take part? Every reason why it could not, each with its mend, in seconds."""

import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import fedretune
from fedretune.data.manifest import Manifest, check_images, load_manifest
from fedretune.data.summary import summarise
from fedretune.errors import UserError
from fedretune.privacy.secure.threshold import FEWEST
from fedretune.sites.connection import check_connection
from fedretune.sites.folder import START
from fedretune.sites.keys import PRIVATE
from fedretune.sites.site_file import SiteFile, load_site

#: Bytes that a vector and its index entry take at most, and what else a site should have free.
_PER_IMAGE, _SPARE = 4096, 200 * 2**20


@dataclass(frozen=True)
class Finding:
    """One question about a site: what was asked, whether it holds, and what was found."""

    name: str
    passed: bool
    detail: str


def check_site(folder: Path) -> list[Finding]:
    """Ask everything, whatever else has failed, and change nothing.

    Only without a ``site.toml`` that can be read there is nothing more to ask.
    """
    try:
        site = load_site(folder)
    except UserError as error:
        return [Finding("site.toml", False, str(error))]
    return [Finding("site.toml", True, f"site '{site.name}'"), *_findings(site, folder)]


def _findings(site: SiteFile, folder: Path) -> Iterator[Finding]:
    checks: list[tuple[str, Callable[[], str]]] = [
        ("policy", lambda: _policy(site)),
        ("manifest", lambda: _manifest(site)),
        ("images", lambda: _images(site)),
        ("backbone", lambda: _backbone(site)),
        ("device", lambda: _device(site)),
        ("disk", lambda: _disk(site)),
        ("versions", _versions),
        ("key", lambda: _key(site)),
        ("peers", lambda: _peers(site)),
        ("start", lambda: _start(site, folder.expanduser().absolute())),
        ("ledger", lambda: _ledger(site)),
        ("superlink", lambda: check_connection(site)),
    ]
    for name, check in checks:
        try:
            yield Finding(name, True, check())
        except UserError as error:
            yield Finding(name, False, str(error))
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            yield Finding(name, False, f"{error.strerror or error}{where}: mend that and try again")


def _policy(site: SiteFile) -> str:
    policy = site.read_policy()
    rounds, bundle = policy.rounds or "any number of", policy.bundle[:12] or "any"
    sums = {"required": "; secure aggregation required", "signed": "; with signed keys alone"}
    summed = sums.get(policy.secure_aggregation, "")
    return (
        f"methods {', '.join(policy.methods)}; {rounds} rounds a run; app bundle: {bundle}{summed}"
    )


def _manifest(site: SiteFile) -> str:
    manifest = _loaded(site.manifest)
    counts = summarise(manifest)
    for split in ("train", "test"):
        if not counts.splits[split]:
            raise UserError(
                f"{site.manifest} has no '{split}' images: give some rows split = {split}."
            )
    return (
        f"{counts.images:,} images of {counts.patients:,} patients "
        f"({', '.join(f'{name} {count:,}' for name, count in counts.splits.items())}), "
        f"{len(manifest.findings)} findings"
    )


def _images(site: SiteFile) -> str:
    manifest = _loaded(site.manifest)
    check_images(manifest)
    return f"all {len(manifest):,} are there"


def _backbone(site: SiteFile) -> str:
    info = site.described()  # also that there is a tokenizer with a vocabulary
    text = "reads prompts" if info.reads_text else "reads no prompts: probes only"
    return f"{info.dim} dimensions, {text}, fingerprint as pinned"


def _device(site: SiteFile) -> str:
    if site.device in ("auto", "cpu"):
        return site.device
    import torch

    try:
        torch.zeros(1, device=site.device)
    except Exception as error:  # torch raises nearly anything here
        raise UserError(
            f"device = {site.device} is not there: mend the driver or torch's CUDA build, or set "
            "device = auto."
        ) from error
    return site.device


def _disk(site: SiteFile) -> str:
    needed, told = _SPARE + _PER_IMAGE * _count(site), []
    for folder in (site.cache, site.memory):
        there = next(each for each in (folder, *folder.parents) if each.is_dir())
        free = shutil.disk_usage(there).free
        if free < needed:
            raise UserError(
                f"{folder} has {free / 2**20:,.0f} MiB free and needs {needed / 2**20:,.0f}: make "
                "room, or name another folder in site.toml."
            )
        told.append(f"{free / 2**30:,.1f} GiB free for {folder.name}")
    return ", ".join(told)


def _count(site: SiteFile) -> int:
    try:
        return len(_loaded(site.manifest))
    except UserError:  # which is told by its own check
        return 0


@lru_cache(maxsize=1)
def _loaded(path: Path) -> Manifest:
    return load_manifest(path)


def _versions() -> str:
    return f"fedretune {fedretune.__version__}, flwr {version('flwr')}, torch {version('torch')}"


def _key(site: SiteFile) -> str:
    from fedretune.identity import fingerprint, read_private

    path = site.private_key
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & ~PRIVATE:
        raise UserError(f"Others can read the key {path} (mode {mode:o}): chmod 600 {path}")
    key = read_private(path)
    return f"EC, {key.curve.name}, mode {mode:o}, {fingerprint(key.public_key())}"


def _peers(site: SiteFile) -> str:
    from fedretune.identity import fingerprint

    peers = site.read_peers()
    others = [f"{name} {fingerprint(key)}" for name, key in peers.items() if name != site.name]
    if len(others) < FEWEST - 1 and _wants_signed(site):
        raise UserError(
            f"The policy says secure-aggregation = signed, and {site.peers} has {len(others)} "
            f"other sites' keys, where a sum takes {FEWEST - 1}: `fedretune site trust` adds one."
        )
    return ", ".join(others) or "none known, which only signed sums need"


def _wants_signed(site: SiteFile) -> bool:
    try:
        return site.read_policy().secure_aggregation == "signed"
    except UserError:  # which is told by its own check
        return False


def _start(site: SiteFile, folder: Path) -> str:
    path = (folder if folder.is_dir() else folder.parent) / START
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    wanted = {
        "superlink": site.superlink,
        "root-certificate": str(site.root_certificate),
        "private-key": str(site.private_key),
        "port": str(site.port),
    }
    if stale := [key for key, value in wanted.items() if value not in words]:
        raise UserError(
            f"{path} has another {', '.join(stale)} than site.toml: bring the two in line."
        )
    if not path.stat().st_mode & stat.S_IXUSR:
        raise UserError(f"{path} cannot be run: chmod +x {path}")
    return f"{path.name} is in line with site.toml"


def _ledger(site: SiteFile) -> str:
    rows = site.ledger.rows()
    left = sum(not row["refusal"] for row in rows)
    return f"{left} replies have left, {len(rows) - left} were declined"
