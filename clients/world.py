"""What a site's process knows: its manifest, scenario, frozen vectors and encoded prompts.

Built once a process and shared by all the sites that it simulates: the vectors are one
memory map, so a site costs its labels and nothing more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedretune.adaptors import Model, Spec, TunedSpec
from fedretune.backbones import describe
from fedretune.backbones.moments import Moments, load_moments
from fedretune.data.manifest import Manifest, check_images, load_manifest
from fedretune.data.phantoms import default_manifest
from fedretune.embeddings import Embeddings, Progress, embed_images, embed_prompts, no_prompts
from fedretune.methods import Remedy
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.prompts import PromptSet, load_prompts
from fedretune.training import TrainingResult
from fedretune.tuning.load import use
from fedretune.tuning.module import frozen_vectors
from scenarios import RunConfig, Scenario, arrange, build_scenario
from scenarios.partitions import DEFAULT_SITES

#: The manifest's name that stands for the data that FedRETune draws itself.
PHANTOMS = "phantoms"
#: Images of which the tokens are read at a time to be scored.
_TOKENS = 256


@dataclass(frozen=True)
class World:
    """Everything of a run that is the same for all sites of one process.

    Parameters
    ----------
    config : RunConfig
    manifest : Manifest
    labels : float32 array [images, findings]
        1, 0 or NaN where unlabelled.
    hospitals : int
        How many hospitals the images are dealt to, also where one site holds all.
    scenario : Scenario
        As the method sees it.
    embeddings : Embeddings
        One frozen vector an image.
    prompt_set : PromptSet
    prompts : PromptEmbeddings
    adaptor : Spec
        What is trained: the config's adaptor, or the method's probe.
    remedies : tuple[Remedy, ...]
    moments : Moments, optional
        Of public images, by which private gradients are evened out.
    learnt : dict
        By site, experience and round: what `clients.ahead` has trained, until it is asked for.
    """

    config: RunConfig
    manifest: Manifest
    labels: NDArray[np.float32]
    hospitals: int
    scenario: Scenario
    embeddings: Embeddings
    prompt_set: PromptSet
    prompts: PromptEmbeddings
    adaptor: Spec
    remedies: tuple[Remedy, ...] = ()
    moments: Moments | None = None
    learnt: dict[tuple[str, int, int], tuple[Model, TrainingResult]] = field(
        default_factory=dict, compare=False
    )

    def images(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return what is stored of images: vectors in float32, tokens as they lie, in float16."""
        if isinstance(self.adaptor, TunedSpec):
            return torch.from_numpy(self.embeddings.take(rows, np.float16))
        return torch.from_numpy(self.embeddings.take(rows))

    def shown(self, rows: NDArray[np.int64], frozen: bool) -> Iterator[Tensor]:
        """Yield images to be scored: all at once, or, as tokens are long, some at a time.

        Where `frozen`, as the vectors that the backbone alone makes of them.
        """
        if not isinstance(self.adaptor, TunedSpec):
            yield self.images(rows)
            return
        for start in range(0, max(len(rows), 1), _TOKENS):
            images = self.images(rows[start : start + _TOKENS])
            yield frozen_vectors(self.adaptor, images) if frozen else images


@lru_cache(maxsize=2)
def open_world(config: RunConfig, sites: int) -> World:
    """Return the world of a process that plays `sites` sites, made on the first call."""
    return make_world(config, sites)


def make_world(config: RunConfig, sites: int, progress: Progress | None = None) -> World:
    """Read the manifest, cut it into shards, and encode what has not been encoded yet.

    Parameters
    ----------
    config : RunConfig
    sites : int
        How many sites Flower has started; 0 when that is not known.
    progress : callable (done, total), optional
        Called while images are encoded.

    Raises
    ------
    UserError
        Anything wrong with the manifest, its images, the scenario, the prompts or the backbone.
    """
    sites = config.sites or sites
    return world_of(config, load_manifest(_manifest_path(config, sites)), sites, progress)


def world_of(
    config: RunConfig, manifest: Manifest, sites: int, progress: Progress | None = None
) -> World:
    """Return the world of a manifest; parameters and errors as for `make_world`."""
    check_images(manifest)
    hospitals = build_scenario(config, manifest.table, manifest.findings, sites)
    prompt_set = load_prompts(config.prompts)
    prompts = _prompts(config, prompt_set, manifest.findings)
    spec = _spec(config, len(manifest.findings))
    moments = moments_of(config, spec.dim)
    embeddings = embed_images(
        manifest,
        config.backbone,
        device=config.device,
        allow_hub=config.allow_hub,
        progress=progress,
        cut=spec if isinstance(spec, TunedSpec) else None,
    )
    return World(
        config,
        manifest,
        manifest.labels(config.uncertain),
        len(hospitals.sites),
        arrange(config, hospitals),
        embeddings,
        prompt_set,
        prompts,
        spec,
        config.remedies(),
        moments=moments,
    )


def _spec(config: RunConfig, findings: int) -> Spec:
    """Return what is trained; if inside the backbone, this process holds its trunk from now on."""
    trunk = use(config.backbone, config.allow_hub, config.device).lines() if config.tunes else ()
    return config.spec(describe(config.backbone, config.allow_hub).dim, findings, trunk)


def moments_of(config: RunConfig, dim: int) -> Moments | None:
    """Return the second moment of public images that the config asks for, if it does."""
    if not config.privacy.evens:
        return None
    return load_moments(config.privacy.moments, config.backbone, dim, config.allow_hub)


def _prompts(
    config: RunConfig, prompt_set: PromptSet, findings: tuple[str, ...]
) -> PromptEmbeddings:
    """Return the encoded prompts; a head looks at none, so its backbone need not read any."""
    if not config.prompted and not describe(config.backbone, config.allow_hub).reads_text:
        return no_prompts(findings, config.backbone)
    return embed_prompts(
        prompt_set,
        findings,
        config.backbone,
        device=config.device,
        allow_hub=config.allow_hub,
    )


def _manifest_path(config: RunConfig, sites: int) -> Path:
    if config.manifest == PHANTOMS:
        return default_manifest(sites or DEFAULT_SITES)
    return Path(config.manifest).expanduser()
