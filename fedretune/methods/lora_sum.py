"""`lora-sum`: LoRA with factors of its own for each experience, whose products add up.

What an experience has learnt stays as it is, beside what later ones add. All factors travel, so a
message is as many times larger as there are experiences.
"""

from dataclasses import replace

from fedretune.methods.lora import lora
from fedretune.methods.method import Method


def lora_sum(method: Method) -> Method:
    """Return the method with one LoRA an experience."""
    return replace(lora(method), staged=True)
