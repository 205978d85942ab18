"""Phantoms: procedural chest radiographs with NIH's 14 findings, the embedded default data."""

from fedretune.data.phantoms.cohort import manifest_of, sample_cohort
from fedretune.data.phantoms.files import default_manifest, render, render_cohort, write

__all__ = [
    "default_manifest",
    "manifest_of",
    "render",
    "render_cohort",
    "sample_cohort",
    "write",
]
