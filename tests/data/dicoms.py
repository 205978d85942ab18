"""Real DICOM files, written by pydicom, Pillow and GDCM; each transfer syntax that is read."""

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread, dcmwrite, uid
from pydicom.encaps import encapsulate

#: Of a patient who does not exist; must not show up anywhere.
NAME, ID = "CANARY^NAME", "CANARY-ID"

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def radiograph(rows: int = 24, columns: int = 32, bits: int = 12) -> np.ndarray:
    """Return a smooth picture of this many bits with a little noise."""
    y, x = np.mgrid[:rows, :columns]
    smooth = (np.sin(x / columns * 5) * np.cos(y / rows * 4) + 1) / 2
    noise = np.random.default_rng(0).normal(0, 0.004, (rows, columns))
    pixels = np.clip((smooth + noise) * 0.9 + 0.05, 0, 1) * (2**bits - 1)
    return pixels.astype(np.uint8 if bits <= 8 else np.uint16)


def dataset(pixels: np.ndarray, bits: int, **tags: Any) -> Dataset:
    """Return an uncompressed data set; a tag of None is taken out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = DIGITAL_XRAY
    made.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid(entropy_srcs=["an image"])
    made.SOPClassUID = DIGITAL_XRAY
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID
    made.PatientName, made.PatientID, made.Modality = NAME, ID, "DX"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.add_new("PixelData", "OB" if pixels.itemsize == 1 else "OW", pixels.tobytes())
    for tag, value in tags.items():
        if value is None:
            del made[tag]
        else:
            setattr(made, tag, value)
    return made


def content(made: Dataset) -> bytes:
    """Return the file's bytes."""
    file = BytesIO()
    dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def write(path: Path, made: Dataset) -> Path:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(made))
    return path


def compressed(made: Dataset, syntax: str) -> Dataset:
    """Return the data set with its pixel data compressed."""
    pixels = np.frombuffer(made.PixelData, dtype=f"u{made.BitsAllocated // 8}")
    pixels = pixels.reshape(made.Rows, made.Columns)
    if syntax == uid.RLELossless:
        made.compress(syntax, generate_instance_uid=False)
        return made
    if syntax not in (uid.JPEGBaseline8Bit, uid.JPEG2000Lossless):
        return _by_gdcm(made, syntax)
    file = BytesIO()
    if syntax == uid.JPEGBaseline8Bit:
        Image.fromarray(pixels).save(file, "JPEG", quality=95)
    else:
        Image.fromarray(pixels).save(file, "JPEG2000", no_jp2=True)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([file.getvalue()])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def _by_gdcm(made: Dataset, syntax: str) -> Dataset:
    with tempfile.TemporaryDirectory() as folder:
        path = str(write(Path(folder, "a.dcm"), made))
        reader = gdcm.ImageReader()
        reader.SetFileName(path)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(path)
        assert writer.Write()
        return dcmread(BytesIO(Path(path).read_bytes()))
