"""`fedretune keys`."""

import json


def test_keys_are_listed_for_people_and_for_scripts(fedretune):
    told = fedretune("keys", "norm-bound")
    assert told.code == 0
    assert "norm-bound" in told.err
    assert "5.0" in told.err
    (only,) = json.loads(fedretune("keys", "norm-bound", "--json").out)
    assert only["default"] == 5.0


def test_words_that_no_key_has_are_told(refused):
    assert "`fedretune keys` lists all" in refused("keys", "no such thing")
