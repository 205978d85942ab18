"""A site's side of one secure sum: what it keeps secret, and what it tells in each exchange.

A `Session` goes from "keys" to "shared" to "masked", and then it is over: each step is one pure
function that refuses what must not be, so that no order of requests has a site tell both secrets of
another site, or mask two vectors alike.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedretune.errors import UserError
from fedretune.privacy.secure.masks import (
    SEED,
    agreed,
    pair_mask,
    private_key,
    public_key,
    self_mask,
)
from fedretune.privacy.secure.ring import Elements, Ring
from fedretune.privacy.secure.sharing import SHARE, opened, sealed, split
from fedretune.privacy.secure.threshold import FEWEST, threshold_of


class PublicKeys(NamedTuple):
    """What a site tells of its keys: of that for masks, and of that for boxes."""

    mask: bytes
    seal: bytes


class Shares(NamedTuple):
    """A site's shares of what another keeps: of its mask key's seed, of its self mask's."""

    mask: bytes
    self_mask: bytes


@dataclass(frozen=True)
class Session:
    """What a site keeps of one sum.

    Parameters
    ----------
    site : str
        Its own name.
    about : str
        What is summed: nothing that is said in one sum is understood in another.
    mask_seed, seal_seed, self_seed : bytes
        Its secrets, from the operating system. Never used for another sum.
    phase : str (default: "keys")
        What it has told: "keys", "shared" or "masked".
    threshold : int (default: 0)
        How many must tell their shares.
    peers : mapping of site to PublicKeys (default: none)
        All that have a share of its secrets, itself among them.
    held : mapping of site to Shares (default: none)
        Its shares of the secrets of those whose masks are in its vector, itself among them.
    """

    site: str
    about: str
    mask_seed: bytes
    seal_seed: bytes
    self_seed: bytes
    phase: str = "keys"
    threshold: int = 0
    peers: Mapping[str, PublicKeys] = field(default_factory=dict)
    held: Mapping[str, Shares] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        return json.dumps(vars(self), default=bytes.hex)

    @classmethod
    def from_json(cls, text: str) -> "Session":
        """Return the session that `to_json` wrote."""
        told: dict[str, Any] = json.loads(text)
        for name in ("mask_seed", "seal_seed", "self_seed"):
            told[name] = bytes.fromhex(told[name])
        told["peers"] = {
            site: PublicKeys(*map(bytes.fromhex, keys)) for site, keys in told["peers"].items()
        }
        told["held"] = {
            site: Shares(*map(bytes.fromhex, shares)) for site, shares in told["held"].items()
        }
        return cls(**told)


def begun(site: str, about: str) -> tuple[Session, PublicKeys]:
    """Return a new session of a site, and its public keys."""
    session = Session(site, about, os.urandom(SEED), os.urandom(SEED), os.urandom(SEED))
    keys = PublicKeys(public_key(_mask_key(session)), public_key(_seal_key(session)))
    return session, keys


def shared(
    session: Session, peers: Mapping[str, PublicKeys], share: float
) -> tuple[Session, dict[str, bytes]]:
    """Share a site's secrets out among all that have told keys.

    Parameters
    ----------
    session : Session
    peers : mapping of site to PublicKeys
        With the site's own.
    share : float
        How large a part of them must be there at the end; see `threshold_of`.

    Returns
    -------
    The session, and by peer, without itself, a box that only this can open.

    Raises
    ------
    UserError
        Secrets have been shared already, or these peers cannot be.
    """
    _check_phase(session, "keys")
    _check_peers(session, peers)
    threshold, order = threshold_of(len(peers), share), sorted(peers)
    parts = zip(
        split(session.mask_seed, threshold, len(order)),
        split(session.self_seed, threshold, len(order)),
        strict=True,
    )
    shares = {peer: Shares(*part) for peer, part in zip(order, parts, strict=True)}
    boxes = {
        peer: sealed(_box_key(session, peers[peer]), b"".join(part), _way(session.site, peer))
        for peer, part in shares.items()
        if peer != session.site
    }
    held = {session.site: shares[session.site]}
    after = replace(session, phase="shared", threshold=threshold, peers=dict(peers), held=held)
    return after, boxes


def admitted(session: Session, boxes: Mapping[str, bytes]) -> Session:
    """Take in the boxes of all whose masks are to be in this site's vector.

    Raises
    ------
    UserError
        A vector has been masked already; there are too few; or a box is not what it should be.
    """
    _check_phase(session, "shared")
    unknown = set(boxes) - (set(session.peers) - {session.site})
    if unknown or len(boxes) + 1 < session.threshold:
        raise refused("boxes of too few sites, or of others than told their keys")
    held = dict(session.held)
    for peer, box in boxes.items():
        key, way = _box_key(session, session.peers[peer]), _way(peer, session.site)
        try:
            content = opened(key, box, way)
        except ValueError as error:
            raise refused("a box of shares that was changed on its way") from error
        held[peer] = Shares(content[:SHARE], content[SHARE:])
    return replace(session, phase="masked", held=held)


def masked(session: Session, values: Elements, ring: Ring) -> NDArray[Any]:
    """Return a site's vector ``[n]`` with its masks, as bytes ``[n, width]``; once a session.

    ``y_u = x_u + PRG(b_u) + sum_{v > u} PRG(s_uv) - sum_{v < u} PRG(s_uv)``, sites in the order of
    their names. Raises `UserError` if the boxes are not in.
    """
    _check_phase(session, "masked")
    total, own = values + self_mask(session.self_seed, len(values)), _mask_key(session)
    for peer in session.held:
        if peer != session.site:
            key = agreed(own, session.peers[peer].mask, mask_purpose(session.about))
            mask = pair_mask(key, len(values))
            total = total + mask if peer > session.site else total - mask
    return ring.pack(total)


def told(session: Session, survivors: Collection[str]) -> dict[str, bytes]:
    """Return what unmasks the sum of the survivors, after which the session must be forgotten.

    Of each that has sent its vector, the share of its self mask; of the others, whose masks with
    those are left over, the share of their mask key. Never both: who had both of one site from a
    threshold of sites would know its vector.

    Raises
    ------
    UserError
        Nothing was masked; or the survivors are too few, or others than sent boxes, or without this
        site.
    """
    _check_phase(session, "masked")
    there = set(survivors)
    if len(there) < session.threshold:
        raise refused(f"a sum of {len(there)} sites; it needs {session.threshold}")
    if not there <= set(session.held) or session.site not in there:
        raise refused("a sum of other sites than those that it has masked with")
    return {
        owner: shares.self_mask if owner in there else shares.mask
        for owner, shares in session.held.items()
    }


def mask_purpose(about: str) -> bytes:
    """Return what the key of a pair's mask is derived for."""
    return b"mask of " + about.encode()


def refused(what: str) -> UserError:
    """Return a site's refusal of what would give a site's own numbers away."""
    return UserError(
        f"Secure aggregation: the server asks for {what}. Refused.",
        public=f"secure aggregation does not allow {what}",
    )


def _check_phase(session: Session, phase: str) -> None:
    if session.phase != phase:
        raise refused(f"a step out of turn (after '{session.phase}')")


def _check_peers(session: Session, peers: Mapping[str, PublicKeys]) -> None:
    own = PublicKeys(public_key(_mask_key(session)), public_key(_seal_key(session)))
    if peers.get(session.site) != own:
        raise refused("a sum in which this site's own keys are others")
    if len(peers) < FEWEST:
        raise refused(f"a sum of {len(peers)} sites; it takes {FEWEST}")
    if len({key for keys in peers.values() for key in keys}) < 2 * len(peers):
        raise refused("a sum in which two sites have one key")
    try:
        for peer, keys in peers.items():
            if peer != session.site:
                agreed(_mask_key(session), keys.mask, b"check")
                agreed(_seal_key(session), keys.seal, b"check")
    except ValueError as error:
        raise refused("a sum with a key that is none") from error


def _mask_key(session: Session) -> X25519PrivateKey:
    return private_key(session.mask_seed)


def _seal_key(session: Session) -> X25519PrivateKey:
    return private_key(session.seal_seed)


def _box_key(session: Session, peer: PublicKeys) -> bytes:
    return agreed(_seal_key(session), peer.seal, b"box of " + session.about.encode())


def _way(sender: str, receiver: str) -> bytes:
    return json.dumps([sender, receiver]).encode()
