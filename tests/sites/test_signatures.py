"""What a signature is good for, and the lists of keys by which it is checked."""

import base64
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.handshake import PURPOSE, Asked
from fedretune.identity import (
    add_key,
    fingerprint,
    is_signed,
    read_keys,
    read_private,
    read_public,
    sign,
    write_lines,
)
from fedretune.sites.keys import write_key_pair
from fedretune.wire import MAX_TEXT

KEY, OTHER = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
ANSWER = {"site": {"name": "north", "dim": 4, "findings": ["Edema"], "train-examples": [1, 2]}}
ASKED = Asked("run", 7, "0" * 32)
SIGNED = sign(KEY, PURPOSE, ASKED.signed(ANSWER))


def good(answer=ANSWER, asked=ASKED, key=KEY, signature=SIGNED, purpose=PURPOSE) -> bool:
    return is_signed(key.public_key(), signature, purpose, asked.signed(answer))


def test_a_signature_is_good_for_what_was_signed_where_it_was_signed():
    assert good()
    assert good(answer={**ANSWER, "signature": {"ecdsa": "whatever"}})  # it does not sign itself


@pytest.mark.parametrize(
    "other",
    [
        {"key": OTHER},
        {"purpose": "secure sum"},
        {"asked": Asked("another run", 7, "0" * 32)},
        {"asked": Asked("run", 8, "0" * 32)},
        {"asked": Asked("run", 7, "1" * 32)},
        {"answer": {"site": {**ANSWER["site"], "name": "south"}}},
        {"answer": {"site": {**ANSWER["site"], "train-examples": [1, 3]}}},
        {"answer": {**ANSWER, "trunk": {"layout": []}}},
    ],
)
def test_a_signature_is_good_for_nothing_else(other):
    assert not good(**other)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=120).map(base64.b64encode)))
def test_no_made_up_text_is_a_signature_or_raises(text):
    assert not good(signature=text if isinstance(text, str) else text.decode())


@given(st.integers(0, 8 * len(base64.b64decode(SIGNED)) - 1))
def test_a_signature_with_one_bit_changed_is_none(bit):
    raw = bytearray(base64.b64decode(SIGNED))
    raw[bit // 8] ^= 1 << bit % 8
    assert not good(signature=base64.b64encode(raw).decode())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_the_signature_of_every_curve_fits_into_the_wires_texts(curve):
    key = ec.generate_private_key(curve)
    signature = sign(key, PURPOSE, ASKED.signed(ANSWER))
    assert good(key=key, signature=signature)
    assert len(signature) <= MAX_TEXT


def test_a_fingerprint_is_what_ssh_keygen_prints(tmp_path):
    write_key_pair(tmp_path / "site.key", "north")
    public = tmp_path / "site.key.pub"
    told = subprocess.run(["ssh-keygen", "-lf", public], capture_output=True, text=True, check=True)
    assert told.stdout.split()[1] == fingerprint(read_public(public))
    assert fingerprint(read_private(tmp_path / "site.key").public_key()) in told.stdout


def test_a_list_gives_back_the_keys_that_were_put_into_it(tmp_path):
    path = tmp_path / "admitted.toml"
    for name, key in (("a 'name' = \"x\"", KEY), ("south", OTHER)):
        add_key(path, name, key.public_key())
        add_key(path, name, key.public_key())  # which changes nothing
    keys = {name: fingerprint(key) for name, key in read_keys(path).items()}
    own = (fingerprint(key.public_key()) for key in (KEY, OTHER))
    assert keys == dict(zip(("a 'name' = \"x\"", "south"), own, strict=True))


def test_a_name_keeps_its_key_and_a_key_its_name(tmp_path):
    path = tmp_path / "admitted.toml"
    add_key(path, "north", KEY.public_key())
    with pytest.raises(UserError, match=r"'north' has another key.*SHA256:.*take its line out"):
        add_key(path, "north", OTHER.public_key())
    with pytest.raises(UserError, match="one key for 'north' and 'south'"):
        add_key(path, "south", KEY.public_key())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[sites]\nnorth = 'ssh-rsa AAAA'", "'north' has no public key"),
        ("[sites]\nnorth = 3", "'north' has no public key"),
        ("sites = 3", "more than a table"),
        ("[other]", "more than a table"),
        ("[sites", "no list of sites' keys"),
    ],
)
def test_a_list_that_is_none_is_refused_with_the_reason(tmp_path, text, why):
    (tmp_path / "list.toml").write_text(text)
    with pytest.raises(UserError, match=why):
        read_keys(tmp_path / "list.toml")


def test_keys_that_are_none_are_refused(tmp_path):
    (tmp_path / "rsa").write_text("no key")
    with pytest.raises(UserError, match=r"sends its site\.key\.pub"):
        read_public(tmp_path / "rsa")
    with pytest.raises(UserError, match="no public key to read"):
        read_public(tmp_path / "none")
    with pytest.raises(UserError, match="OpenSSH private key") as caught:
        read_private(tmp_path / "rsa")
    assert str(tmp_path) not in caught.value.public
    write_lines(tmp_path / "empty.toml", {})
    assert read_keys(tmp_path / "empty.toml") == {}
