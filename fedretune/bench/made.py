"""A made world: a default run's manifest and shards, with vectors that no encoder has seen.

What a run costs once images are embedded depends on how many vectors there are and how long they
are, not on their values. So the store is filled with random vectors for files that hold as many
bytes as a phantom's, and everything after that is the real thing.
"""

import hashlib
from pathlib import Path

import numpy as np

from fedretune.backbones import describe
from fedretune.bench.options import Options
from fedretune.data.manifest import write_manifest
from fedretune.data.phantoms import manifest_of, sample_cohort
from fedretune.embeddings.store import open_store

#: The size of a phantom's PNG, about.
_BYTES = 9_000


def make_manifest(options: Options, sites: int) -> Path:
    """Write a manifest over `sites` sites, its files, and their vectors; return its path."""
    table = manifest_of(sample_cohort(options.scale.patients, sites, 0))
    rng = np.random.default_rng(0)
    (options.folder / "images").mkdir()
    digests = []
    for image in table["image"]:
        content = rng.bytes(_BYTES)
        (options.folder / str(image)).write_bytes(content)
        digests.append(hashlib.sha256(content).digest())
    info = describe(options.backbone)
    vectors = rng.standard_normal((len(table), info.dim), dtype=np.float32).astype(np.float16)
    open_store(info).add(digests, lambda positions: vectors[positions])
    return write_manifest(table, options.folder / "manifest.csv")
