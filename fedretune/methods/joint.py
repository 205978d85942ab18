"""`joint`: every image of every experience at once, with all its labels. The upper bound.

In a class- or label-incremental scenario it sees labels that the stream withholds; see
`joint-withheld` for a bound without that advantage.
"""

from fedretune.methods.method import Method


def joint(method: Method) -> Method:
    """Return the method on a stream of one step that holds everything."""
    return method.ordered("at-once")
