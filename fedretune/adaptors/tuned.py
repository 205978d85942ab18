"""What is trained inside a frozen vision transformer: its description, without torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedretune.adaptors.described import Described, canonical_scale
from fedretune.errors import UserError, one_of
from fedretune.tuning.layout import Layout, read

#: Kinds: low-rank factors beside frozen projections; biases; every weight; nothing but the head.
TUNED = ("lora", "bitfit", "full", "head")
#: What makes scores of a vector: a linear layer, or RE-tune's cosines with frozen prompts.
HEADS = ("linear", "prompts")
#: That A is trained and travels as B does.
TRAINED = -1


@dataclass(frozen=True)
class TunedSpec(Described):
    """What is tuned inside the last blocks of a frozen vision transformer, and what scores it.

    Nothing of the frozen weights is in it but their fingerprint. `bitfit` and `full` train, and
    send, differences from the frozen values, so that a server needs no backbone either. Raises
    `UserError` for a value that is not allowed.

    Parameters
    ----------
    kind : str
        One of `TUNED`.
    rank, alpha, dropout : int, float, float
        Of `lora`: the rank r of ``W + alpha / r * B A``, and how much of what comes to A is
        dropped in training.
    targets : tuple[str, ...]
        Of `lora`: names in `fedretune.tuning.layout.TARGETS`, in any order.
    blocks : int
        How many of the last blocks are tuned; 0 for all of them. `head` tunes none.
    head : str
        One of `HEADS`.
    scale : str
        Of the head `prompts`: as for `AdaptorSpec`.
    findings : int
        Of the head `linear`: how many it tells apart.
    stages : int
        Of `lora`: factors of their own for so many experiences, whose products add up.
    a_seed : int
        Of `lora`: `TRAINED`, or the seed that A is drawn from, fixed and never sent (FFA-LoRA).
    kept : int
        Of `lora`: further rows of A and columns of B that are used, and not trained: room for
        what averaging cannot fit into the rank.
    trunk : tuple[str, ...]
        The lines of the backbone's `fedretune.tuning.layout.Layout`.
    """

    kind: str
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    blocks: int
    head: str
    scale: str
    findings: int
    stages: int
    a_seed: int
    kept: int
    trunk: tuple[str, ...]

    by_finding: ClassVar[tuple[str, ...]] = ("head.weight", "head.bias")

    def __post_init__(self) -> None:
        one_of("adaptor", self.kind, TUNED)
        one_of("adaptor.head", self.head, HEADS)
        self._set("trunk", tuple(self.trunk))
        self._check_lora()
        self._check_blocks()
        if self.head == "linear":
            self._set("scale", "none")
            _whole("adaptor.findings", self.findings, 1)
        else:
            self._set("scale", canonical_scale(self.scale))
            self._set("findings", 0)
            if self.kind == "head":
                raise UserError("adaptor.kind = head is a linear head: set adaptor.head = linear.")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # one fingerprint for one adaptor

    def _check_lora(self) -> None:
        if self.kind != "lora":
            for name, value in _NO_LORA.items():
                self._set(name, value)
            return
        parts = self.layout.parts
        for target in self.targets:
            one_of("adaptor target", target, parts)
        self._set("targets", tuple(each for each in parts if each in self.targets))
        if not self.targets:
            raise UserError(f"adaptor.targets names none; allowed: {', '.join(parts)}.")
        _whole("adaptor.rank", self.rank, 1)
        _whole("adaptor.stages", self.stages, 1)
        _whole("adaptor.kept-rank", self.kept, 0)
        if self.kept and (self.stages > 1 or self.a_seed != TRAINED):
            raise UserError(
                "adaptor.kept-rank keeps what averaging products leaves over, of one LoRA that is "
                "carried along: set it to 0, or take adaptor.averaging = exact and method = lora."
            )
        most = min(min(parts[each].rows, parts[each].inputs) for each in self.targets)
        if self.rank > most:
            raise UserError(
                f"adaptor.rank is {self.rank}, and the matrices that it goes beside have rank "
                f"{most}: give 1 to {most}."
            )
        if not 0 < self.alpha < float("inf"):
            raise UserError(f"adaptor.alpha is {self.alpha!r}; give a number above 0.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"adaptor.dropout is {self.dropout!r}; give 0 or more, below 1.")
        self._set("alpha", float(self.alpha))
        self._set("dropout", float(self.dropout))

    def _check_blocks(self) -> None:
        depth = self.layout.depth
        if self.kind == "head":
            self._set("blocks", 0)
        elif type(self.blocks) is not int or not 0 <= self.blocks <= depth:
            raise UserError(
                f"adaptor.blocks is {self.blocks!r}, and the backbone has {depth} blocks: give 1 "
                f"to {depth}, or 0 for all."
            )
        else:
            self._set("blocks", self.blocks or depth)

    @property
    def layout(self) -> Layout:
        """The backbone's layout."""
        return read(self.trunk)

    @property
    def dim(self) -> int:
        """Length of the backbone's vectors."""
        return self.layout.dim

    @property
    def row(self) -> int:
        """Length of what is stored of an image: all its tokens, or its vector for no block."""
        layout = self.layout
        return layout.tokens * layout.width if self.blocks else layout.dim

    @property
    def positions(self) -> range:
        """Which blocks are tuned, counted from 0."""
        return range(self.layout.depth - self.blocks, self.layout.depth)

    @property
    def stacked(self) -> int:
        """Rows of A: those that are kept, then each stage's."""
        return self.kept + self.rank * self.stages

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name to (shape, dtype) of every tensor, in `state_dict` order, without torch."""
        shapes: dict[str, tuple[int, ...]] = {}
        if self.scale == "learnable":
            shapes["log_scale"] = (1,)
        for position in self.positions:
            shapes |= {f"blocks.{position}.{name}": each for name, each in self._of_block()}
        shapes |= {f"top.{name}": each for name, each in self._of_top()}
        if self.head == "linear":
            shapes |= {"head.weight": (self.findings, self.dim), "head.bias": (self.findings,)}
        return {name: (shape, "float32") for name, shape in shapes.items()}

    def _of_block(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        if self.kind == "lora":
            for target in self.targets:
                part = self.layout.parts[target]
                if self.a_seed == TRAINED:
                    yield f"{target}.A", (self.stacked, part.inputs)
                yield f"{target}.B", (part.rows, self.stacked)
        for name, shape in self.layout.block.items():
            if self.kind == "full" or (self.kind == "bitfit" and name.endswith("bias")):
                yield name, shape

    def _of_top(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield what is trained after the last block: with a new head, its normalisation too."""
        for name, shape in self.layout.top.items():
            norm = name.startswith("fc_norm.") and self.head == "linear" and self.kind != "head"
            bias = self.kind == "bitfit" and name.endswith("bias")
            if norm or bias or self.kind == "full":
                yield name, shape


_NO_LORA: dict[str, object] = {
    "rank": 0,
    "alpha": 0.0,
    "dropout": 0.0,
    "targets": (),
    "stages": 1,
    "a_seed": TRAINED,
    "kept": 0,
}


def _whole(name: str, value: int, least: int) -> None:
    if type(value) is not int or value < least:
        raise UserError(f"{name} is {value!r}; give a whole number from {least}.")
