"""Runs whose private gradients are evened out by what is public of the backbone's vectors."""

import csv

import pytest
import torch

from clients.site import Site
from fedretune import wire
from fedretune.backbones.moments import write_moments
from fedretune.errors import UserError
from scenarios import RunConfig
from server.handshake import terms_of
from tests.run_folders import adaptors
from tests.worlds import DIM, make_world

PRIVATE = {
    "privacy__mechanism": "example",
    "privacy__noise": 2.0,
    "privacy__steps": 2,
    "adaptor__wiring": "offsets",
}


@pytest.fixture
def moments(tmp_path):
    """Return the path of a second moment made from a seed, far from even."""

    def make(seed):
        path = tmp_path / f"{seed}.npy"
        drawn = torch.randn(50, DIM, generator=torch.Generator().manual_seed(seed))
        write_moments(path, drawn * torch.logspace(0, -2, DIM))
        return str(path)

    return make


def spent(folder):
    with (folder / "privacy.csv").open() as file:
        return [row["epsilon"] for row in csv.DictReader(file)]


def test_evening_changes_what_is_learnt_and_nothing_of_the_account(synthetic_run, moments):
    plain, _ = synthetic_run("plain", **PRIVATE)
    even, _ = synthetic_run("even", **PRIVATE, privacy__moments=moments(1))
    again, _ = synthetic_run("again", **PRIVATE, privacy__moments=moments(1))
    assert adaptors(plain) != adaptors(even) == adaptors(again)
    assert spent(plain) == spent(even)


def test_a_recipe_can_be_taken_without_its_moments():
    given = RunConfig.from_flat({"recipe": "private", "privacy.moments": "none"}).privacy
    assert (given.evens, given.at_sites) == (False, True)
    assert RunConfig.from_flat({"recipe": "private"}).privacy.evens


def test_sites_with_another_file_do_not_agree_and_say_in_what(moments):
    def terms(path):
        keys = {key.replace("__", "."): value for key, value in PRIVATE.items()}
        config = RunConfig.from_flat({**keys, "privacy.moments": path, "sites": 2})
        greeting = Site("site-1", make_world(config, 2)).greeting()
        wire.check(wire.HANDSHAKE, {}, greeting)
        return terms_of({k: value for record in greeting.values() for k, value in record.items()})

    assert terms(moments(1)) == terms(moments(1))
    assert terms("").moments == ""
    assert terms(moments(1)).differences(terms(moments(2))).startswith("moments is ")


@pytest.mark.parametrize(
    "changes",
    [{"adaptor.wiring": "double"}, {"adaptor.features": 8}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_has_no_gradients_to_even_out_is_refused(changes):
    keys = {key.replace("__", "."): value for key, value in PRIVATE.items()}
    with pytest.raises(UserError, match=r"privacy\.moments = backbone evens out"):
        RunConfig.from_flat({**keys, "privacy.moments": "backbone", **changes})


def test_moments_without_private_sites_mean_nothing():
    keys = {"privacy.mechanism": "site", "privacy.noise": 1.0, "privacy.moments": "backbone"}
    with pytest.raises(UserError, match=r"privacy\.moments means nothing"):
        RunConfig.from_flat(keys)
