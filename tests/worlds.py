"""A world without images: vectors in which findings are directions, for fast exact tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clients.world import World, moments_of
from fedretune.backbones import BackboneInfo
from fedretune.data.manifest import Manifest
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.prompts import load_prompts
from scenarios import RunConfig, arrange, build_scenario
from tests.tuning.tokens import tiny_trunk, tokens_of

FINDINGS = ("Mass", "Edema", "Hernia")
DIM = 8


@dataclass(frozen=True)
class Vectors:
    """Stands where the embedding store stands: vectors in memory rather than on disk."""

    vectors: np.ndarray
    info: BackboneInfo

    def take(self, positions: np.ndarray, dtype: type = np.float32) -> np.ndarray:
        return self.vectors[positions].astype(dtype)


def make_table(patients: int, sites: int, seed: int) -> pd.DataFrame:
    """Return a manifest's table of two images a patient."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(2 * patients)]})
    table["patient"] = [f"p{number:04}" for number in patient]
    table["split"] = np.repeat(rng.choice(["train", "test"], patients, p=[0.7, 0.3]), 2)
    table["site"] = [f"site-{number % sites + 1}" for number in patient]
    for finding in FINDINGS:
        table[finding] = np.repeat((rng.random(patients) < 0.3).astype(float), 2)
    return table


def make_world(config: RunConfig, sites: int, patients: int = 160, seed: int = 0) -> World:
    """Return a world whose findings can be learnt, and of which the prompts know something."""
    rng = np.random.default_rng(seed)
    table = make_table(patients, sites, seed)
    directions = rng.normal(size=(len(FINDINGS), DIM)).astype(np.float32)
    labels = table[list(FINDINGS)].to_numpy(dtype=np.float32)
    vectors = rng.normal(size=(len(table), DIM)).astype(np.float32) + 1.5 * labels @ directions
    noise = rng.normal(size=(2, len(FINDINGS), 4, DIM)).astype(np.float32)
    told = torch.from_numpy(directions[:, None] * 0.5 + noise[0])
    trunk = tiny_trunk(DIM).layout.lines() if config.tunes else ()
    vectors = tokens_of(vectors) if config.tunes else vectors
    info = BackboneInfo("synthetic", None, "0" * 64, DIM, "{}")
    manifest = Manifest(Path("manifest.csv"), table, FINDINGS, np.arange(2, len(table) + 2))
    prompt_set = load_prompts("precursor")
    return World(
        config,
        manifest,
        labels,
        sites,
        arrange(config, build_scenario(config, table, FINDINGS, sites)),
        Vectors(vectors.astype(np.float16), info),
        prompt_set,
        PromptEmbeddings(told, torch.from_numpy(noise[1]), FINDINGS),
        config.spec(DIM, len(FINDINGS), trunk),
        config.remedies(),
        moments=moments_of(config, DIM),
    )
