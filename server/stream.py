"""The run: a stream of experiences, rounds inside each, and an evaluation after each.

A run is a fixed list of steps. Each step depends on the adaptors alone, and leaves a checkpoint,
so resuming is starting at a later step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from flwr.app import RecordDict

from fedretune import wire
from fedretune.adaptors import Spec, build, from_arrays, to_arrays
from fedretune.errors import UserError
from fedretune.evaluation import BINS, bin_edges
from fedretune.methods.method import Order
from fedretune.seeds import derive_seed
from scenarios import RunConfig, taught
from server.aggregation import WeightedMean
from server.along import begun, settled
from server.federation import Federation, Reply, Terms, content_of
from server.folder import RunFolder
from server.models import GLOBAL, Arrays, Models, flatten, model_of
from server.record import record

#: Before any training: `zero-shot` is the frozen model, `adapted` the untrained adaptor.
BEFORE = -1


@dataclass(frozen=True)
class Step:
    """One step: ``train`` in a round of an experience, or ``evaluate`` a model after one."""

    kind: str
    experience: int
    round: int = -1
    model: str = "adapted"


def steps(order: Order, experiences: int, rounds: int) -> list[Step]:
    """Return the run's steps, in order; `experiences` is the length of the stream."""
    found = [Step("evaluate", BEFORE, model="zero-shot")]
    if order != "zero-shot":
        found.append(Step("evaluate", BEFORE))
    if order in ("zero-shot", "untrained"):
        return found
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
    def spec(self) -> Spec:
        """What is trained and travels."""
        return self.config.spec(self.terms.dim, len(self.terms.findings))

    def run(self, done: int, models: Models) -> Models:
        """Take every step after the first `done`; return the last adaptors.

        Raises
        ------
        UserError
            Too few sites answered. The run can be resumed.
        """
        if not done:
            seed = derive_seed(self.config.seed, "adaptor")
            models = {GLOBAL: to_arrays(build(self.spec, seed))}
        try:
            return self._take_steps(done, models)
        finally:
            self.folder.settle()

    def _take_steps(self, done: int, models: Models) -> Models:
        todo = steps(self.config.how.order, self.terms.steps, self.config.rounds)
        for number, step in enumerate(todo[done:], start=done + 1):
            if step.kind == "train":
                models = self._train_along(step, models)
            else:
                self._evaluate(step, models)
            self.folder.checkpoint(number, flatten(models))
        return models

    def _train_along(self, step: Step, models: Models) -> Models:
        """Train a round; around an experience's rounds, keep the mean along the stream."""
        if not self.config.stream_mean:
            return self._train(step, models)
        trained = self._train(step, begun(models) if step.round == 0 else models)
        if step.round < self.config.rounds - 1:
            return trained
        sites = self.config.sites or len(self.federation.members)
        steps = taught(self.config, self.terms.findings, sites)[: step.experience + 1]
        return settled(trained, self.spec.by_finding, steps, len(self.terms.findings))

    def _train(self, step: Step, models: Models) -> Models:
        with_images = [
            name
            for name, member in sorted(self.federation.members.items())
            if member.train_examples[step.experience]
        ]
        for name in sorted(set(self.federation.members) - set(with_images)):
            self.folder.site(name, step.experience, step.round, "no-images", "sits this round out")
        if not with_images:
            return models
        replies = self.federation.ask(
            "train",
            self._contents(step, with_images, models),
            wire.train_schema(self.spec, self.config.counted(len(self.terms.findings))),
            step.experience,
            step.round,
        )
        self._check_quorum(len(replies), len(with_images), step)
        examples = {
            name: int(str(reply.scalars["metrics"]["num-examples"]))
            for name, reply in replies.items()
        }
        self._tell_round(step, replies, examples, asked=len(with_images))
        if self.config.how.arrangement == "local":
            return {**models, **{name: each.arrays["adaptor"] for name, each in replies.items()}}
        return {**models, GLOBAL: self._average(replies, examples)}

    def _average(self, replies: Mapping[str, Reply], examples: Mapping[str, int]) -> Arrays:
        by_finding = self.spec.by_finding if self.config.averaging == "positives" else ()
        mean = WeightedMean(by_finding)
        for name in sorted(replies):
            arrays = replies[name].arrays
            positives = arrays["counts"]["positives"] if "counts" in arrays else None
            mean.add(arrays["adaptor"], examples[name], positives)
        return mean.result()

    def _contents(
        self, step: Step, sites: list[str], models: Models | None, **more: Arrays
    ) -> dict[str, RecordDict]:
        """Return a message's content for each site: its adaptor, and arrays for all.

        An adaptor is serialized once for all the sites that work with it; without `models` none
        is sent.
        """
        makers: dict[int, Callable[[], RecordDict]] = {}
        contents = {}
        for site in sites:
            sent = dict(more) if models is None else {**more, "adaptor": model_of(models, site)}
            key = id(sent.get("adaptor"))
            if key not in makers:
                makers[key] = content_of(sent, step.experience, step.round, self.folder.path.name)
            contents[site] = makers[key]()
        return contents

    def _tell_round(
        self, step: Step, replies: Mapping[str, Reply], examples: Mapping[str, int], asked: int
    ) -> None:
        for name in replies:
            self.folder.site(name, step.experience, step.round, "trained", "")
        losses = {
            name: float(str(each.scalars["metrics"]["loss"])) for name, each in replies.items()
        }
        total = sum(examples.values())
        self.folder.event(
            "round",
            experience=step.experience,
            round=step.round,
            sites=len(replies),
            asked=asked,
            examples=total,
            loss=sum(losses[name] * examples[name] for name in replies) / total,
            seconds=round(self.folder.seconds(), 3),
        )

    def _evaluate(self, step: Step, models: Models) -> None:
        """Ask where the scores lie, choose edges for all, ask for the counts between them."""
        sent = None if step.model == "zero-shot" else models
        schema = wire.coarse_schema(len(self.terms.findings))
        coarse = self._counts(step, "coarse", sent, schema, "coarse")
        edges = bin_edges(_sum(coarse), BINS)
        counts = self._counts(
            step,
            "histograms",
            sent,
            wire.histogram_schema(self.terms.experiences, len(self.terms.findings), BINS),
            "counts",
            edges={"edges": edges},
        )
        pooled = {**counts, "pooled": _sum(counts)}
        record(self.folder, self.terms, step, pooled, edges, self._scale(step, models))

    def _scale(self, step: Step, models: Models) -> float:
        """Return what turns a difference of cosines into the evaluated model's logit.

        Where each site has an adaptor of its own, the mean of theirs.
        """
        if step.model == "zero-shot":
            return 1.0
        sites = self.federation.members
        scales = [self._scale_of(model_of(models, site)) for site in sites]
        return sum(scales) / len(scales)

    def _scale_of(self, arrays: Arrays) -> float:
        return float(from_arrays(self.spec, arrays).logit_scale().detach())

    def _counts(
        self,
        step: Step,
        action: str,
        models: Models | None,
        schema: wire.Schema,
        name: str,
        **more: Arrays,
    ) -> dict[str, wire.Array]:
        members = [
            site
            for site, member in sorted(self.federation.members.items())
            if sum(member.test_examples)
        ]
        contents = self._contents(step, members, models, **more)
        replies = self.federation.ask(f"evaluate.{action}", contents, schema, step.experience)
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
