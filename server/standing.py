"""Who is put aside: a fold over what ``sites.csv`` says, so that a resumed run has the same."""

from collections import Counter
from dataclasses import dataclass

#: What a site did that says that it is there.
_ANSWERED = ("trained", "quarantined", "refused", "failed")


@dataclass
class _Silence:
    times: int
    experience: int


class Standing:
    """How the sites of a run have behaved so far.

    Who was quarantined `patience` times is put aside for the run. Who was silent as often, without
    a round trained in between, is put aside until the next experience, in which it is asked once
    more: so a node that is gone costs one wait an experience.

    Parameters
    ----------
    patience : int
        0 puts nobody aside.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._quarantined: Counter[str] = Counter()
        self._silent: dict[str, _Silence] = {}

    def note(self, site: str, experience: int, status: str) -> None:
        """Take in a row of ``sites.csv``, in the order of the rows."""
        if status == "quarantined":
            self._quarantined[site] += 1
        if status == "silent":
            before = self._silent.get(site, _Silence(0, experience))
            self._silent[site] = _Silence(before.times + 1, experience)
        elif status in _ANSWERED:
            self._silent.pop(site, None)

    def aside(self, site: str, experience: int) -> str:
        """Say why a site is not asked in an experience; empty if it is."""
        if not self._patience:
            return ""
        if self._quarantined[site] >= self._patience:
            return f"{self._quarantined[site]} replies were quarantined: it is asked no more"
        silence = self._silent.get(site)
        if silence and silence.times >= self._patience and silence.experience == experience:
            return "no reply again and again: it is asked again in the next experience"
        return ""
