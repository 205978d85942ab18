"""Prompt sets as files."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.prompts import PromptSet, load_prompts, prompt_set_names

GOOD = 'positive = ["{c}", "a {c}"]\nnegative = ["no {c}"]\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_precursors_prompts_are_the_default() -> None:
    positive, negative = load_prompts().texts("Edema")
    assert positive[0] == "Findings consistent with Edema"
    assert negative[2] == "No evidence of acute Edema"
    assert (len(positive), len(negative)) == (4, 4)


@pytest.mark.parametrize("name", prompt_set_names())
def test_every_shipped_prompt_set_loads(name: str) -> None:
    assert load_prompts(name).name == name


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'precursor'.*Allowed: .*precursor"):
        load_prompts("precurser")


def test_a_finding_may_have_its_own_prompts(tmp_path: Path) -> None:
    table = '[finding."Pleural Thickening"]\npositive = ["thick pleura", "{c} seen"]\n'
    prompts = load_prompts(write(tmp_path, GOOD + table))
    assert prompts.texts("Pleural Thickening") == (
        ["thick pleura", "Pleural Thickening seen"],
        ["no Pleural Thickening"],
    )
    assert prompts.texts("Mass")[0] == ["Mass", "a Mass"]
    assert hash(prompts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('positive = ["{c}"', "not valid TOML"),
        ('positive = []\nnegative = ["no {c}"]', "'positive' must be a list"),
        ('positive = ["{c}"]', "'negative' must be a list"),
        ('positive = ["{c}", 3]\nnegative = ["no {c}"]', "'positive' must be a list"),
        ('positive = ["opacity"]\nnegative = ["no {c}"]', '"opacity" lacks {c}'),
        (GOOD + 'neutral = ["{c}"]', "unknown key 'neutral'"),
        (GOOD + '[finding.Mass]\nplus = ["{c}"]', "unknown key 'finding.Mass.plus'"),
        (GOOD + '[finding.Mass]\npositive = ["{c}"]', "has 1 sentences and the set has 2"),
        (GOOD + "finding = 3", r'as \[finding."Name"\]'),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        load_prompts(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.toml"):
        load_prompts(tmp_path / "gone.toml")


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_fingerprint_follows_the_sentences_and_not_the_name(one: str, two: str) -> None:
    first = PromptSet("a", (one,), ("no {c}",))
    assert first.fingerprint == PromptSet("b", (one,), ("no {c}",)).fingerprint
    assert (one == two) == (first.fingerprint == PromptSet("a", (two,), ("no {c}",)).fingerprint)


def test_an_override_changes_the_fingerprint() -> None:
    plain = PromptSet("a", ("{c}",), ("no {c}",))
    own = PromptSet("a", ("{c}",), ("no {c}",), {"Mass": (("lump",), ("no {c}",))})
    assert plain.fingerprint != own.fingerprint


@given(st.text())
def test_braces_in_a_findings_name_are_left_alone(name: str) -> None:
    assert PromptSet("a", ("see {c}.",), ("no {c}",)).texts(name)[0] == [f"see {name}."]


def test_reading_prompts_needs_no_torch() -> None:
    code = "import sys, fedretune.prompts as p; p.load_prompts(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
