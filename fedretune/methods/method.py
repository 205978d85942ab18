"""What a method is, and the two hooks by which a remedy works against forgetting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from fedretune.adaptors import AdaptorSpec, ProbeSpec, Spec
from fedretune.errors import UserError

if TYPE_CHECKING:  # numpy is a sixth of the start of `fedretune --help`
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from fedretune.adaptors import Model
    from fedretune.objectives.prompt_embeddings import PromptEmbeddings
    from fedretune.training import Term

#: What a remedy remembers at a site from one experience to the next. It never leaves the site.
Memory = Mapping[str, "NDArray[Any]"]

#: Who averages: all sites, nobody, or one site that holds everything.
Arrangement = Literal["federated", "local", "central"]
#: What is trained: the stream, everything at once with all labels, everything at once with the
#: labels that the stream shows, or nothing but evaluated.
Order = Literal["stream", "at-once", "at-once-withheld", "untrained", "zero-shot"]


@dataclass(frozen=True)
class Method:
    """How a federation learns.

    Parameters
    ----------
    name : str
    probe : int | None (default: None)
        None trains the config's adaptor; a number, a probe with a hidden layer of so many times
        the vectors' length (0: a linear probe).
    arrangement : Arrangement (default: "federated")
    order : Order (default: "stream")
    remedies : mapping of name to a maker of a `Remedy` from its strength (default: none)
    settings : mapping of config key to value (default: none)
        What suits the method where the config says nothing else, tuned on the validation split
        of the phantoms.
    wirings : tuple[str, ...] (default: none)
        The adaptor's wirings that the method is about; none if any will do.
    staged : bool (default: False)
        Whether LoRA has factors of its own for each experience.
    """

    name: str
    probe: int | None = None
    arrangement: Arrangement = "federated"
    order: Order = "stream"
    remedies: "Mapping[str, Callable[[float], Remedy]]" = field(default_factory=dict)
    settings: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    wirings: tuple[str, ...] = ()
    staged: bool = False

    def spec(self, adaptor: Callable[[int, int], AdaptorSpec], dim: int, findings: int) -> Spec:
        """Return what is trained, given the config's adaptor by dimensions and findings.

        Raises
        ------
        UserError
            The method is about another wiring than the config's adaptor has.
        """
        if self.probe is not None:
            return ProbeSpec(self.probe * dim, dim, findings)
        spec = adaptor(dim, findings)
        if self.wirings and spec.wiring not in self.wirings:
            raise UserError(
                f"Method '{self.name}' needs adaptor.wiring = {' or '.join(self.wirings)}, and it "
                f"is {spec.wiring}: leave the key out, or take another method."
            )
        return spec

    @property
    def trains(self) -> bool:
        """Whether anything is trained at all."""
        return self.order not in ("untrained", "zero-shot")

    def arranged(self, arrangement: Arrangement) -> "Method":
        """Return the method in this arrangement. Raises `UserError` if it has another one."""
        if self.arrangement != "federated":
            raise UserError(
                f"Method '{self.name}' cannot be both {self.arrangement} and {arrangement}."
            )
        return replace(self, arrangement=arrangement)

    def ordered(self, order: Order) -> "Method":
        """Return the method in this order. Raises `UserError` if it has another one."""
        if self.order != "stream":
            raise UserError(f"Method '{self.name}' cannot be both {self.order} and {order}.")
        return replace(self, order=order)

    def probing(self, hidden: int, lr: float) -> "Method":
        """Return the method with a probe in the adaptor's place. Raises `UserError`."""
        if self.probe is not None:
            raise UserError(f"Method '{self.name}' names two probes: leave one out.")
        return replace(self, probe=hidden, settings={**self.settings, "train.lr": lr})

    def with_remedy(self, name: str, make: "Callable[[float], Remedy]") -> "Method":
        """Return the method with one remedy more. Raises `UserError` if it has it already."""
        if name in self.remedies:
            raise UserError(f"Method '{self.name}' names '{name}' twice: once is enough.")
        return replace(self, remedies={**self.remedies, name: make})

    def checked(self) -> "Method":
        """Return the method, or raise `UserError` if its parts do not go together."""
        if self.remedies and self.order != "stream":
            raise UserError(
                f"Method '{self.name}': a remedy against forgetting needs a stream to forget, and "
                f"'{self.order}' has none."
            )
        if self.probe is not None and ("anchor" in self.remedies or self.wirings):
            raise UserError(f"Method '{self.name}': a probe has no prompts to hold or to shift.")
        return self


@dataclass(frozen=True)
class Visit:
    """What a remedy sees of a site in one experience.

    Parameters
    ----------
    model : Adaptor | Probe
        In `before` the global one as it came, in `after` as the site trained it.
    images : Tensor
        Shape ``[n, d]``: the shard's vectors.
    labels : Tensor
        Shape ``[n, F]``, NaN where an entry is not trained.
    trains : Tensor
        Shape ``[n, F]``, bool: the findings that the experience trains.
    prompts : PromptEmbeddings
    pooling : str
    experience : int
    seed : int
        Of this site and experience.
    """

    model: "Model"
    images: "torch.Tensor"
    labels: "torch.Tensor"
    trains: "torch.Tensor"
    prompts: "PromptEmbeddings"
    pooling: str
    experience: int
    seed: int


class Remedy:
    """Something against forgetting: two hooks around an experience, and what they steer.

    `before` runs when the site meets an experience, `after` when it has trained it for the last
    time; each returns the new memory. In every round between them `rows` gives images to train
    beside the shard's, and `terms` what to add to the loss. Each does nothing unless overridden.
    """

    def before(self, memory: Memory, visit: Visit) -> Memory:
        """Return the memory with which the experience begins."""
        return memory

    def after(self, memory: Memory, visit: Visit) -> Memory:
        """Return the memory that the experience leaves."""
        return memory

    def rows(self, memory: Memory) -> "tuple[NDArray[np.float32], NDArray[np.float32]] | None":
        """Return vectors ``[m, d]`` and labels ``[m, F]`` to train beside the shard's."""
        return None

    def most_rows(self) -> int:
        """Return how many `rows` there are at most."""
        return 0

    def terms(self, memory: Memory, visit: Visit) -> "list[Term]":
        """Return what to add to the loss. `visit` holds the rows of `rows` too."""
        return []

    def least_shard(self) -> int:
        """Return how many images a shard must have for this remedy to make sense."""
        return 1
