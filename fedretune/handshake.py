"""What a site signs when it says who it is, and what the server asks it to sign.

A node that answers has its name bound to a key by that: not by its node id, which changes, nor by
what it says. The signature covers the whole answer, the run, the node, and a number that the server
has drawn for this one question, so that no answer is good a second time or in another place.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from fedretune.wire import ScalarRecords

#: The record of the server's question, and that of the signature in the answer.
CHALLENGE, SIGNATURE = "challenge", "signature"
PURPOSE = "handshake"
#: Digits of the server's number: 128 bits in hexadecimal.
DIGITS = 32


@dataclass(frozen=True)
class Asked:
    """Where a handshake is signed: in which `run`, by which `node`, for which drawn `number`."""

    run: str
    node: int
    number: str

    def signed(self, answer: ScalarRecords) -> Mapping[str, object]:
        """Return what is signed of an answer: its fingerprint, its name, and where it is said."""
        told = {record: values for record, values in answer.items() if record != SIGNATURE}
        text = json.dumps(told, sort_keys=True).encode()
        return {
            "name": str(told["site"]["name"]),
            "answer": hashlib.sha256(text).hexdigest(),
            "run": self.run,
            "node": str(self.node),
            "number": self.number,
        }
