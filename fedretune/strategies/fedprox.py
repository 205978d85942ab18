"""`fedprox`: the sites stay near the global adaptor, Li et al. 2020 (arXiv 1812.06127).

The term is ``mu / 2 * |w - w_global|^2``, the norm squared as in the paper's equation 2. On the
server it is FedAvg.
"""

import torch
from torch import Tensor

from fedretune.strategies.part import Round, SitePart, Turn


class FedProx(SitePart):
    """The pull to the adaptor that came."""

    def begin(self, round_: Round) -> Turn:
        """Return the proximal term; none for ``mu = 0``."""
        mu = self.parameters["mu"]
        if not mu:
            return Turn()
        held = [(each, each.detach().clone()) for each in round_.visit.model.parameters()]

        def pull(rows: Tensor, logits: Tensor) -> Tensor:
            total = torch.zeros(())
            for parameter, start in held:
                total = total + (parameter - start).square().sum()
            return mu / 2 * total

        return Turn([pull])
