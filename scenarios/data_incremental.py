"""The data-incremental scenario.

The training images of a site are cut by patient into N chunks of nearly equal size, and
experience t trains every finding on chunk t. Nothing but new patients arrives. No label is
withheld, so ``groups`` is refused and ``unlabelled`` changes nothing.
"""

from typing import TYPE_CHECKING

from scenarios.groups import Groups, refuse_groups

if TYPE_CHECKING:
    from scenarios.config import RunConfig


def trained_findings(config: "RunConfig", findings: tuple[str, ...]) -> Groups:
    """Return the findings trained in each experience: all of them. Raises `UserError`."""
    refuse_groups(config)
    return (findings,) * config.experiences
