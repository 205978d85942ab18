"""What an adaptor kind has to say of itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

#: Tensor names and shapes, in the order of the module's `state_dict`.
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Kind:
    """One way to map a vector of `d` numbers to another.

    Parameters
    ----------
    shapes : Callable[[int], Shapes]
        From `d` to the shapes of `module(d)`. Apart from `module`, because what may travel is
        checked where torch is not imported.
    module : Callable[[int], nn.Module]
        From `d` to a module from ``[..., d]`` to ``[..., d]``, made of `nn.Linear` and of layers
        without parameters. The last is an `nn.Linear` named ``output``: where an adaptor is
        residual, it starts at zero, and a mean is taken before it.
    """

    shapes: Callable[[int], Shapes]
    module: "Callable[[int], nn.Sequential]"
