import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.along import begun, settled
from server.models import GLOBAL, flatten, unflatten

FINDINGS = 3
TAUGHT = st.lists(st.sets(st.integers(0, FINDINGS - 1)), min_size=1, max_size=6)


@given(TAUGHT, st.integers(0, 99))
def test_what_is_left_is_the_mean_over_the_experiences_that_taught_a_finding(taught, seed):
    rng = np.random.default_rng(seed)
    models = {GLOBAL: {"rows": np.zeros((FINDINGS, 2), np.float32), "all": np.zeros(2, np.float32)}}
    ends = []
    for step in range(len(taught)):
        trained = rng.normal(size=(FINDINGS, 2)).astype(np.float32)
        start = models[GLOBAL]["rows"]
        rows = np.array([trained[f] if f in taught[step] else start[f] for f in range(FINDINGS)])
        ends.append((rows, rng.normal(size=2).astype(np.float32)))
        trained_models = {**begun(models), GLOBAL: {"rows": rows, "all": ends[-1][1]}}
        models = settled(trained_models, ["rows"], taught[: step + 1], FINDINGS)
    np.testing.assert_allclose(
        models[GLOBAL]["all"], np.mean([e[1] for e in ends], axis=0), atol=1e-5
    )
    for f in range(FINDINGS):
        told = [rows[f] for (rows, _), each in zip(ends, taught, strict=True) if f in each]
        expected = np.mean(told, axis=0) if told else np.zeros(2)
        np.testing.assert_allclose(models[GLOBAL]["rows"][f], expected, atol=1e-5)


def test_a_site_that_got_its_own_adaptor_since_began_with_the_global_one():
    models = begun({GLOBAL: {"all": np.array([0.0, 2.0])}})
    own = settled({**models, "a/b": {"all": np.array([4.0, 4.0])}}, [], [{0}, {0}], 1)
    assert own["a/b"]["all"].tolist() == [2.0, 3.0]
    assert set(own) == {GLOBAL, "a/b"}


def test_models_under_way_survive_a_checkpoint():
    models = begun({GLOBAL: {"w": np.ones(2)}, "north/1": {"w": np.zeros(2)}})
    again = unflatten(flatten(models))
    assert again.keys() == models.keys()
    assert all(np.array_equal(again[owner]["w"], models[owner]["w"]) for owner in models)
