"""An evaluation: every site counts scores, and the counts add up to everybody's figures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from flwr.app import RecordDict

from fedretune import wire
from fedretune.adaptors import from_arrays
from fedretune.evaluation import BINS, bin_edges
from scenarios import RunConfig
from server.down import Down
from server.federation import Federation
from server.folder import RunFolder
from server.handshake import Terms
from server.messages import contents
from server.models import GLOBAL, Models, adaptors_of
from server.record import note_suppressed, record, record_pooled
from server.steps import Step
from server.strategies import Arrays
from server.sums import Sums


@dataclass(frozen=True)
class Evaluation:
    """How the models of a run are evaluated.

    Parameters
    ----------
    config, federation, terms, folder
        The run's.
    sums : Sums
        What adds up counts that no site tells.
    enough : callable (got, asked, step)
        Raises `UserError` where the quorum is not reached.
    down : Down, optional
        How the global adaptor is sent, where not always whole.
    """

    config: RunConfig
    federation: Federation
    terms: Terms
    folder: RunFolder
    sums: Sums
    enough: Callable[[int, int, Step], None]
    down: Down | None = None

    def run(self, step: Step, models: Models) -> None:
        """Ask where the scores lie, choose edges for all, ask for the counts between them."""
        sent = None if step.model == "zero-shot" else models
        edges = bin_edges(self._coarse(step, sent), BINS)
        schema = wire.histogram_schema(self.terms.experiences, len(self.terms.findings), BINS)
        ask = (step, "histograms", sent, schema)
        scale = self._scale(step, models)
        if self.config.secure_aggregation:
            pooled, sites = self._summed(*ask, edges={"edges": edges})
            record_pooled(self.folder, self.terms, step, pooled, sites, edges, scale)
        else:
            counts = self._counts(*ask, edges={"edges": edges})
            record(self.folder, self.terms, step, counts, edges, scale)

    def _coarse(self, step: Step, models: Models | None) -> wire.Array:
        """Return where the scores of all sites lie."""
        ask = (step, "coarse", models, wire.coarse_schema(len(self.terms.findings)))
        if self.config.secure_aggregation:
            return self._summed(*ask)[0]
        coarse: wire.Array = np.zeros((), dtype=np.int64)
        for _, each in self._counts(*ask):
            coarse = coarse + each.astype(np.int64)
        return coarse

    def _summed(
        self, step: Step, action: str, models: Models | None, schema: wire.Schema, **more: Arrays
    ) -> tuple[wire.Array, int]:
        """Return the sum of the sites' counts, and of how many sites it is."""
        content = self._content(step, models, **more)
        return self.sums.counts(step, f"evaluate.{action}", self._evaluated(step), content, schema)

    def _evaluated(self, step: Step) -> list[str]:
        """Return the sites that are there and have test images."""
        members, present = self.federation.members, self.federation.present(step.experience)
        return [site for site in present if sum(members[site].test_examples)]

    def _scale(self, step: Step, models: Models) -> float:
        """Return what turns a difference of cosines into the evaluated model's logit.

        Where each site has an adaptor of its own, the mean of theirs.
        """
        if step.model == "zero-shot":
            return 1.0
        own = {owner: self._scale_of(arrays) for owner, arrays in adaptors_of(models).items()}
        scales = [own.get(site, own[GLOBAL]) for site in self.federation.members]
        return sum(scales) / len(scales)

    def _scale_of(self, arrays: Arrays) -> float:
        spec = self.terms.spec(self.config)
        return float(from_arrays(spec, arrays).logit_scale().detach())

    def _counts(
        self, step: Step, action: str, models: Models | None, schema: wire.Schema, **more: Arrays
    ) -> Iterator[tuple[str, wire.Array]]:
        """Yield each site's counts. Raises `UserError`, in the end, if too few sites answered."""
        members, content, got = self._evaluated(step), self._content(step, models, **more), 0
        for site, reply in self.federation.ask(
            f"evaluate.{action}", members, content, schema, step.experience
        ):
            got += 1
            (counts,) = reply.arrays["histogram"].values()
            note_suppressed(self.folder, site, step.experience, reply)
            yield site, counts
        self.enough(got, len(members), step)

    def _content(
        self, step: Step, models: Models | None, **more: Arrays
    ) -> Callable[[str], RecordDict]:
        where = (step.experience, step.round)
        return contents(models, more, where, self.folder.path.name, self.down)
