"""A scenario as a method sees it, checked before anything is trained."""

from fedretune.errors import UserError
from scenarios.config import RunConfig
from scenarios.schedules import SCHEDULES
from scenarios.stream import SCENARIOS, Scenario
from scenarios.views import at_once, pooled


def arrange(config: RunConfig, scenario: Scenario) -> Scenario:
    """Return the scenario as the config's method sees it: the stream, or everything at once.

    Raises
    ------
    UserError
        The method makes no sense in this scenario.
    """
    how = config.how
    if how.order == "at-once-withheld" and not scenario.withholds:
        raise UserError(
            f"Scenario '{config.scenario}' withholds no label, so that method '{config.method}' is "
            "'joint' there: use that, or another scenario."
        )
    if how.order.startswith("at-once"):
        scenario = at_once(scenario, withheld=how.order == "at-once-withheld")
    if how.arrangement == "central":
        scenario = pooled(scenario)
    _check_shards(config, scenario)
    return scenario


def _check_shards(config: RunConfig, scenario: Scenario) -> None:
    least = max((each.least_shard() for each in config.remedies()), default=1)
    for site in scenario.sites:
        for step in range(scenario.steps):
            images = len(scenario.lesson(site, step).rows)
            if 0 < images < least:
                raise UserError(
                    f"remedy.replay is {least}, and site '{site}' has {images} images in "
                    f"experience {step + 1}: a buffer may be no larger than the smallest shard; "
                    f"set remedy.replay to {images} or less, or fewer sites or experiences."
                )


def first_trained(config: RunConfig, findings: tuple[str, ...], sites: int) -> dict[str, int]:
    """Return the step of the stream that first trains each finding at any site.

    A finding that no step trains is not in it. From the config alone, since the server, which
    asks, has no manifest; `sites` is how many hospitals there are.
    """
    trained = SCENARIOS[config.scenario](config, findings)
    if config.how.order == "at-once":
        return dict.fromkeys(findings, 0)
    if config.how.order == "at-once-withheld":
        return {finding: 0 for each in trained for finding in each}
    schedule = SCHEDULES[config.schedule](config, sites, len(trained), len(findings))
    first: dict[str, int] = {}
    for step in range(len(trained)):
        for plan, labelled in zip(schedule.plan, schedule.labelled, strict=True):
            taught = {finding for experience in plan[step] for finding in trained[experience]}
            for finding, known in zip(findings, labelled, strict=True):
                if known and finding in taught:
                    first.setdefault(finding, step)
    return first
