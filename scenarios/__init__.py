"""What arrives where and when: streams of experiences over partitions of sites.

A scenario is a pure operation on the manifest's table. It knows no Flower and no torch, so a
site, the server and the command line can all rebuild it from the run's config alone.
"""

from scenarios.aggregation import taking_part
from scenarios.arrange import arrange, first_trained, taught
from scenarios.config import RunConfig
from scenarios.schedules import SCHEDULES
from scenarios.secure import check_summed, counts_ring, update_code, update_ring
from scenarios.stream import SCENARIOS, Lesson, Scenario, build_scenario
from scenarios.views import at_once, pooled

__all__ = [
    "SCENARIOS",
    "SCHEDULES",
    "Lesson",
    "RunConfig",
    "Scenario",
    "arrange",
    "at_once",
    "build_scenario",
    "check_summed",
    "counts_ring",
    "first_trained",
    "pooled",
    "taking_part",
    "taught",
    "update_code",
    "update_ring",
]
