"""`retune`: adaptors on frozen encoders, steered by positive and negative prompts, and no more.

Mistretta & Bagdanov 2024 (arXiv 2410.17827): that this alone does not forget is the claim to test.
"""

from fedretune.methods.method import Method


def retune(method: Method) -> Method:
    """Return the method as it is: plain RE-tune is what every method starts from."""
    return method
