"""What left the sites of a run, that nothing else did, and that no image is hidden in it.

An audit reads what `record-wire` kept. It has three parts: each reply is held against the schema of
what may leave and against its own bytes (`clients.audit`, the half that knows Flower); the ledger
is held against what was recorded; and planted images and vectors, the *canaries*, are searched for
in the bytes, also behind base64, hex and compression. A search that finds nothing proves nothing by
itself, so each audit hides one canary in a message of the run, in each of these ways, and says
whether it was found.
"""

from fedretune.privacy.audit.canaries import Canaries, Canary
from fedretune.privacy.audit.controls import CONTROLS, controls
from fedretune.privacy.audit.search import Index, Search, search_for
from fedretune.privacy.audit.verdict import Left, SiteTotals, Verdict, against_ledger, left_of

__all__ = [
    "CONTROLS",
    "Canaries",
    "Canary",
    "Index",
    "Left",
    "Search",
    "SiteTotals",
    "Verdict",
    "against_ledger",
    "controls",
    "left_of",
    "search_for",
]
