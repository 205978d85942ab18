"""What arrives where and when: streams of experiences over partitions of sites.

A scenario is a pure operation on the manifest's table. It knows no Flower and no torch, so a
site, the server and the command line can all rebuild it from the run's config alone.
"""

from scenarios.config import RunConfig
from scenarios.stream import SCENARIOS, Scenario, build_scenario

__all__ = ["SCENARIOS", "RunConfig", "Scenario", "build_scenario"]
