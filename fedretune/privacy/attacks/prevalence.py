"""How many of a site's images have a finding, from one update: property inference by regression.

Wainakh et al. 2022 ("User-Level Label Leakage from Gradients in Federated Learning", arXiv
2105.09369) read a site's labels off the last layer's gradients. Adaptors that are compared with
prompts have no such layer, so here it is learnt what an update says, as Melis et al. 2019 (arXiv
1805.04049) learn a property: the attacker trains shadow updates, from the adaptor that was sent, on
public images of which it chooses how many have what, and regresses the prevalence that it chose on
what each update did.

Threat model: a server that knows what it sent and what one site answered, the number of images and
how sites train (both are in the protocol), and holds labelled images of its own. What an update
says: how it changes the mean logit of each finding over public images, over those with and over
those without the finding, and how far it goes. Shadows are trained on three quarters of the
public images, and what updates do is looked at on the rest: a site's images are not among those
either.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.adaptors import from_arrays, to_arrays
from fedretune.objectives.difference import logits_of
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks.regression import Matrix, ridge
from fedretune.privacy.attacks.target import Examples
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from fedretune.adaptors import Model, Spec
    from fedretune.adaptors.files import Arrays

#: Trains a model in place, as a site would, on some examples, from a seed.
Learn = Callable[["Model", Examples, int], None]

#: How much the log odds of a finding among a shadow's images stray from the public ones.
STRAY = 1.0
#: One in so many public images is not trained on.
LOOKED = 4


@dataclass(frozen=True)
class Attacker:
    """What the attacker has.

    Parameters
    ----------
    public : Examples
        Labelled images, at least 4, in a random order.
    prompts : PromptEmbeddings
    learn : Learn
        How sites train.
    pooling : str (default: "mean")
    shadows : int (default: 64)
        How many updates it may train.
    seed : int (default: 1)
    """

    public: Examples
    prompts: PromptEmbeddings
    learn: Learn
    pooling: str = "mean"
    shadows: int = 64
    seed: int = 1

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        """The images that shadows are trained on, and those that updates are looked at with."""
        looked = torch.arange(len(self.public)) % LOOKED == 0
        return self.public.take(~looked), self.public.take(looked)

    @property
    def guess(self) -> Matrix:
        """The public prevalence ``[F]``: what is known without any update."""
        return prevalence(self.public.labels)


def by_prevalence(
    spec: "Spec",
    sent: "Arrays",
    answered: Sequence["Arrays"],
    sizes: Sequence[int],
    attacker: Attacker,
) -> Matrix:
    """Return the estimated prevalence ``[U, F]`` of each finding at each of `U` sites.

    Parameters
    ----------
    spec : Spec
    sent : mapping of name to array
        The adaptor that all of them were sent.
    answered : sequence of mappings of name to array
        What each made of it.
    sizes : sequence of int
        How many images each has.
    attacker : Attacker
    """
    before = _looks(from_arrays(spec, sent), attacker)
    known, told = [], []
    for number in range(attacker.shadows):
        size = sizes[number % len(sizes)]
        part = skewed(attacker.parts[0], size, derive_seed(attacker.seed, "skew", number))
        model = from_arrays(spec, sent)
        attacker.learn(model, part, derive_seed(attacker.seed, "shadow", number))
        told.append(_features(sent, to_arrays(model), before, model, size, attacker))
        known.append(prevalence(part.labels))
    asked = [
        _features(sent, each, before, from_arrays(spec, each), size, attacker)
        for each, size in zip(answered, sizes, strict=True)
    ]
    # A share's root strays about as much whatever the share is.
    found = ridge(np.stack(told), np.sqrt(np.stack(known)), np.stack(asked))
    return np.square(np.clip(found, 0.0, 1.0))


def skewed(examples: Examples, size: int, seed: int) -> Examples:
    """Return so many examples with other shares of each finding, again and again where few."""
    generator = torch.Generator().manual_seed(seed)
    stray = STRAY * torch.randn(examples.labels.shape[1], generator=generator)
    odds = (examples.labels.nan_to_num(nan=0.0) @ stray).softmax(0)
    again = size > len(examples) // 2  # else all that could be drawn would be, and none strays
    return examples.take(torch.multinomial(odds, size, again, generator=generator))


def prevalence(labels: Tensor) -> Matrix:
    """Return the share ``[F]`` of those labelled that are positive; NaN where none is labelled."""
    labelled = (~labels.isnan()).sum(0)
    share: Matrix = ((labels == 1).sum(0) / labelled).double().numpy()
    return share


def rank_correlation(found: Matrix, wanted: Matrix) -> float:
    """Return Spearman's rank correlation; 0 where one of the two is constant."""
    from scipy.stats import spearmanr

    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return 0.0
    return float(spearmanr(found, wanted).statistic)


@torch.no_grad()
def _looks(model: "Model", attacker: Attacker) -> Matrix:
    """Return the mean logits ``[3, F]`` over public images: all, with the finding, and without."""
    shown = attacker.parts[1]
    logits = logits_of(model, shown.images, attacker.prompts, attacker.pooling)
    kinds = torch.stack([torch.ones_like(logits), shown.labels == 1, shown.labels == 0])
    found: Matrix = ((kinds * logits).sum(1) / kinds.sum(1).clamp_min(1)).double().numpy()
    return found


def _features(
    sent: "Arrays",
    answered: "Arrays",
    before: Matrix,
    model: "Model",
    size: int,
    attacker: Attacker,
) -> Matrix:
    change = _looks(model, attacker) - before
    return np.concatenate([change.ravel(), _lengths(sent, answered), [np.log(size)]])


def _lengths(sent: Mapping[str, NDArray[np.float32]], answered: "Arrays") -> Matrix:
    """Return how far each tensor went."""
    return np.array([np.linalg.norm(answered[name] - sent[name]) for name in sorted(sent)])
