"""`zero-shot`: the frozen model and the prompts, without an adaptor. The lower bound."""

from fedretune.methods.method import Method


def zero_shot(method: Method) -> Method:
    """Return the method without training and without an adaptor."""
    return method.ordered("zero-shot")
