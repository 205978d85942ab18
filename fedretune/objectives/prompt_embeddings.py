"""What the frozen text encoder makes of a prompt set."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PromptEmbeddings:
    """The embedded prompts of `F` findings: float32, as the encoder gives them, not normalised.

    Parameters
    ----------
    positive : Tensor
        Shape ``[F, P, d]``: the `P` prompts that say that the finding is there.
    negative : Tensor
        Shape ``[F, N, d]``: the `N` prompts that say that it is not.
    findings : tuple[str, ...]
        The names of the `F` findings, in the order of the tensors' first axis.
    """

    positive: Tensor
    negative: Tensor
    findings: tuple[str, ...]
