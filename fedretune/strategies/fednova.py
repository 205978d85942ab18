"""`fednova`: sites that take more steps count for no more, Wang et al. 2020 (arXiv 2007.07481).

A site tells how many steps it took. With plain SGD that is the paper's norm of what a step's
gradient counts for; with Adam, whose steps are of about one length, it is the like of it.
"""

from fedretune.adaptors import Spec
from fedretune.strategies import steps as work
from fedretune.strategies.part import Contribution, Round, SitePart, Turn
from fedretune.wire import ArrayRecords, ScalarRecords, Schema


class FedNova(SitePart):
    """The number of steps."""

    def adds(self, adaptor: Spec) -> Schema:
        """Return the one number."""
        return work.ADDED

    def check(self, arrays: ArrayRecords, scalars: ScalarRecords, steps: range) -> None:
        """Refuse a number of steps that the examples do not make."""
        work.check(scalars, steps)

    def begin(self, round_: Round) -> Turn:
        """Tell the steps in the end."""
        return Turn(finish=lambda model, result: Contribution(scalars=work.telling(result)))
