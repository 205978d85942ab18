"""The label-incremental scenario.

The training images of a site are cut by patient into as many chunks as there are groups of
findings, and experience t trains the findings of groups 0 to t on chunk t. Radiologists report
ever more findings, and go on reporting those that they knew. Labels are withheld: those of the
groups to come stay unseen, or are taken as negative where the config says
``unlabelled = negative``.
"""

from itertools import accumulate
from typing import TYPE_CHECKING

from scenarios.groups import Groups, finding_groups

if TYPE_CHECKING:
    from scenarios.config import RunConfig


def trained_findings(config: "RunConfig", findings: tuple[str, ...]) -> Groups:
    """Return the findings trained in each experience: all so far. Raises `UserError`."""
    return tuple(accumulate(finding_groups(config, findings)))
