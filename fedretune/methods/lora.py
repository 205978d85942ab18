"""`lora`: RE-tune with LoRA in the image tower, in place of adaptors on its vectors.

The prompts stay as the frozen text tower has them. Carried along the stream like any adaptor.
"""

from dataclasses import replace

from fedretune.methods.method import Method

SETTINGS: dict[str, str | int | float | bool] = {"adaptor.kind": "lora"}


def lora(method: Method) -> Method:
    """Return the method with LoRA inside the backbone."""
    return replace(method, settings={**method.settings, **SETTINGS})
