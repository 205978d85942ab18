"""The words about every key."""

import tomllib
from pathlib import Path

from scenarios.config import DEFAULTS
from scenarios.keys import keys


def test_every_key_has_a_meaning_and_there_is_no_other():
    meanings = tomllib.loads((Path(__file__).parents[2] / "scenarios" / "keys.toml").read_text())
    assert set(meanings) == set(DEFAULTS)
    assert all(text.endswith((".", ")")) and len(text) > 10 for text in meanings.values())


def test_words_find_keys_by_name_and_by_meaning():
    assert {each.name for each in keys("ADAPTOR.KIND")} == {"adaptor.kind"}
    assert "aggregation.mu" in {each.name for each in keys("`fedprox`")}
    assert not keys("no key says this")
