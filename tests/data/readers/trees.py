"""Tiny trees that follow each data set's official layout to the letter; pixels are of no interest.

A tree is a function from an empty folder to the `Plan` that reads it.
"""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from fedretune.data.readers import READERS, Reader, Reading, Request, Value
from fedretune.data.readers.assemble import Plan
from tests.data.readers import dicom_trees

CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices\n"
)

#: Alphabetical, as MIMIC-CXR-JPG has them.
MIMIC_FINDINGS = (
    "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,"
    "Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
)

#: A comma inside brackets, and one at the end of each line.
NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
)

PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "ViewPosition_DICOM,Projection,MethodProjection,Pediatric,Modality_DICOM,Manufacturer_DICOM,"
    "PhotometricInterpretation_DICOM,PixelRepresentation_DICOM,PixelAspectRatio_DICOM,"
    "SpatialResolution_DICOM,BitsStored_DICOM,WindowCenter_DICOM,WindowWidth_DICOM,Rows_DICOM,"
    "Columns_DICOM,XRayTubeCurrent_DICOM,Exposure_DICOM,ExposureInuAs_DICOM,ExposureTime,"
    "RelativeXRayExposure_DICOM,ReportID,Report,MethodLabel,Labels,Localizations,"
    "LabelsLocalizationsBySentence,labelCUIS,LocalizationsCUIS\n"
)


def reading(reader: str, plan: Plan, **options: Value) -> Reading:
    """Return what a reader reads of a tree, before images are looked for."""
    known: Reader = READERS[reader]
    given = {option.key: plan.options.get(option.key, option.default) for option in known.options}
    given |= {key.replace("_", "-"): value for key, value in options.items()}
    return known.read(Request(plan.images, plan.files, given, plan.out.parent))


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text in a file, which must have it."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    assert old.encode() in content
    content = content.replace(old.encode(), new.encode())
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def image(path: Path) -> None:
    """Write an image, the smallest there is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (1, 1)).save(path)


def text(path: Path, header: str, lines: Iterable[str]) -> Path:
    """Write a table, gzipped if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = (header + "".join(f"{line}\n" for line in lines)).encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def nih14(folder: Path, patients: int = 20) -> Plan:
    """``images_001/images/*.png``, two images a patient, and the table."""
    findings = ["No Finding", "Mass|Pleural_Thickening", "Hernia", "Infiltration|Effusion|Edema"]
    lines = []
    for number in range(2 * patients):
        name = f"{number // 2 + 1:08}_{number % 2:03}.png"
        image(folder / "images" / f"images_{number % 3 + 1:03}" / "images" / name)
        labels = findings[number % len(findings)]
        person = number // 2 + 1
        lines.append(f"{name},{labels},{number % 2},{person},58,M,PA,2682,2749,0.143,0.143,")
    labels_file = text(folder / "Data_Entry_2017.csv", NIH_HEADER, lines)
    return Plan(folder / "images", {"labels": labels_file}, folder / "out" / "manifest.csv")


def nih14_official(folder: Path) -> Plan:
    """As `nih14`, with the official lists: the last 5 of 20 patients are the test set."""
    plan = nih14(folder)
    names = [f"{number // 2 + 1:08}_{number % 2:03}.png" for number in range(40)]
    lists = {
        "train-val-list": text(folder / "train_val_list.txt", "", names[:30]),
        "test-list": text(folder / "test_list.txt", "", names[30:]),
    }
    return Plan(plan.images, {**plan.files, **lists}, plan.out)


def chexpert(folder: Path, root: str = "CheXpert-v1.0-small") -> Plan:
    """``train/`` of 10 patients with a frontal and a lateral view, ``valid/`` of 2."""
    labels = ["1.0,,,,,,,,,0.0,,,,1.0", ",,1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"]
    files = {}
    for part, first, count in (("train", 1, 10), ("valid", 64541, 2)):
        lines = []
        for patient in range(first, first + count):
            for view, beam in ((1, "Frontal,AP"), (2, "Lateral,")):
                side = beam.split(",")[0].lower()
                path = f"{part}/patient{patient:05}/study1/view{view}_{side}.jpg"
                image(folder / "moved" / path)
                lines.append(f"CheXpert-v1.0-small/{path},Female,68,{beam},{labels[patient % 2]}")
        files[part] = text(folder / f"{part}.csv", CHEXPERT_HEADER, lines)
    return Plan(folder / "moved", files, folder / "manifest.csv")


def chexpert_test(folder: Path) -> Plan:
    """As `chexpert`, with the test set's labels: paths without the first folder, findings alone."""
    plan = chexpert(folder)
    lines = []
    for patient in range(64741, 64744):
        path = f"test/patient{patient}/study1/view1_frontal.jpg"
        image(folder / "moved" / path)
        lines.append(f"{path},0,1,0,1,0,0,0,0,0,0,0,0,0,1")
    header = ",".join(name for name in CHEXPERT_HEADER.split(",") if name not in _NOT_IN_TEST)
    test = text(folder / "test_labels.csv", header, lines)
    return Plan(plan.images, {**plan.files, "test": test}, plan.out)


_NOT_IN_TEST = {"Sex", "Age", "Frontal/Lateral", "AP/PA"}


#: The columns of the metadata, and what they say of an image beside its ids and its view.
MIMIC_METADATA = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,"
    "StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,"
    "PatientOrientationCodeSequence_CodeMeaning\n"
)
_STUDY = "3056,2544,21800506,213014.531,CHEST (PA AND LAT),postero-anterior,Erect"


def mimic_cxr(folder: Path, suffix: str = ".csv.gz") -> Plan:
    """``files/p10/p10000032/s50414267/*.jpg``: 6 subjects, a study each of two images."""
    parts = ("train", "train", "train", "train", "validate", "test")
    split, metadata, labels = [], [], []
    for number, part in enumerate(parts):
        subject, study = 10000032 + 7 * number, 50414267 + number
        found = ",1.0,,-1.0,,,,,,0.0,,,," if number else ",,,,,,,,1.0,,,,,"
        labels.append(f"{subject},{study},{found}")
        for view in ("PA", "LATERAL"):
            dicom = f"02aa804e-bde0afdd-112c0b34-7bc16630-{subject}{view[:1]}"
            image(folder / "files" / "p10" / f"p{subject}" / f"s{study}" / f"{dicom}.jpg")
            split.append(f"{dicom},{study},{subject},{part}")
            metadata.append(f"{dicom},{subject},{study},CHEST (PA AND LAT),{view},{_STUDY}")
    official = f"mimic-cxr-2.0.0-{{}}{suffix}"
    files = {
        "split-list": (official.format("split"), "dicom_id,study_id,subject_id,split\n", split),
        "metadata": (official.format("metadata"), MIMIC_METADATA, metadata),
        "labels": (official.format("chexpert"), f"subject_id,study_id,{MIMIC_FINDINGS}\n", labels),
    }
    written = {key: text(folder / name, head, rows) for key, (name, head, rows) in files.items()}
    return Plan(folder, written, folder / "manifest.csv")


#: Labels of PadChest's rows, as the official file writes them.
PADCHEST_LABELS = (
    "['normal']",
    "['pulmonary fibrosis', 'chronic changes', 'kyphosis', 'pseudonodule', 'ground glass pattern']",
    "['pleural effusion', 'consolidation', 'NSG tube']",
    "['unchanged']",
    "['cardiomegaly', 'unchanged']",
    "['suboptimal study', 'cardiomegaly']",
    "['exclude']",
    "",
    "['normal', '']",
    "[\"tube'\", ' hiatal hernia ']",
)


def padchest(folder: Path) -> Plan:
    """``0/*.png``, ``1/*.png``: an image a patient, each with one of `PADCHEST_LABELS`."""
    lines = []
    for number, labels in enumerate(PADCHEST_LABELS * 2):
        name = f"2168401113669640138295431665125131381357{number:05}_00-163-{number:03}.png"
        image(folder / "images" / str(number % 2) / name)
        view = "L" if number % 5 == 4 else "PA"
        quoted = f'"{labels.replace(chr(34), chr(34) * 2)}"' if labels else ""
        cells = f"{number},{name},{number % 2},2014091{number % 10},2014{number},{number + 1}"
        cells += f",1930.0,M,POSTEROANTERIOR,{view},Manual review of DICOM fields,No,CR,"
        cells += '"Agfa, imaging",MONOCHROME2,0,,"[0.1, 0.1]",12,2048,4096,3000,2500,,,,,,45,'
        lines.append(f'{cells}sin cambio . ,Physician,{quoted},"[]","[]","[]","[]"')
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    labels_file = text(folder / name, PADCHEST_HEADER, lines)
    return Plan(folder / "images", {"labels": labels_file}, folder / "manifest.csv")


def own_table(folder: Path) -> Plan:
    """A hospital's own: semicolons, Latin-1, German words, Windows' paths."""
    lines = []
    for number in range(20):
        image(folder / "bilder" / f"{number % 2}" / f"b{number}.png")
        words = ("ja;nein", "nein;unklar", ";nein")[number % 3]
        lines.append(f"{number % 2}\\b{number}.png;Müller {number // 2};Köln;{words};frei")
    table = folder / "befunde.csv"
    table.write_bytes(
        "\r\n".join(["Datei;Patient;Haus;Erguß;Stauung;Text", *lines]).encode("latin-1")
    )
    return Plan(
        folder / "bilder",
        {"table": table},
        folder / "manifest.csv",
        {
            "image-column": "Datei",
            "patient-column": "Patient",
            "site-column": "Haus",
            "ignore": ("Text",),
            "positive": ("ja",),
            "negative": ("nein",),
            "uncertain": ("unklar",),
        },
    )


#: A tree for each reader: the name of the reader, and the tree.
TREES: dict[str, tuple[str, Callable[[Path], Plan]]] = {
    "nih14": ("nih14", nih14),
    "nih14 official": ("nih14", nih14_official),
    "chexpert": ("chexpert", chexpert),
    "chexpert with test": ("chexpert", chexpert_test),
    "mimic-cxr": ("mimic-cxr", mimic_cxr),
    "padchest": ("padchest", padchest),
    "rsna": ("rsna", dicom_trees.rsna),
    "vindr": ("vindr", dicom_trees.vindr),
    "dicom": ("dicom", dicom_trees.hospital),
    "csv": ("csv", own_table),
}
