"""What a manifest needs of a DICOM file's header: who, when, which view. Pixels are not read."""

import re
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from fedretune.data.dicom.header import IMAGE_TAGS, NO_PIXELS, quietly, read_header, value
from fedretune.data.dicom.layout import read_layout
from fedretune.data.images import is_dicom
from fedretune.data.patients import identifies
from fedretune.data.refusal import RefusedError

#: Computed and digital radiography, and radiographs digitised from film (PS3.3, C.7.3.1.1.1).
MODALITIES = frozenset({"CR", "DX", "RG"})

#: Defined terms of `ViewPosition`, and what vendors write. Any other text stays in the header.
VIEWS = {
    **{name: name for name in ("PA", "AP", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LATERAL")},
    "LAT": "LATERAL",
}

_CHEST = ("CHEST", "THORAX", "TORAX", "LUNG")

_TAGS = (
    *(tag for tag in IMAGE_TAGS if tag != "PixelData"),
    "SOPInstanceUID",
    "StudyInstanceUID",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "PatientName",
    "Modality",
    "BodyPartExamined",
    "PresentationIntentType",
    "ViewPosition",
    "StudyDate",
    "AcquisitionDate",
)


@dataclass(frozen=True, repr=False)  # a traceback may show what is at hand
class Study:
    """One image's place in the hospital. It identifies a patient: for this process alone.

    Parameters
    ----------
    instance, study, accession : str
        ``SOPInstanceUID``, ``StudyInstanceUID``, ``AccessionNumber``; "" where not given.
    patient, issuer, name : str
        ``PatientID``, ``IssuerOfPatientID``, ``PatientName``.
    modality : str
    body_part : str
        In upper case.
    raw : bool
        Whether it is said to be for processing: detector data, not made to be looked at.
    view : str
        One of `VIEWS`, or "".
    date : str
        Of the study, else of the acquisition, as ``2026-11-25``.
    refused : str
        Why its pixels would not be read, as far as the header says; "" where they would.
    """

    instance: str
    study: str
    accession: str
    patient: str
    issuer: str
    name: str
    modality: str
    body_part: str
    raw: bool
    view: str
    date: str
    refused: str

    @property
    def of_chest(self) -> bool:
        """Whether the body part is the chest, or is not said."""
        return not self.body_part or any(part in self.body_part for part in _CHEST)

    def identifies(self, text: str) -> bool:
        """Return whether a text, such as a path, has the patient's id or a part of the name."""
        return identifies(text, [self.patient, *re.split(r"[\W_]+", self.name)])


def read_study(path: Path) -> Study | None:
    """Return what a file's header says; None if it is not DICOM. Raises `OSError`.

    A broken header is DICOM that is refused.
    """
    with path.open("rb") as file:
        if not is_dicom(file.read(132), path):
            return None
        file.seek(0)
        try:
            dataset, pixels = read_header(file, _TAGS)
        except RefusedError as reason:
            return _of(Dataset(), str(reason))
    return _of(dataset, _refused(dataset) if pixels else NO_PIXELS)


def _of(dataset: Dataset, refused: str) -> Study:
    return Study(
        instance=_text(dataset, "SOPInstanceUID"),
        study=_text(dataset, "StudyInstanceUID"),
        accession=_text(dataset, "AccessionNumber"),
        patient=_text(dataset, "PatientID"),
        issuer=_text(dataset, "IssuerOfPatientID"),
        name=_text(dataset, "PatientName"),
        modality=_text(dataset, "Modality").upper(),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        raw=_text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING",
        view=VIEWS.get(_text(dataset, "ViewPosition").upper(), ""),
        date=_date(_text(dataset, "StudyDate")) or _date(_text(dataset, "AcquisitionDate")),
        refused=refused,
    )


def _text(dataset: Dataset, tag: str) -> str:
    found = value(dataset, tag)
    return "" if found is None else quietly(lambda: str(found).strip()) or ""


def _date(text: str) -> str:
    digits = text.replace(".", "")  # as ACR-NEMA wrote dates
    if len(digits) != 8 or not (digits.isascii() and digits.isdigit()):
        return ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def _refused(dataset: Dataset) -> str:
    try:
        read_layout(dataset)
    except RefusedError as reason:
        return str(reason)
    return ""
