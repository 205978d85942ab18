"""How fast the embedded data is drawn."""

from fedretune.bench.frame import Case, Side, rate_of
from fedretune.bench.options import Options
from fedretune.data.phantoms import render, sample_cohort


def row(options: Options) -> Case:
    """Phantoms a second on one core: NumPy, which does not share an image among cores."""
    count = options.scale.rendered
    cohort = sample_cohort(count, 4, 0).head(count)
    side = Side(
        f"{count} phantoms of 128 x 128 drawn on one core",
        lambda: rate_of(lambda: render(cohort, 0), count),
    )
    return Case("images/s", side)
