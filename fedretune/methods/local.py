"""`local`: no federation. Each site trains, keeps and is evaluated with an adaptor of its own.

Its pooled figures rank scores that different adaptors gave.
"""

from fedretune.methods.method import Method


def local(method: Method) -> Method:
    """Return the method without averaging."""
    return method.arranged("local")
