"""The adaptor as a torch module, and its way to and from plain arrays."""

import copy
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedretune.adaptors import ADAPTORS, WIRINGS, AdaptorSpec, ProbeSpec, Spec, TunedSpec
from fedretune.adaptors.features import RandomFeatures
from fedretune.adaptors.files import Arrays, check_arrays
from fedretune.adaptors.scale import HEAD_SCALE, INITIAL_SCALE, learnt_scale
from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings
from fedretune.tuning.module import Tuned


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
            parts = nn.ModuleDict(
                {
                    name: Offsets(spec.findings, spec.dim + spec.features)
                    if name == "offsets"
                    else kind.module(spec.dim)
                    for name in names
                }
            )
        self.parts = parts.to_empty(device="cpu")
        for part in self.parts.values():
            _initialise(part, generator, zero_output=spec.residual)
        self.features = RandomFeatures(spec.dim, spec.features) if spec.features else None
        if spec.scale == "learnable":
            self.log_scale = nn.Parameter(torch.tensor([math.log(INITIAL_SCALE)]))
        else:
            fixed = 1.0 if spec.scale == "none" else float(spec.scale)
            self.register_buffer("fixed_scale", torch.tensor(fixed), persistent=False)

    def image(self, x: Directed) -> Tensor:
        """Adapt image vectors ``[..., d]``; the wiring `text` returns them as they are.

        With K random features the result is ``[..., d + K]``.
        """
        adapted = self._adapt("image", x)
        return adapted if self.features is None else torch.cat([adapted, self.features(x)], dim=-1)

    def text(self, prompts: PromptEmbeddings) -> tuple[Tensor, Tensor]:
        """Adapt the positive prompts ``[F, P, d]`` and the negative ones ``[F, N, d]``.

        The wiring `image` returns them as they are. With K random features the results have
        ``d + K`` numbers a prompt, of which the frozen encoder says nothing about the last K.
        """
        positive, negative = prompts.positive, prompts.negative
        if "offsets" in self.parts:
            wider = (0, self.spec.features)
            positive, negative = (nn.functional.pad(each, wider) for each in (positive, negative))
            shifts: Tensor = self.parts["offsets"].weight  # type: ignore[assignment]
            return _shifted(positive, shifts[:, :1]), _shifted(negative, shifts[:, 1:])
        # All prompts in one call: the text adaptor is most of a small batch's cost.
        adapted = self._adapt("text", prompts.joined)
        both = torch.split(adapted, [positive.shape[1], negative.shape[1]], dim=1)
        return both[0], both[1]

    def pooled(self, prompts: PromptEmbeddings) -> Tensor:
        """Return the means ``[F, 2, d]`` of what `text` returns, over each finding's prompts.

        A mean may be taken before a linear layer as well as after it, and of a batch of 64 images
        and 14 findings with 8 prompts each, that is a quarter of all products less.
        """
        if "offsets" in self.parts:
            lengths = prompts.stretching.sum(-1, keepdim=True)
            shifts: Tensor = self.parts["offsets"].weight  # type: ignore[assignment]
            return nn.functional.pad(prompts.means, (0, self.spec.features)) + lengths * shifts
        module = self._part("text")
        if module is None:
            return prompts.means
        *before, output = module.children()
        assert isinstance(output, nn.Linear)
        residual, joined = self.spec.residual, prompts.joined
        hidden = joined.directions if residual else joined.vectors
        for layer in before:
            hidden = layer(hidden)
        weights = prompts.stretching if residual else prompts.averaging
        adapted = (weights @ hidden) @ output.weight.T + weights.sum(-1, True) * output.bias
        return prompts.means + adapted if residual else adapted

    def logit_scale(self) -> Tensor:
        """Return what the difference of cosines is multiplied by, a positive scalar."""
        if self.spec.scale != "learnable":
            return self.fixed_scale
        return learnt_scale(self.log_scale)

    def _part(self, side: str) -> nn.Sequential | None:
        """Return what adapts a side; None where that is left as it is."""
        name = "shared" if self.spec.wiring == "shared" else side
        if name not in self.parts:
            return None
        return self.parts[name]  # type: ignore[return-value]

    def _adapt(self, side: str, x: Directed) -> Tensor:
        module = self._part(side)
        if module is None:
            return x.vectors
        if not self.spec.residual:
            return module(x.vectors)  # type: ignore[no-any-return]
        return x.vectors + x.lengths * module(x.directions)  # type: ignore[no-any-return]


class Offsets(nn.Module):
    """A vector for the positive and one for the negative prompts of each finding.

    In units of the prompt's own length, from zero at the start.
    """

    def __init__(self, findings: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(findings, 2, dim))


class Probe(nn.Module):
    """A multi-label head on the frozen image vector: what everybody would do first.

    The vector is scaled to a root mean square of 1, so that one learning rate serves backbones
    whose vectors are a thousand times longer than another's. Build it by `build`.
    """

    def __init__(self, spec: ProbeSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        with torch.device("meta"):
            if spec.hidden:
                self.hidden = nn.Linear(spec.dim, spec.hidden)
            self.output = nn.Linear(spec.hidden or spec.dim, spec.findings)
        self.to_empty(device="cpu")
        _initialise(self, generator, zero_output=False)

    def forward(self, images: Directed) -> Tensor:
        """Return scores ``[n, F]`` of image vectors ``[n, d]``: logits over `HEAD_SCALE`."""
        x = images.directions * math.sqrt(self.spec.dim)
        if self.spec.hidden:
            x = torch.relu(self.hidden(x))
        scores: Tensor = self.output(x) / HEAD_SCALE
        return scores

    def logit_scale(self) -> Tensor:
        """Return what a probe's score is multiplied by to give its logit."""
        return torch.tensor(HEAD_SCALE)


_M = TypeVar("_M", bound=nn.Module)
#: What is trained: on frozen vectors, or inside the backbone on its frozen tokens.
Model = Adaptor | Probe | Tuned


def build(spec: Spec, seed: int) -> Model:
    """Return an untrained model on the CPU, the same bits for the same spec and seed.

    Draws torch's default initialisation from a generator of its own: the global one is neither
    read nor moved.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(spec, TunedSpec):
        return Tuned(spec, generator)
    return Probe(spec, generator) if isinstance(spec, ProbeSpec) else Adaptor(spec, generator)


def from_arrays(spec: Spec, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Model:
    """Return a model on the CPU that holds a copy of `arrays`; nothing is drawn.

    A small part of the time of `build` and `load_arrays`. Raises `UserError` where a name, a shape
    or a dtype is not the spec's.
    """
    check_arrays(spec, arrays)
    outline = _outline(spec)
    own = {id(tensor): torch.empty_like(tensor) for tensor in outline.parameters()}
    for name, tensor in outline.named_parameters():
        np.copyto(own[id(tensor)].detach().numpy(), arrays[name])
    return _twin(outline, {key: nn.Parameter(tensor) for key, tensor in own.items()})


def _twin(module: "_M", own: Mapping[int, nn.Parameter]) -> "_M":
    """Return a copy with the parameters `own`, by the id of those in the place of which they are.

    What is never trained, such as a fixed scale, is shared. Four times faster than `deepcopy`.
    """
    twin = copy.copy(module)
    vars(twin).update(
        {key: each.copy() for key, each in vars(module).items() if isinstance(each, dict)}
    )
    for name, tensor in module.named_parameters(recurse=False):
        twin.register_parameter(name, own[id(tensor)])
    for name, child in module.named_children():
        twin.add_module(name, _twin(child, own))
    return twin


@lru_cache(maxsize=4)
def _outline(spec: Spec) -> Model:
    """Return a model that is copied, and never changed or handed out."""
    return build(spec, 0)


def to_arrays(adaptor: Model) -> Arrays:
    """Return a copy of the adaptor's tensors, by name: what travels."""
    return {name: array.copy() for name, array in as_arrays(adaptor).items()}


def as_arrays(adaptor: Model) -> Arrays:
    """Return the adaptor's tensors where they lie, by name, of an adaptor that is done with."""
    return {
        name: tensor.detach().cpu().numpy().astype(np.float32, copy=False)
        for name, tensor in adaptor.state_dict().items()
    }


def load_arrays(adaptor: Model, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Put `arrays` into the adaptor, in place.

    Raises `UserError` where a name, a shape or a dtype is not the adaptor's, before any change.
    """
    check_arrays(adaptor.spec, arrays)
    own = adaptor.state_dict()
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(np.array(array)))


def _shifted(prompts: Tensor, shift: Tensor) -> Tensor:
    return prompts + prompts.norm(dim=-1, keepdim=True) * shift  # type: ignore[no-any-return]


@torch.no_grad()
def _initialise(module: nn.Module, generator: torch.Generator, zero_output: bool) -> None:
    """Fill the linear layers as `nn.Linear` does: weights and biases in +-1/sqrt(inputs)."""
    for name, layer in module.named_modules():
        if isinstance(layer, Offsets):
            layer.weight.zero_()
        if not isinstance(layer, nn.Linear):
            continue
        bound = 0.0 if zero_output and name == "output" else 1 / math.sqrt(layer.in_features)
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
