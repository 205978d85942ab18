"""Whether the search would have found something: a canary, hidden in a message in every way."""

import base64
import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping

from fedretune.privacy.audit.canaries import Canaries, Canary
from fedretune.privacy.audit.search import Index, search_for

#: Ways to hide bytes that the search must see through.
CONTROLS: Mapping[str, Callable[[bytes], bytes]] = {
    "raw": lambda content: content,
    "base64": base64.b64encode,
    "hex": lambda content: content.hex().encode(),
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zlib in base64": lambda content: base64.urlsafe_b64encode(zlib.compress(content)),
}


def controls(message: bytes, canary: Canary) -> dict[str, bool]:
    """Return, for each way and form, whether the canary was found in the midst of a message."""
    index, found = Index(Canaries.of([canary])), {}
    searched = {form for form, _ in canary.pieces()}
    middle = len(message) // 2 + 1  # an odd place, as good as any
    for how, hide in CONTROLS.items():
        for form, content in canary.forms():
            if form not in searched:
                continue  # all black, say
            spoilt = message[:middle] + hide(content) + message[middle:]
            hits = search_for(index, spoilt)
            found[f"{form}, {how}"] = any(each.form == form for each in hits)
    return found
