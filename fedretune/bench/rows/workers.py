"""Sites that are shared among a process for each core, against sites that take turns in one."""

from fedretune.bench.frame import Case, Side
from fedretune.bench.options import Options
from fedretune.bench.rows.simulate import made_run, time_training
from fedretune.workers import cores


def row(options: Options) -> Case:
    """The training part of the default run over 8 sites, by its number of processes."""
    made = made_run(options)

    def training(workers: int) -> Side:
        return Side(
            f"training over {made.config.sites} sites, {workers} at a time",
            lambda: time_training(made.simulated(workers), made.app.server_app, options),
        )

    return Case("s", training(cores()), training(1), {**made.facts, "workers": cores()})
