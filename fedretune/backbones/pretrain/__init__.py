"""Make phantom-clip, the embedded default backbone, from nothing but a seed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedretune.backbones.pretrain.recipe import Recipe, recipe_for
from fedretune.errors import UserError
from fedretune.findings import NIH14
from fedretune.paths import filling

__all__ = ["Recipe", "filled", "fixed_threads", "pretrain", "recipe_for"]

#: Called with what is being done, steps done, steps in all, and a remark.
Report = Callable[[str, int, int, str], None]
_THREADS = 2  # sums depend on it, so it is part of the recipe


def pretrain(folder: Path, recipe: Recipe, seed: int, report: Report) -> Path:
    """Train phantom-clip into `folder`: config, tokenizer, float16 weights, moments, model card.

    Raises
    ------
    UserError
        If `folder` is not empty or cannot be written.
    """
    return filled(folder, _THREADS, lambda draft: _make(draft, recipe, seed, report))


def filled(folder: Path, threads: int, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` has filled, with so many threads; on failure there is none.

    Raises
    ------
    UserError
        If `folder` is not empty or cannot be written.
    """
    folder = Path(folder)
    try:
        with filling(folder) as draft, fixed_threads(threads):
            make(draft)
    except OSError as error:
        raise UserError(f"Cannot write '{folder}': {error}.") from error
    return folder


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Compute with this many threads inside the block: sums depend on it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make(draft: Path, recipe: Recipe, seed: int, report: Report) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from fedretune.backbones.pretrain import card, folder, learn
    from fedretune.backbones.pretrain.reports import facts_of
    from fedretune.data.phantoms import render_cohort

    clock = card.Clock()

    def rendered(done: int, total: int) -> None:
        report("Rendering", done, total, "images")

    size = int(folder.VISION["image_size"])  # type: ignore[call-overload]
    cohort, films = render_cohort(
        recipe.patients, recipe.sites, seed, size, "pretraining", rendered
    )
    folder.write_tokenizer(draft)
    model = folder.new_model(seed)
    learn.contrast(
        model,
        folder.tokenizer_of(draft),
        films,
        facts_of(cohort, seed, "pretraining"),
        recipe.steps,
        recipe.batch,
        seed,
        lambda done, total, loss: report("Training", done, total, f"loss {loss:.3f}"),
    )
    folder.write_weights(draft, model)
    _write_moments(draft, films, report)
    seconds = clock.read()
    figures = _figures(draft, recipe, seed, films, np.array(cohort[list(NIH14)]), report)
    image = sum(p.numel() for p in model.visual.parameters())
    text = sum(p.numel() for p in model.parameters()) - image
    content = card.write_card(recipe, seed, len(films), (image, text), seconds, figures)
    (draft / "MODEL_CARD.md").write_text(content, encoding="utf-8")


def _write_moments(draft: Path, films: NDArray[np.uint8], report: Report) -> None:
    """Write the second moment of the pretraining images' vectors, by the folder as it will ship."""
    from fedretune.backbones import load_backbone
    from fedretune.backbones.moments import FILE, write_moments
    from fedretune.backbones.pretrain.learn import outputs

    report("Second moment", 0, 1, f"{len(films)} images")
    backbone = load_backbone(f"local-dir:{draft.resolve()}", device="cpu")
    write_moments(draft / FILE, outputs(backbone.encode_images, films))
    report("Second moment", 1, 1, f"{len(films)} images")


def _figures(
    draft: Path,
    recipe: Recipe,
    seed: int,
    films: NDArray[np.uint8],
    labels: NDArray[Any],
    report: Report,
) -> Any:
    """Measure the folder as it will ship: reloaded, in float16's precision."""
    from fedretune.backbones.pretrain import card, folder, judge, learn
    from fedretune.data.phantoms import render_cohort
    from fedretune.metrics import exact_auroc

    size = films.shape[1]
    cohort, images = render_cohort(
        recipe.judged_patients,
        4,
        0,
        size,
        progress=lambda done, total: report("Rendering the default data", done, total, "images"),
    )
    truth, fit = np.array(cohort[list(NIH14)]), np.array(cohort["split"] == "train")
    vectors, prompts = judge.embed(draft, images)
    tower = learn.supervise(
        folder.new_model(seed).visual,
        films,
        labels,
        recipe.ceiling_steps,
        recipe.batch,
        seed,
        lambda done, total, loss: report("Ceiling", done, total, f"loss {loss:.3f}"),
    )
    best = learn.outputs(tower, images[~fit]).numpy()
    return card.Figures(
        truth[~fit].sum(axis=0),
        int((~fit).sum()),
        judge.zero_shot(vectors[~fit], prompts, truth[~fit]),
        judge.probe((vectors[fit], truth[fit]), (vectors[~fit], truth[~fit]), seed),
        exact_auroc(best, truth[~fit]),
    )
