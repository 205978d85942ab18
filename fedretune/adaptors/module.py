"""The adaptor as a torch module, and its way to and from plain arrays."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedretune.adaptors import ADAPTORS, WIRINGS, AdaptorSpec
from fedretune.adaptors.files import Arrays, check_arrays

#: Where a learnable scale starts; CLIP's starts at 1/0.07, about 14.
INITIAL_SCALE = 10.0
#: The range of a learnable scale, CLIP's upper bound (Radford et al., 2021, section 2.5).
SCALE_RANGE = (1.0, 100.0)


class Adaptor(nn.Module):
    """Maps a backbone's image and prompt vectors to those that are compared.

    Without `residual` it is the module alone, literally as in RE-tune's authors' earlier code:
    untrained, it is *not* the zero-shot model. With `residual` a vector x becomes
    ``x + |x| module(x / |x|)`` and the module's last layer starts at zero, so that the untrained
    adaptor is exactly the zero-shot model, to the bit. The module sees unit vectors, because
    backbones' vectors are not normalised and their lengths differ by orders of magnitude; its
    output is stretched back by |x|, because the mean over prompts is taken of raw vectors and
    would otherwise change its direction. Build it by `build`.
    """

    fixed_scale: Tensor

    def __init__(self, spec: AdaptorSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        kind, names = ADAPTORS[spec.kind], WIRINGS[spec.wiring]
        with torch.device("meta"):  # nn.Linear would draw from the global generator
            parts = nn.ModuleDict({name: kind.module(spec.dim) for name in names})
        self.parts = parts.to_empty(device="cpu")
        for part in self.parts.values():
            _initialise(part, generator, zero_output=spec.residual)
        if spec.scale == "learnable":
            self.log_scale = nn.Parameter(torch.tensor([math.log(INITIAL_SCALE)]))
        else:
            fixed = 1.0 if spec.scale == "none" else float(spec.scale)
            self.register_buffer("fixed_scale", torch.tensor(fixed), persistent=False)

    def image(self, x: Tensor) -> Tensor:
        """Adapt image vectors ``[..., d]``; the wiring `text` returns them as they are."""
        return self._adapt("image", x)

    def text(self, x: Tensor) -> Tensor:
        """Adapt prompt vectors ``[..., d]``; the wiring `image` returns them as they are."""
        return self._adapt("text", x)

    def logit_scale(self) -> Tensor:
        """Return what the difference of cosines is multiplied by, a positive scalar.

        A learnable scale is clamped, but its gradient is not: it finds its way back.
        """
        if self.spec.scale != "learnable":
            return self.fixed_scale
        low, high = (math.log(bound) for bound in SCALE_RANGE)
        clamped = self.log_scale.detach().clamp(low, high)
        return (self.log_scale + (clamped - self.log_scale.detach())).exp()[0]

    def _adapt(self, side: str, x: Tensor) -> Tensor:
        name = "shared" if self.spec.wiring == "shared" else side
        if name not in self.parts:
            return x
        module = self.parts[name]
        if not self.spec.residual:
            return module(x)  # type: ignore[no-any-return]
        length = x.norm(dim=-1, keepdim=True)
        return x + length * module(x / length.clamp_min(1e-12))  # type: ignore[no-any-return]


def build(spec: AdaptorSpec, seed: int) -> Adaptor:
    """Return an untrained adaptor on the CPU, the same bits for the same `spec` and `seed`.

    Draws torch's default initialisation from a generator of its own: the global one is neither
    read nor moved.
    """
    return Adaptor(spec, torch.Generator().manual_seed(seed))


def to_arrays(adaptor: Adaptor) -> Arrays:
    """Return a copy of the adaptor's tensors, by name: what travels."""
    return {
        name: tensor.detach().cpu().numpy().astype(np.float32, copy=True)
        for name, tensor in adaptor.state_dict().items()
    }


def load_arrays(adaptor: Adaptor, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put `arrays` into the adaptor, in place.

    Raises `UserError` where a name, a shape or a dtype is not the adaptor's, before any change.
    """
    check_arrays(adaptor.spec, arrays)
    own = adaptor.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(np.array(array)))


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator, zero_output: bool) -> None:
    """Fill the linear layers as `nn.Linear` does: weights and biases in +-1/sqrt(inputs)."""
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Linear):
            continue
        bound = 0.0 if zero_output and name == "output" else 1 / math.sqrt(layer.in_features)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
