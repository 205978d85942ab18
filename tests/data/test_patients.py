"""Salted pseudonyms of patients."""

import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.data.patients import SALT_FILE, load_salt, pseudonym
from fedretune.errors import UserError


@given(st.binary(min_size=32, max_size=32), st.text())
def test_a_pseudonym_is_the_hmac_of_the_id_without_spaces_around(salt: bytes, patient: str) -> None:
    name = pseudonym(salt, f" {patient}\t")
    whole = hmac.digest(salt, patient.strip().encode("utf-8", "surrogatepass"), "sha256").hex()
    assert name == whole[:16]


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
