"""`joint-withheld`: every image at once, with only those labels that the stream shows of it.

What is lost between `joint` and this is lost for want of labels; what is lost between this and a
method on the stream is lost by forgetting. Only where the scenario withholds labels.
"""

from fedretune.methods.method import Method


def joint_withheld(method: Method) -> Method:
    """Return the method on a stream of one step, with the labels of each image's experience."""
    return method.ordered("at-once-withheld")
