"""What a vision transformer is made of: enough to know which tensors tuning it takes.

A server has no backbone. A site tells it this, in short lines of text, and from them both sides
know the names and shapes of all that may travel. Light: no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fedretune.errors import UserError

#: What LoRA can be put on, by the names that a config uses: the three parts of the projection into
#: attention, the one out of it, and the two layers of the MLP.
TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")

#: In the place of a fingerprint: a layout of no backbone.
UNKNOWN = "unknown"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Rows of a block's weight matrix: q is the first third of a fused projection.

    Parameters
    ----------
    weight : str
        The parameter's name in the block.
    first, rows : int
        Which rows of it.
    inputs : int
        How many columns it has.
    """

    weight: str
    first: int
    rows: int
    inputs: int


@dataclass(frozen=True)
class Layout:
    """A transformer between its patch embedding and its vector; its blocks are all alike.

    Parameters
    ----------
    backbone : str
        The fingerprint of the frozen weights.
    width, depth, tokens, dim : int
        Numbers of a token, blocks, tokens of an image (a class token among them), and numbers of
        the vector that comes out.
    block, top : mapping of name to shape
        The parameters of a block, and of what comes after the last one.
    parts : mapping of target to Part
    """

    backbone: str
    width: int
    depth: int
    tokens: int
    dim: int
    block: Mapping[str, Shape] = field(default_factory=dict)
    top: Mapping[str, Shape] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        """Return the lines of which `read` makes the same layout."""
        sizes = (self.width, self.depth, self.tokens, self.dim)
        written = [f"backbone {self.backbone}", _line("sizes", *sizes)]
        written += [_line("block", name, *shape) for name, shape in self.block.items()]
        written += [_line("top", name, *shape) for name, shape in self.top.items()]
        written += [
            _line("part", target, each.weight, each.first, each.rows, each.inputs)
            for target, each in self.parts.items()
        ]
        return tuple(written)


def _line(*words: object) -> str:
    return " ".join(map(str, words))


@lru_cache(maxsize=8)
def read(lines: Sequence[str]) -> Layout:
    """Return the layout that was written as these lines. Raises `UserError`."""
    backbone, sizes = "", (0, 0, 0, 0)
    shapes: dict[str, dict[str, Shape]] = {"block": {}, "top": {}}
    parts: dict[str, Part] = {}
    try:
        for line in lines:
            what, *words = line.split(" ")
            if what == "backbone":
                (backbone,) = words
            elif what == "sizes":
                width, depth, tokens, dim = map(int, words)
                sizes = (width, depth, tokens, dim)
            elif what == "part":
                target, weight, *numbers = words
                parts[target] = Part(weight, *map(int, numbers))
            else:
                shapes[what][words[0]] = tuple(map(int, words[1:]))
        if min(sizes) < 1:
            raise ValueError("no sizes")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"This is no layout of a vision transformer: {str(list(lines))[:200]}"
        ) from error
    return Layout(backbone, *sizes, shapes["block"], shapes["top"], parts)


def stand_in() -> Layout:
    """Return a layout to check a config by before any backbone is known: large, with all parts."""
    size = 2**20
    parts = {target: Part("attn.qkv.weight", 0, size, size) for target in TARGETS}
    return Layout(UNKNOWN, size, 1000, 1, 1, parts=parts)
