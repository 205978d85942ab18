"""Adaptors: what is trained on top of a frozen backbone, and all that travels.

Light at import: what an adaptor is made of (`AdaptorSpec`) is known without torch. `Adaptor`,
`build`, `from_arrays`, `to_arrays` and `load_arrays` import torch when they are first asked for.
"""

import json
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from fedretune.adaptors.described import Described, canonical_scale
from fedretune.adaptors.tuned import TunedSpec as TunedSpec
from fedretune.errors import UserError, one_of
from fedretune.registry import Registry

if TYPE_CHECKING:
    from fedretune.adaptors.files import load as load
    from fedretune.adaptors.files import save as save
    from fedretune.adaptors.module import Adaptor as Adaptor
    from fedretune.adaptors.module import Model as Model
    from fedretune.adaptors.module import Probe as Probe
    from fedretune.adaptors.module import as_arrays as as_arrays
    from fedretune.adaptors.module import build as build
    from fedretune.adaptors.module import from_arrays as from_arrays
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
#: `offsets` is no module but a vector for each finding's positive, and one for its negative
#: prompts: what one finding learns there, no other finding can overwrite.
WIRINGS: dict[str, tuple[str, ...]] = {
    "double": ("image", "text"),
    "shared": ("shared",),
    "image": ("image",),
    "text": ("text",),
    "offsets": ("offsets",),
    "image+offsets": ("image", "offsets"),
}

_LAZY = {
    "Adaptor": "module",
    "Model": "module",
    "Probe": "module",
    "as_arrays": "module",
    "build": "module",
    "from_arrays": "module",
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
class AdaptorSpec(Described):
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
    findings : int (default: 0)
        How many findings there are: only the wirings with offsets need to know, and must.
    features : int (default: 0)
        Fixed random features of the image beside its vector (`fedretune.adaptors.features`), for
        the wirings with offsets.
    """

    kind: str
    wiring: str
    dim: int
    residual: bool
    scale: str
    findings: int = 0
    features: int = 0

    by_finding: ClassVar[tuple[str, ...]] = ("parts.offsets.weight",)

    def __post_init__(self) -> None:
        ADAPTORS.check(self.kind)
        one_of("adaptor wiring", self.wiring, WIRINGS)
        if type(self.dim) is not int or self.dim < 1:
            raise UserError(f"adaptor.dim is {self.dim!r}; give a whole number of 1 or more.")
        if type(self.residual) is not bool:
            raise UserError(f"adaptor.residual is {self.residual!r}; give true or false.")
        object.__setattr__(self, "scale", canonical_scale(self.scale))
        self._check_offsets()

    def _check_offsets(self) -> None:
        if type(self.features) is not int or self.features < 0:
            raise UserError(f"adaptor.features is {self.features!r}; give a whole number from 0.")
        if "offsets" not in WIRINGS[self.wiring]:
            object.__setattr__(self, "findings", 0)  # one fingerprint for one adaptor
            if self.features:
                raise UserError(
                    f"adaptor.features = {self.features} needs adaptor.wiring = offsets or "
                    f"image+offsets, and it is {self.wiring}."
                )
        elif not self.residual:
            raise UserError(
                f"adaptor.wiring = {self.wiring} shifts the frozen prompts: set adaptor.residual "
                "= true."
            )
        elif type(self.findings) is not int or self.findings < 1:
            raise UserError(f"adaptor.findings is {self.findings!r}; give how many there are.")

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name to (shape, dtype) of every tensor, in `state_dict` order, without torch."""
        shapes: dict[str, tuple[int, ...]] = ADAPTORS[self.kind].shapes(self.dim)
        named: dict[str, tuple[tuple[int, ...], str]] = {}
        if self.scale == "learnable":
            named["log_scale"] = ((1,), "float32")
        for part in WIRINGS[self.wiring]:
            if part == "offsets":
                named["parts.offsets.weight"] = (
                    (self.findings, 2, self.dim + self.features),
                    "float32",
                )
            else:
                named |= {f"parts.{part}.{n}": (shape, "float32") for n, shape in shapes.items()}
        return named


@dataclass(frozen=True)
class ProbeSpec(Described):
    """What a probe is: a multi-label head on the frozen image vector, without any text.

    It travels as an adaptor does. Raises `UserError` for a value that is not allowed.

    Parameters
    ----------
    hidden : int
        Units of the one hidden layer, which all findings share; 0 for a linear probe, whose rows
        share nothing.
    dim : int
        Length of the backbone's vectors.
    findings : int
        How many findings it tells apart.
    """

    hidden: int
    dim: int
    findings: int

    by_finding: ClassVar[tuple[str, ...]] = ("output.weight", "output.bias")

    def __post_init__(self) -> None:
        for name, least in (("hidden", 0), ("dim", 1), ("findings", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise UserError(f"probe.{name} is {value!r}; give a whole number from {least}.")

    def tensors(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name to (shape, dtype) of every tensor, in `state_dict` order, without torch."""
        layers = [("hidden", self.hidden, self.dim)] if self.hidden else []
        layers.append(("output", self.findings, self.hidden or self.dim))
        named: dict[str, tuple[tuple[int, ...], str]] = {}
        for layer, rows, columns in layers:
            named[f"{layer}.weight"] = ((rows, columns), "float32")
            named[f"{layer}.bias"] = ((rows,), "float32")
        return named


#: What is trained and travels.
Spec = AdaptorSpec | ProbeSpec | TunedSpec


def spec_from_json(text: str) -> Spec:
    """Read what a spec's `to_json` wrote. Raises `UserError` naming what it should be."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UserError(f"The adaptor's description is not JSON: {error}.") from error
    kinds: tuple[type[AdaptorSpec] | type[ProbeSpec] | type[TunedSpec], ...]
    kinds = (AdaptorSpec, ProbeSpec, TunedSpec)
    keys = {kind: {field.name for field in fields(kind)} for kind in kinds}
    for kind, names in keys.items():
        if isinstance(values, dict) and set(values) == names:
            return kind(**values)
    allowed = ", or ".join(", ".join(sorted(names)) for names in keys.values())
    raise UserError(
        f"The adaptor's description must have exactly the keys {allowed}; it is {text[:200]}"
    )
