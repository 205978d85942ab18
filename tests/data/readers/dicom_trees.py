"""Trees of DICOM files: the official layouts of RSNA and VinDr-CXR, and a hospital's folder."""

import json
from pathlib import Path

import numpy as np

from fedretune.data.readers.assemble import Plan
from tests.data.dicoms import dataset, write

PIXELS = np.zeros((2, 2), dtype=np.uint8)

RSNA_CLASSES = ("Lung Opacity", "No Lung Opacity / Not Normal", "Normal")

VINDR_HEADER = (
    "Aortic enlargement,Atelectasis,Calcification,Cardiomegaly,Clavicle fracture,Consolidation,"
    "Edema,Emphysema,Enlarged PA,ILD,Infiltration,Lung Opacity,Lung cavity,Lung cyst,"
    "Mediastinal shift,Nodule/Mass,Pleural effusion,Pleural thickening,Pneumothorax,"
    "Pulmonary fibrosis,Rib fracture,Other lesion,COPD,Lung tumor,Pneumonia,Tuberculosis,"
    "Other diseases,No finding\n"
)

#: A hospital's spreadsheet: semicolons, German words, a column that is no finding.
HOSPITAL_TABLE = "Auftrag;Erguss;Stauung;Text\n"


def dicom(path: Path, patient: str, **tags: object) -> Path:
    """Write an image of two by two pixels of this patient."""
    return write(path, dataset(PIXELS, 8, PatientID=patient, **tags))


def rsna(folder: Path) -> Plan:
    """``stage_2_train_images/*.dcm``: 12 images of 6 patients of NIH; some have two boxes."""
    boxes, classes, mappings = [], [], []
    for number in range(12):
        image = f"{number:08x}-92c3-4d04-b5a4-cd4e0ac5bd9a"
        dicom(folder / "stage_2_train_images" / f"{image}.dcm", image)
        said = RSNA_CLASSES[number % 3]
        found = said == "Lung Opacity"
        for box in range(2 if found else 1):
            boxes.append(
                f"{image},{264 + box}.0,152.0,213.0,379.0,1" if found else f"{image},,,,,0"
            )
            classes.append(f"{image},{said}")
        entry = {"subset_img_id": image, "img_id": f"{number // 2 + 1:08}_{number % 2:03}.png"}
        mappings.append({**entry, "orig_labels": ["Pneumonia"]})
    files = {
        "labels": folder / "stage_2_train_labels.csv",
        "classes": folder / "stage_2_detailed_class_info.csv",
        "mappings": folder / "pneumonia-challenge-dataset-mappings_2018.json",
    }
    lines(files["labels"], "patientId,x,y,width,height,Target\n", boxes)
    lines(files["classes"], "patientId,class\n", classes)
    files["mappings"].write_text(json.dumps(mappings))
    return Plan(folder, files, folder / "manifest.csv")


def vindr(folder: Path) -> Plan:
    """``train/*.dicom`` of 8 images by three radiologists each, ``test/*.dicom`` of 4."""
    train, test = [], []
    for number in range(12):
        image = f"{number:032x}"
        part, rows = ("train", train) if number < 8 else ("test", test)
        dicom(folder / part / f"{image}.dicom", image)
        for reader in ("R9", "R10", "R8") if part == "train" else ("",):
            sees = reader != "R8"  # two of three
            labels = [str(int(sees and column == number % 27)) for column in range(28)]
            rows.append(",".join([image, *filter(None, [reader]), *labels]))
    files = {
        "train": folder / "annotations" / "image_labels_train.csv",
        "test": folder / "annotations" / "image_labels_test.csv",
    }
    lines(files["train"], f"image_id,rad_id,{VINDR_HEADER}", train)
    lines(files["test"], f"image_id,{VINDR_HEADER}".replace("diseases", "disease"), test)
    return Plan(folder, files, folder / "manifest.csv")


def hospital(folder: Path) -> Plan:
    """An export of 10 patients, two images each, beside what else lies in such a folder."""
    rows = []
    for number in range(20):
        tags = {"AccessionNumber": f"A{number}", "SOPInstanceUID": f"1.2.3.{number}"}
        tags |= {"ViewPosition": ("PA", "LL")[number % 2], "StudyDate": f"202601{number + 1:02}"}
        dicom(folder / "pacs" / f"{number % 3}" / f"IM{number:04}", f"PID{number // 2}", **tags)
        rows.append(f"A{number};{('ja', 'nein')[number % 2]};;frei")
    (folder / "pacs" / "readme.txt").write_text("An export.")
    dicom(folder / "pacs" / "ct.dcm", "PID1", Modality="CT", SOPInstanceUID="1.2.3.50")
    dicom(folder / "pacs" / "hand", "PID1", BodyPartExamined="HAND", SOPInstanceUID="1.2.3.51")
    raw = {"PresentationIntentType": "FOR PROCESSING", "SOPInstanceUID": "1.2.3.54"}
    dicom(folder / "pacs" / "raw", "PID1", **raw)
    dicom(folder / "pacs" / "report", "PID1", PixelData=None, SOPInstanceUID="1.2.3.52")
    dicom(folder / "pacs" / "nobody", "", SOPInstanceUID="1.2.3.53")
    dicom(folder / "pacs" / "z" / "again", "PID0", SOPInstanceUID="1.2.3.0")
    table = folder / "befunde.csv"
    lines(table, HOSPITAL_TABLE, [*rows, "A99;ja;ja;"])
    return Plan(
        folder / "pacs",
        {"labels": table},
        folder / "manifest.csv",
        {
            "labels-key": "AccessionNumber",
            "labels-column": "Auftrag",
            "positive": ("ja",),
            "negative": ("nein",),
            "ignore": ("Text",),
        },
    )


def lines(path: Path, header: str, rows: list[str]) -> None:
    """Write a table, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + "".join(f"{row}\n" for row in rows))
