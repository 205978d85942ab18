"""The Flower ClientApp: translates messages to `Site` calls and back."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients import identity, secure
from clients.down import hold, received
from clients.guard import content_of, guarded
from clients.memory import SiteMemory
from clients.real import open_real_site
from clients.site import Arrays, Site
from clients.world import open_world
from fedretune.errors import UserError
from fedretune.wire import ArrayRecords, ScalarRecords, Value, WireError, take_apart
from fedretune.workers import keep_freed_memory
from scenarios import RunConfig
from scenarios.table import Scalar

# Adaptors are small: more threads would cost more than they give, and would make the last bits
# of a result depend on the machine.
torch.set_num_threads(1)
keep_freed_memory()


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
    return Message(content_of({}, identity.greeting(open_site(context), message)), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global adaptor on this site's shard."""
    return trained(open_site(context), message)


def trained(site: Site, message: Message) -> Message:
    """Return the reply of a site to a training message."""
    sent, where, memory = training_of(message, site)
    if not site.world.config.secure_aggregation:
        return Message(content_of(*site.train(sent, *where, memory)), reply_to=message)
    session = secure.admit(site, message)  # nothing is trained that may not be told
    reply = site.train(sent, *where, memory)
    told = secure.masked_update(site, message, session, sent["adaptor"], reply)
    return Message(content_of(*told), reply_to=message)


def training_of(message: Message, site: Site) -> tuple[ArrayRecords, tuple[int, int], SiteMemory]:
    """Return what a site is to train, in which experience and round, and its memory of the run."""
    memory = _memory(message, site)
    where = (_position(message, "experience"), _position(message, "round"))
    sent = received(site, message, _sent(message), memory)
    hold(site, sent, where, memory)
    return sent, where, memory


@app.evaluate("coarse")
def evaluate_coarse(message: Message, context: Context) -> Message:
    """Say where the scores lie."""
    site = open_site(context)
    sent = received(site, message, _sent(message), _memory(message, site))
    return _counts(message, site, lambda: site.coarse(sent.get("adaptor")))


@app.evaluate("histograms")
def evaluate_histograms(message: Message, context: Context) -> Message:
    """Count the scores between the server's edges."""
    site = open_site(context)
    sent = received(site, message, _sent(message), _memory(message, site))
    edges = sent["edges"]["edges"]
    return _counts(message, site, lambda: site.histograms(sent.get("adaptor"), edges))


@app.query("keys")
def query_keys(message: Message, context: Context) -> Message:
    """Begin a secure sum."""
    return _step(message, secure.keys(open_site(context), message))


@app.query("shares")
def query_shares(message: Message, context: Context) -> Message:
    """Share this site's secrets of a sum out among the others."""
    return _step(message, secure.shares(open_site(context), message))


@app.query("unmask")
def query_unmask(message: Message, context: Context) -> Message:
    """End a secure sum."""
    return _step(message, secure.unmask(open_site(context), message))


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


def _memory(message: Message, site: Site) -> SiteMemory:
    """Return what a site remembers of the run that a message is about."""
    run = str(message.content.config_records["position"]["run"])
    return SiteMemory.of(site.world.config.out, run, site.name)


def _position(message: Message, name: str) -> int:
    return int(str(message.content.config_records["position"][name]))


def _counts(message: Message, site: Site, count: Callable[[], Arrays]) -> Message:
    if site.world.config.secure_aggregation:
        session = secure.admit(site, message)
        return Message(
            content_of(*secure.masked_counts(site, message, session, count())), reply_to=message
        )
    metrics: dict[str, Value] = {
        "experience": _position(message, "experience"),
        "num-examples": len(site.evaluation_rows),
    }
    return Message(content_of({"histogram": count()}, {"metrics": metrics}), reply_to=message)


def _step(message: Message, told: ScalarRecords) -> Message:
    """Return the reply to a step of a secure sum that sends no vector."""
    return Message(content_of({}, told), reply_to=message)
