"""The adaptors of a run: one for all sites, or one for each."""

from collections.abc import Mapping
from pathlib import Path

from fedretune.adaptors import Spec, save
from fedretune.wire import Array
from scenarios import RunConfig
from server.strategies import Arrays, State

#: By the site that owns it. What nobody owns is the global adaptor, which is everybody's.
Models = Mapping[str, Arrays]
GLOBAL = ""
#: Before the name of what is kept among them and is no adaptor in use.
KEPT = "@"
_STATE = f"{KEPT}strategy/"


def adaptors_of(models: Models) -> Models:
    """Return the adaptors in use, without what is kept beside them."""
    return {owner: arrays for owner, arrays in models.items() if not owner.startswith(KEPT)}


def state_of(models: Models) -> State:
    """Return what the strategy remembers."""
    return {
        owner.removeprefix(_STATE): arrays
        for owner, arrays in models.items()
        if owner.startswith(_STATE)
    }


def with_state(models: Models, state: State) -> Models:
    """Return the models with this state in the place of the one before."""
    others = {owner: arrays for owner, arrays in models.items() if not owner.startswith(_STATE)}
    return {**others, **{_STATE + name: arrays for name, arrays in state.items()}}


def adaptor_of(models: Models, site: str) -> Arrays:
    """Return the adaptor that a site is sent: its own, or everybody's."""
    return models.get(site, models[GLOBAL])


def flatten(models: Models) -> dict[str, Array]:
    """Return all tensors in one mapping, as a checkpoint holds them."""
    return {
        f"{owner}/{name}" if owner else name: array
        for owner, arrays in models.items()
        for name, array in arrays.items()
    }


def unflatten(tensors: Arrays) -> dict[str, dict[str, Array]]:
    """Return what `flatten` was given. No tensor's name has a slash in it; a site's may."""
    models: dict[str, dict[str, Array]] = {}
    for key, array in tensors.items():
        owner, _, name = key.rpartition("/")
        models.setdefault(owner, {})[name] = array
    return models


def write_models(folder: Path, spec: Spec, models: Models, config: RunConfig) -> None:
    """Write what was learnt, and what it needs to be used again.

    ``adaptors.safetensors`` is the global adaptor; ``adaptors/<site>.safetensors`` are the sites'
    own, where they have any. Nothing for `zero-shot`, which has no adaptor.
    """
    if config.how.order == "zero-shot":
        return
    metadata = {"backbone": config.backbone, "prompts": config.prompts, "pooling": config.pooling}
    found = adaptors_of(models)
    for owner, arrays in found.items():
        if owner:
            save(own_file(folder, owner), spec, arrays, metadata)
        elif len(found) == 1:
            save(folder / "adaptors.safetensors", spec, arrays, metadata)


def own_file(folder: Path, site: str) -> Path:
    """Return the file, in a run folder, of a site's own adaptor."""
    return folder / "adaptors" / f"{site.replace('/', '-')}.safetensors"
