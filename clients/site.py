"""One hospital: its shards of the stream, and what it does with an adaptor."""

from dataclasses import dataclass

import numpy as np
import torch

import fedretune
from clients.world import World
from fedretune.adaptors import Adaptor, build, load_arrays, to_arrays
from fedretune.errors import UserError
from fedretune.evaluation import coarse_histogram, histograms
from fedretune.objectives.difference import scores
from fedretune.seeds import derive_seed
from fedretune.training import TrainingSettings, train
from fedretune.wire import Array, Value

Arrays = dict[str, Array]
Scalars = dict[str, Value]


@dataclass(frozen=True)
class Site:
    """A site of the run: `name` and the `world` that it lives in."""

    name: str
    world: World

    def handshake(self) -> Scalars:
        """Return what the server may know: versions, fingerprints, findings and counts."""
        world = self.world
        return {
            "name": self.name,
            "version": fedretune.__version__,
            "backbone": world.embeddings.info.fingerprint,
            "prompts": world.prompt_set.fingerprint,
            "adaptor": world.adaptor.fingerprint,
            "dim": world.adaptor.dim,
            "findings": list(world.scenario.findings),
            "train-examples": self._examples("train"),
            "test-examples": self._examples(world.config.evaluation_split),
        }

    def train(self, arrays: Arrays, experience: int, round_: int) -> tuple[Arrays, Scalars]:
        """Train the global adaptor on this experience's shard.

        Parameters
        ----------
        arrays : dict of name to float32 array
            The global adaptor.
        experience, round_ : int
            Where the run is.

        Returns
        -------
        The trained adaptor, and the scalars of a training reply.
        """
        world = self.world
        shard = world.scenario.shard(self.name, experience, "train")
        if not len(shard):
            raise UserError(
                f"Site '{self.name}' has no image in experience {experience + 1}.",
                public="no images in this experience",
            )
        adaptor = self._adaptor(arrays)
        labels = world.labels[shard].copy()
        labels[:, self._not_trained(experience)] = np.nan
        result = train(
            adaptor,
            torch.from_numpy(world.embeddings.take(shard)),
            torch.from_numpy(labels),
            world.prompts,
            self._settings(),
            derive_seed(world.config.seed, "train", self.name, experience, round_),
        )
        metrics: Scalars = {
            "experience": experience,
            "round": round_,
            "num-examples": result.examples,
            "loss": result.loss,
        }
        return to_arrays(adaptor), metrics

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
        adaptor = None if arrays is None else self._adaptor(arrays)
        images = torch.from_numpy(world.embeddings.take(self.evaluation_rows))
        with torch.no_grad():
            found = scores(adaptor, images, world.prompts, world.config.pooling)
        return {rule: score.numpy() for rule, score in found.items()}

    def _adaptor(self, arrays: Arrays) -> Adaptor:
        adaptor = build(self.world.adaptor, seed=0)
        load_arrays(adaptor, arrays)
        return adaptor

    def _examples(self, split: str) -> list[int]:
        scenario = self.world.scenario
        return [len(scenario.shard(self.name, e, split)) for e in range(scenario.experiences)]

    def _not_trained(self, experience: int) -> list[int]:
        trained = self.world.scenario.trained[experience]
        return [
            column
            for column, finding in enumerate(self.world.scenario.findings)
            if finding not in trained
        ]

    def _settings(self) -> TrainingSettings:
        config = self.world.config
        return TrainingSettings(**config.train.model_dump(), pooling=config.pooling)
