"""How private is training at least? Canaries to learn by heart, and guesses about them.

A canary is a patient with one image, a vector of random direction, and one label: what it adds to a
gradient points where hardly anything else does. Each is trained on or not, by a coin. It is scored
twice: by how far the site's answers moved along its own gradient, over all rounds, and by how much
likelier its label has become. Whoever scores highest is guessed to be in, whoever scores lowest not
to be. What the guesses refute is `one_run`'s lower bound of epsilon; a bound above what the account
says would prove a mistake in noise, clipping or accounting. Threat model: the server, which also
chose the site's data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedretune.adaptors import Spec, build
from fedretune.objectives.difference import logits_of
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.privacy.attacks.alignment import by_alignment
from fedretune.privacy.attacks.one_run import LEVEL, epsilon_bound
from fedretune.privacy.attacks.target import Examples
from fedretune.seeds import derive_seed

if TYPE_CHECKING:
    from fedretune.adaptors import Model

#: Shares of the canaries that are guessed about. With two scores each of them is a chance to be
#: wrong, so they share `LEVEL`.
GUESSED = (1.0, 0.5, 0.2)

#: Trains a model in place on examples, in the round of that number.
Learn = Callable[["Model", Examples, int], object]


@dataclass(frozen=True)
class CanaryAudit:
    """What guesses about canaries refute.

    Parameters
    ----------
    canaries, guesses, right : int
        Of the share of guesses that refutes most.
    bound : float
        Epsilon is larger than this, at `delta`, with a certainty of 95 %; 0 if nothing is refuted.
    delta : float
    """

    canaries: int
    guesses: int
    right: int
    bound: float
    delta: float


def planted(
    count: int, dim: int, findings: int, positive: bool, seed: int
) -> tuple[Examples, Tensor]:
    """Return `count` canaries, and ``[count]``, bool: who is to be trained on.

    Half of them with a label of 0, unless all are to be `positive`.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "canaries"))
    images = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=-1)
    truth = (torch.rand(count, generator=generator) < 0.5).float()
    labels = torch.full((count, findings), torch.nan)
    labels[torch.arange(count), torch.arange(count) % findings] = 1.0 if positive else truth
    within = torch.rand(count, generator=generator) < 0.5
    return Examples(images, labels), within


def audit(
    spec: Spec,
    learn: Learn,
    prompts: PromptEmbeddings,
    pooling: str,
    given: tuple[Examples, Tensor],
    rounds: int,
    delta: float,
    seed: int,
) -> CanaryAudit:
    """Train on canaries as a site would, for some rounds; return what guesses about them refute.

    Parameters
    ----------
    spec : Spec
    learn : callable (model, examples, round)
        Trains in place, as the site does in a round.
    prompts : PromptEmbeddings
    pooling : str
    given : (Examples, Tensor)
        From `planted`.
    rounds : int
    delta : float
        At which epsilon is bounded.
    seed : int
        Of the adaptor that training starts from.
    """
    examples, within = given
    model = build(spec, seed)
    moved, before = torch.zeros(len(examples)), _confidence(model, examples, prompts, pooling)
    for round_ in range(rounds):
        sent = build(spec, seed)
        sent.load_state_dict(model.state_dict())
        learn(model, examples.take(within), round_)
        change = _change(sent, model)
        length = torch.sqrt(sum((each.square().sum() for each in change.values()), torch.zeros(())))
        moved += length * by_alignment(sent, change, examples, prompts, pooling).detach()
    learnt = _confidence(model, examples, prompts, pooling) - before
    return max(
        (_guessed(scores, within, share, delta) for scores in (moved, learnt) for share in GUESSED),
        key=lambda found: found.bound,
    )


def _guessed(scores: Tensor, within: Tensor, share: float, delta: float) -> CanaryAudit:
    """Return what guesses about a share of the canaries refute: half in, half out."""
    count = len(scores)
    each = max(1, int(share * count / 2))
    best_first = within[scores.argsort(descending=True)]
    right = int(best_first[:each].sum()) + int((~best_first[count - each :]).sum())
    bound = epsilon_bound(count, 2 * each, right, delta, LEVEL / (2 * len(GUESSED)))
    return CanaryAudit(count, 2 * each, right, bound, delta)


@torch.no_grad()
def _confidence(
    model: "Model", examples: Examples, prompts: PromptEmbeddings, pooling: str
) -> Tensor:
    """Return the log odds ``[n]`` that a model gives to each canary's one label."""
    odds = logits_of(model, examples.images, prompts, pooling) * (2 * examples.labels - 1)
    return odds.nan_to_num(nan=0.0).sum(1)


def _change(before: "Model", after: "Model") -> dict[str, Tensor]:
    new = dict(after.named_parameters())
    return {name: (new[name] - each).detach() for name, each in before.named_parameters()}
