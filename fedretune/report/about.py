"""What has no figure, what exactly was run, and how to run it again."""

import shlex
from collections.abc import Mapping
from typing import Any

from fedretune.metrics.forgetting import FORMULAS
from fedretune.report.blocks import Column, Data, Section, Table
from fedretune.report.numbers import DIFFERENCE, Numbers

#: Keys that `fedretune simulate` has an option for.
OPTIONS = (
    "sites",
    "scenario",
    "experiences",
    "rounds",
    "method",
    "backbone",
    "manifest",
    "seed",
    "attack",
    "attackers",
)
#: Keys that say where and how fast a run is, not what it computes; a recipe is in the others.
ASIDE = ("name", "out", "resume", "workers", "recipe")


def undefined(numbers: Numbers) -> Section:
    """Return which findings have no pooled AUROC, where, and why."""
    rows = numbers.run.auroc
    if numbers.last is not None:
        model, after = numbers.last
        rows = rows[(rows["model"] == model) & (rows["after_experience"] == after)]
    lacking = rows[(rows["scoring"] == DIFFERENCE) & rows["auroc"].isna()]
    if not len(lacking):
        none = "None: every finding has positives and negatives in every experience's test images."
        return Section("undefined", "Undefined findings", [none])
    found = [
        (str(row.finding), int(row.experience) + 1, int(row.positives), int(row.negatives))
        for row in lacking.itertuples()
    ]
    columns = [Column("finding"), Column("experience", "d"), Column("positives", ",d")]
    columns += [Column("negatives", ",d")]
    told = (
        "Where there are no positive or no negative test images there is no AUROC, and the means "
        "leave the finding out. It is never counted as 0."
    )
    table = Table("undefined-table", "Without an AUROC", Data(columns, found))
    return Section("undefined", "Undefined findings", [told], tables=[table])


def what_was_run(numbers: Numbers, defaults: Mapping[str, Any] | None) -> Section:
    """Return the resolved config, versions, fingerprints, and the command."""
    run = numbers.run
    config = [(key, _toml(value)) for key, value in run.config.items()]
    tables = [Table("config", "Resolved config", Data([Column("key"), Column("value")], config))]
    others = [
        (f"{table}: {key}", str(value))
        for table in ("versions", "fingerprints")
        for key, value in run.about.get(table, {}).items()
    ]
    if others:
        columns = [Column("what"), Column("value")]
        tables.append(Table("versions", "Versions and fingerprints", Data(columns, others)))
    told = (
        "The same command, versions, images and backbone give the same bytes. A run across "
        "hospitals is started by the server instead (fedretune server run)."
    )
    listings = [("Run this again", again(run.config, defaults)), ("Formulas", FORMULAS)]
    return Section("run", "What was run", [told], tables=tables, listings=listings)


def again(config: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> str:
    """Return the command of a simulation with this config.

    Parameters
    ----------
    config : mapping
        Flat keys.
    defaults : mapping | None
        Of the keys: those at their default are left out. None: all keys are given.
    """
    words = ["fedretune", "simulate"]
    for key, value in config.items():
        if key in ASIDE or (defaults and defaults.get(key) == value):
            continue
        if key in OPTIONS:
            words += [f"--{key}", _toml(value)]
        else:
            words += ["--set", f"{key}={_toml(value)}"]
    return shlex.join(words)


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
