"""PadChest (Bustos et al., Medical Image Analysis 2020): the official table of label lists.

One row an image of ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv``. ``Labels`` is written
as a Python list, ``['cardiomegaly', 'pleural effusion']``: English terms of PadChest's own tree,
taken from Spanish reports. `FINDINGS` are NIH's 14, so that PadChest and NIH ChestX-ray14 can be
sites of one federation, with CheXpert's Fracture and Support Devices; `TERMS` says which terms
stand for which. A term of the tree also stands for the term above it (consolidation is an
infiltrate). A list names all that a report mentions, so what it does not name is absent (0).

- Not mapped, as they look alike but are something else: subcutaneous emphysema; pseudonodule,
  nipple shadow and granuloma; breast, mediastinal, pleural and soft tissue masses; pericardial
  effusion; costophrenic angle blunting, which may be effusion or thickening; fibrotic band;
  pleural plaques; vertebral compression; heart valves and prostheses.
- ``exclude`` and ``suboptimal study`` drop the image. ``unchanged`` refers to an earlier report:
  what the list does not name is then not labelled, and an image without any label is dropped.
- All other terms (``scoliosis``, ``aortic elongation``) are counted as not mapped.
"""

import re
from collections import Counter

import numpy as np
import pandas as pd

from fedretune.data.readers import Reader, Reading, Request, Wanted
from fedretune.data.readers.columns import VIEWS, iso_dates, of_views
from fedretune.data.tables import read_rows, where_of
from fedretune.errors import UserError
from fedretune.findings import NIH14

FINDINGS = (*NIH14, "Fracture", "Support Devices")

#: Finding: the terms that stand for it, in lower case.
TERMS = {
    "Atelectasis": (
        "atelectasis",
        "total atelectasis",
        "lobar atelectasis",
        "segmental atelectasis",
        "laminar atelectasis",
        "round atelectasis",
        "atelectasis basal",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": (
        "pleural effusion",
        "loculated pleural effusion",
        "loculated fissural effusion",
        "hydropneumothorax",
        "empyema",
        "hemothorax",
    ),
    "Infiltration": (
        "infiltrates",
        "interstitial pattern",
        "ground glass pattern",
        "reticular interstitial pattern",
        "reticulonodular interstitial pattern",
        "miliary opacities",
        "alveolar pattern",
        "consolidation",
        "air bronchogram",
    ),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"),
    "Pleural Thickening": (
        "pleural thickening",
        "apical pleural thickening",
        "calcified pleural thickening",
    ),
    "Hernia": ("hiatal hernia",),
    "Fracture": (
        "fracture",
        "clavicle fracture",
        "humeral fracture",
        "vertebral fracture",
        "rib fracture",
        "callus rib fracture",
    ),
    "Support Devices": (
        "tracheostomy tube",
        "endotracheal tube",
        "nsg tube",
        "chest drain tube",
        "ventriculoperitoneal drain tube",
        "gastrostomy tube",
        "nephrostomy tube",
        "double j stent",
        "catheter",
        "central venous catheter",
        "central venous catheter via subclavian vein",
        "central venous catheter via jugular vein",
        "central venous catheter via umbilical vein",
        "reservoir central venous catheter",
        "electrical device",
        "dual chamber device",
        "single chamber device",
        "pacemaker",
        "dai",
    ),
}

_MAPPED = frozenset(term for terms in TERMS.values() for term in terms)
_UNCHANGED = "unchanged"
_DROPPING = ("exclude", "suboptimal study")
_NO_FINDING = frozenset({"normal", _UNCHANGED, *_DROPPING, ""})

_ITEM = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_LIST = re.compile(rf"\[\s*(?:(?:{_ITEM})\s*(?:,\s*(?:{_ITEM})\s*)*,?\s*)?\]", re.DOTALL)


def read(request: Request) -> Reading:
    """Read PadChest's own table; see `fedretune.data.readers.Reader`."""
    path = request.files["labels"]
    rows = read_rows(path, ("ImageID", "StudyDate_DICOM", "PatientID", "Projection", "Labels"))
    table = pd.DataFrame(
        {
            "image": rows["ImageID"],
            "patient": rows["PatientID"],
            "view": rows["Projection"],
            "date": iso_dates(rows["StudyDate_DICOM"]),
        }
    )
    codes, terms = _terms(rows)
    table[list(FINDINGS)] = np.array([_labels(each) for each in terms], dtype=np.float32)[codes]
    reasons = np.array([_reason(each) for each in terms], dtype=object)[codes]
    kept = reasons == ""
    if not kept.any():
        raise UserError(f"{path}: no image has a label; is 'Labels' filled?")
    counts = np.bincount(codes[kept], minlength=len(terms))
    table, others = of_views(table[kept], request.text("views"))
    dropped = {**Counter(reasons[~kept].tolist()), **others}
    return Reading(table, dropped, _unmapped(terms, counts.tolist()))


def _terms(rows: pd.DataFrame) -> tuple[np.ndarray, list[frozenset[str]]]:
    """Return each row's place in a list of sets of terms: every cell is parsed once."""
    codes, cells = pd.factorize(rows["Labels"])
    terms = []
    for code, cell in enumerate(cells):
        parsed = parse_list(cell)
        if parsed is None:
            raise UserError(
                f"{where_of(rows)(int((codes == code).argmax()))}: 'Labels' is not a list such as "
                "['cardiomegaly', 'pleural effusion']."
            )
        terms.append(frozenset(" ".join(term.lower().split()) for term in parsed))
    return codes, terms


def parse_list(cell: str) -> list[str] | None:
    """Return the texts of a list as Python writes it; an empty cell is an empty list.

    Nothing else that Python could mean is understood: None for all else, of whatever size.
    """
    if not cell or cell == "nan":
        return []
    if not _LIST.fullmatch(cell):
        return None
    return [re.sub(r"\\(.)", r"\1", item[1:-1]) for item in re.findall(_ITEM, cell, re.DOTALL)]


def _labels(terms: frozenset[str]) -> list[float]:
    absent = float("nan") if _UNCHANGED in terms else 0.0
    return [1.0 if terms.intersection(TERMS[finding]) else absent for finding in FINDINGS]


def _reason(terms: frozenset[str]) -> str:
    """Return why an image is dropped; empty where it is not."""
    for term in _DROPPING:
        if term in terms:
            return f"labelled '{term}'"
    if not terms - {""}:
        return "no labels"
    if _UNCHANGED in terms and not terms & _MAPPED:
        return "'unchanged' from an earlier report, without a finding"
    return ""


def _unmapped(terms: list[frozenset[str]], counts: list[int]) -> dict[str, int]:
    unmapped: Counter[str] = Counter()
    for each, count in zip(terms, counts, strict=True):
        for term in each - _MAPPED - _NO_FINDING:
            unmapped[term] += count
    return {term: unmapped[term] for term in sorted(unmapped) if unmapped[term]}


READER = Reader(
    title="PadChest (BIMCV and University of Alicante; bimcv.cipf.es/bimcv-projects/padchest)",
    files=(
        Wanted(
            "--labels",
            "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv or .csv.gz.",
        ),
    ),
    read=read,
    example="--labels PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz --images padchest/ "
    "-o padchest.csv",
    options=(VIEWS,),
    images=Wanted("--images", "The folder that its PNG images are in, at any depth."),
)
