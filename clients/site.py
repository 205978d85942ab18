"""One hospital: its shards of the stream, and what it does with an adaptor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

import fedretune
from clients.memory import SiteMemory
from clients.private import learn_privately
from clients.rules import Rules
from clients.world import World
from fedretune.adaptors import Model, TunedSpec, as_arrays, from_arrays
from fedretune.compression.chain import fingerprint, first_adaptor
from fedretune.errors import UserError
from fedretune.evaluation import coarse_histogram, histograms
from fedretune.methods.method import Memory, Visit
from fedretune.objectives.difference import scores
from fedretune.seeds import derive_seed
from fedretune.strategies.part import Finish, Round
from fedretune.training import Term, TrainingResult, TrainingSettings, train
from fedretune.tuning.module import Tuned
from fedretune.wire import Array, ArrayRecords, ScalarRecords, Value

Arrays = Mapping[str, Array]
Scalars = dict[str, Value]

#: Of what a site remembers, what is the strategy's.
_STRATEGY = "strategy"


@dataclass(frozen=True)
class Task:
    """What a site trains in one round.

    Parameters
    ----------
    visit : Visit
        The adaptor as it came, and the images, with those that a remedy adds.
    examples : int
        The site's own images.
    positives : Tensor
        Shape ``[F]``: the positives among them.
    seed : int
        Of the images' order.
    terms : list[Term]
        What is added to the loss.
    finish : callable (model, TrainingResult) -> Contribution
        What the strategy adds to the reply, once the model is trained.
    """

    visit: Visit
    examples: int
    positives: torch.Tensor
    seed: int
    terms: list[Term]
    finish: Finish


@dataclass(frozen=True)
class Site:
    """A site of the run: `name`, the `world` that it lives in, and its `rules`, if it is real."""

    name: str
    world: World
    rules: Rules | None = None

    def greeting(self) -> ScalarRecords:
        """Return the handshake; what the server must know more of some runs, in its own records."""
        adaptor, config, moments = self.world.adaptor, self.world.config, self.world.moments
        told: dict[str, Scalars] = {"site": self.handshake()}
        if isinstance(adaptor, TunedSpec):
            told["trunk"] = {"layout": list(adaptor.trunk)}
        if config.compression_down_of(adaptor) is not None:
            told["first"] = {"first": fingerprint(first_adaptor(adaptor, config.seed))}
        if moments is not None:
            told["public"] = {"moments": moments.sha256}
        return told

    def handshake(self) -> Scalars:
        """Return what the server may know: versions, fingerprints, findings and counts."""
        world, split = self.world, self.world.config.evaluation_split
        return {
            "name": self.name,
            "version": fedretune.__version__,
            "backbone": world.embeddings.info.fingerprint,
            "prompts": world.prompt_set.fingerprint,
            "adaptor": world.adaptor.fingerprint,
            "dim": world.adaptor.dim,
            "findings": list(world.scenario.findings),
            "train-examples": [
                self._told(world.scenario.lesson(self.name, step).rows)
                for step in range(world.scenario.steps)
            ],
            "test-examples": [
                self._told(world.scenario.shard(self.name, experience, split))
                for experience in range(world.scenario.experiences)
            ],
        }

    def _told(self, rows: Array) -> int:
        """Return what is told of a number of images: where only sums are, if there are any."""
        return int(len(rows) > 0) if self.world.config.secure_aggregation else len(rows)

    def train(
        self, sent: ArrayRecords, experience: int, round_: int, memory: SiteMemory
    ) -> tuple[ArrayRecords, ScalarRecords]:
        """Train the global adaptor on what this site trains at this step of the stream.

        Parameters
        ----------
        sent : mapping of record to name to float32 array
            The global adaptor, and beside it what the strategy sends.
        experience, round_ : int
            Where the run is.
        memory : SiteMemory
            What the method's remedies and the strategy remember and what was left unsent, read
            and written here.

        Returns
        -------
        The arrays of a training reply, by record, among them the trained adaptor or, compressed,
        what was changed in it; and its scalars, by record.
        """
        config, where = self.world.config, (experience, round_)
        task = self.task(sent, *where, memory)
        told: ScalarRecords = {}
        if config.privacy.at_sites:
            result, spent = learn_privately(self, task, where, memory)
            model, told = task.visit.model, {"privacy": spent}
        else:
            model, result = self._learn(task, where)
        contribution = task.finish(model, result)
        if contribution.memory:
            memory.leave(_STRATEGY, *where, contribution.memory)
        if round_ == config.rounds - 1 and self.world.remedies:
            self._end(replace(self._visit(sent["adaptor"], experience), model=model), memory)
        metrics: Scalars = {
            "experience": experience,
            "round": round_,
            "num-examples": task.examples,
            "loss": result.loss,
        }
        records = self._outgoing(sent["adaptor"], as_arrays(model), where, memory)
        if config.averaging == "positives":
            records["counts"] = {"positives": task.positives.numpy().astype(np.uint32)}
        scalars = {"metrics": metrics, **contribution.scalars, **told}
        return {**records, **contribution.arrays}, scalars

    def task(self, sent: ArrayRecords, experience: int, round_: int, memory: SiteMemory) -> Task:
        """Return what `train` trains. Raises `UserError` where there is no image."""
        remedies = self.world.remedies
        visit = self._visit(sent["adaptor"], experience)
        remembered = self._begin(visit, memory)
        fuller = _with_rows(visit, [each.rows(remembered) for each in remedies])
        left = memory.left(_STRATEGY, experience, round_)
        turn = self.world.config.site_part().begin(Round(fuller, self.settings, sent, left))
        terms = [term for each in remedies for term in each.terms(remembered, fuller)]
        return Task(
            fuller,
            len(visit.images),
            (visit.labels == 1).sum(0),
            derive_seed(self.world.config.seed, "train", self.name, experience, round_),
            [*terms, *turn.terms],
            turn.finish,
        )

    def _learn(self, task: Task, where: tuple[int, int]) -> tuple[Model, TrainingResult]:
        """Train the task, or take what `clients.ahead` has trained of it."""
        if (ahead := self.world.learnt.pop((self.name, *where), None)) is not None:
            return ahead
        visit = task.visit
        result = train(
            visit.model,
            visit.images,
            visit.labels,
            self.world.prompts,
            self.settings,
            task.seed,
            task.terms,
        )
        return visit.model, result

    def _outgoing(
        self, start: Arrays, trained: Arrays, where: tuple[int, int], memory: SiteMemory
    ) -> dict[str, Arrays]:
        """Return the record of the trained adaptor, or of its update where that is compressed."""
        compression = self.world.config.compression_of(self.world.adaptor)
        if compression is None:
            return {"adaptor": trained}
        update, residual = compression.compress(start, trained, memory.residual(*where))
        memory.keep_residual(*where, residual)
        return {"update": update}

    def _visit(self, arrays: Arrays, experience: int) -> Visit:
        """Return the images, labels and adaptor that this site trains at a step."""
        world, config = self.world, self.world.config
        lesson = world.scenario.lesson(self.name, experience)
        if not len(lesson.rows):
            raise UserError(
                f"Site '{self.name}' has no image in experience {experience + 1}.",
                public="no images in this experience",
            )
        labels = world.labels[lesson.rows].copy()
        labels[~lesson.trains] = 0.0 if config.unlabelled == "negative" else np.nan
        labels[~lesson.labelled] = np.nan
        return Visit(
            self._model(arrays, experience),
            world.images(lesson.rows),
            torch.from_numpy(labels),
            torch.from_numpy(lesson.trains),
            world.prompts,
            config.pooling,
            experience,
            derive_seed(config.seed, "visit", self.name, experience),
        )

    def _model(self, arrays: Arrays, experience: int) -> Model:
        """Return the adaptor to train: of LoRA the experience's stage, by this site's rank."""
        world = self.world
        model = from_arrays(world.adaptor, arrays)
        if isinstance(model, Tuned):
            model.stage = min(experience, model.spec.stages - 1)
            if world.config.adaptor.ranks:
                model.narrow(world.config.adaptor.rank_of(world.scenario.sites.index(self.name)))
        return model

    def _begin(self, visit: Visit, memory: SiteMemory) -> Memory:
        """Return what is remembered in this experience; on its first round, the hooks decide."""
        if not self.world.remedies:
            return {}
        remembered = memory.begun(visit.experience)
        if remembered is None:
            remembered = memory.latest(visit.experience)
            for remedy in self.world.remedies:
                remembered = remedy.before(remembered, visit)
            memory.begin(visit.experience, remembered)
        return remembered

    def _end(self, visit: Visit, memory: SiteMemory) -> None:
        remembered = memory.begun(visit.experience) or {}
        for remedy in self.world.remedies:
            remembered = remedy.after(remembered, visit)
        memory.end(visit.experience, remembered)

    def coarse(self, arrays: Arrays | None) -> Arrays:
        """Return where the scores lie; the server chooses the histograms' edges from it."""
        return {
            "coarse": coarse_histogram(
                self._scores(arrays), self.world.labels[self.evaluation_rows]
            )
        }

    def histograms(self, arrays: Arrays | None, edges: Array) -> Arrays:
        """Return counts [rules, experiences, findings, 2, bins] of the evaluation split."""
        world, rows = self.world, self.evaluation_rows
        counts = histograms(
            self._scores(arrays),
            world.labels[rows],
            world.scenario.experience[rows],
            edges,
            world.scenario.experiences,
        )
        return {"counts": counts}

    @property
    def evaluation_rows(self) -> Array:
        """The manifest rows that this site is evaluated on, over all experiences."""
        return self.world.scenario.rows(self.name, self.world.config.evaluation_split)

    def _scores(self, arrays: Arrays | None) -> dict[str, Array]:
        """Score every evaluation image; without `arrays` the frozen model, zero-shot."""
        world = self.world
        adaptor = None if arrays is None else from_arrays(world.adaptor, arrays)
        parts = [
            scores(adaptor, images, world.prompts, world.config.pooling)
            for images in world.shown(self.evaluation_rows, adaptor is None)
        ]
        return {rule: torch.cat([each[rule] for each in parts]).numpy() for rule in parts[0]}

    @property
    def settings(self) -> TrainingSettings:
        """How the site trains."""
        config = self.world.config
        return TrainingSettings(**config.train.model_dump(), pooling=config.pooling)


def _with_rows(visit: Visit, extra: Sequence[tuple[Array, Array] | None]) -> Visit:
    """Return a visit with more rows, whose every label counts as trained."""
    given = [rows for rows in extra if rows is not None]
    if not given:
        return visit
    images, labels = zip(
        *[[torch.from_numpy(each) for each in rows] for rows in given], strict=True
    )
    return replace(
        visit,
        images=torch.cat([visit.images, *images]),
        labels=torch.cat([visit.labels, *labels]),
        trains=torch.cat([visit.trains, *(~each.isnan() for each in labels)]),
    )
