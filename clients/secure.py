"""A site's part in secure sums: from messages to `fedretune.privacy.secure` and back."""

from collections.abc import Mapping
from math import prod

from flwr.app import ConfigRecord, Message

from clients.identity import check_signed, signed_keys
from clients.memory import SiteMemory
from clients.site import Site
from clients.world import World
from fedretune import wire
from fedretune.compression.chain import BASE
from fedretune.errors import UserError
from fedretune.evaluation import BINS
from fedretune.handshake import SIGNATURE
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.fixed import Numbers, encode_counts
from fedretune.privacy.secure.kept import Kept
from fedretune.privacy.secure.ring import Ring, elements_of
from fedretune.privacy.secure.schema import KEYS, SHARES, TOLD, masked_schema
from fedretune.privacy.secure.site import (
    PublicKeys,
    Session,
    admitted,
    begun,
    masked,
    refused,
    shared,
)
from scenarios import counts_ring, update_code, update_ring

#: What is sent in the steps of a sum that send no vector, by message type.
STEPS: Mapping[str, wire.Schema] = {
    "query.keys": KEYS,
    "query.shares": SHARES,
    "query.unmask": TOLD,
}
#: What a vector may be of, and of which model.
_KINDS = ("train", "evaluate.coarse", "evaluate.histograms")
_MODELS = ("zero-shot", "adapted")

Scalars = wire.ScalarRecords
Records = tuple[wire.ArrayRecords, wire.ScalarRecords]


def keys(site: Site, message: Message) -> Scalars:
    """Begin a sum: return the site's public keys, made for it alone."""
    if not site.world.config.secure_aggregation:
        raise refused("a secure sum in a run without it")
    session, public = begun(site.name, about_of(message).text)
    kept_of(site, message).begin(session)
    told = {"keys": {"mask": public.mask.hex(), "seal": public.seal.hex()}}
    return {**told, **signed_keys(site, session.about, public)}


def shares(site: Site, message: Message) -> Scalars:
    """Return boxes with the shares of the site's secrets, one for each other site."""
    kept, told = kept_of(site, message), message.content.config_records["peers"]
    columns = (_texts(told, name) for name in ("sites", "mask", "seal"))
    peers = {
        peer: PublicKeys(bytes.fromhex(mask), bytes.fromhex(seal))
        for peer, mask, seal in zip(*columns, strict=True)
    }
    session = kept.session(about_of(message).text)
    check_signed(site, session.about, peers, _signatures(told))
    after, boxes = shared(session, peers, site.world.config.secure_threshold)
    kept.advance(after)
    return {"shares": {"to": list(boxes), "boxes": [box.hex() for box in boxes.values()]}}


def unmask(site: Site, message: Message) -> Scalars:
    """End a sum: return what takes the masks off the sum of those that sent a vector."""
    kept = kept_of(site, message)
    survivors = _texts(message.content.config_records["survivors"], "sites")
    told = kept.tell(kept.session(about_of(message).text), survivors)
    return {"told": {"of": list(told), "shares": [share.hex() for share in told.values()]}}


def admit(site: Site, message: Message) -> Session:
    """Return the session in which a vector may be masked, before there is one."""
    about, content = about_of(message), message.content
    frozen = "adaptor" not in content.array_records and BASE not in content.config_records
    if about.kind != message.metadata.message_type or (about.model == "zero-shot") != frozen:
        raise refused("another sum than the message is about")
    told = content.config_records["boxes"]
    boxes = zip(_texts(told, "sites"), _texts(told, "boxes"), strict=True)
    session = kept_of(site, message).session(about.text)
    return admitted(session, {peer: bytes.fromhex(box) for peer, box in boxes})


def masked_update(
    site: Site,
    message: Message,
    session: Session,
    start: Mapping[str, wire.Array],
    reply: Records,
) -> Records:
    """Return a training reply of which the server can read nothing but the sum with others."""
    config, world = site.world.config, site.world
    findings = len(world.scenario.findings)
    counted = config.counted(findings)
    plain = wire.train_schema(world.adaptor, counted, private=config.privacy.at_sites)
    wire.check(plain, *reply)
    arrays, scalars = _hidden(site, *reply)
    examples = _few(site, int(str(scalars["metrics"]["num-examples"])))
    code = update_code(config, world.adaptor, findings)
    positives = arrays["counts"]["positives"].clip(max=examples) if counted else None
    loss = float(str(scalars["metrics"]["loss"]))
    vector = code.encode(start, arrays["adaptor"], examples, loss, positives)
    ring = update_ring(config, code, len(session.peers))
    told = {"privacy": scalars["privacy"]} if config.privacy.at_sites else {}
    return _masked(site, message, session, vector, ring, told)


def masked_counts(
    site: Site, message: Message, session: Session, counts: Mapping[str, wire.Array]
) -> Records:
    """Return an evaluation reply of which the server can read nothing but the sum with others."""
    arrays, _ = _hidden(site, {"histogram": counts}, {})
    ((_, cells),) = arrays["histogram"].items()
    vector = encode_counts(cells, _few(site, len(site.evaluation_rows)))
    ring = counts_ring(site.world.config, len(session.peers))
    return _masked(site, message, session, vector, ring, {})


def schema_of(site: Site, message: Message) -> wire.Schema:
    """Return what a masked reply holds: as many numbers as the site knows, for its own peers."""
    about = about_of(message)
    peers = len(kept_of(site, message).session(about.text).peers)
    return schema_among(site.world, about.kind, peers)


def schema_among(world: World, kind: str, peers: int) -> wire.Schema:
    """Return what a masked reply of a kind holds in a sum of so many sites. Raises `WireError`."""
    if kind not in _KINDS:
        raise wire.WireError(f"no reply to '{kind}' may leave")
    config, findings = world.config, len(world.scenario.findings)
    if kind == "train":
        code = update_code(config, world.adaptor, findings)
        return masked_schema(
            code.numbers, update_ring(config, code, peers).width, config.privacy.at_sites
        )
    plain = (
        wire.coarse_schema(findings)
        if kind == "evaluate.coarse"
        else wire.histogram_schema(world.scenario.experiences, findings, BINS)
    )
    (cells,) = plain.arrays["histogram"].values()
    return masked_schema(prod(cells.shape), counts_ring(config, peers).width)


def about_of(message: Message) -> About:
    """Return which sum a message is about. Raises `UserError` if there is none of the kind."""
    position, told = (message.content.config_records[name] for name in ("position", "sum"))
    kind, model = str(told["kind"]), str(told["model"])
    if kind not in _KINDS or model not in _MODELS:
        raise refused("a sum of something else than updates or counts")
    where = (int(str(position[name])) for name in ("experience", "round"))
    return About(str(position["run"]), kind, model, *where)


def kept_of(site: Site, message: Message) -> Kept:
    """Return what a site keeps of its sums in the run that a message is about."""
    root = site.world.config.out
    return Kept(SiteMemory.of(root, about_of(message).run, site.name).folder / "secure")


def _masked(
    site: Site, message: Message, session: Session, vector: Numbers, ring: Ring, told: Scalars
) -> Records:
    """Return a vector under its masks. That there is one is kept before it leaves."""
    kept_of(site, message).advance(session)
    return {"masked": {"vector": masked(session, elements_of(vector), ring)}}, told


def _hidden(site: Site, arrays: wire.ArrayRecords, scalars: Scalars) -> Records:
    """Return a reply as the site's policy would have it: once masked, it can hide nothing."""
    return site.rules.hidden(arrays, scalars) if site.rules else (arrays, scalars)


def _few(site: Site, examples: int) -> int:
    """Return a number of images that a sum has room for. Raises `UserError` if it has none."""
    most = site.world.config.secure_examples
    if examples > most:
        raise UserError(
            f"{site.name} has {examples} images, and secure-examples is {most}: raise it.",
            public=f"more images than secure-examples = {most}",
        )
    return examples


def _signatures(told: ConfigRecord) -> dict[str, str]:
    """Return what the server passes on of signatures, by the site that it says has signed."""
    if SIGNATURE not in told:
        return {}
    return dict(zip(_texts(told, "sites"), _texts(told, SIGNATURE), strict=True))


def _texts(record: ConfigRecord, name: str) -> list[str]:
    values = record[name]
    if not isinstance(values, list):
        raise refused(f"a step whose {name} are no list")
    return [str(each) for each in values]
