"""Which sum a message is about: nothing that is said in one is understood in another."""

import json
from typing import NamedTuple


class About(NamedTuple):
    """A sum's place in a run.

    Parameters
    ----------
    run : str
        The run's name.
    kind : str
        What the masked reply answers: ``train``, ``evaluate.coarse``, ``evaluate.histograms``.
    model : str
        ``zero-shot`` or ``adapted``.
    experience, round : int
        -1 where it is about none.
    """

    run: str
    kind: str
    model: str
    experience: int
    round: int

    @property
    def text(self) -> str:
        """The sum's name, which no other sum has."""
        return json.dumps(self)
