"""The run: a stream of experiences, rounds inside each, and an evaluation after each.

A run is a fixed list of steps. Each step depends on the global adaptor alone, and leaves a
checkpoint, so resuming is starting at a later step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedretune import wire
from fedretune.adaptors import AdaptorSpec, build, load_arrays, to_arrays
from fedretune.errors import UserError
from fedretune.evaluation import BINS, bin_edges
from fedretune.seeds import derive_seed
from scenarios import RunConfig
from server.aggregation import fedavg
from server.federation import Federation, Terms, content_of
from server.folder import RunFolder
from server.record import record

Arrays = Mapping[str, wire.Array]

#: Before any training: `zero-shot` is the frozen model, `adapted` the untrained adaptor.
BEFORE = -1


@dataclass(frozen=True)
class Step:
    """One step: ``train`` in a round of an experience, or ``evaluate`` a model after one."""

    kind: str
    experience: int
    round: int = -1
    model: str = "adapted"


def steps(experiences: int, rounds: int) -> list[Step]:
    """Return the run's steps, in order."""
    found = [Step("evaluate", BEFORE, model="zero-shot"), Step("evaluate", BEFORE)]
    for experience in range(experiences):
        found += [Step("train", experience, round_) for round_ in range(rounds)]
        found.append(Step("evaluate", experience))
    return found


@dataclass(frozen=True)
class Stream:
    """A run under way: its config, its sites and what they agreed on, and its folder."""

    config: RunConfig
    federation: Federation
    terms: Terms
    folder: RunFolder

    @property
    def spec(self) -> AdaptorSpec:
        """The adaptor that travels."""
        return self.config.adaptor.spec(self.terms.dim)

    def run(self, done: int, arrays: Arrays) -> Arrays:
        """Take every step after the first `done`; return the last global adaptor.

        Raises
        ------
        UserError
            Too few sites answered. The run can be resumed.
        """
        if not done:
            seed = derive_seed(self.config.seed, "adaptor")
            arrays = to_arrays(build(self.spec, seed))
        todo = steps(self.terms.experiences, self.config.rounds)
        for number, step in enumerate(todo[done:], start=done + 1):
            if step.kind == "train":
                arrays = self._train(step, arrays)
            else:
                self._evaluate(step, arrays)
            self.folder.checkpoint(number, arrays)
        return arrays

    def _train(self, step: Step, arrays: Arrays) -> Arrays:
        with_images = [
            name
            for name, member in sorted(self.federation.members.items())
            if member.train_examples[step.experience]
        ]
        for name in sorted(set(self.federation.members) - set(with_images)):
            self.folder.site(name, step.experience, step.round, "no-images", "sits this round out")
        content = content_of({"adaptor": arrays}, step.experience, step.round)
        replies = self.federation.ask(
            "train",
            {name: content() for name in with_images},
            wire.train_schema(self.spec),
            step.experience,
            step.round,
        )
        self._check_quorum(len(replies), len(with_images), step)
        metrics = {name: reply.scalars["metrics"] for name, reply in replies.items()}
        examples = {name: int(str(values["num-examples"])) for name, values in metrics.items()}
        for name in replies:
            self.folder.site(name, step.experience, step.round, "trained", "")
        total = sum(examples.values())
        self.folder.event(
            "round",
            experience=step.experience,
            round=step.round,
            sites=len(replies),
            asked=len(with_images),
            examples=total,
            loss=sum(float(str(metrics[n]["loss"])) * examples[n] for n in replies) / total,
            seconds=round(self.folder.seconds(), 3),
        )
        return fedavg({n: (examples[n], replies[n].arrays["adaptor"]) for n in replies})

    def _evaluate(self, step: Step, arrays: Arrays) -> None:
        """Ask where the scores lie, choose edges for all, ask for the counts between them."""
        sent = {} if step.model == "zero-shot" else {"adaptor": arrays}
        coarse = self._counts(
            step, "coarse", sent, wire.coarse_schema(len(self.terms.findings)), "coarse"
        )
        edges = bin_edges(_sum(coarse), BINS)
        counts = self._counts(
            step,
            "histograms",
            {**sent, "edges": {"edges": edges}},
            wire.histogram_schema(self.terms.experiences, len(self.terms.findings), BINS),
            "counts",
        )
        pooled = {**counts, "pooled": _sum(counts)}
        record(self.folder, self.terms, step, pooled, edges, self._scale(step, arrays))

    def _scale(self, step: Step, arrays: Arrays) -> float:
        """Return what turns a difference of cosines into the evaluated model's logit."""
        if step.model == "zero-shot":
            return 1.0
        adaptor = build(self.spec, seed=0)
        load_arrays(adaptor, arrays)
        return float(adaptor.logit_scale().detach())

    def _counts(
        self,
        step: Step,
        action: str,
        sent: Mapping[str, Arrays],
        schema: wire.Schema,
        name: str,
    ) -> dict[str, wire.Array]:
        members = [
            site
            for site, member in sorted(self.federation.members.items())
            if sum(member.test_examples)
        ]
        content = content_of(sent, step.experience, -1)
        replies = self.federation.ask(
            f"evaluate.{action}", {site: content() for site in members}, schema, step.experience
        )
        self._check_quorum(len(replies), len(members), step)
        return {site: reply.arrays["histogram"][name] for site, reply in replies.items()}

    def _check_quorum(self, got: int, asked: int, step: Step) -> None:
        needed = max(1, math.ceil(self.config.quorum * asked))
        if got < needed:
            where = f"experience {step.experience}"
            where += f", round {step.round}" if step.round >= 0 else ", evaluation"
            raise UserError(
                f"Only {got} of {asked} sites gave a sound answer ({where}), and the quorum is "
                f"{needed}; {self.folder.path / 'sites.csv'} says why. Nothing is lost: mend it "
                "and go on with --resume."
            )


def _sum(counts: Mapping[str, wire.Array]) -> wire.Array:
    total: wire.Array = np.sum([counts[site].astype(np.int64) for site in sorted(counts)], axis=0)
    return total
