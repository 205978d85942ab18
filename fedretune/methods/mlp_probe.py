"""`mlp-probe`: a head with a hidden layer that all findings share, so that it can forget."""

from fedretune.methods.method import Method

#: Hidden units, in lengths of the backbone's vectors: those of the adaptor `mlp`.
WIDTH = 2
#: Tuned on the validation split of the phantoms.
LR = 1e-3


def mlp_probe(method: Method) -> Method:
    """Return the method with a head of two layers in the adaptor's place."""
    return method.probing(WIDTH, LR)
