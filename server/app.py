"""The Flower ServerApp: opens the run folder, gathers the sites, runs the stream."""

import json
import tomllib
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

import fedretune
from fedretune.errors import UserError
from scenarios import RunConfig, first_trained
from server.admitted import Admitted
from server.exchange import at_once
from server.federation import Federation
from server.folder import RunFolder, check_place
from server.handshake import Terms
from server.kept_sums import KeptSums
from server.models import Models, unflatten, write_models
from server.plausible import Cohort
from server.recorder import Recorder
from server.stream import Stream
from server.summary import write_failure, write_summary
from server.sums import FOLDER

#: Keys that may differ when a run is resumed: they change no figure as long as all sites answer,
#: and soundly. The last ones say what becomes of the run when they do not.
MAY_DIFFER = {
    *("resume", "out", "name", "device", "allow-hub", "workers", "admitted"),
    *("round-timeout", "quorum", "patience", "norm-bound"),
}
#: What is said where `norm-bound` cannot be kept to.
UNJUDGED = (
    "secure aggregation: no update is judged by its length (norm-bound), as the server sees none. "
    "Each site cuts its own, to changes of {:g} (secure-clip)."
)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the stream that the run config describes. Raises `UserError`."""
    config = RunConfig.from_flat(context.run_config)
    if config.staged and not at_once(grid):
        raise UserError("attack and failures are for `fedretune simulate` alone.")
    folder, done, models = open_folder(config)
    with closing(folder):
        try:
            _run(grid, config, folder, done, models)
        except UserError as error:
            write_failure(folder, str(error))
            raise


def _run(grid: Grid, config: RunConfig, folder: RunFolder, done: int, models: Models) -> None:
    cohort = partial(Cohort, config.norm_bound, config.train.batch_size)
    recorder = Recorder(folder.path) if config.record_wire else None
    patience = (config.round_timeout, config.patience)
    counted = not config.secure_aggregation
    admitted = Admitted.of(config.admitted, config.name)
    federation = Federation(grid, folder, *patience, cohort, recorder, counted, admitted)
    terms = federation.gather(config.nodes)
    folder.write_config(_resolved(config, terms))
    folder.event(
        "start",
        sites=sorted(federation.members),
        experiences=terms.steps,
        rounds=config.rounds,
        step=done,
    )
    if config.secure_aggregation and config.norm_bound:
        folder.event("note", text=UNJUDGED.format(config.secure_clip))
    stream = Stream(config, federation, terms, folder)
    models = stream.run(done, models)
    write_models(folder.path, stream.spec, models, config)
    sites = sorted(federation.members)
    since = first_trained(config, terms.findings, config.sites or len(sites))
    write_summary(folder, config, terms, sites, since)
    KeptSums(folder.path / FOLDER).drop()
    folder.event("end", folder=str(folder.path))


def open_folder(config: RunConfig) -> tuple[RunFolder, int, Models]:
    """Create the run folder, or reopen it: the folder, the steps done, and the adaptors then.

    Raises
    ------
    UserError
        The folder exists, cannot be written, holds a finished run, or one of another config, or
        another process is at work on it.
    """
    out = Path(config.out).expanduser().absolute()
    if not config.resume:
        return RunFolder.create(out, config.name, _resolved(config, None)), 0, {}
    check_resumable(out / check_place(out, config.name, resume=True), config)
    folder = RunFolder.reopen(out, config.name)
    # It told why the run stopped, which is no longer so.
    (folder.path / "summary.json").unlink(missing_ok=True)
    done, tensors = folder.restore()
    return folder, done, unflatten(tensors)


def check_resumable(path: Path, config: RunConfig) -> None:
    """Raise `UserError` if the run in `path` is finished or was started with another config."""
    summary = path / "summary.json"
    if summary.is_file() and json.loads(summary.read_text())["status"] == "complete":
        raise UserError(f"The run {path} is finished: start a new one under another name.")
    if differences := differences_from(path, config.to_flat()):
        raise UserError(
            f"The run {path} was started with another config: {differences}. Resume it with the "
            "same one."
        )


def differences_from(path: Path, now: Mapping[str, Any]) -> str:
    """Say in which keys that change a figure a flat config is not that of the run in `path`."""
    before = tomllib.loads((path / "config.toml").read_text())["config"]
    return "; ".join(
        f"{key} was {before.get(key)!r} and is {value!r}"
        for key, value in now.items()
        if key not in MAY_DIFFER and before.get(key) != value
    )


def _resolved(config: RunConfig, terms: Terms | None) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables of ``config.toml``; fingerprints once the sites have told them."""
    packages = ("torch", "flwr", "open_clip_torch", "numpy", "pandas", "torchmetrics")
    versions = {"fedretune": fedretune.__version__, **{name: version(name) for name in packages}}
    tables: dict[str, Mapping[str, Any]] = {"config": config.to_flat(), "versions": versions}
    if terms:
        names = ("backbone", "prompts", "adaptor")
        tables["fingerprints"] = {name: getattr(terms, name) for name in names}
        trunk = {"trunk": list(terms.trunk)} if terms.trunk else {}
        tables["data"] = {"findings": list(terms.findings), "dim": terms.dim, **trunk}
    return tables
