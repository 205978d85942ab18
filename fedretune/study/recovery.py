"""How much of its images one update gives away: by batch, steps, optimizer and defence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fedretune.adaptors import AdaptorSpec, build, to_arrays
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.accounting import noise_for
from fedretune.privacy.attacks.inversion import invert
from fedretune.privacy.attacks.retrieval import cosines_to_truth, mean_baseline
from fedretune.privacy.attacks.span import by_span
from fedretune.privacy.attacks.target import Examples
from fedretune.privacy.dp import Mechanism, train_private
from fedretune.privacy.noise import Seeded
from fedretune.seeds import derive_seed
from fedretune.training import TrainingSettings, train

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: Updates that a row is the mean of.
TRIALS = 20
#: Images a batch; steps, of the plain ways to train.
BATCHES, STEPS = (1, 4, 16, 64, 256), (1, 20)
PLAIN, PRIVATE = ("sgd", "adam"), ("clipped", "epsilon-8", "epsilon-3", "epsilon-1")
LEARNING_RATE = {"adam": 1e-3}
DELTA, CLIP = 1e-3, 0.1


@dataclass(frozen=True)
class Way:
    """How a site trains: `training` is one of `PLAIN` or `PRIVATE`, on a batch, in some steps."""

    training: str
    batch: int
    steps: int

    def learn(self, model: "Model", part: Examples, prompts: PromptEmbeddings, seed: int) -> None:
        """Train a model in place."""
        settings = TrainingSettings(
            optimizer="adam" if self.training == "adam" else "sgd",
            lr=LEARNING_RATE.get(self.training, 0.1),
            batch_size=self.batch,
            epochs=self.steps,
        )
        if self.training in PLAIN:
            train(model, part.images, part.labels, prompts, settings, seed)
            return
        noise = 1e-12  # there must be some, and this is beyond rounding
        if self.training != "clipped":
            noise = noise_for(float(self.training.partition("-")[2]), DELTA, 1.0, self.steps)
        mechanism = Mechanism(noise, CLIP, 1.0, self.steps)
        given = (model, part.images, part.labels, prompts, settings, mechanism)
        train_private(*given, Seeded(seed))


def ways(batches: Sequence[int] = BATCHES) -> list[Way]:
    """Return all ways to train, on batches of these sizes."""
    plain = [Way(how, size, steps) for how in PLAIN for steps in STEPS for size in batches]
    return plain + [Way(how, size, 1) for how in PRIVATE for size in batches]


@dataclass(frozen=True)
class Recovery:
    """What `TRIALS` updates gave away on average.

    Parameters
    ----------
    training : str
    batch, steps : int
        The way that was trained.
    cosine : float
        Of the inverted vector with the nearest image of the batch.
    baseline : float
        Of the mean of all images with the nearest of the batch.
    nearest : float
        How often the nearest of all images to the inverted vector is one of the batch.
    by_span : float
        The share of the batch among as many images as it has, those that lie most in the span.
    chance : float
        What `by_span` is by luck.
    """

    training: str
    batch: int
    steps: int
    cosine: float
    baseline: float
    nearest: float
    by_span: float
    chance: float


def recover(examples: Examples, prompts: PromptEmbeddings, way: Way, seed: int) -> Recovery:
    """Let sites train RE-tune's default adaptor on a batch each; ask each answer for its images.

    Parameters
    ----------
    examples : Examples
        All images: half of them are the attacker's too, the batches are from the other half.
    prompts : PromptEmbeddings
    way : Way
        Of a batch of at most half of the images.
    seed : int
    """
    spec = AdaptorSpec("mlp", "double", examples.images.shape[1], True, "learnable")
    half = len(examples) // 2
    public = examples.images[half:].numpy()
    rows = []
    for trial in range(TRIALS):
        generator = torch.Generator().manual_seed(derive_seed(seed, "recovery", way.batch, trial))
        chosen = torch.randperm(half, generator=generator)[: way.batch]
        model = build(spec, derive_seed(seed, "recovery", trial))
        sent = to_arrays(model)
        way.learn(model, examples.take(chosen), prompts, derive_seed(seed, "learn", trial))
        rows.append(_row(spec, sent, to_arrays(model), examples.images, chosen, public))
    cosine, baseline, nearest, spanned = (float(each) for each in np.mean(rows, axis=0))
    chance = way.batch / len(examples)
    told = (way.training, way.batch, way.steps)
    return Recovery(*told, cosine, baseline, nearest, spanned, chance)


def _row(
    spec: AdaptorSpec,
    sent: dict[str, Any],
    answered: dict[str, Any],
    gallery: torch.Tensor,
    chosen: torch.Tensor,
    public: Any,
) -> list[float]:
    vector = torch.from_numpy(invert(spec, sent, answered, public)).float()
    truth = gallery[chosen]
    cosines = cosines_to_truth(vector.expand_as(gallery), gallery)
    shares = torch.from_numpy(by_span(spec, sent, answered, gallery.numpy()))
    most = shares.argsort(descending=True)[: len(chosen)]
    return [
        float(cosines[chosen].max()),
        float(mean_baseline(gallery, truth).max()),
        float(torch.isin(cosines.argmax(), chosen)),
        float(torch.isin(most, chosen).float().mean()),
    ]
