import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.errors import UserError
from scenarios import SCENARIOS, RunConfig, build_scenario
from scenarios.partitions import PARTITIONS

FINDINGS = ("Mass", "Edema", "Hernia")


def table_of(patients: int, seed: int = 0, sites: int = 2) -> pd.DataFrame:
    """Return a manifest's table: one to three images a patient, findings rare to frequent."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 4, patients)
    patient = np.repeat([f"p{number}" for number in range(patients)], images)
    table = pd.DataFrame({"patient": patient, "image": [f"{n}.png" for n in range(len(patient))]})
    split = rng.choice(["train", "val", "test"], patients, p=[0.6, 0.2, 0.2])
    split[:2] = ["train", "test"]
    table["split"] = np.repeat(split, images)
    table["site"] = np.repeat([f"hospital {number % sites}" for number in range(patients)], images)
    for finding, prevalence in zip(FINDINGS, (0.05, 0.2, 0.5), strict=True):
        table[finding] = (rng.random(len(table)) < prevalence).astype(float)
    return table


def scenario_of(table: pd.DataFrame, sites: int = 0, **values):
    return build_scenario(RunConfig.from_flat(values), table, FINDINGS, sites)


@given(
    partition=st.sampled_from(list(PARTITIONS)),
    experiences=st.integers(1, 6),
    seed=st.integers(0, 10),
)
@settings(deadline=None, max_examples=40)
def test_every_image_is_in_exactly_one_shard_and_a_patient_in_one_site_and_experience(
    partition, experiences, seed
):
    table = table_of(120, seed)
    scenario = scenario_of(table, 2, partition=partition, experiences=experiences, seed=seed)
    shards = [
        scenario.shard(site, experience, split)
        for site in scenario.sites
        for experience in range(experiences)
        for split in ("train", "val", "test")
    ]
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(table)))
    where = table.assign(site=scenario.site, experience=scenario.experience).groupby("patient")
    assert (where[["site", "experience"]].nunique() == 1).all().all()


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


def test_chunks_of_a_stream_have_nearly_the_same_number_of_images():
    scenario = scenario_of(table_of(1000, sites=1), experiences=5)
    sizes = [len(scenario.shard(scenario.sites[0], e, "train")) for e in range(5)]
    assert max(sizes) - min(sizes) <= 3


def test_data_incremental_trains_every_finding_in_every_experience():
    scenario = scenario_of(table_of(100), experiences=3)
    assert scenario.trained == (FINDINGS,) * 3


def test_natural_takes_the_sites_of_the_manifest():
    scenario = scenario_of(table_of(50, sites=3))
    assert scenario.sites == ("hospital 0", "hospital 1", "hospital 2")


def test_dirichlet_makes_sites_differ_more_the_smaller_alpha_is():
    def spread(alpha: float) -> float:
        table = table_of(2000)
        spreads = []
        for seed in range(5):
            scenario = scenario_of(
                table, 4, partition="dirichlet", alpha=alpha, seed=seed, experiences=1
            )
            rates = table.groupby(scenario.site)[list(FINDINGS)].mean()
            spreads.append(rates.std().mean())
        return float(np.mean(spreads))

    assert spread(0.1) > 2 * spread(100.0)


@pytest.mark.parametrize(
    ("values", "sites", "words"),
    [
        (
            {"experiences": 500},
            2,
            ["Site 'hospital 0'", "patients for 500 experiences", "Set fewer"],
        ),
        ({}, 3, ["2 sites", "3", "--sites 2"]),
        ({"scenario": "data-incremntal"}, 2, ["Did you mean 'data-incremental'?"]),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_mend(values, sites, words):
    with pytest.raises(UserError) as error:
        scenario_of(table_of(60), sites, **values)
    assert [word for word in words if word not in str(error.value)] == []


def test_natural_without_a_site_column_names_the_other_partitions():
    with pytest.raises(UserError, match="iid or dirichlet"):
        scenario_of(table_of(20).drop(columns="site"))


def test_a_manifest_without_test_images_is_refused():
    with pytest.raises(UserError, match="no 'test' images"):
        scenario_of(table_of(60).query("split != 'test'").reset_index(drop=True))


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_every_scenario_names_known_findings_for_each_experience(name):
    trained = SCENARIOS[name](RunConfig(scenario=name, experiences=3), FINDINGS)
    assert len(trained) == 3
    assert all(set(each) <= set(FINDINGS) and each for each in trained)
