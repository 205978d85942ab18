"""What an evaluation leaves in the run folder: every site's figures and those of all pooled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedretune.evaluation import RULES
from fedretune.metrics import auroc
from fedretune.wire import Array
from server.federation import Terms
from server.folder import RunFolder

if TYPE_CHECKING:
    from server.stream import Step


def record(
    folder: RunFolder,
    terms: Terms,
    step: "Step",
    counts: Mapping[str, Array],
    edges: Array,
    scale: float,
) -> None:
    """Write the AUROC of every site and of all pooled; tell the macro figures.

    Parameters
    ----------
    folder : RunFolder
    terms : Terms
    step : Step
        Which model was evaluated, after which experience.
    counts : Mapping[str, Array]
        By site, and last ``pooled``, their sum: shape ``[2 (rule), E, F, 2, bins]``.
    edges : Array
        Of the bins, shape ``[2 (rule), F, bins + 1]``.
    scale : float
        What turns a score of the `difference` rule into a logit; 1 for the zero-shot model.
    """
    stacked = np.stack([counts[site].astype(np.int64) for site in counts])
    values, positives, negatives = auroc(stacked), stacked[..., 1, :], stacked[..., 0, :]
    folder.auroc(
        (
            step.model,
            step.experience,
            site,
            experience,
            finding,
            rule,
            int(positives[s, r, experience, f].sum()),
            int(negatives[s, r, experience, f].sum()),
            _text(values[s, r, experience, f]),
        )
        for s, site in enumerate(counts)
        for experience in range(terms.experiences)
        for f, finding in enumerate(terms.findings)
        for r, rule in enumerate(RULES)
    )
    pooled = values[list(counts).index("pooled"), RULES.index("difference")]
    macro = [_mean(row) for row in pooled]
    folder.event(
        "evaluation",
        model=step.model,
        after_experience=step.experience,
        sites=len(counts) - 1,
        auroc=macro,
        macro=_mean(np.array([np.nan if value is None else value for value in macro])),
    )


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of the defined values; JSON has no NaN, so None if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
