"""The class-incremental scenario.

The training images of a site are cut by patient into as many chunks as there are groups of
findings, and experience t trains the findings of group t alone, positives and negatives, on
chunk t. No finding comes back, so what was learnt of it has to last to the end of the stream.
Labels are withheld: those of all other groups stay unseen in each experience, or are taken as
negative where the config says ``unlabelled = negative``.
"""

from typing import TYPE_CHECKING

from scenarios.groups import Groups, finding_groups

if TYPE_CHECKING:
    from scenarios.config import RunConfig


def trained_findings(config: "RunConfig", findings: tuple[str, ...]) -> Groups:
    """Return the findings trained in each experience: its own group. Raises `UserError`."""
    return finding_groups(config, findings)
