"""What is in a manifest, counted."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from fedretune.data.manifest import Manifest


@dataclass(frozen=True)
class FindingCount:
    """How often a finding is labelled (1, 0 or -1) or not, present (1) and uncertain (-1)."""

    finding: str
    labelled: int
    unlabelled: int
    positive: int
    uncertain: int

    @property
    def prevalence(self) -> float:
        """Positives a labelled image; NaN where none is labelled."""
        return self.positive / self.labelled if self.labelled else float("nan")


@dataclass(frozen=True)
class Summary:
    """Counts of images, patients, sites, splits and findings."""

    images: int
    patients: int
    sites: dict[str, int]
    splits: dict[str, int]
    findings: tuple[FindingCount, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; a prevalence without labels is None."""
        findings = [
            {**asdict(count), "prevalence": count.prevalence if count.labelled else None}
            for count in self.findings
        ]
        return {**asdict(self), "findings": findings}

    def warnings(self) -> list[str]:
        """Return a sentence for each finding that nothing can be learnt of, and empty split."""
        said = [f"No image has the split '{name}'." for name, n in self.splits.items() if not n]
        for count in self.findings:
            if not count.labelled:
                said.append(f"{count.finding}: no image is labelled.")
            elif not count.positive:
                said.append(f"{count.finding}: no positive image; its AUROC is undefined.")
        return said


def summarise(manifest: Manifest) -> Summary:
    """Count what is in a manifest."""
    table = manifest.table
    labels = table[list(manifest.findings)].to_numpy(dtype=np.float32)
    counts = tuple(
        FindingCount(
            finding,
            int((~np.isnan(labels[:, column])).sum()),
            int(np.isnan(labels[:, column]).sum()),
            int((labels[:, column] == 1).sum()),
            int((labels[:, column] == -1).sum()),
        )
        for column, finding in enumerate(manifest.findings)
    )
    named = table["site"].value_counts().sort_index() if "site" in table else pd.Series()
    sites = {str(site): int(images) for site, images in named.items()}
    splits = {name: int((table["split"] == name).sum()) for name in ("train", "val", "test")}
    return Summary(len(table), table["patient"].nunique(), sites, splits, counts)
