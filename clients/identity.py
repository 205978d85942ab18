"""What a real site signs with its own key, where the server asks for it."""

from collections.abc import Mapping

from flwr.app import ConfigRecord, Message

from clients.site import Site
from fedretune.errors import UserError
from fedretune.handshake import CHALLENGE, DIGITS, PURPOSE, SIGNATURE, Asked
from fedretune.identity import is_signed, sign
from fedretune.privacy.secure.site import PublicKeys, refused
from fedretune.wire import ScalarRecords

#: What the keys of a secure sum are signed for.
KEYS_OF_A_SUM = "keys of a secure sum"


def greeting(site: Site, message: Message) -> ScalarRecords:
    """Return a site's handshake: signed, if the server has sent a number to be signed with it.

    Raises
    ------
    UserError
        The site is a simulated one, which has no key, or its key cannot be read.
    """
    told = site.greeting()
    challenge = message.content.config_records.get(CHALLENGE)
    if challenge is None:
        return told
    if site.rules is None:
        raise UserError(
            "The run has a list of admitted sites (admitted), and a simulated site has no key: "
            "leave it out.",
            public="a simulated site has no key: leave admitted out",
        )
    asked = Asked(site.world.config.name, message.metadata.dst_node_id, _number(challenge))
    signature = sign(site.rules.key(), PURPOSE, asked.signed(told))
    return {**told, SIGNATURE: {"ecdsa": signature}}


def signed_keys(site: Site, about: str, keys: PublicKeys) -> ScalarRecords:
    """Return a real site's signature of its public keys of one sum. Raises `UserError`."""
    if site.rules is None:
        return {}
    said = _said(site.name, about, keys)
    return {SIGNATURE: {"ecdsa": sign(site.rules.key(), KEYS_OF_A_SUM, said)}}


def check_signed(
    site: Site, about: str, peers: Mapping[str, PublicKeys], signatures: Mapping[str, str]
) -> None:
    """Refuse a sum with keys that are not those of the sites that they are said to be of.

    Only where the site's policy wants it (``secure-aggregation = "signed"``): by the list of keys
    in its own folder, which no message of a server reaches. Raises `UserError`.
    """
    if site.rules is None or site.rules.policy.secure_aggregation != "signed":
        return
    known = site.rules.peers()
    for peer, keys in peers.items():
        if peer == site.name:  # whose keys are held against its secrets
            continue
        if peer not in known:
            raise refused(f"a sum with '{peer[:60]}', which is not in this site's peers.toml")
        if not is_signed(
            known[peer], signatures.get(peer, ""), KEYS_OF_A_SUM, _said(peer, about, keys)
        ):
            raise refused(f"a sum with keys that '{peer[:60]}' has not signed for it")


def _said(name: str, about: str, keys: PublicKeys) -> Mapping[str, str]:
    return {"name": name, "sum": about, "mask": keys.mask.hex(), "seal": keys.seal.hex()}


def _number(challenge: ConfigRecord) -> str:
    """Return the server's number: nothing that a server could mean anything else by is signed."""
    number = str(challenge.get("number", ""))
    if len(number) != DIGITS or not set(number) <= set("0123456789abcdef"):
        raise UserError(
            f"The server wants something else signed than a number of {DIGITS} digits. Refused.",
            public="it signs numbers alone",
        )
    return number
