"""The run: a stream of experiences, rounds inside each, and an evaluation after each.

Each step depends on the adaptors and what the strategy remembers alone, and leaves a checkpoint, so
resuming is starting at a later step.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from flwr.app import RecordDict

from fedretune import wire
from fedretune.adaptors import Spec
from fedretune.compression import UnsoundError
from fedretune.compression.chain import first_adaptor
from fedretune.errors import UserError
from fedretune.seeds import derive_seed
from fedretune.strategies import check_sites
from scenarios import RunConfig, check_summed, taking_part, taught
from server.along import begun, settled
from server.down import Down, down_of
from server.evaluation import Evaluation
from server.federation import Federation
from server.folder import RunFolder
from server.handshake import Terms
from server.messages import contents
from server.models import GLOBAL, Models, adaptor_of, flatten, state_of, with_state
from server.quorum import check_present
from server.record import note_privacy
from server.replies import Reply, examples_of
from server.site_privacy import SitePrivacy
from server.steps import Step, steps
from server.strategies import STRATEGIES, Arrays, Fold, Setup, Update
from server.strategies.products import RESIDUAL, ProductFold
from server.sums import SUM, Sums
from server.tally import Tally


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
        return self.terms.spec(self.config)

    def run(self, done: int, models: Models) -> Models:
        """Take every step after the first `done`; return the last adaptors.

        Raises
        ------
        UserError
            Too few sites answered. The run can be resumed.
        """
        if not done:
            models = {GLOBAL: first_adaptor(self.spec, self.config.seed)}
        try:
            return self._take_steps(done, models)
        finally:
            self.folder.settle()

    def _take_steps(self, done: int, models: Models) -> Models:
        self._check_sites()
        todo = steps(self.config.how.order, self.terms.steps, self.config.rounds)
        for number, step in enumerate(todo[done:], start=done + 1):
            if step.round == 0:
                self.federation.welcome(self.terms, step.experience)
            present = self.federation.present(step.experience)
            check_present(present, self.federation.members, self.config.quorum, self.folder.path)
            if step.kind == "train":
                trained = self._train_along(step, models)
                models = self._down.encoded(models, trained, step) if self._down else trained
            else:
                self._evaluate(step, models)
            self.folder.checkpoint(number, flatten(models))
            if self._hides and self._hiding.secure:
                self.folder.settle()  # or the round, with other noise, might leave again
        return models

    def _check_sites(self) -> None:
        """Raise `UserError` if in some experience there are too few sites for the strategy."""
        if not self.config.how.trains:
            return
        if self._hides:
            self._hiding.check()
        members, parameters = self.federation.members.values(), self.config.aggregation.model_dump()
        for experience in range(self.terms.steps):
            with_images = sum(bool(each.train_examples[experience]) for each in members)
            if with_images:
                where = f"a round of experience {experience} has"
                count = taking_part(with_images, self.config.participation)
                check_sites(self.config.strategy, parameters, count, where)
                if self.config.secure_aggregation:
                    check_summed(count, where)

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
        asked = self._asked(step)
        if not asked and not (self._hides and self._hiding.expected(step)):
            return models
        if self.config.secure_aggregation:
            return self._train_summed(step, models, asked)
        fold, tally, own = self._fold(step, models), Tally(), dict[str, Arrays]()
        for site, reply, adaptor in self._trained(step, models, asked):
            examples = tally.add(reply.scalars["metrics"])
            note_privacy(self.folder, self.config, site, step, reply.scalars)
            if self.config.how.arrangement == "local":
                own[site] = adaptor
            else:
                weight = 1 if self.config.averaging == "equal" else examples
                fold.add(Update(site, adaptor, weight, reply.arrays, reply.scalars))
        if asked:
            self._check_enough(tally.sites, len(asked), step)
        self._tell_round(step, tally, len(asked))
        if own:
            return {**models, **own}
        adaptor, state = fold.result()
        if RESIDUAL in state:
            share = float(state[RESIDUAL]["share"][0])
            where = {"experience": step.experience, "round": step.round}
            self.folder.event(RESIDUAL, **where, share=share)
        return with_state({**models, GLOBAL: adaptor}, state)

    def _train_summed(self, step: Step, models: Models, asked: Sequence[str]) -> Models:
        """Train a round of whose replies the sum is all that is known."""
        sent = self._content(step, models, **self._sent(models))
        found, sites = self._sums.updates(step, asked, sent, models[GLOBAL])
        for site in sites:
            self.federation.note(site, step.experience, step.round, "trained", "")
        tally = Tally(len(sites), found.examples, found.loss * found.examples)
        self._tell_round(step, tally, len(asked), cut=found.clipped)
        records = {} if found.positives is None else {"counts": {"positives": found.positives}}
        fold = self._fold(step, models)
        fold.add(Update(SUM, found.adaptor, found.examples, records))
        adaptor, state = fold.result()
        return with_state({**models, GLOBAL: adaptor}, state)

    @cached_property
    def _sums(self) -> Sums:
        run = self.folder.path.name
        return Sums(self.config, self.spec, self.federation, self.terms, run, self._check_enough)

    @cached_property
    def _down(self) -> Down | None:
        return down_of(self.config, self.spec, self.federation.holds)

    @property
    def _hides(self) -> bool:
        """Whether rounds hide whole sites."""
        return self.config.privacy.at_server

    @cached_property
    def _hiding(self) -> SitePrivacy:
        return SitePrivacy(self.config, self.terms.steps, self.federation.members, self.folder)

    def _fold(self, step: Step, models: Models) -> Fold:
        """Return the round's aggregation, as the strategy has it."""
        config = self.config
        by_finding = self.spec.by_finding if config.averaging == "positives" else ()
        sites = len(self.federation.members)
        parameters, lr = config.aggregation.model_dump(), config.train.lr
        setup = Setup(parameters, self.spec, sites, by_finding, lr)
        make = partial(STRATEGIES[config.strategy], setup, models[GLOBAL])
        if self._hides:
            return self._hiding.fold(step, models[GLOBAL], state_of(models), make)
        fold: Fold = make(state_of(models))
        if not config.averages_products:
            return fold
        return ProductFold(setup, models[GLOBAL], fold, sort=bool(config.adaptor.ranks))

    def _trained(
        self, step: Step, models: Models, asked: Sequence[str]
    ) -> Iterator[tuple[str, Reply, Arrays]]:
        """Yield each sound reply of a round with its adaptor; list every site's status."""
        restored = self._restored(step, models, asked)
        sent = partial(adaptor_of, models)
        return self.federation.plausible(restored, sent, step.experience, step.round)

    def _restored(
        self, step: Step, models: Models, asked: Sequence[str]
    ) -> Iterator[tuple[str, Reply, Arrays]]:
        compression, part = self.config.compression_of(self.spec), self.config.site_part()
        counted = self.config.counted(len(self.terms.findings))
        added, private = part.adds(self.spec), self.config.privacy.at_sites
        schema = wire.train_schema(self.spec, counted, compression, added, private)
        where = (step.experience, step.round)
        content = self._content(step, models, **self._sent(models))
        for site, reply in self.federation.ask("train", asked, content, schema, *where):
            try:
                steps = self.config.steps_of(examples_of(reply))
                part.check(reply.arrays, reply.scalars, steps)
                adaptor = (
                    compression.restore(adaptor_of(models, site), reply.arrays["update"])
                    if compression
                    else reply.arrays["adaptor"]
                )
            except (UnsoundError, wire.WireError) as error:
                self.federation.note(site, *where, "quarantined", str(error))
                continue
            yield site, reply, adaptor

    def _sent(self, models: Models) -> Mapping[str, Arrays]:
        """Return what the strategy sends to every site beside the adaptor, in float32."""
        state = state_of(models)
        return {
            name: {key: array.astype(np.float32) for key, array in state[name].items()}
            for name in self.config.traits.sends
            if name in state
        }

    def _asked(self, step: Step) -> list[str]:
        """Return the sites that train in a round: of those with images, the share that takes part.

        Those without are listed; those that are not drawn, or are put aside, are not.
        """
        with_images = []
        for name in self.federation.present(step.experience):
            if self.federation.members[name].train_examples[step.experience]:
                with_images.append(name)
            else:
                where = (step.experience, step.round)
                self.folder.site(name, *where, "no-images", "no images in this experience")
        if self._hides:
            return self._hiding.drawn(with_images, step)
        seed = derive_seed(self.config.seed, "participation", step.experience, step.round)
        return drawn(with_images, self.config.participation, seed)

    def _content(
        self, step: Step, models: Models | None, **more: Arrays
    ) -> Callable[[str], RecordDict]:
        """Return a maker of a message's content for a site: its adaptor, and arrays for all."""
        where = (step.experience, step.round)
        return contents(models, more, where, self.folder.path.name, self._down)

    def _tell_round(self, step: Step, tally: Tally, asked: int, **more: int) -> None:
        self.folder.event(
            "round",
            experience=step.experience,
            round=step.round,
            sites=tally.sites,
            asked=asked,
            examples=tally.examples,
            loss=tally.loss / max(tally.examples, 1),
            bytes_up=self.folder.bytes["up"],
            bytes_down=self.folder.bytes["down"],
            seconds=round(self.folder.seconds(), 3),
            **more,
        )

    def _evaluate(self, step: Step, models: Models) -> None:
        evaluation = Evaluation(
            self.config,
            self.federation,
            self.terms,
            self.folder,
            self._sums,
            self._check_enough,
            self._down,
        )
        evaluation.run(step, models)

    def _check_enough(self, got: int, asked: int, step: Step) -> None:
        needed, why = max(1, math.ceil(self.config.quorum * asked)), "the quorum is"
        least = self.config.traits.least(self.config.aggregation.model_dump())
        if step.kind == "train" and least > needed:
            needed, why = least, f"strategy = {self.config.strategy} needs"
        if got < needed:
            where = f"experience {step.experience}"
            where += f", round {step.round}" if step.round >= 0 else ", evaluation"
            raise UserError(
                f"Only {got} of {asked} sites gave a sound answer ({where}), and {why} "
                f"{needed}; {self.folder.path / 'sites.csv'} says why. Nothing is lost: mend it "
                "and go on with --resume."
            )


def drawn(sites: Sequence[str], share: float, seed: int) -> list[str]:
    """Return the sites that take part in a round: `share` of them, at least one, in their order."""
    count = taking_part(len(sites), share)
    if count == len(sites):
        return list(sites)
    chosen = np.random.default_rng(seed).choice(len(sites), count, replace=False)
    return [sites[position] for position in sorted(chosen)]
