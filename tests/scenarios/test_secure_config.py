"""What goes with secure aggregation, and what is refused before anything is trained."""

import pytest

from fedretune.errors import UserError
from fedretune.strategies import STRATEGIES
from scenarios import RunConfig

SECURE = {"secure-aggregation": True, "sites": 8}


def config(**values: object) -> RunConfig:
    return RunConfig.from_flat({**SECURE, **{k.replace("_", "-"): v for k, v in values.items()}})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_that_needs_single_replies_is_refused_and_every_other_is_not(strategy):
    if STRATEGIES[strategy].from_mean:
        assert config(strategy=strategy).secure_aggregation
    else:
        with pytest.raises(UserError, match=f"strategy = {strategy} needs each site's reply"):
            config(strategy=strategy)


def test_those_that_withstand_bad_sites_are_among_the_refused():
    robust = {"fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan"}
    assert not any(STRATEGIES[name].from_mean for name in robust)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"sites": 2}, "needs at least 3 sites, and a round has 2"),
        ({"sites": 8, "participation": 0.25}, "needs at least 3 sites, and a round has 2"),
        ({"sites": 1001}, "may list 1000, and a round has 1001: lower participation"),
        ({"method": "central"}, "needs at least 3 sites"),
        ({"method": "local"}, "an adaptor of its own"),
        ({"averaging": "equal"}, "averaging = equal does not go with"),
        ({"compression": "int8"}, "compression = int8 does not add up"),
        ({"attack": "sign-flip", "attackers": 1}, "attack = sign-flip"),
        ({"secure_threshold": 0.5}, "'secure-threshold' cannot be 0.5"),
        ({"secure_threshold": 1.1}, "'secure-threshold' cannot be 1.1"),
        ({"secure_threshold": float("nan")}, "'secure-threshold' cannot be nan"),
        ({"secure_clip": 0}, "'secure-clip' cannot be 0"),
        ({"secure_clip": float("inf")}, "'secure-clip' cannot be inf"),
        ({"secure_examples": 0}, "'secure-examples' cannot be 0"),
        ({"secure_examples": 2**38}, "does not fit into 8 bytes: lower secure-clip or secure-ex"),
        ({"secure_aggregation": "perhaps"}, "'secure-aggregation' cannot be 'perhaps'"),
    ],
    ids=lambda each: "-".join(map(str, each)) if isinstance(each, dict) else "",
)
def test_what_does_not_go_with_it_is_refused_with_the_reason(values, what):
    with pytest.raises(UserError, match=what):
        config(**values)


def test_without_it_nothing_of_that_matters():
    values = {"sites": 2, "compression": "int8", "secure-clip": 3.0}
    assert not RunConfig.from_flat(values).secure_aggregation
