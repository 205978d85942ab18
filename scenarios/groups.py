"""Groups of findings: what class- and label-incremental streams bring one after another."""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fedretune.errors import UserError, one_of

if TYPE_CHECKING:
    from scenarios.config import RunConfig

Groups = tuple[tuple[str, ...], ...]


def finding_groups(config: "RunConfig", findings: tuple[str, ...]) -> Groups:
    """Return the group of findings that each experience brings.

    With ``groups = "Mass, Nodule; Edema"`` those, in that order; a finding in no group is never
    trained. With ``groups = ""`` the findings in their own order, cut into `experiences` groups
    of nearly equal size, the larger ones first.

    Raises
    ------
    UserError
        An unknown finding, a finding in two groups, an empty group, or a number of groups or
        findings that does not fit the number of experiences.
    """
    if config.groups.strip():
        return _given(config, findings)
    if len(findings) < config.experiences:
        raise UserError(
            f"Scenario '{config.scenario}' brings at least one finding in each of its "
            f"{config.experiences} experiences, and the manifest has {len(findings)}: "
            f"set experiences = {len(findings)} or fewer."
        )
    cut = np.array_split(np.arange(len(findings)), config.experiences)
    return tuple(tuple(findings[column] for column in group) for group in cut)


def refuse_groups(config: "RunConfig") -> None:
    """Raise `UserError` if groups are given to a scenario that trains all findings each time."""
    if config.groups.strip():
        raise UserError(
            f"Scenario '{config.scenario}' trains every finding in every experience and takes no "
            "groups: leave groups empty, or choose class-incremental or label-incremental."
        )


def _given(config: "RunConfig", findings: tuple[str, ...]) -> Groups:
    groups = tuple(
        tuple(name.strip() for name in group.split(",")) for group in config.groups.split(";")
    )
    for number, group in enumerate(groups, start=1):
        if "" in group:
            raise UserError(
                f"Group {number} in groups = '{config.groups}' names no finding in one place: "
                "write findings between commas and groups between semicolons, none at the end."
            )
    names = [name for group in groups for name in group]
    for name in names:
        one_of("finding in groups:", name, findings)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"groups names '{twice[0]}' more than once: keep it in one group.")
    if len(groups) != config.experiences:
        raise UserError(
            f"groups has {len(groups)} groups, one an experience, and experiences is "
            f"{config.experiences}: set experiences = {len(groups)}."
        )
    return groups
