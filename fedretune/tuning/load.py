"""From a backbone's name to the trunk that this process holds of it."""

from fedretune.backbones import load_backbone
from fedretune.backbones.model import Backbone
from fedretune.tuning.frozen import Trunk, held, hold, holds, part
from fedretune.tuning.layout import Layout


def use(name: str, allow_hub: bool = False, device: str = "cpu") -> Layout:
    """Have this process hold a backbone's image tower, parted; return its layout.

    Loaded once, however often it is asked for: what is tuned finds it by its fingerprint.

    Raises
    ------
    UserError
        The backbone's faults, among them an image tower that is no vision transformer.
    """
    from fedretune.backbones import describe

    fingerprint = describe(name, allow_hub).fingerprint
    if not holds(fingerprint):
        hold(trunk_of(load_backbone(name, device, allow_hub)))
    return held(fingerprint).layout


def trunk_of(backbone: Backbone) -> Trunk:
    """Return the image tower of a loaded backbone, parted. Raises `UserError` as `use` does."""
    model = backbone.model
    tower = model if hasattr(model, "trunk") else getattr(model, "visual", model)
    return part(backbone.info.name, backbone.info.fingerprint, tower)
