"""`offsets`: RE-tune whose findings share nothing that is trained.

The text adaptor of RE-tune moves every prompt by the same map, so whatever one experience teaches
it moves the prompts of all findings. Here each finding has an offset of its own for its positive
and one for its negative prompts, on the frozen prompts, so that the start is the zero-shot model;
and images are told apart by their frozen vector and by fixed random features of it. So an
experience cannot change what it does not train. That holds where labels withheld are masked, and
also where they are counted as negatives, as a site leaves out a finding of which it has no
positive; and offsets are averaged by the sites' positives of their finding, so that a site which
never saw it does not dilute what the others learnt, and along the stream over the experiences
that taught their finding.
"""

from dataclasses import replace

from fedretune.methods.method import Method

#: Tuned on the validation split of the phantoms.
SETTINGS: dict[str, str | int | float | bool] = {
    "adaptor.wiring": "offsets",
    "adaptor.features": 256,
    "train.lr": 1e-2,
    "train.one-class": "mask",
    "averaging": "positives",
    "stream-mean": True,
}


def offsets(method: Method) -> Method:
    """Return the method with an adaptor of one offset a finding and polarity."""
    return replace(
        method,
        settings={**method.settings, **SETTINGS},
        wirings=("offsets", "image+offsets"),
    )
