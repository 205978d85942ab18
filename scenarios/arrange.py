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
    if how.arrangement == "local" and config.stream_mean and len(set(scenario.plan)) > 1:
        raise UserError(
            f"stream-mean counts the experiences of all sites together, and with method = "
            f"{config.method} and schedule = {config.schedule} each site has its own: set "
            "stream-mean = false, or schedule = synchronous."
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


def taught(config: RunConfig, findings: tuple[str, ...], sites: int) -> list[set[int]]:
    """Return, for each step of the stream, the positions of the findings that some site trains.

    From the config alone, since the server, which asks, has no manifest; `sites` is how many
    hospitals there are.
    """
    trained = SCENARIOS[config.scenario](config, findings)
    columns = [{findings.index(finding) for finding in each} for each in trained]
    if config.how.order == "at-once":
        return [set(range(len(findings)))]
    if config.how.order == "at-once-withheld":
        return [set().union(*columns)]
    schedule = SCHEDULES[config.schedule](config, sites, len(trained), len(findings))
    steps: list[set[int]] = [set() for _ in trained]
    for plan, labelled in zip(schedule.plan, schedule.labelled, strict=True):
        known = set(labelled.nonzero()[0].tolist())
        for step, experiences in zip(steps, plan, strict=True):
            step.update(*(columns[experience] & known for experience in experiences))
    return steps


def first_trained(config: RunConfig, findings: tuple[str, ...], sites: int) -> dict[str, int]:
    """Return the step of the stream that first trains each finding at any site.

    A finding that no step trains is not in it. Parameters as for `taught`.
    """
    first: dict[str, int] = {}
    for step, columns in enumerate(taught(config, findings, sites)):
        for column in columns:
            first.setdefault(findings[column], step)
    return first
