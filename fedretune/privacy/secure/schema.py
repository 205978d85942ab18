"""What may leave a site in a secure sum. Nothing of it tells of a patient without the others'."""

from fedretune.privacy.secure.ring import WIDEST
from fedretune.wire import PRIVACY, Schema, Tensor, WireError

#: A site's public keys, in hexadecimal digits; and, of a site that has a key of its own, what the
#: other sites know by that these are the keys of that site.
KEYS = Schema(scalars={"keys": {"mask": str, "seal": str}}, optional={"signature": {"ecdsa": str}})
#: Boxes that only other sites can open: shares of this site's secrets.
SHARES = Schema(scalars={"shares": {"to": list[str], "boxes": list[str]}})
#: Of each site, the share of one of its two secrets.
TOLD = Schema(scalars={"told": {"of": list[str], "shares": list[str]}})


def masked_schema(numbers: int, width: int, private: bool = False) -> Schema:
    """Return what a masked reply holds: `numbers` uniform numbers of `width` bytes each.

    Under differential privacy also what is spent, which is no secret.

    Raises
    ------
    WireError
        No ring has numbers of so many bytes.
    """
    if not 1 <= width <= WIDEST:
        raise WireError(f"numbers of {width} bytes")
    vector = Tensor((numbers, width), ("uint8",))
    return Schema({"masked": {"vector": vector}}, PRIVACY if private else {})
