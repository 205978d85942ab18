"""A run folder as a report reads it: whatever of it is there and sound."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fedretune.errors import UserError
from fedretune.report import tables
from fedretune.report.histograms import Histograms, read_histograms
from fedretune.report.site_figures import SiteFigures
from fedretune.report.tables import read_events, read_rows, read_table

#: A table of pandas, whose stubs do not know which of its cells are numbers.
Frame = Any

POOLED = "pooled"
#: Before any training, as ``after_experience`` has it.
BEFORE = -1
FROZEN, ADAPTED = "zero-shot", "adapted"


@dataclass(frozen=True)
class Run:
    """What a run folder says.

    Parameters
    ----------
    path : Path
    about : mapping
        The tables of ``config.toml``.
    summary : mapping
        ``summary.json``; empty where the run has not come to its end.
    auroc, measures, findings, traffic, sites : DataFrame
        The tables' sound rows; of ``auroc`` and ``measures`` the pooled ones.
    by_site : SiteFigures
        What the other rows of ``auroc.csv`` come to.
    events : list of mapping
        Of ``metrics.jsonl``.
    histograms : mapping
        By model, of its last evaluation.
    broken : mapping
        By file, how many lines could not be read.
    """

    path: Path
    about: Mapping[str, Any]
    summary: Mapping[str, Any]
    auroc: Frame
    by_site: SiteFigures
    measures: Frame
    findings: Frame
    traffic: Frame
    sites: Frame
    events: list[dict[str, Any]]
    histograms: Mapping[str, Histograms]
    broken: Mapping[str, int]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved keys."""
        found: Mapping[str, Any] = self.about["config"]
        return found

    @cached_property
    def finding_names(self) -> list[str]:
        """The findings in their order; empty before the sites have told them."""
        return [str(each) for each in _findings(self.about)]

    @property
    def status(self) -> str:
        """``complete``, ``failed``, or ``unfinished``: going on, or killed."""
        return str(self.summary.get("status", "unfinished"))

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of a kind."""
        return [event for event in self.events if event["event"] == kind]


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises
    ------
    UserError
        The folder is not a run's, or its ``config.toml`` cannot be read.
    """
    about = _about(path)
    broken: Counter[str] = Counter()
    count = len(_findings(about))
    histograms = {model: read_histograms(path, model, count) for model in (FROZEN, ADAPTED)}
    auroc, by_site = _auroc(path / "auroc.csv", broken)
    return Run(
        path.absolute(),
        about,
        _summary(path / "summary.json", broken),
        auroc,
        by_site,
        read_table(path / "measures.csv", tables.MEASURES, broken, _pooled),
        read_table(path / "findings.csv", tables.FINDINGS, broken),
        read_table(path / "traffic.csv", tables.TRAFFIC, broken),
        read_table(path / "sites.csv", tables.SITES, broken),
        read_events(path / "metrics.jsonl", broken),
        {model: each for model, each in histograms.items() if each},
        broken,
    )


def _auroc(path: Path, broken: Counter[str]) -> tuple[pd.DataFrame, SiteFigures]:
    pooled, by_site = [], SiteFigures()
    for row in read_rows(path, tables.AUROC, broken, _wanted):
        if row[2] == POOLED:
            pooled.append(row)
        else:
            by_site.add(row)
    return pd.DataFrame(pooled, columns=list(tables.AUROC)), by_site


def _about(path: Path) -> dict[str, Any]:
    if not (path / "config.toml").is_file():
        what = "is not a run folder: it has no config.toml" if path.exists() else "does not exist"
        raise UserError(f"{path} {what}. Name a folder that a run has made, such as runs/NAME.")
    try:
        about = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path / 'config.toml'} cannot be read: {error}.") from error
    whole = all(isinstance(each, dict) for each in about.values())
    if not whole or "config" not in about or not isinstance(_findings(about), list):
        raise UserError(f"{path / 'config.toml'} is not a run's: it has no table [config].")
    return about


def _findings(about: Mapping[str, Any]) -> Any:
    return about.get("data", {}).get("findings", [])


def _summary(file: Path, broken: Counter[str]) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        summary = None
    if not isinstance(summary, dict):
        broken[file.name] += 1
        return {}
    return summary


def _wanted(cells: tables.Cells) -> bool:
    return cells[2] == POOLED or cells[5] == "difference"


def _pooled(cells: tables.Cells) -> bool:
    return cells[2] == POOLED
