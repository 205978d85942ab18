"""How many sites a secure sum needs."""

import math

#: Fewest sites of a sum: one of two would know the other's numbers from it.
FEWEST = 3


def threshold_of(sites: int, share: float) -> int:
    """Return how many of so many sites must be there to the end: a share of them, at least 3.

    And always more than half. A server that tells some sites that a site is out, and others that
    it is in, would need a threshold of each to have both of its secrets, and no site answers twice.
    """
    return max(FEWEST, sites // 2 + 1, math.ceil(share * sites - 1e-9))
