"""What a real site signs with its own key, where the server asks for it."""

from flwr.app import ConfigRecord, Message

from clients.site import Site
from fedretune.errors import UserError
from fedretune.handshake import CHALLENGE, DIGITS, PURPOSE, SIGNATURE, Asked
from fedretune.identity import sign
from fedretune.wire import ScalarRecords


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


def _number(challenge: ConfigRecord) -> str:
    """Return the server's number: nothing that a server could mean anything else by is signed."""
    number = str(challenge.get("number", ""))
    if len(number) != DIGITS or not set(number) <= set("0123456789abcdef"):
        raise UserError(
            f"The server wants something else signed than a number of {DIGITS} digits. Refused.",
            public="it signs numbers alone",
        )
    return number
