"""The Flower ClientApp: translates messages to `Site` calls and back."""

from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.guard import content_of, guarded
from clients.memory import SiteMemory
from clients.real import open_real_site
from clients.site import Arrays, Site
from clients.world import open_world
from fedretune.errors import UserError
from fedretune.wire import ArrayRecords, Value, WireError, take_apart
from scenarios import RunConfig
from scenarios.table import Scalar

# Adaptors are small: more threads would cost more than they give, and would make the last bits
# of a result depend on the machine.
torch.set_num_threads(1)


def open_site(context: Context) -> Site:
    """Return the site that this node plays. Raises `UserError` if the node plays none."""
    config = _config(tuple(context.run_config.items()))
    if "site" in context.node_config:  # which the site's own SuperNode says, and no server
        return open_real_site(config, Path(str(context.node_config["site"])))
    partition = int(context.node_config["partition-id"])
    world = open_world(config, int(context.node_config["num-partitions"]))
    sites = world.scenario.sites
    if partition >= len(sites):
        raise UserError(
            f"The run has {len(sites)} sites, and Flower started more SuperNodes than that: "
            f"start {len(sites)} of them (--federation-config num-supernodes={len(sites)}).",
            public=f"more SuperNodes than the run's {len(sites)} sites",
        )
    return Site(sites[partition], world)


app = ClientApp(mods=[guarded(open_site)])


@app.query()
def query(message: Message, context: Context) -> Message:
    """Say who this site is and what it brings."""
    return Message(content_of({}, {"site": open_site(context).handshake()}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global adaptor on this site's shard."""
    return trained(open_site(context), message)


def trained(site: Site, message: Message) -> Message:
    """Return the reply of a site to a training message."""
    sent, where, memory = training_of(message, site)
    return Message(content_of(*site.train(sent, *where, memory)), reply_to=message)


def training_of(message: Message, site: Site) -> tuple[ArrayRecords, tuple[int, int], SiteMemory]:
    """Return what a site is to train, in which experience and round, and its memory of the run."""
    run = str(message.content.config_records["position"]["run"])
    return (
        _sent(message),
        (_position(message, "experience"), _position(message, "round")),
        SiteMemory.of(site.world.config.out, run, site.name),
    )


@app.evaluate("coarse")
def evaluate_coarse(message: Message, context: Context) -> Message:
    """Say where the scores lie."""
    site = open_site(context)
    return _counts(message, site, site.coarse(_sent(message).get("adaptor")))


@app.evaluate("histograms")
def evaluate_histograms(message: Message, context: Context) -> Message:
    """Count the scores between the server's edges."""
    site = open_site(context)
    sent = _sent(message)
    counts = site.histograms(sent.get("adaptor"), sent["edges"]["edges"])
    return _counts(message, site, counts)


@lru_cache(maxsize=2)
def _config(run_config: tuple[tuple[str, Scalar], ...]) -> RunConfig:
    """Return the run's config, checked once a process rather than at every message."""
    return RunConfig.from_flat(dict(run_config))


def _sent(message: Message) -> ArrayRecords:
    """Return the arrays that the server sent, by record and name: read-only, where they lie."""
    try:
        return take_apart(message.content)[0]
    except WireError as error:
        raise UserError(
            f"The server's message cannot be read: {error}.",
            public="refused; the server's message cannot be read",
        ) from error


def _position(message: Message, name: str) -> int:
    return int(str(message.content.config_records["position"][name]))


def _counts(message: Message, site: Site, counts: Arrays) -> Message:
    metrics: dict[str, Value] = {
        "experience": _position(message, "experience"),
        "num-examples": len(site.evaluation_rows),
    }
    return Message(content_of({"histogram": counts}, {"metrics": metrics}), reply_to=message)
