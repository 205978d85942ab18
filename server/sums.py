"""What a run sums securely: the sites' updates of a round, and their histograms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fedretune import wire
from fedretune.adaptors import Spec
from fedretune.errors import UserError
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.fixed import UpdateSum, decode_counts
from scenarios import RunConfig, counts_ring, update_code, update_ring
from server.federation import Federation
from server.handshake import Terms
from server.kept_sums import KeptSums, Sum
from server.record import note_privacy
from server.secure import Content, Summing, Wanted
from server.steps import Step

#: The run folder's folder of sums, while the run goes on.
FOLDER = "sums"
#: Whose the one update is that a strategy gets of a sum.
SUM = "@sum"


@dataclass(frozen=True)
class Sums:
    """The secure sums of a run.

    Parameters
    ----------
    config : RunConfig
    spec : Spec
        What is trained.
    federation : Federation
    terms : Terms
    run : str
        Its name.
    enough : callable (got, asked, step)
        Raises `UserError` where the quorum is not reached.
    """

    config: RunConfig
    spec: Spec
    federation: Federation
    terms: Terms
    run: str
    enough: Callable[[int, int, Step], None]

    def updates(
        self, step: Step, sites: Sequence[str], content: Content, sent: Mapping[str, wire.Array]
    ) -> tuple[UpdateSum, list[str]]:
        """Return the sum of a round's updates of the adaptor that was `sent`, and whose it is.

        Raises
        ------
        UserError
            Too few sites stayed, or their sum is none that there can be.
        """
        config = self.config
        code = update_code(config, self.spec, len(self.terms.findings))
        wanted = Wanted(
            self._about(step, "train"),
            sites,
            content,
            code.numbers,
            lambda peers: update_ring(config, code, peers),
            lambda got: self.enough(got, len(sites), step),
            config.privacy.at_sites,
        )
        found = self._sum(wanted)
        for site, said in found.told.items():
            note_privacy(self.federation.folder, config, site, step, said)
        try:
            return code.decode(found.total, sent), list(found.told)
        except ValueError as error:
            raise _no_sum(wanted.about, error) from error

    def counts(
        self, step: Step, kind: str, sites: Sequence[str], content: Content, schema: wire.Schema
    ) -> tuple[wire.Array, int]:
        """Return the sum of the sites' histograms, and of how many sites it is.

        Raises `UserError` as `updates` does.
        """
        (cells,) = schema.arrays["histogram"].values()
        wanted = Wanted(
            self._about(step, kind),
            sites,
            content,
            prod(cells.shape),
            lambda peers: counts_ring(self.config, peers),
            lambda got: self.enough(got, len(sites), step),
        )
        found = self._sum(wanted)
        most = len(found.told) * self.config.secure_examples
        try:
            return decode_counts(found.total, cells.shape, most), len(found.told)
        except ValueError as error:
            raise _no_sum(wanted.about, error) from error

    def _sum(self, wanted: Wanted) -> Sum:
        """Return a sum: of the sites, or the one that they told before the server was killed."""
        kept = KeptSums(self.federation.folder.path / FOLDER)
        if (before := kept.find(wanted.about)) is not None:
            return before
        found = Summing(self.federation, self.config.secure_threshold, wanted).result()
        kept.keep(wanted.about, found)
        return found

    def _about(self, step: Step, kind: str) -> About:
        return About(self.run, kind, step.model, step.experience, step.round)


def _no_sum(about: About, error: ValueError) -> UserError:
    return UserError(
        f"Secure aggregation: what the sites sent adds up to {error} ({about.text}). One of them "
        "sent something else than it should, and nobody can see which: find it by their own logs, "
        "then go on with --resume."
    )
