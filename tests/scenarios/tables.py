"""Manifests' tables made for the tests of scenarios, and a short way to a scenario."""

import numpy as np
import pandas as pd

from scenarios import RunConfig, Scenario, build_scenario
from scenarios.config import Scalar

FINDINGS = ("Mass", "Edema", "Hernia")


def table_of(
    patients: int, seed: int = 0, sites: int = 2, findings: tuple[str, ...] = FINDINGS
) -> pd.DataFrame:
    """Return a manifest's table: one to three images a patient, findings rare to frequent."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 4, patients)
    patient = np.repeat([f"p{number}" for number in range(patients)], images)
    table = pd.DataFrame({"patient": patient, "image": [f"{n}.png" for n in range(len(patient))]})
    split = rng.choice(["train", "val", "test"], patients, p=[0.6, 0.2, 0.2])
    split[:2] = ["train", "test"]
    table["split"] = np.repeat(split, images)
    table["site"] = np.repeat([f"hospital {number % sites}" for number in range(patients)], images)
    for finding, prevalence in zip(findings, np.geomspace(0.05, 0.5, len(findings)), strict=True):
        table[finding] = (rng.random(len(table)) < prevalence).astype(float)
    return table


def scenario_of(table: pd.DataFrame, sites: int = 0, **values: Scalar) -> Scenario:
    """Return the scenario that a config makes of a table; ``join_at`` stands for ``join-at``."""
    findings = tuple(table.columns[table.columns.get_loc("site") + 1 :])
    flat = {name.replace("_", "-"): value for name, value in values.items()}
    return build_scenario(RunConfig.from_flat(flat), table, findings, sites)
