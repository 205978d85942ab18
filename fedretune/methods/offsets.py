"""`offsets`: RE-tune whose findings share nothing that is trained.

The text adaptor of RE-tune moves every prompt by the same map, so whatever one experience teaches
it moves the prompts of all findings. Here each finding has an offset of its own for its positive
and one for its negative prompts, on the frozen prompts, so that the start is the zero-shot model;
and images are told apart by their frozen vector and by fixed random features of it. Under masked
labels an experience cannot change what it does not train.
"""

from dataclasses import replace

from fedretune.methods.method import Method

#: Tuned on the validation split of the phantoms.
SETTINGS: dict[str, str | int | float | bool] = {
    "adaptor.wiring": "offsets",
    "adaptor.features": 256,
    "train.lr": 1e-2,
}


def offsets(method: Method) -> Method:
    """Return the method with an adaptor of one offset a finding and polarity."""
    return replace(
        method,
        settings={**method.settings, **SETTINGS},
        wirings=("offsets", "image+offsets"),
    )
