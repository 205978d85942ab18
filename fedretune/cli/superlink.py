"""What ``flwr`` is asked to do at the SuperLink of a server's folder."""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedretune.cli.app_folder import AppFolder
from fedretune.cli.console import say
from fedretune.cli.flower import check_success, script
from fedretune.cli.processes import end
from fedretune.cli.runs import Engine
from fedretune.errors import RunFailedError, UserError
from fedretune.identity import add_key, check_addable, read_public
from fedretune.sites.site_file import checked_name

if TYPE_CHECKING:
    from fedretune.superlink import ServerFolder

#: What a run's config calls each hospital's own manifest and backbone.
AT_SITES = "each site's own"
#: What the SuperLink says of a key that it has registered before.
KNOWN = "Public key already in use"
#: Seconds that ``flwr`` may take for one question; that it may take to end.
PATIENCE, STOP = 60.0, 5.0


def admit_key(server: "ServerFolder", key: Path, name: str) -> str:
    """Register a public key at the SuperLink, and bind the name to it in the server's own list.

    Returns
    -------
    The id of its node; empty where the SuperLink knows the key already.

    Raises
    ------
    UserError
        It is no EC public key, or no name of a site; the name has another key, or the key another
        name; or the SuperLink does not answer.
    """
    key = key.expanduser().absolute()
    public = read_public(key)
    try:
        check_addable(server.admitted, checked_name(name), public)
    except ValueError as error:
        raise UserError(f"'{name}' cannot be the name of a site: {error}.") from error
    node = _register(server, key, name)
    add_key(server.admitted, name, public)
    return node


def _register(server: "ServerFolder", key: Path, name: str) -> str:
    """Return the id of the node that a key gets; empty where it has one. Raises `UserError`."""
    try:
        told = _flwr(server, "supernode", "register", str(key), "fedretune", "--name", name)
    except UserError as error:
        if KNOWN in str(error):
            return ""
        raise
    return str(told["node-id"])


def registered(server: "ServerFolder") -> list[dict[str, Any]]:
    """Return what the SuperLink knows of each registered site. Raises `UserError`."""
    told = _flwr(server, "supernode", "list", "fedretune")
    nodes: list[dict[str, Any]] = told.get("nodes", [])
    return nodes


def engine_of(server: "ServerFolder") -> Engine:
    """Return the engine that runs a federation on this SuperLink."""
    command = f"server run {shlex.quote(str(server.path))}"
    return Engine(command, partial(_prepare, server), partial(_run, server))


def _prepare(server: "ServerFolder", app: AppFolder, config: dict[str, Any]) -> int:
    """Check what the run's config may not say, and that the SuperLink answers."""
    for key, default in (("manifest", "phantoms"), ("backbone", "phantom-clip")):
        if config[key] != default:
            raise UserError(
                f"{key} is {config[key]}, and each hospital names its own, in its site.toml: leave "
                f"{key} out."
            )
        config[key] = AT_SITES  # so that nobody takes the default for what the sites had
    check_noise(config)
    if config["admitted"]:
        raise UserError("admitted is the list in the server's own folder: leave it out.")
    server.check_admitted()
    config["admitted"] = str(server.admitted)
    online = [node for node in registered(server) if node.get("status") == "online"]
    if not config["sites"] and not online:
        raise UserError(
            "No site is online: start their SuperNodes, or say with --sites how many to wait for."
        )
    say(f"{len(online)} of the registered sites are online.")
    return int(config["sites"] or len(online))


def check_noise(config: dict[str, Any]) -> None:
    """Have the server's own noise come from the operating system. Raises `UserError` for a seed."""
    if config["privacy.mechanism"] != "site":
        return
    if config["privacy.noise-source"] == "seeded":
        raise UserError(
            "privacy.noise-source = seeded: whoever knows the seed can take the noise off again. "
            "Across hospitals leave it out."
        )
    config["privacy.noise-source"] = "secure"


def _run(server: "ServerFolder", app: AppFolder, config: dict[str, Any]) -> None:
    """Submit the run, follow its log into the run folder, and stop it where that is stopped."""
    folder = Path(config["out"]) / config["name"]
    with tempfile.TemporaryDirectory(prefix="fedretune-server-") as temporary:
        log = Path(temporary) / "flower.log"
        process = _submit(server, app, config, log)
        try:
            process.wait()
        except BaseException:
            _stop(server, log)
            raise
        finally:
            end(process, STOP)
            kept = (folder if folder.is_dir() else folder.parent) / "flower.log"
            shutil.copy(log, kept)
    check_success(folder, kept)


def _submit(
    server: "ServerFolder", app: AppFolder, config: dict[str, Any], log: Path
) -> "subprocess.Popen[bytes]":
    import tomli_w

    values = log.with_name("run-config.toml")
    values.write_text(tomli_w.dumps(config), encoding="utf-8")
    bundle = bundle_of(app, log.parent)
    say(f"App bundle SHA-256 {hashlib.sha256(bundle.read_bytes()).hexdigest()}")
    command = [script("flwr"), "run", str(app.path), "fedretune", "--stream"]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--run-config", str(values)],
            env=server.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def bundle_of(app: AppFolder, folder: Path) -> Path:
    """Build the app's bundle, the bytes that ``flwr run`` sends, into a folder. Raises `UserError`.

    The same files give the same bytes.
    """
    command = [script("flwr"), "build", "--app", str(app.path)]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.fab"))
    if not found:
        raise UserError(f"Flower cannot bundle {app.path}: {_last_line(built)}")
    return found[0]


def _stop(server: "ServerFolder", log: Path) -> None:
    """Have the SuperLink stop the run that a log is of: it does not end with ``flwr run``."""
    if started := re.search(r"started run (\d+)", log.read_text(errors="replace")):
        try:
            _flwr(server, "stop", started[1], "fedretune")
        except UserError as error:
            say(f"[yellow]The run may go on at the SuperLink:[/] {error}")


def _flwr(server: "ServerFolder", *words: str) -> dict[str, Any]:
    """Return what a ``flwr`` command prints as JSON. Raises `UserError` with what it says."""
    try:
        done = subprocess.run(
            [script("flwr"), *words, "--format", "json"],
            env=server.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailedError(
            f"The SuperLink at {server.address} does not answer within {PATIENCE:.0f} s: is "
            f"{server.path}/start.sh running?"
        ) from error
    told: dict[str, Any] = {}
    if brace := re.search(r"^\{", done.stdout, flags=re.MULTILINE):
        told = json.loads(done.stdout[brace.start() :])
    if done.returncode or not told.get("success", True) or not told:
        said = told.get("error-message") or _last_line(done)
        raise UserError(
            f"The SuperLink at {server.address} does not do that: {said}. Is "
            f"{server.path}/start.sh running?"
        )
    return told


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"
