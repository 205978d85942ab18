"""Run folders made by the code that writes real ones, without training anything."""

from pathlib import Path

import numpy as np

from fedretune.evaluation import BINS
from server.folder import RunFolder, write_json
from server.handshake import Terms
from server.record import record
from server.steps import Step

FINDINGS = ("Mass", "Edema")
SCALE = 10.0


def edges_of(findings: int) -> np.ndarray:
    """Return edges of which one is the method's threshold."""
    inner = np.linspace(-0.5, 0.5, BINS - 1)
    inner[BINS // 2 - 1] = np.finfo(np.float32).tiny
    row = np.concatenate([[-2.0], inner, [2.0]])
    return np.broadcast_to(row, (2, findings, BINS + 1)).astype(np.float32)


def counts_of(seed: int, experiences: int, findings: int, skill: float) -> np.ndarray:
    """Return a site's histograms ``[2, E, F, 2, BINS]``: positives lie `skill` bins higher."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((2, experiences, findings, 2, BINS), dtype=np.int64)
    for cell in np.ndindex(2, experiences, findings):
        for truth, number in ((0, 40), (1, 12)):
            place = rng.normal(BINS / 2 + truth * skill, 15, number).clip(0, BINS - 1)
            np.add.at(counts, (*cell, truth, place.astype(int)), 1)
    return counts


def make_run(
    out: Path,
    name: str = "it",
    sites: int = 2,
    experiences: int = 2,
    findings: tuple[str, ...] = FINDINGS,
    finished: bool = True,
    rounds: int = 1,
    site_name: str = "site",
    lacking: bool = False,
    **config: object,
) -> Path:
    """Write a run folder; return it.

    Without `finished` it stops after the first experience. `lacking` takes all positives of the
    first finding out of the first experience.
    """
    flat = {"method": "retune", "scenario": "data-incremental", "seed": 1, "sites": sites}
    flat |= {"experiences": experiences, "rounds": rounds, "strategy": "fedavg"}
    flat |= {"backbone": "phantom-clip", "name": name, "out": str(out), **config}
    about = {"config": flat, "data": {"findings": list(findings), "dim": 8}}
    about |= {"versions": {"fedretune": "0"}, "fingerprints": {"backbone": "b"}}
    folder = RunFolder.create(out, name, about)
    terms = Terms("0", "b", "p", "a", 8, findings, experiences, experiences)
    names = [f"{site_name}-{number}" for number in range(1, sites + 1)]
    for each in names:
        folder.site(each, -1, -1, "joined", "")
        folder.event("joined", site=each, experience=-1, train=[30], test=[10])
    folder.event("start", sites=names, experiences=experiences, rounds=rounds, step=0)
    steps = [Step("evaluate", -1, model="zero-shot"), Step("evaluate", -1)]
    steps += [Step("evaluate", e) for e in range(experiences if finished else 1)]
    for number, step in enumerate(steps):
        if step.experience >= 0:
            _train(folder, names, step.experience, rounds)
        counts = []
        for n, each in enumerate(names):
            made = counts_of(flat["seed"] * 100 + n, experiences, len(findings), 5.0 + 4 * number)
            if lacking:
                made[:, 0, 0, 1] = 0
            counts.append((each, made))
        record(folder, terms, step, counts, edges_of(len(findings)), SCALE)
    if finished:
        write_json(folder.path / "summary.json", {"status": "complete", "wall_seconds": 12.0})
    folder.close()
    return folder.path


def _train(folder: RunFolder, names: list[str], experience: int, rounds: int) -> None:
    for round_ in range(rounds):
        for each in names:
            folder.site(each, experience, round_, "trained", "")
            for way in ("down", "up"):
                folder.traffic(each, experience, round_, "train", way, 1000)
        told = {"sites": len(names), "asked": len(names), "examples": 30, "loss": 0.5}
        folder.event("round", experience=experience, round=round_, seconds=1.0, **told)
