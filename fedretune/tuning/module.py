"""What is tuned inside a frozen vision transformer, as a torch module."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from fedretune.adaptors.scale import HEAD_SCALE, INITIAL_SCALE, learnt_scale
from fedretune.errors import UserError
from fedretune.seeds import derive_seed
from fedretune.tuning.frozen import Trunk, held
from fedretune.tuning.layout import UNKNOWN, Part
from fedretune.tuning.lora import Factors, Noise, beside, merged

if TYPE_CHECKING:
    from fedretune.adaptors import TunedSpec
    from fedretune.objectives.prompt_embeddings import Directed, PromptEmbeddings

#: Standard deviation of a new head's weights: the LoRA study's.
HEAD_STD = 2e-5
#: Images a chunk where no gradient is wanted, so that memory does not grow with their number.
CHUNK = 64


class Tuned(nn.Module):
    """Factors, differences and a head, by the names of `TunedSpec.tensors`; nothing frozen.

    It looks at rows: all tokens ``[n, T * w]`` of an image at the cut below the first tuned block,
    as the embedding store keeps them, in float16 or float32; vectors ``[n, d]`` where no block is
    tuned. The blocks above the cut are those that the process holds (`fedretune.tuning.frozen`).
    Where a gradient is wanted, factors work beside the frozen weights; else they are merged into
    them and the backbone's own blocks run, so that an untrained one is the backbone, bit for bit.
    All this on the device that the frozen blocks are on, in bfloat16 there if that is a GPU; what
    is trained, and what comes out, stays where it is.
    Build it by `fedretune.adaptors.build`. Raises `UserError` for a layout of no backbone.

    Attributes
    ----------
    stage : int
        Which stage's factors are trained; those of others are used, and get no gradient.
    narrowed : int
        How many rows of that stage's A are used; 0 for all (`narrow`).
    checkpointing : bool
        Whether a block's activations are computed again rather than kept: less memory, a third
        more time, the same numbers.
    """

    def __init__(self, spec: "TunedSpec", generator: torch.Generator) -> None:
        super().__init__()
        if spec.layout.backbone == UNKNOWN:
            raise UserError(
                f"adaptor.kind = {spec.kind} is inside a backbone, and which is not known here."
            )
        self.spec = spec
        self.stage, self.narrowed, self.checkpointing = 0, 0, False
        self._seed: int | None = None
        self._step = 0
        tensors = spec.tensors()
        self._names = frozenset(tensors)
        for name, (shape, _) in tensors.items():
            _register(self, name, nn.Parameter(_initial(name, shape, generator)))

    def image(self, x: "Directed") -> Tensor:
        """Return vectors ``[n, d]`` of rows."""
        return self.vectors(x.vectors)

    def text(self, prompts: "PromptEmbeddings") -> tuple[Tensor, Tensor]:
        """Return the frozen prompts, positive and negative."""
        return prompts.positive, prompts.negative

    def pooled(self, prompts: "PromptEmbeddings") -> Tensor:
        """Return the means ``[F, 2, d]`` of the frozen prompts."""
        return prompts.means

    def forward(self, images: "Directed") -> Tensor:
        """Return a linear head's scores ``[n, F]`` of rows: logits over `HEAD_SCALE`."""
        return self.logits(images.vectors) / HEAD_SCALE

    def logits(self, rows: Tensor) -> Tensor:
        """Return a linear head's logits ``[n, F]`` of rows."""
        vectors = self.vectors(rows)
        return nn.functional.linear(vectors, self._own("head.weight"), self._own("head.bias"))

    def logit_scale(self) -> Tensor:
        """Return what a difference of cosines, or a head's score, is multiplied by."""
        if self.spec.head == "linear":
            return torch.tensor(HEAD_SCALE)
        if self.spec.scale != "learnable":
            return torch.tensor(1.0 if self.spec.scale == "none" else float(self.spec.scale))
        return learnt_scale(self._own("log_scale"))

    @contextmanager
    def dropping(self, seed: int) -> Iterator[None]:
        """While it lasts, drop what the spec says, by masks that come from the seed alone."""
        self._seed, self._step = seed, 0
        try:
            yield
        finally:
            self._seed = None

    def vectors(self, rows: Tensor) -> Tensor:
        """Return the vectors ``[n, d]``, float32, of rows: tokens ``[n, T * w]``."""
        if torch.is_grad_enabled() or len(rows) <= CHUNK:
            return self._vectors(rows)
        return torch.cat([self._vectors(part) for part in torch.split(rows, CHUNK)])

    def _vectors(self, rows: Tensor) -> Tensor:
        spec, layout = self.spec, self.spec.layout
        if not spec.blocks:
            return rows.float()
        trunk, noise = held(layout.backbone), self._noise()
        tokens = rows.to(trunk.device).float().reshape(len(rows), layout.tokens, layout.width)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=tokens.is_cuda):
            for position in spec.positions:
                tokens = self._through(trunk, position, tokens, noise)
            top = dict(self._moved(trunk.top, "top"))
            vectors: Tensor = functional_call(trunk.top, top, (tokens,))
        return vectors.float().to(rows.device)

    def _noise(self) -> Noise | None:
        if self._seed is None or not self.spec.dropout or not torch.is_grad_enabled():
            return None
        self._step += 1
        return Noise(derive_seed(self._seed, "dropout", self._step), self.spec.dropout)

    def _through(self, trunk: Trunk, position: int, tokens: Tensor, noise: Noise | None) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            again: Tensor = checkpoint(
                self._block, trunk, position, tokens, noise, use_reentrant=False
            )
            return again
        return self._block(trunk, position, tokens, noise)

    def _block(self, trunk: Trunk, position: int, tokens: Tensor, noise: Noise | None) -> Tensor:
        """Return the tokens after a block."""
        block, prefix = trunk.blocks[position], f"blocks.{position}"
        if self.spec.kind != "lora":
            moved = dict(self._moved(block, prefix))
            return functional_call(block, moved, (tokens,))  # type: ignore[no-any-return]
        by_weight = self._factors(position, tokens.device)
        scale = self.spec.alpha / self.spec.rank
        if torch.is_grad_enabled():
            opened = trunk.opened[position]
            here = None if noise is None else Noise(derive_seed(noise.seed, position), noise.share)
            with beside(opened, by_weight, scale, here):
                return opened(tokens)  # type: ignore[no-any-return]
        own = dict(block.named_parameters())
        values = {name: merged(own[name], parts, scale) for name, parts in by_weight.items()}
        return functional_call(block, values, (tokens,))  # type: ignore[no-any-return]

    def _moved(self, module: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """Yield the frozen parameters of a module that differences are trained of, with these."""
        for name, value in module.named_parameters():
            if f"{prefix}.{name}" in self._names:
                yield name, value + self._own(f"{prefix}.{name}").to(value.device)

    def _factors(
        self, position: int, device: torch.device
    ) -> Mapping[str, list[tuple[Part, Factors]]]:
        """Return a block's factors, by the frozen weight that they go beside."""
        found: dict[str, list[tuple[Part, Factors]]] = {}
        for target in self.spec.targets:
            part = self.spec.layout.parts[target]
            name = f"blocks.{position}.{target}"
            a, b = (each.to(device) for each in self.factors(name))
            found.setdefault(part.weight, []).append((part, (a, b)))
        return found

    def factors(self, name: str) -> Factors:
        """Return A ``[R, inputs]`` and B ``[rows, R]`` of a target, ``blocks.11.q``, say.

        R is K kept rows, then r for each stage. Only those of the stage that is trained, and of
        them the first `narrow`, have a gradient.
        """
        a, b = self._a(name), self._own(f"{name}.B")
        first, last = self._trained_rows()
        if last - first == self.spec.stacked:
            return a, b
        trained = torch.zeros(self.spec.stacked, dtype=torch.bool, device=b.device)
        trained[first:last] = True
        return torch.where(trained[:, None], a, a.detach()), torch.where(trained, b, b.detach())

    def _trained_rows(self) -> tuple[int, int]:
        first = self.spec.kept + self.stage * self.spec.rank
        return first, first + min(self.narrowed or self.spec.rank, self.spec.rank)

    def narrow(self, rank: int) -> None:
        """Train with a smaller rank from here on: beyond it, B is zero and stays it.

        What is kept goes too, as a site of a smaller rank has no room for it.
        """
        self.narrowed = rank
        first, last = self._trained_rows()
        with torch.no_grad():
            for name, each in self.named_parameters():
                if name.endswith(".B"):
                    each[:, :first] = 0
                    each[:, last:] = 0

    def _a(self, name: str) -> Tensor:
        spec = self.spec
        if spec.a_seed < 0:
            return self._own(f"{name}.A")
        inputs = spec.layout.parts[name.rpartition(".")[2]].inputs
        generator = torch.Generator().manual_seed(derive_seed(spec.a_seed, "A", name))
        fixed = _initial(f"{name}.A", (spec.stacked, inputs), generator)
        return fixed.to(self._own(f"{name}.B").device)

    def _own(self, name: str) -> Tensor:
        module, _, last = name.rpartition(".")
        # Not `get_parameter`: under `functional_call` a plain tensor is in its place.
        found: Tensor = getattr(self.get_submodule(module), last)
        return found


def frozen_vectors(spec: "TunedSpec", rows: Tensor) -> Tensor:
    """Return the vectors ``[n, d]`` that the backbone alone makes of rows; no gradient."""
    with torch.no_grad():
        return Tuned(spec, torch.Generator()).vectors(rows)


def _register(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Register a parameter whose name has dots: each part before the last is a module."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(last, parameter)


@torch.no_grad()
def _initial(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return a tensor's start: A kaiming-uniform, a small head, and 0, which is the backbone."""
    value = torch.zeros(shape)
    if name == "log_scale":
        value.fill_(math.log(INITIAL_SCALE))
    elif name.endswith(".A"):
        bound = 1 / math.sqrt(shape[1])  # kaiming-uniform with a = sqrt(5), as nn.Linear's
        value.uniform_(-bound, bound, generator=generator)
    elif name == "head.weight":
        nn.init.trunc_normal_(value, std=HEAD_STD, generator=generator)
    return value
