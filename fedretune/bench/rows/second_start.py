"""A run that starts where everything has been encoded: seconds until it could train."""

import json

from fedretune.bench.frame import Case, Side
from fedretune.bench.made import make_manifest
from fedretune.bench.options import Options
from fedretune.bench.process import python
from fedretune.cli.app_folder import find_app

SITES = 4

_IMPORT = """
import json, sys
from pathlib import Path
from fedretune.cli.app_folder import find_app
app = find_app(Path(sys.argv[1]))
app.server_app, app.client_app
"""
_OPEN = """
config = app.module("scenarios").RunConfig.from_flat(json.loads(sys.argv[2]))
app.module("clients.world").make_world(config, 0)
"""


def row(options: Options) -> Case:
    """A new process that opens a world whose images and prompts are stored.

    Both sides import torch, Flower and the app; the difference is reading the manifest, looking
    at every image file, cutting shards and mapping the vectors.
    """
    app = find_app(options.app)
    manifest = make_manifest(options, SITES)
    config = {"manifest": str(manifest), "backbone": options.backbone, "sites": SITES}
    arguments = (str(app.path), json.dumps(config))
    images = len(manifest.read_text().splitlines()) - 1
    return Case(
        "s",
        Side(
            f"a new process, ready to train on {images:,} stored images",
            lambda: python(("-c", _IMPORT + _OPEN, *arguments)),
        ),
        Side(
            "a new process that imports the same and stops",
            lambda: python(("-c", _IMPORT, *arguments)),
        ),
        {"images": images, "sites": SITES},
    )
