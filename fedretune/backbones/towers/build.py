"""Building `lite0-minilm`: two towers, and what joins them, into a folder that works by itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fedretune.backbones.pretrain import fixed_threads
from fedretune.backbones.pretrain.judge import zero_shot
from fedretune.backbones.pretrain.reports import facts_of, write_report
from fedretune.backbones.towers import weight_files
from fedretune.backbones.towers.card import write_card
from fedretune.backbones.towers.fit import Joint, join
from fedretune.backbones.towers.model import (
    SIZE,
    image_vectors,
    new_model,
    sentence_vectors,
    write_folder,
    write_weights,
)
from fedretune.data.phantoms import render_cohort
from fedretune.errors import UserError
from fedretune.findings import NIH14
from fedretune.objectives.prompt_embeddings import PromptEmbeddings
from fedretune.paths import filling
from fedretune.prompts import load_prompts

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Recipe:
    """How the towers are joined.

    The defaults were tried on phantoms, but for the number of coordinates: see docs/backbones.md.

    Parameters
    ----------
    patients, judged : int
        Whose phantoms the maps are fitted on, and measured on.
    reports : int
        Templated reports of each image.
    shared, own : int
        Coordinates of both towers, and of the image alone.
    ridge : (float, float)
        Of images and of sentences; see `fit`.
    """

    patients: int = 700
    judged: int = 250
    reports: int = 8
    shared: int = 128
    own: int = 384
    ridge: tuple[float, float] = (1.0, 0.03)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.shared + self.own


def build(folder: Path, report: Report, recipe: Recipe | None = None, seed: int = 0) -> Path:
    """Build `lite0-minilm` into `folder`; returns it.

    The same machine and versions give the same bytes. Another machine may round otherwise, so a
    federation builds once and copies the folder.

    Raises
    ------
    UserError
        The packages with the weights are not there; `folder` is not empty or cannot be written.
    """
    recipe = recipe or Recipe()
    image, minilm = weight_files()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with filling(Path(folder)) as draft, fixed_threads(2):
            write_folder(draft, minilm, recipe.dim)
            model = new_model(draft, image, minilm, recipe.dim)
            joint, images = _fitted(model, draft, recipe, seed, report)
            write_weights(draft, model, joint)
            figures = _judged(model, draft, recipe, report)
            (draft / "MODEL_CARD.md").write_text(write_card(recipe, seed, images, joint, *figures))
    except OSError as error:
        raise UserError(f"Cannot write '{folder}': {error}.") from error
    return Path(folder)


def _fitted(
    model: Any, draft: Path, recipe: Recipe, seed: int, report: Report
) -> tuple[Joint, int]:
    """Return the maps, and the number of images that they were fitted on."""
    cohort, films = render_cohort(
        recipe.patients, 16, seed, SIZE, "pretraining", _telling(report, "Rendering phantoms")
    )
    sentences, true = _said(cohort, recipe.reports, seed)
    report("Encoding", 0, 1)
    images = image_vectors(model, films)
    texts = sentence_vectors(model, _tokenizer(draft), sentences)
    report("Encoding", 1, 1)
    return join(images, texts, true, recipe.shared, recipe.own, recipe.ridge), len(films)


def _said(cohort: pd.DataFrame, reports: int, seed: int) -> tuple[list[str], NDArray[np.float64]]:
    """Return all sentences of `reports` reports an image, and how often each is of each image."""
    rng = np.random.default_rng(seed)
    known: dict[str, int] = {}
    places = [
        (image, known.setdefault(sentence, len(known)))
        for image, facts in enumerate(facts_of(cohort, seed, "pretraining"))
        for _ in range(reports)
        for sentence in write_report(facts, rng).split(" . ")
    ]
    true = np.zeros((len(cohort), len(known)))
    np.add.at(true, tuple(zip(*places, strict=True)), 1.0)
    return list(known), true


@torch.inference_mode()
def _judged(
    model: Any, draft: Path, recipe: Recipe, report: Report
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Return zero-shot AUROC and positives of each of `NIH14`, and images, of other phantoms."""
    cohort, films = render_cohort(
        recipe.judged, 4, 0, SIZE, progress=_telling(report, "Rendering phantoms to judge by")
    )
    truth = cohort[list(NIH14)].to_numpy()
    report("Judging", 0, 1)
    images = model.visual.head(torch.from_numpy(image_vectors(model, films)).float())
    pairs = [load_prompts("precursor").texts(finding) for finding in NIH14]
    tokenizer = _tokenizer(draft)
    positive, negative = (
        torch.stack([model.encode_text(tokenizer(list(pair[side]))) for pair in pairs])
        for side in (0, 1)
    )
    aurocs = zero_shot(images, PromptEmbeddings(positive, negative, NIH14), truth)
    report("Judging", 1, 1)
    return aurocs, truth.sum(axis=0).astype(np.int64), len(films)


def _tokenizer(draft: Path) -> Any:
    import open_clip

    return open_clip.get_tokenizer(f"local-dir:{draft.resolve()}")


def _telling(report: Report, what: str) -> Callable[[int, int], None]:
    return lambda done, total: report(what, done, total)
