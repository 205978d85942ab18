"""What scores are multiplied by to give logits."""

import math

from torch import Tensor

#: Where a learnable scale starts; CLIP's starts at 1/0.07, about 14.
INITIAL_SCALE = 10.0
#: A probe's or a linear head's logit for a score of 1: scores are counted between -1 and 1, as
#: cosines are.
HEAD_SCALE = 16.0
#: The range of a learnable scale, CLIP's upper bound (Radford et al., 2021, section 2.5).
SCALE_RANGE = (1.0, 100.0)


def learnt_scale(log_scale: Tensor) -> Tensor:
    """Return the scale, a positive scalar, of its logarithm ``[1]``.

    It is clamped, but its gradient is not: it finds its way back.
    """
    low, high = (math.log(bound) for bound in SCALE_RANGE)
    clamped = log_scale.detach().clamp(low, high)
    return (log_scale + (clamped - log_scale.detach())).exp().reshape(())
