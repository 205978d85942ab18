"""How a table is cut into shards."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.errors import UserError
from fedretune.seeds import derive_seed
from scenarios import RunConfig, build_scenario
from scenarios.partitions import PARTITIONS
from tests.scenarios.tables import FINDINGS, scenario_of, table_of

SPLITS = ("train", "val", "test")


@given(
    partition=st.sampled_from(list(PARTITIONS)),
    experiences=st.integers(1, 6),
    seed=st.integers(0, 10),
)
@settings(max_examples=40)
def test_every_image_is_in_exactly_one_shard_and_a_patient_in_one_site_and_experience(
    partition, experiences, seed
):
    table = table_of(120, seed)
    values = {"partition": partition, "experiences": experiences, "seed": seed, "alpha": 20.0}
    scenario = scenario_of(table, 2, **values)
    shards = [
        scenario.shard(site, experience, split)
        for site in scenario.sites
        for experience in range(experiences)
        for split in SPLITS
    ]
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(table)))
    where = table.assign(site=scenario.site, experience=scenario.experience).groupby("patient")
    assert (where[["site", "experience"]].nunique() == 1).all().all()


def test_shards_and_rows_are_those_of_the_columns_in_ascending_order():
    table = table_of(90, sites=3)
    scenario = scenario_of(table, experiences=4)
    for split in SPLITS:
        for position, site in enumerate(scenario.sites):
            here = (scenario.site == position) & (scenario.split == split)
            assert scenario.rows(site, split).tolist() == np.flatnonzero(here).tolist()
            for experience in range(4):
                rows = np.flatnonzero(here & (scenario.experience == experience))
                assert scenario.shard(site, experience, split).tolist() == rows.tolist()


def test_a_split_that_the_manifest_lacks_has_no_rows():
    table = table_of(90).query("split != 'val'").reset_index(drop=True)
    scenario = scenario_of(table)
    assert scenario.rows("hospital 0", "val").size == 0
    assert scenario.shard("hospital 0", 0, "val").size == 0


@pytest.mark.parametrize("partition", list(PARTITIONS))
def test_the_same_seed_gives_the_same_shards_whatever_came_before(partition):
    table = table_of(100)
    first = scenario_of(table, 2, partition=partition)
    np.random.seed(5)  # the global generator must not matter
    again = scenario_of(table, 2, partition=partition)
    other = scenario_of(table, 2, partition=partition, seed=2)
    assert np.array_equal(first.site, again.site)
    assert np.array_equal(first.experience, again.experience)
    assert not np.array_equal(first.experience, other.experience)


@pytest.mark.parametrize(
    ("partition", "digest"),
    [
        ("natural", "a4301e1f37394327"),
        ("iid", "69fc72990477a1ec"),
        ("dirichlet", "2699002642194651"),
    ],
)
def test_shards_are_cut_as_they_always_were(partition, digest):
    # A site and the server may run other releases of numpy: a change here must be deliberate.
    scenario = scenario_of(table_of(200, sites=3), 3, partition=partition, alpha=5.0)
    columns = np.stack([scenario.site, scenario.experience]).astype("<i8")
    assert hashlib.sha256(columns.tobytes()).hexdigest()[:16] == digest


def test_chunks_are_cut_from_a_seeded_queue_of_patients_by_the_middles_of_their_images():
    table = table_of(80, sites=2)
    scenario = scenario_of(table, experiences=4, seed=3)
    for position in range(2):
        train = table[(scenario.site == position) & (table["split"] == "train")]
        split = sorted(SPLITS).index("train")
        rng = np.random.default_rng(derive_seed(3, "experiences", position, split))
        queue, before = rng.permutation(sorted(set(train["patient"]))).tolist(), 0
        for patient in queue:
            rows = train.index[train["patient"] == patient]
            expected = int((before + len(rows) / 2) * 4 / len(train))
            assert set(scenario.experience[rows].tolist()) == {expected}
            before += len(rows)


def test_chunks_of_a_stream_have_nearly_the_same_number_of_images():
    scenario = scenario_of(table_of(1000, sites=1), experiences=5)
    sizes = [len(scenario.shard(scenario.sites[0], e, "train")) for e in range(5)]
    assert max(sizes) - min(sizes) <= 3


@given(images=st.lists(st.integers(1, 60), min_size=1, max_size=12), data=st.data())
def test_no_experience_is_empty_where_there_is_a_patient_for_each(images, data):
    experiences = data.draw(st.integers(1, len(images)))
    patients = np.repeat([f"p{number}" for number in range(len(images))], images)
    train = pd.DataFrame({"patient": patients, "split": "train"})
    test = pd.DataFrame({"patient": ["other"], "split": ["test"]})
    table = pd.concat([train, test], ignore_index=True).assign(site="a", Mass=0.0)
    scenario = scenario_of(table, experiences=experiences)
    assert all(scenario.shard("a", e, "train").size for e in range(experiences))


def test_natural_takes_the_sites_of_the_manifest():
    scenario = scenario_of(table_of(50, sites=3))
    assert scenario.sites == ("hospital 0", "hospital 1", "hospital 2")


def test_dirichlet_makes_sites_differ_more_the_smaller_alpha_is():
    def spread(alpha: float) -> float:
        table = table_of(2000)
        spreads = []
        for seed in range(5):
            values = {"partition": "dirichlet", "alpha": alpha, "seed": seed, "experiences": 1}
            scenario = scenario_of(table, 4, **values)
            rates = table.groupby(scenario.site)[list(scenario.findings)].mean()
            spreads.append(rates.std().mean())
        return float(np.mean(spreads))

    assert spread(0.1) > 2 * spread(100.0)


@pytest.mark.parametrize(
    ("values", "sites", "words"),
    [
        (
            {"experiences": 500},
            2,
            ["Site 'hospital 0'", "500 experiences", "Set fewer experiences"],
        ),
        ({}, 3, ["2 sites", "3", "--sites 2"]),
        ({"scenario": "data-incremntal"}, 2, ["Did you mean 'data-incremental'?"]),
        ({"schedule": "late-joim"}, 2, ["Unknown schedule", "Did you mean 'late-join'?"]),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_mend(values, sites, words):
    with pytest.raises(UserError) as error:
        scenario_of(table_of(60), sites, **values)
    assert [word for word in words if word not in str(error.value)] == []


def test_a_site_with_fewer_patients_than_experiences_is_named_though_it_has_images_enough():
    table = table_of(60, sites=2)
    few = (table["site"] == "hospital 1") & (table["split"] == "train")
    table.loc[few, "patient"] = "p1"
    with pytest.raises(UserError) as error:
        scenario_of(table, experiences=2)
    assert str(error.value) == (
        "Site 'hospital 1' has too few training patients for 2 experiences, which need one each: "
        "1. Set fewer experiences, or another partition, alpha or seed."
    )


def test_a_site_that_the_partition_leaves_without_patients_is_named():
    table = table_of(3).query("split != 'val'").reset_index(drop=True)
    with pytest.raises(UserError, match=r"Site 'site-\d' has too few .* one each: 0\."):
        scenario_of(table, 9, partition="iid", experiences=1)


def test_natural_without_a_site_column_names_the_other_partitions():
    table = table_of(20).drop(columns="site")
    with pytest.raises(UserError, match="iid or dirichlet"):
        build_scenario(RunConfig(), table, FINDINGS, 0)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_manifest_without_images_to_train_or_test_on_is_refused(split):
    table = table_of(60)
    with pytest.raises(UserError, match=f"no '{split}' images"):
        scenario_of(table[table["split"] != split].reset_index(drop=True))
