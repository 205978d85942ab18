"""`untrained`: the adaptor as it was initialised, epoch 0.

A residual adaptor starts as the zero-shot model; one without residual is random, and no lower
bound of anything, but where every training starts.
"""

from fedretune.methods.method import Method


def untrained(method: Method) -> Method:
    """Return the method without training."""
    return method.ordered("untrained")
