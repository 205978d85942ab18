"""Making and opening the server's folder."""

import getpass
import os
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fedretune.errors import UserError
from fedretune.identity import ADMITTED, read_keys, write_lines
from fedretune.paths import filling
from fedretune.sites.folder import START, fill, unit_path
from fedretune.superlink.certificates import AUTHORITY, write_certificates

UNIT = "fedretune-server.service"
#: The name of the connection in Flower's own config.
CONNECTION = "fedretune"


@dataclass(frozen=True)
class NewServer:
    """What the operator knows before the folder is made.

    Parameters
    ----------
    hosts : tuple of str
        Names and addresses by which sites reach it; 127.0.0.1 and localhost always do.
    bind : str
        The address of this machine that it listens on.
    port : int
    """

    hosts: tuple[str, ...] = ()
    bind: str = "127.0.0.1"
    port: int = 9092


@dataclass(frozen=True)
class ServerFolder:
    """A server's folder: its `path` and the `address` at which this machine reaches it."""

    path: Path
    address: str

    @property
    def admitted(self) -> Path:
        """The list of the sites that were admitted, by name and key."""
        return self.path / ADMITTED

    def check_admitted(self) -> None:
        """Raise `UserError` if there is no such list, or it cannot be read."""
        if not self.admitted.exists():
            raise UserError(
                f"There is no {self.admitted}: this folder was made before sites signed who they "
                "are. Say `fedretune server admit` again for each hospital, with its key and name."
            )
        read_keys(self.admitted)

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which ``flwr`` finds this SuperLink and no other."""
        return {
            **os.environ,
            "FLWR_HOME": str(self.path / "flower"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
        }


def init_server(folder: Path, new: NewServer) -> None:
    """Make a server's folder, whole or not at all: certificates, start.sh, a unit, a connection.

    Raises
    ------
    UserError
        The folder exists and is not empty, or cannot be written; a name is no host's.
    """
    folder = folder.expanduser().absolute()
    try:
        with filling(folder) as draft:
            _fill(draft, folder, new)
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(f"Cannot make {folder} ({error.strerror}): choose another.") from error
    except ValueError as error:
        raise UserError(f"--host takes a name or an IP address: {error}.") from error


def _fill(draft: Path, folder: Path, new: NewServer) -> None:
    """Fill `draft`, which will be renamed to `folder`."""
    write_certificates(draft, new.hosts)
    write_lines(draft / ADMITTED, {})
    (draft / "flower").mkdir(mode=0o700)
    reached = "127.0.0.1" if new.bind in ("0.0.0.0", "::") else new.bind
    host = f"[{reached}]" if ":" in reached else reached
    connection = {"address": f"{host}:{new.port}", "root-certificates": str(folder / AUTHORITY)}
    config = {"superlink": {"default": CONNECTION, CONNECTION: connection}}
    (draft / "flower" / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    values = {
        "PYTHON_BIN": str(Path(sys.executable).parent),
        "BIND": shlex.quote(new.bind),
        "PORT": str(new.port),
        "USER": getpass.getuser(),
        "START": unit_path(folder / START),
    }
    for name in (START, UNIT):
        fill(__package__, name, draft / name, values)
    (draft / START).chmod(0o755)


def open_server(folder: Path) -> ServerFolder:
    """Return the server's folder at a path. Raises `UserError` if there is none."""
    folder = folder.expanduser().absolute()
    path = folder / "flower" / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
        address = str(config["superlink"][CONNECTION]["address"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder} is no server's folder ({path} is not what it should be): make one with "
            "`fedretune server init`."
        ) from error
    return ServerFolder(folder, address)
