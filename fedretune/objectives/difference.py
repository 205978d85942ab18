"""RE-tune's objective: the difference of two cosines, following its authors' earlier code.

With a the image adaptor and b the text adaptor, an image x and the prompts p of a finding:
cos_pos = cos(a(x), mean of b(p) over the positive prompts), cos_neg likewise, and the logit is
``scale * (cos_pos - cos_neg)``, in [-2, 2] without a scale.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fedretune.adaptors.module import Adaptor, Probe
from fedretune.errors import one_of
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings, directed, undirected
from fedretune.tuning.module import Tuned

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: How the prompts of a finding become one cosine: `mean` of the adapted prompts, then the cosine;
#: or the `max` of the cosines.
POOLINGS = ("mean", "max")
#: Where a finding's positives get their weight in the loss from.
BALANCES = ("none", "sqrt", "full")
#: What becomes of a finding of which the images at hand have one class only.
ONE_CLASS = ("train", "mask")
#: The largest weight of a positive: one image in a site of thousands must not be all that counts.
WEIGHT_CAP = 100.0


def cosines(
    model: "Model | None",
    images: Tensor | Directed,
    prompts: PromptEmbeddings,
    pooling: str = "mean",
) -> tuple[Tensor, Tensor]:
    """Return the cosines of each image with each finding's positive and negative prompts.

    Parameters
    ----------
    model : Adaptor | Probe | Tuned | None
        None compares the backbone's own vectors: zero-shot. A probe, or a linear head, compares
        nothing: its score stands for the positive cosine, and 0 for the negative one.
    images : Tensor | Directed
        Shape ``[n, d]``, the backbone's vectors; the encoder does not normalise them, nor need you.
        For what is tuned inside the backbone, rows of its tokens.
        Who compares the same images again and again finds their directions once (`directed`).
    prompts : PromptEmbeddings
        Of `F` findings.
    pooling : str (default: "mean")
        One of `POOLINGS`.

    Returns
    -------
    tuple[Tensor, Tensor]
        (positive, negative), each ``[n, F]`` in [-1, 1] but for rounding.
    """
    one_of("pooling of prompts", pooling, POOLINGS)
    given = images if isinstance(images, Directed) else seen(model, images)
    found = _own_scores(model, given)
    if found is not None:
        return found, torch.zeros_like(found)
    assert not isinstance(model, Probe)
    compared = _compared(model, given)
    if pooling == "mean":
        positive, negative = _pooled(model, prompts).unbind(1)
        return compared @ positive.T, compared @ negative.T
    frozen = (prompts.positive, prompts.negative)
    positive, negative = frozen if model is None else model.text(prompts)
    return _largest(compared, positive), _largest(compared, negative)


def seen(model: "Model | None", images: Tensor) -> Directed:
    """Return images as `model` looks at them: whose rows are tokens needs no directions."""
    return undirected(images) if isinstance(model, Tuned) else directed(images)


def logits_of(
    model: "Model", images: Tensor | Directed, prompts: PromptEmbeddings, pooling: str = "mean"
) -> Tensor:
    """Return the logits ``[n, F]`` that training works on; the parameters are `cosines`'."""
    given = images if isinstance(images, Directed) else seen(model, images)
    found = _own_scores(model, given)
    if found is None and pooling == "mean":
        assert not isinstance(model, Probe)
        # One product where `cosines` takes two: a step is so small that it shows.
        positive, negative = _pooled(model, prompts).unbind(1)
        found = _compared(model, given) @ (positive - negative).T
    elif found is None:
        positive, negative = cosines(model, given, prompts, pooling)
        found = positive - negative
    return model.logit_scale() * found


@torch.no_grad()
def scores(
    model: "Model | None", images: Tensor, prompts: PromptEmbeddings, pooling: str = "mean"
) -> dict[str, Tensor]:
    """Return each image's score for each finding, by both scoring rules, without a gradient.

    `difference` is cos_pos - cos_neg, what training works on; `positive` is cos_pos alone, which
    the authors' earlier code reports AUROC of. Each is ``[n, F]``. The parameters are `cosines`'.
    """
    positive, negative = cosines(model, images, prompts, pooling)
    return {"difference": positive - negative, "positive": positive}


def masked_bce(
    logits: Tensor, targets: Tensor, labelled: Tensor | None, weights: Tensor | None = None
) -> Tensor:
    """Return binary cross-entropy, the mean over labelled entries; 0 where there is none.

    Parameters
    ----------
    logits, targets : Tensor
        Shape ``[n, F]``. A target that is not labelled must be a number all the same.
    labelled : Tensor | None
        Shape ``[n, F]``, 1.0 or 0.0 (`split_labels` gives both). None where all are: the same
        loss, for less work.
    weights : Tensor | None (default: None)
        Shape ``[F]``: what each positive counts for (`positive_weights`).
    """
    if labelled is None:
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    total = F.binary_cross_entropy_with_logits(
        logits, targets, weight=labelled, pos_weight=weights, reduction="sum"
    )
    return total / labelled.sum().clamp_min(1.0)


def split_labels(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Split labels ``[n, F]``, NaN where not labelled, into `masked_bce`'s (targets, labelled)."""
    return labels.nan_to_num(nan=0.0), (~labels.isnan()).to(labels.dtype)


def without_one_class(labels: Tensor) -> Tensor:
    """Return labels ``[n, F]`` in which a finding without positives or negatives is NaN."""
    both = (labels == 1).any(0) & (labels == 0).any(0)
    return labels.where(both, torch.nan)


def positive_weights(labels: Tensor, balance: str) -> Tensor:
    """Return what a positive of each finding counts for in the loss, from these labels alone.

    Parameters
    ----------
    labels : Tensor
        Shape ``[n, F]``: 1, 0, NaN where not labelled.
    balance : str
        `none` (1), `full` (negatives / positives: both classes count the same) or `sqrt`, the root
        of it. At most `WEIGHT_CAP`, and 1 for a finding without positives or without negatives.

    Returns
    -------
    Tensor
        Shape ``[F]``, of the labels' dtype.
    """
    one_of("balance", balance, BALANCES)
    ones = torch.ones(labels.shape[1], dtype=labels.dtype)
    if balance == "none":
        return ones
    targets, labelled = split_labels(labels)
    positives = targets.sum(0)
    negatives = labelled.sum(0) - positives
    ratio = negatives / positives.clamp_min(1.0)
    weights = ratio if balance == "full" else ratio.sqrt()
    return torch.where((positives > 0) & (negatives > 0), weights.clamp_max(WEIGHT_CAP), ones)


def _own_scores(model: "Model | None", images: Directed) -> Tensor | None:
    """Return what a model that compares nothing makes of images; None from one that compares."""
    if isinstance(model, Probe) or (isinstance(model, Tuned) and model.spec.head == "linear"):
        return model(images)  # type: ignore[no-any-return]
    return None


def _compared(model: Adaptor | Tuned | None, images: Directed) -> Tensor:
    """Return the unit vectors ``[n, d]`` of images that prompts are compared with."""
    return F.normalize(images.vectors if model is None else model.image(images), dim=-1)


def _pooled(model: Adaptor | Tuned | None, prompts: PromptEmbeddings) -> Tensor:
    """Return the unit vectors ``[F, 2, d]`` of each finding's positive and negative prompts."""
    return F.normalize(prompts.means if model is None else model.pooled(prompts), dim=-1)


def _largest(images: Tensor, prompts: Tensor) -> Tensor:
    """Return the largest cosine over each finding's prompts, ``[n, F]``, of unit `images`."""
    return torch.einsum("nd,fpd->nfp", images, F.normalize(prompts, dim=-1)).amax(-1)
