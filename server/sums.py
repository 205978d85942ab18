"""What a run sums securely: the sites' updates of a round, and their histograms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from fedretune import wire
from fedretune.adaptors import Spec
from fedretune.errors import UserError
from fedretune.privacy.secure.about import About
from fedretune.privacy.secure.fixed import Numbers, UpdateSum, decode_counts
from scenarios import RunConfig, counts_ring, update_code, update_ring
from server.federation import Federation
from server.handshake import Terms
from server.kept_sums import KeptSums
from server.record import note_privacy
from server.secure import Content, Summing, Wanted
from server.steps import Step

#: The run folder's folder of sums, while the run goes on.
FOLDER = "sums"
#: Whose the one update is that a strategy gets of a sum.
SUM = "@sum"

Decoded = TypeVar("Decoded")


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
        most = len(sites) * config.secure_examples
        update, told = self._sum(wanted, lambda total: code.decode(total, sent, most))
        for site, said in told.items():
            note_privacy(self.federation.folder, config, site, step, said)
        return update, list(told)

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
        most = len(sites) * self.config.secure_examples
        counts, told = self._sum(wanted, lambda total: decode_counts(total, cells.shape, most))
        return counts, len(told)

    def _sum(
        self, wanted: Wanted, decode: Callable[[Numbers], Decoded]
    ) -> tuple[Decoded, Mapping[str, wire.ScalarRecords]]:
        """Return what a sum says, and what each site told beside its vector.

        Of the sites, or what they told before the server was killed.
        """
        kept = KeptSums(self.federation.folder.path / FOLDER)
        before = kept.find(wanted.about)
        found = before or Summing(self.federation, self.config.secure_threshold, wanted).result()
        try:
            decoded = decode(found.total)
        except ValueError as error:
            raise _no_sum(wanted.about, error) from error
        if before is None:
            kept.keep(wanted.about, found)
        return decoded, found.told

    def _about(self, step: Step, kind: str) -> About:
        return About(self.run, kind, step.model, step.experience, step.round)


def _no_sum(about: About, error: ValueError) -> UserError:
    return UserError(
        f"Secure aggregation: what the sites sent adds up to {error} ({about.text}). One of them "
        "sent something else than it should, and nobody can see which: find it by their own logs, "
        "then go on with --resume."
    )
