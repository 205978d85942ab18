"""How common findings are at a site, from its updates: ``privacy attack --attack prevalence``."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from fedretune.adaptors import load
from fedretune.cli.app_folder import AppFolder
from fedretune.cli.console import say
from fedretune.cli.privacy_updates import Update, sites_of, updates_of
from fedretune.cli.privacy_world import learn, mechanism_of, rows_of
from fedretune.privacy.attacks.prevalence import (
    Attacker,
    by_prevalence,
    prevalence,
    rank_correlation,
)
from fedretune.privacy.attacks.target import Examples
from fedretune.seeds import derive_seed


def tell(app: AppFolder, run: Path, world: Any, shadows: int, seed: int, as_json: bool) -> None:
    """Estimate the prevalence of each finding from each update of a first round, and tell it."""
    cells = list(estimates(app, run, world, shadows, seed))
    found = summary_of(cells)
    if as_json:
        typer.echo(json.dumps({"attack": "prevalence", **found, "each": cells}))
        return
    say(
        f"Prevalence of {found['findings']} findings from {found['updates']} updates of a first "
        f"round: wrong by [bold]{found['error']:.4f}[/] on average; who guesses the public "
        f"prevalence is wrong by {found['guess_error']:.4f}. Rank correlation with the truth "
        f"[bold]{found['spearman']:.3f}[/], of the guess {found['guess_spearman']:.3f}. Of "
        f"what a site has more or less than the public: [bold]{found['beyond']:.3f}[/], where a "
        "guess has 0."
    )


def estimates(
    app: AppFolder, run: Path, world: Any, shadows: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield, for each site, experience and finding that it trained, truth, estimate and guess.

    Of the first round of each experience, in which all sites begin with one adaptor. The public
    images are the run's evaluation split.
    """
    spec, _, _ = load(run / "adaptors.safetensors")
    as_site = partial(learn, world, mechanism_of(app, world))
    updates = sorted(
        (each for each in updates_of(run, world) if not each.round),
        key=lambda each: each.experience,
    )
    for experience, group in groupby(updates, key=lambda each: each.experience):
        together = list(group)
        truths = [_labels(world, each) for each in together]
        trains = ~torch.stack([each.isnan().all(0) for each in truths]).all(0)
        public = _public(world, trains, seed)
        attacker = Attacker(public, world.prompts, as_site, world.config.pooling, shadows, seed)
        answered = [each.answered for each in together]
        sizes = [len(each) for each in truths]
        found = by_prevalence(spec, together[0].sent, answered, sizes, attacker)
        for update, truth, row in zip(together, truths, found, strict=True):
            for f, share in enumerate(prevalence(truth)):
                if not np.isnan(share):
                    yield {
                        "site": update.site,
                        "experience": experience + 1,
                        "finding": world.scenario.findings[f],
                        "images": len(truth),
                        "truth": float(share),
                        "estimate": float(row[f]),
                        "guess": float(attacker.guess[f]),
                    }


def summary_of(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the errors and rank correlations of the estimates and of the public prevalence."""
    truth, estimate, guess = (
        np.array([each[name] for each in cells]) for name in ("truth", "estimate", "guess")
    )
    return {
        "updates": len({(each["site"], each["experience"]) for each in cells}),
        "findings": len({each["finding"] for each in cells}),
        "error": float(np.abs(estimate - truth).mean()),
        "guess_error": float(np.abs(guess - truth).mean()),
        "spearman": rank_correlation(estimate, truth),
        "guess_spearman": rank_correlation(guess, truth),
        "beyond": rank_correlation(estimate - guess, truth - guess),
    }


def _labels(world: Any, update: Update) -> torch.Tensor:
    """Return the labels that an update was trained on, NaN where there was none."""
    found = []
    for site in sites_of(world, update):
        lesson = world.scenario.lesson(site, update.experience)
        labels = world.labels[lesson.rows].copy()
        labels[~lesson.trains] = np.nan
        found.append(torch.from_numpy(labels))
    return torch.cat(found)


def _public(world: Any, trains: torch.Tensor, seed: int) -> Examples:
    """Return the evaluation images, shuffled, with the labels of what the experience trains."""
    rows = rows_of(world, world.config.evaluation_split)
    rows = np.random.default_rng(derive_seed(seed, "public")).permutation(rows)
    labels = torch.from_numpy(world.labels[rows].copy())
    labels[:, ~trains] = 0.0 if world.config.unlabelled == "negative" else torch.nan
    return Examples(torch.from_numpy(world.embeddings.take(rows)), labels)
