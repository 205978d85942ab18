"""No value of a header shows up in a message, a traceback, a log line, a warning or a stream."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import Dataset, uid

from fedretune.data.dicom.study import read_study
from fedretune.data.images import decode_image
from fedretune.errors import UserError
from tests.data.dicoms import ID, NAME, compressed, content, dataset, radiograph, write

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of what is written here

#: Reads each file of a folder as loudly as Python can, and prints tracebacks.
LOUD = """
import logging, sys, traceback, warnings
from pathlib import Path
logging.basicConfig(level=0)
warnings.simplefilter("always")
from fedretune.data.dicom.study import read_study
from fedretune.data.images import open_image
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_study(path)
        print(path.name, open_image(path).size)
    except Exception:
        traceback.print_exc(file=sys.stdout)
"""

#: Tags that are read for an image, and here hold what they must not.
MISUSED = [
    "Rows", "BitsStored", "NumberOfFrames", "PhotometricInterpretation", "WindowCenter",
    "RescaleSlope", "VOILUTFunction", "PixelPaddingValue", "ModalityLUTSequence", "HighBit",
    "SOPInstanceUID", "Modality", "ViewPosition", "StudyDate", "IssuerOfPatientID",
]  # fmt: skip


def bad_files() -> dict[str, bytes]:
    """Return files with a patient's name and id in all sorts of wrong places."""
    files = {"good": content(dataset(radiograph(), 12)), "cut": content(dataset(radiograph(), 12))}
    files["cut"] = files["cut"][:-100]
    for tag in MISUSED:
        made = dataset(radiograph(), 12, WindowWidth=400, RescaleIntercept=0)
        made.add_new(tag, "LO", ID)
        files[tag] = content(made)
    made = dataset(radiograph(), 12, SpecificCharacterSet="ISO_IR 192")
    files["charset"] = content(made).replace(b"ISO_IR 192", ID.encode().ljust(10))
    files["syntax"] = content(dataset(radiograph(), 12)).replace(
        b"1.2.840.10008.1.2.1\0", NAME.encode().ljust(20, b"\0")
    )
    files["vr"] = files["good"].replace(b"\x10\x00\x10\x00PN", b"\x10\x00\x10\x00QQ")
    files["voi"] = content(dataset(radiograph(), 12, VOILUTSequence=[misused_table()]))
    broken = bytearray(content(compressed(dataset(radiograph(), 12), uid.JPEGLosslessSV1)))
    broken[-120:-20] = NAME.encode() * (100 // len(NAME)) + bytes(100 % len(NAME))
    files["jpeg"] = bytes(broken)
    return files


def misused_table() -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "LO", ID)
    item.add_new("LUTData", "LO", NAME)
    return item


@pytest.mark.parametrize("strict", [[], ["-W", "error"]], ids=["loud", "warnings are errors"])
def test_nothing_of_a_header_is_ever_said(tmp_path: Path, strict: list[str]) -> None:
    for name, file in bad_files().items():
        assert b"CANARY" in file
        (tmp_path / f"{name}.dcm").write_bytes(file)
    command = [sys.executable, *strict, "-c", LOUD, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "good.dcm (32, 24)" in done.stdout
    assert done.stdout.count("Cannot read the image") >= 8
    assert "CANARY" not in done.stdout + done.stderr


def test_a_study_does_not_show_what_it_knows(tmp_path: Path) -> None:
    study = read_study(write(tmp_path / "a.dcm", dataset(radiograph(), 12)))
    assert study is not None
    assert (study.patient, study.name) == (ID, NAME)
    assert "CANARY" not in f"{study} {study!r} {[study]}"


def test_an_error_holds_nothing_of_a_header_either() -> None:
    for file in bad_files().values():
        try:
            decode_image(file, "a.dcm")
        except UserError as error:
            chain: BaseException | None = error
            while chain is not None:
                assert "CANARY" not in repr(chain)
                chain = chain.__cause__ or chain.__context__
