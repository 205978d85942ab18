"""Adaptors: what is trained on top of a frozen backbone, and all that travels.

Light at import: what an adaptor is made of (`AdaptorSpec`) is known without torch. `Adaptor`,
`build`, `to_arrays` and `load_arrays` import torch when they are first asked for.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedretune.errors import UserError, one_of
from fedretune.registry import Registry

if TYPE_CHECKING:
    from fedretune.adaptors.files import load as load
    from fedretune.adaptors.files import save as save
    from fedretune.adaptors.module import Adaptor as Adaptor
    from fedretune.adaptors.module import build as build
    from fedretune.adaptors.module import load_arrays as load_arrays
    from fedretune.adaptors.module import to_arrays as to_arrays

#: Adaptor kinds: each a `fedretune.adaptors.kind.Kind`.
ADAPTORS = Registry(
    "adaptor",
    {
        "mlp": "fedretune.adaptors.mlp:MLP",
        "linear": "fedretune.adaptors.linear:LINEAR",
    },
)

#: Wirings: the modules that each has. `shared` adapts images and prompts by one and the same.
WIRINGS: dict[str, tuple[str, ...]] = {
    "double": ("image", "text"),
    "shared": ("shared",),
    "image": ("image",),
    "text": ("text",),
}

_LAZY = {
    "Adaptor": "module",
    "build": "module",
    "to_arrays": "module",
    "load_arrays": "module",
    "save": "files",
    "load": "files",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


@dataclass(frozen=True)
class AdaptorSpec:
    """What an adaptor is: enough to build it, and to tell which tensors it has.

    Raises `UserError` for a value that is not allowed.

    Parameters
    ----------
    kind : str
        A name in `ADAPTORS`.
    wiring : str
        A name in `WIRINGS`.
    dim : int
        Length of the backbone's vectors, images' and prompts' alike.
    residual : bool
        Whether the module's output is added to its input, from zero at the start.
    scale : str
        What the difference of cosines is multiplied by to give a logit: ``none`` (nothing, as in
        RE-tune's authors' earlier code), ``learnable`` (a parameter that starts at 10) or a
        positive number as text.
    """

    kind: str
    wiring: str
    dim: int
    residual: bool
    scale: str

    def __post_init__(self) -> None:
        ADAPTORS.check(self.kind)
        one_of("adaptor wiring", self.wiring, WIRINGS)
        if type(self.dim) is not int or self.dim < 1:
            raise UserError(f"adaptor.dim is {self.dim!r}; give a whole number of 1 or more.")
        if type(self.residual) is not bool:
            raise UserError(f"adaptor.residual is {self.residual!r}; give true or false.")
        object.__setattr__(self, "scale", _canonical_scale(self.scale))

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name to (shape, dtype) of every tensor, in `state_dict` order, without torch."""
        shapes: dict[str, tuple[int, ...]] = ADAPTORS[self.kind].shapes(self.dim)
        named: dict[str, tuple[tuple[int, ...], str]] = {}
        if self.scale == "learnable":
            named["log_scale"] = ((1,), "float32")
        for part in WIRINGS[self.wiring]:
            named |= {f"parts.{part}.{n}": (shape, "float32") for n, shape in shapes.items()}
        return named

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of `to_json()`: equal if and only if the specs are."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return canonical JSON: keys sorted, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "AdaptorSpec":
        """Read what `to_json` wrote. Raises `UserError` naming what is missing or unknown."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UserError(f"The adaptor's description is not JSON: {error}.") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise UserError(
                f"The adaptor's description must have exactly the keys {', '.join(sorted(names))}; "
                f"it is {text[:200]}"
            )
        return cls(**values)


def _canonical_scale(scale: str) -> str:
    """Return `scale` in the one spelling that its fingerprint is taken of ("10" is "10.0")."""
    if scale in ("none", "learnable"):
        return scale
    try:
        number = float(scale)
    except (TypeError, ValueError):
        number = math.nan
    if not (isinstance(scale, str) and 0 < number < math.inf):
        raise UserError(
            f"adaptor.scale is {scale!r}; allowed: none, learnable, or a positive number as text."
        )
    return repr(number)
