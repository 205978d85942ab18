"""Manifests of the real radiographs that may lie beside the project: NIH-1000 and Hannover."""

import hashlib
from pathlib import Path

import pandas as pd

DATA = Path(__file__).parents[3] / "shared" / "data"

#: Findings with at least 90 images in the half of NIH-1000 that has pneumonia.
FINDINGS = ("Infiltration", "Atelectasis", "Edema", "Effusion")


def sexes(path: Path) -> Path:
    """Write a manifest of both hospitals, two sites, with the one finding `Male`."""
    return _write(pd.concat([_nih()[_COMMON], _hannover()[_COMMON]]), path)


def pneumonia_half(path: Path, sites: int = 3) -> Path:
    """Write a manifest of NIH-1000's images with pneumonia, with their other `FINDINGS`.

    Every image of the half has pneumonia, so no figure is one of pneumonia against normal.
    """
    table = _nih()
    table = table[table["labels"].map(lambda names: "Pneumonia" in names)].copy()
    for finding in FINDINGS:
        table[finding] = table["labels"].map(lambda names, f=finding: int(f in names))
    table["site"] = [f"site-{_draw(patient, 'site') % sites + 1}" for patient in table["patient"]]
    return _write(table[[*_COMMON[:-1], *FINDINGS]], path)


_COMMON = ["image", "patient", "split", "site", "Male"]


def _nih() -> pd.DataFrame:
    table = pd.read_csv(DATA / "nih1000_labels.csv")
    return _common(
        [DATA / "nih1000_256" / name for name in table["Image Index"]],
        "nih-" + table["Patient ID"].astype(str),
        table["Patient Gender"] == "M",
        "nih",
    ).assign(labels=table["Finding Labels"].str.split("|"))


def _hannover() -> pd.DataFrame:
    table = pd.read_csv(DATA / "hannover_data.csv")
    return _common(
        [DATA / "hannover243_256" / f"{name}.png" for name in table["image_id"]],
        "hannover-" + table["patient_id"].astype(str),
        table["sex"] == "m",
        "hannover",
    )


def _common(images: list[Path], patients: pd.Series, male: pd.Series, site: str) -> pd.DataFrame:
    splits = ["train"] * 6 + ["val"] + ["test"] * 3
    return pd.DataFrame(
        {
            "image": [str(path) for path in images],
            "patient": patients,
            "split": [splits[_draw(patient, "split") % 10] for patient in patients],
            "site": site,
            "Male": male.astype(int),
        }
    )


def _draw(patient: str, what: str) -> int:
    """Return a number that depends on the patient alone."""
    return int.from_bytes(hashlib.sha256(f"{what} {patient}".encode()).digest()[:8], "big")


def _write(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path
