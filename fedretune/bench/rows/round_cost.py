"""What a round costs as the same images are spread over more sites."""

from fedretune.bench.frame import Case, Side
from fedretune.bench.options import Options
from fedretune.bench.rows.simulate import time_training
from fedretune.bench.vectors import IMAGES_PER_SITE, MadeVectors, one_round, runner
from fedretune.cli.app_folder import find_app

FEW = 10


def row(options: Options) -> Case:
    """The training exchange of a round in which every site takes part, with many and few sites."""
    app, images = find_app(options.app), round(options.scale.many * IMAGES_PER_SITE)
    vectors = MadeVectors(options.folder, images)

    def side(sites: int) -> Side:
        run = runner(app, vectors.world(app, one_round(app, options, sites)))
        return Side(
            f"a round of {sites:,} sites, {images:,} images in all",
            lambda: time_training(run, app.server_app, options),
        )

    return Case("s", side(options.scale.many), side(FEW), {"images": images}, repeats=1)
