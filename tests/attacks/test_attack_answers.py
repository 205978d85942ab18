"""What attackers answer, from what they know."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clients.attacks import ATTACKS, attack_of, attackers_among
from clients.attacks.answer import Answer, Attack, CrashError, Scene
from clients.attacks.plausible import with_flipped_labels
from clients.site import Site
from fedretune import wire
from fedretune.errors import UserError
from scenarios import RunConfig
from tests.worlds import make_world

TENSOR = arrays(np.float32, (2, 3), elements=st.floats(-4, 4, width=32))
#: Attackers' honest adaptors, one to four of them.
ADAPTORS = st.lists(TENSOR, min_size=1, max_size=4)
METRICS = {"experience": 1, "round": 2, "num-examples": 40, "loss": 0.5}


def scene_of(start, adaptors, attack: Attack, seed: int = 0) -> Scene:
    """Return what the first of some attackers knows, whose sites would answer these adaptors."""
    answers = [
        Answer({"adaptor": {"w": each, "b": each[0]}}, {"metrics": METRICS}) for each in adaptors
    ]
    begun = {"w": start, "b": start[0]}
    return Scene(begun, answers[0], answers, attack.strength, np.random.default_rng(seed))


def crafted(start, adaptors, name: str, strength: float = 0.0) -> np.ndarray:
    """Return the tensor that an attacker sends."""
    attack = attack_of(name, strength)
    (answer,) = attack.answer(scene_of(start, adaptors, attack))
    return answer.adaptor["w"]


@given(start=TENSOR, adaptors=ADAPTORS)
def test_a_sign_flip_is_the_update_backwards(start, adaptors):
    np.testing.assert_allclose(
        crafted(start, adaptors, "sign-flip") - start, start - adaptors[0], atol=1e-5
    )


@given(start=TENSOR, adaptors=ADAPTORS, strength=st.floats(0.5, 100))
def test_a_scaled_update_goes_as_many_times_as_far(start, adaptors, strength):
    expected = start + strength * (adaptors[0].astype(np.float64) - start)
    np.testing.assert_allclose(
        crafted(start, adaptors, "scale-10", strength), expected, rtol=1e-5, atol=1e-4
    )


@given(start=TENSOR, adaptors=ADAPTORS, z=st.floats(0.1, 3))
def test_a_little_is_as_many_deviations_below_the_mean(start, adaptors, z):
    honest = np.array(adaptors, np.float64)  # of adaptors as of updates: `start` cancels out
    expected = honest.mean(0) - z * honest.std(0)
    np.testing.assert_allclose(crafted(start, adaptors, "alie", z), expected, atol=1e-4)


@given(start=TENSOR, adaptor=TENSOR)
def test_who_attacks_alone_knows_no_deviation(start, adaptor):
    np.testing.assert_allclose(crafted(start, [adaptor], "alie"), adaptor, atol=1e-5)


def test_noise_is_so_many_times_as_large_as_the_update():
    start, adaptor = np.zeros((300, 300), np.float32), np.full((300, 300), 0.02, np.float32)
    noise = crafted(start, [adaptor], "gaussian", 5)
    assert noise.mean() == pytest.approx(0, abs=0.002)
    assert noise.std() == pytest.approx(0.1, rel=0.02)


@given(start=TENSOR, adaptors=ADAPTORS, name=st.sampled_from(sorted(ATTACKS)))
def test_what_is_called_plausible_passes_the_wires_schema_and_what_is_not_does_not(
    start, adaptors, name
):
    attack = ATTACKS[name]
    shapes = {"w": wire.Tensor((2, 3), ("float32",)), "b": wire.Tensor((3,), ("float32",))}
    schema = wire.Schema({"adaptor": shapes}, {"metrics": {k: type(v) for k, v in METRICS.items()}})
    try:
        answers = attack.answer(scene_of(start, adaptors, attack))
    except CrashError:
        answers = []
    sound = sum(_is_sound(each, schema, 40 * attack.announced) for each in answers)
    assert sound == (
        1 + attack.counts_once if attack.kind == "plausible" or attack.counts_once else 0
    )


def _is_sound(answer: Answer, schema: wire.Schema, announced: int) -> bool:
    """Say whether an answer would count, were it the only one: on its own and in its round."""
    try:
        wire.check(schema, answer.arrays, answer.scalars)
    except wire.WireError:
        return False
    told = answer.scalars["metrics"]
    return not answer.late and told["round"] == 2 and 0 < told["num-examples"] <= announced


def test_flipped_labels_are_present_where_they_were_absent_and_unlabelled_as_before():
    config = RunConfig.from_flat({"sites": 2, "experiences": 1})
    site = Site("site-1", make_world(config, 2, patients=20))
    site.world.labels[0, 0] = np.nan
    labels, flipped = site.world.labels, with_flipped_labels(site).world.labels
    assert np.isnan(flipped).tolist() == np.isnan(labels).tolist()
    assert np.nansum(labels + flipped) == np.isfinite(labels).sum()
    assert site.handshake() == with_flipped_labels(site).handshake()


@given(sites=st.integers(1, 50), seed=st.integers(0, 1000), data=st.data())
def test_attackers_are_so_many_sites_of_the_seed_and_fewer_are_among_more(sites, seed, data):
    more = data.draw(st.integers(0, sites))
    fewer = data.draw(st.integers(0, more))
    chosen = attackers_among(sites, more, seed)
    assert len(chosen) == more
    assert chosen <= set(range(sites))
    assert attackers_among(sites, fewer, seed) <= chosen


def test_another_seed_draws_others():
    assert len({attackers_among(10, 2, seed) for seed in range(20)}) > 5


@pytest.mark.parametrize(
    ("name", "strength", "words"),
    [("allie", 0.0, "Did you mean 'alie'"), ("nan", 2.0, "'nan' has no strength")],
)
def test_no_such_attack_is_refused(name, strength, words):
    with pytest.raises(UserError, match=words):
        attack_of(name, strength)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"attack": "nan"}, "give both, or none"),
        ({"attackers": 2}, "give both, or none"),
        ({"attack-strength": 2.0}, "without an attack"),
        ({"attack": "nan", "attackers": 4, "sites": 4}, "at least one site must be honest"),
        ({"attack": "nan", "attackers": 1, "method": "central"}, "at least one site"),
        ({"attack": "nan", "attackers": 1, "compression": "int8"}, "compression = none"),
    ],
)
def test_a_config_with_attackers_that_cannot_be_is_refused(keys, words):
    with pytest.raises(UserError, match=words):
        RunConfig.from_flat(keys)
