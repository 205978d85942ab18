"""`study privacy`, as a shell calls it."""

import json

import pandas as pd
import pytest

from fedretune.errors import UserError
from fedretune.study.privacy import DEFENCES, make_plan
from scenarios import RunConfig

#: The small backbone brings no second moment.
UNEVENED = ("--set", "privacy.moments=none")


def words_of(tiny, out, **changes):
    options = {
        "manifest": tiny.manifest,
        "backbone": f"local-dir:{tiny.backbone}",
        "out": out / "study",
        "experiences": 2,
        "rounds": 1,
        "jobs": 1,
        **changes,
    }
    given = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return ["study", "privacy", "--quick", *given]


@pytest.mark.long
def test_a_study_leaves_its_tables_and_goes_on_where_it_was(fedretune, tiny, out):
    result = fedretune(*words_of(tiny, out), "--set", "privacy.delta=0.02", *UNEVENED, "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    table = pd.read_csv(out / "study" / "table.csv")
    assert set(table["defence"]) == {"plain", "epsilon-3"}
    assert set(table.loc[table["defence"] == "plain", "attack"]) == {
        *("loss", "rmia", "lira", "alignment", "span")
    }
    private = table[table["defence"] == "epsilon-3"]
    assert (private["epsilon"] <= 3).all()
    assert (private["bound"] <= 3).all()
    assert not list((out / "study" / "runs").glob("*/wire"))
    recovery = pd.read_csv(out / "study" / "recovery.csv")
    assert len(recovery) == len(told["recovery"])
    one = recovery.query("training == 'sgd' and batch == 1 and steps == 1")
    assert one["nearest"].item() >= 0.95
    lines = (out / "study" / "table.md").read_text()
    assert "# fedretune study privacy" in lines
    first = next((out / "study" / "runs").glob("*/recovery.json"))
    kept = json.loads(first.read_text())
    kept["rows"][0]["cosine"] = 0.123
    first.write_text(json.dumps(kept))
    again = fedretune(*words_of(tiny, out), "--set", "privacy.delta=0.02", *UNEVENED)
    assert "2 runs, of which 2 are done." in again.err
    assert pd.read_csv(out / "study" / "recovery.csv")["cosine"][0] == 0.123  # asked of it once


def test_an_unknown_defence_and_a_key_of_the_studys_own_are_refused(refused, tiny, out):
    assert "Unknown defence 'magic'" in refused(*words_of(tiny, out, defences="magic"))
    assert "sets 'recipe' itself" in refused(*words_of(tiny, out), "--set", "recipe=private")


@pytest.mark.parametrize("defence", DEFENCES)
def test_every_defence_is_a_config(defence):
    (cell,) = make_plan([defence], [1])
    config = RunConfig.from_flat({**cell.settings(), "sites": 4})
    assert config.record_wire
    assert config.privacy.on == (defence not in ("plain", "secure-sum"))


def test_a_plan_of_nothing_known_is_none():
    with pytest.raises(UserError, match="Unknown defence"):
        make_plan(["hope"], [1])
