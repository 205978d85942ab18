"""What a config may say of strategies, and what it is told otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.strategies import STRATEGIES
from scenarios import RunConfig
from scenarios.aggregation import AggregationConfig
from scenarios.config import DEFAULTS

TABLE = [key for key in DEFAULTS if key.startswith("aggregation.")]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"strategy": "fedavgmm"}, ["strategy", "Did you mean 'fedavgm'?", "bulyan"]),
        ({"aggregation.beta-1": 0.5}, ["fedavg takes no aggregation.beta-1", "no parameter"]),
        (
            {"strategy": "fedavgm", "aggregation.tau": 0.5},
            ["fedavgm takes no aggregation.tau", "aggregation.momentum, aggregation.server-lr"],
        ),
        ({"aggregation.beta1": 1}, ["Unknown config key", "aggregation.beta-1"]),
        ({"strategy": "fedtrimmedavg", "aggregation.trimmed": 0.5}, ["trimmed", "less than 0.5"]),
        (
            {"strategy": "fedtrimmedavg", "aggregation.trimmed": 0.1, "sites": 9},
            ["aggregation.trimmed = 0.1 needs at least 10 sites, and a round has 9"],
        ),
        (
            {"strategy": "krum", "aggregation.attackers": 2, "sites": 6},
            ["krum with aggregation.attackers = 2 needs at least 7 sites", "6: change that"],
        ),
        ({"strategy": "multikrum", "aggregation.selected": 9, "sites": 9}, ["at least 10 sites"]),
        ({"strategy": "bulyan", "sites": 6}, ["needs at least 7 sites"]),
        ({"strategy": "krum", "sites": 8, "participation": 0.5}, ["a round has 4"]),
        ({"strategy": "krum", "method": "central", "sites": 8}, ["a round has 1"]),
        ({"strategy": "fedmedian", "averaging": "positives"}, ["leave averaging out"]),
        ({"strategy": "krum", "averaging": "equal"}, ["leave averaging out"]),
        (
            {"strategy": "scaffold", "train.optimizer": "adamw"},
            ["scaffold needs train.optimizer = sgd, and it is adamw"],
        ),
        ({"strategy": "regmean", "aggregation.shrink": 1.5}, ["shrink", "less than or equal to 1"]),
        ({"strategy": "fisher", "aggregation.floor": 0}, ["floor", "greater than 0"]),
        ({"strategy": "fedadam", "method": "local"}, ["'local' aggregates nothing"]),
        ({"strategy": "fedavgm", "aggregation.momentum": 1.0}, ["momentum", "less than 1"]),
        ({"strategy": "fedadam", "aggregation.tau": 0}, ["tau", "greater than 0"]),
    ],
)
def test_what_a_strategy_cannot_be_is_refused_with_the_mend(values, words):
    with pytest.raises(UserError) as error:
        RunConfig.from_flat(values)
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resolved_config_comes_back_as_it_is(strategy):
    config = RunConfig.from_flat({"strategy": strategy})
    assert RunConfig.from_flat(config.to_flat()) == config


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_takes_keys_that_there_are(strategy):
    assert set(STRATEGIES[strategy].parameters) <= set(AggregationConfig.model_fields)
    traits = STRATEGIES[strategy]
    assert set(traits.settings) | set(traits.requires) <= set(DEFAULTS)


def test_every_key_of_the_table_is_taken_by_some_strategy():
    taken = {name for traits in STRATEGIES.values() for name in traits.parameters}
    assert taken == set(AggregationConfig.model_fields)


def test_a_method_that_wishes_to_weigh_by_positives_gives_way_to_a_strategy_that_does_not():
    assert RunConfig.from_flat({"method": "offsets"}).averaging == "positives"
    assert RunConfig.from_flat({"method": "offsets", "strategy": "krum"}).averaging == "examples"


def test_scaffold_trains_by_plain_sgd_at_a_rate_of_its_own():
    train = RunConfig.from_flat({"strategy": "scaffold"}).train
    assert (train.optimizer, train.lr) == ("sgd", STRATEGIES["scaffold"].settings["train.lr"])
    assert RunConfig.from_flat({"strategy": "scaffold", "train.lr": 0.02}).train.lr == 0.02


def test_where_nothing_is_trained_no_site_is_missing():
    assert RunConfig.from_flat({"strategy": "krum", "method": "zero-shot", "sites": 2}).sites == 2


@given(st.floats(0.001, 0.499))
def test_the_fewest_sites_to_trim_are_the_fewest_of_which_one_is_cut_off(trimmed):
    least = STRATEGIES["fedtrimmedavg"].least({"trimmed": trimmed})
    assert int(trimmed * least) >= 1
    assert int(trimmed * (least - 1)) == 0
