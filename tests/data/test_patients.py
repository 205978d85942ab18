"""Salted pseudonyms of patients."""

import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.data.patients import SALT_FILE, identifies, load_salt, pseudonym
from fedretune.errors import UserError


@given(st.binary(min_size=32, max_size=32), st.text())
def test_a_pseudonym_is_the_hmac_of_the_id_without_spaces_around(salt: bytes, patient: str) -> None:
    name = pseudonym(salt, f" {patient}\t")
    whole = hmac.digest(salt, patient.strip().encode("utf-8", "surrogatepass"), "sha256").hex()
    assert name == whole[:16]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x/Mustermann_Erika/1.png", True),
        ("x/mustermannerika.png", True),
        ("x/471.png", True),
        ("x/a_471-1.png", True),
        ("x/4712.png", False),
        ("x/12.png", False),
        ("", False),
    ],
)
def test_a_text_names_a_patient_by_a_long_name_or_a_short_word(text: str, found: bool) -> None:
    assert identifies(text, ["MUSTERMANN", "471", "12", ""]) is found


def test_the_salt_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    salt = load_salt(tmp_path / "new")
    assert len(salt) == 32
    assert load_salt(tmp_path / "new") == salt
    assert load_salt(tmp_path) != salt
    assert (tmp_path / "new" / SALT_FILE).stat().st_mode & 0o777 == 0o600


def test_a_broken_salt_is_an_error_and_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / SALT_FILE).write_bytes(b"short")
    with pytest.raises(UserError, match=r"is no salt \(5 bytes"):
        load_salt(tmp_path)
    assert (tmp_path / SALT_FILE).read_bytes() == b"short"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot make or read the salt"):
        load_salt(tmp_path / "file")
