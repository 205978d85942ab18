"""Whether enough of the sites that joined are left for a run to go on."""

import math
from collections.abc import Collection
from pathlib import Path

from fedretune.errors import UserError


def check_present(
    present: Collection[str], joined: Collection[str], quorum: float, run: Path
) -> None:
    """Raise `UserError` if those `present` are no quorum of those that `joined` the run."""
    needed = max(1, math.ceil(quorum * len(joined)))
    if len(present) < needed:
        aside = len(joined) - len(present)
        raise UserError(
            f"Of {len(joined)} sites that joined, {aside} are put aside, and the quorum is "
            f"{needed}; {run / 'sites.csv'} says why. Nothing is lost: mend it and go on with "
            "--resume and a higher patience, or a lower quorum."
        )
