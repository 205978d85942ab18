"""Making a hospital's folder."""

import getpass
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from fedretune.backbones import describe
from fedretune.errors import UserError
from fedretune.paths import filling
from fedretune.sites.keys import write_key_pair
from fedretune.sites.site_file import POLICY, SITE, absolute_backbone, checked_name, load_site

START, UNIT = "start.sh", "fedretune-site.service"
#: What stands before Flower's own commands.
OWN_COMMANDS = ("bin/flwr-clientapp", "bin/flower-supernode")
#: What a ClientApp process imports, the bundle's own modules apart.
WARM_MODULES = (
    "flwr.supernode.cli.flwr_clientapp",
    "flwr.clientapp",
    "pandas",
    "torch._dynamo",  # which a process's first optimizer imports
    "safetensors.numpy",
    "fedretune.adaptors.module",
    "fedretune.compression",
    "fedretune.data.manifest",
    "fedretune.embeddings",
    "fedretune.evaluation",
    "fedretune.identity",
    "fedretune.methods",
    "fedretune.sites",
    "fedretune.training",
    "fedretune.wire",
)


@dataclass(frozen=True)
class NewSite:
    """What a hospital's engineer knows before the folder is made; see `SiteFile`."""

    name: str
    manifest: str = "manifest.csv"
    backbone: str = "phantom-clip"
    superlink: str = "127.0.0.1:9092"
    root_certificate: str = "ca.crt"
    port: int = 9094


def init_site(folder: Path, new: NewSite) -> None:
    """Make a site's folder, whole or not at all: site.toml, policy.toml, keys, start.sh, a unit.

    Raises
    ------
    UserError
        The folder exists and is not empty, or cannot be written; the name or the backbone is none.
    """
    try:
        checked_name(new.name)
    except ValueError as error:
        raise UserError(f"'{new.name}' cannot be the name of a site: {error}.") from error
    new = replace(new, backbone=absolute_backbone(Path.cwd(), new.backbone))
    fingerprint = describe(new.backbone).fingerprint
    folder = folder.expanduser().absolute()
    try:
        with filling(folder) as draft:
            _fill(draft, folder, new, fingerprint)
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(f"Cannot make {folder} ({error.strerror}): choose another.") from error


def _fill(draft: Path, folder: Path, new: NewSite, fingerprint: str) -> None:
    """Fill `draft`, which will be renamed to `folder`."""
    fill(__package__, SITE, draft / SITE, _site_values(new, fingerprint))
    fill(__package__, POLICY, draft / POLICY, {})
    write_key_pair(draft / "site.key", new.name)
    for name in ("cache", "memory", "flower", "bin"):
        (draft / name).mkdir(mode=0o700)
    site = load_site(draft)  # which checks the values
    values = {
        "PYTHON": sys.executable,
        "PYTHON_QUOTED": repr(sys.executable),
        "FOLDER": repr(str(folder)),
        "WARM": f"{shlex.quote(sys.executable)} -m fedretune.sites.warm",
        "MODULES": " ".join(WARM_MODULES),
        "PYTHON_BIN": str(Path(sys.executable).parent),
        "SUPERLINK": shlex.quote(new.superlink),
        "ROOT_CERTIFICATE": shlex.quote(str(folder / new.root_certificate)),
        "PRIVATE_KEY": shlex.quote(str(folder / site.private_key.name)),
        "NODE_CONFIG": shlex.quote(f"site={json.dumps(str(folder / SITE))}"),
        "PORT": str(new.port),
        "POLICY": repr(str(folder / POLICY)),
        "NAME": new.name.replace("%", "%%"),
        "USER": getpass.getuser(),
        "START": unit_path(folder / START),
        "WRITABLE": unit_path(folder),
    }
    for name in (START, UNIT, *OWN_COMMANDS):
        fill(__package__, Path(name).name, draft / name, values)
    for name in (START, *OWN_COMMANDS):
        (draft / name).chmod(0o755)


def fill(package: str, name: str, path: Path, values: Mapping[str, str]) -> None:
    """Write a package's template to `path`, with ``@KEY@`` replaced by each value."""
    text = (files(package) / "templates" / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    path.write_text(text, encoding="utf-8")


def unit_path(path: Path) -> str:
    """Return a path as systemd's units take it."""
    return json.dumps(str(path).replace("%", "%%"), ensure_ascii=False)


def _site_values(new: NewSite, fingerprint: str) -> dict[str, str]:
    quoted = {
        "NAME": new.name,
        "MANIFEST": new.manifest,
        "BACKBONE": new.backbone,
        "SUPERLINK": new.superlink,
        "ROOT_CERTIFICATE": new.root_certificate,
    }
    # JSON's strings are TOML's, too.
    values = {key: json.dumps(value, ensure_ascii=False) for key, value in quoted.items()}
    return {**values, "FINGERPRINT": fingerprint, "PORT": str(new.port)}
