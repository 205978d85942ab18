"""The strategies that Flower has not, against the papers' formulas written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedretune.strategies.fisher import FISHER
from fedretune.strategies.regmean import GRAM, linear_layers
from fedretune.strategies.scaffold import CONTROL
from fedretune.strategies.steps import STEPS
from server.strategies import STRATEGIES, Setup, Update
from server.strategies.regmean import solution
from tests.strategies.folding import SPEC, adaptor, aggregated, constant, frozen, parameters_of

SITES, EXAMPLES = 5, [3, 50, 8, 11, 7]
LAYERS = linear_layers(SPEC)


def made(seed, count=SITES + 1):
    rng = np.random.default_rng(seed)
    return [adaptor(lambda shape: rng.normal(size=shape)) for _ in range(count)]


def folded(strategy, replies, current, records=None, scalars=None, state=None, **keys):
    """Return the next adaptor and state; the sites' own records are given, one a site."""
    by_finding = keys.pop("by_finding", ())
    sites, lr = keys.pop("sites", len(replies)), keys.pop("lr", 1.0)
    setup = Setup(parameters_of(strategy, **keys), SPEC, sites, by_finding, lr)
    fold = STRATEGIES[strategy](setup, current, state or {})
    for place, arrays in enumerate(replies):
        own = {} if records is None else records[place]
        told = {} if scalars is None else scalars[place]
        fold.add(Update(f"site-{place}", arrays, EXAMPLES[place], own, told))
    return fold.result()


def assert_close(found, wanted, rtol=1e-5):
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=rtol, atol=1e-6)


def worked(steps):
    return [{"work": {STEPS: each}} for each in steps]


# ---- fednova


@given(steps=st.integers(1, 5000))
@settings(max_examples=20)
def test_fednova_with_equal_steps_is_fedavg(steps):
    current, *replies = made(0)
    found, _ = folded("fednova", replies, current, scalars=worked([steps] * SITES))
    assert_close(found, aggregated("fedavg", replies, current, examples=EXAMPLES)[0])


def test_fednova_is_the_papers_formula():
    current, *replies = made(1)
    steps = [1, 9, 4, 2, 30]
    found, _ = folded("fednova", replies, current, scalars=worked(steps))
    shares = np.array(EXAMPLES) / sum(EXAMPLES)
    effective = sum(share * each for share, each in zip(shares, steps, strict=True))
    for name, start in current.items():
        ways = [(start.astype(float) - r[name]) / t for r, t in zip(replies, steps, strict=True)]
        wanted = start - effective * sum(p * d for p, d in zip(shares, ways, strict=True))
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


def test_a_site_of_more_steps_does_not_pull_harder():
    """Two sites of as many examples, one of which went ten times as far in ten times the steps."""
    near, far = constant(1), constant(-10)
    setup = Setup({}, SPEC, 2)
    fold = STRATEGIES["fednova"](setup, constant(0), {})
    fold.add(Update("a", near, 10, {}, {"work": {STEPS: 1}}))
    fold.add(Update("b", far, 10, {}, {"work": {STEPS: 10}}))
    assert_close(fold.result()[0], constant(0))


# ---- scaffold


def test_scaffold_with_one_site_is_fedavg():
    current, reply = made(2, 2)
    found, _ = folded("scaffold", [reply], current, scalars=worked([4]))
    assert_close(found, aggregated("fedavg", [reply], current)[0])


@pytest.mark.parametrize("server_lr", [1.0, 0.5])
def test_scaffold_steps_and_adds_up_control_variates_as_the_paper_does(server_lr):
    """The paper's loop, with a c_i for each of 8 sites, of which 5 at a time take part."""
    everybody, lr, (current,), state = 8, 0.3, made(3, 1), {}
    rng = np.random.default_rng(3)
    common = {name: np.zeros(array.shape) for name, array in current.items()}
    own = [dict(common) for _ in range(everybody)]
    for round_ in range(4):
        replies, steps = made(10 + round_, SITES), rng.integers(1, 9, SITES)
        keys = {"sites": everybody, "server_lr": server_lr, "lr": lr}
        found, state = folded(
            "scaffold", replies, current, scalars=worked(steps), state=state, **keys
        )
        total = {name: np.zeros(array.shape) for name, array in current.items()}
        for site, reply, taken in zip(rng.permutation(everybody), replies, steps, strict=False):
            for name, start in current.items():
                way = start.astype(float) - reply[name]
                after = own[site][name] - common[name] + way / (taken * lr)
                total[name] = total[name] + (after - own[site][name]) / everybody
                own[site][name] = after
        for name, start in current.items():
            way = np.mean([reply[name] - start for reply in replies], axis=0)
            np.testing.assert_allclose(found[name], start + server_lr * way, rtol=1e-4, atol=1e-5)
            common[name] = common[name] + total[name]
            assert state[CONTROL][name] == pytest.approx(common[name], rel=1e-5, abs=1e-6)
            mean = np.mean([each[name] for each in own], axis=0)
            assert common[name] == pytest.approx(mean, rel=1e-5, abs=1e-6)
        current = found


# ---- fisher


def sure(fishers):
    return [{FISHER: each} for each in fishers]


def positive(seed, count=SITES):
    return [{k: frozen(np.square(v)) for k, v in each.items()} for each in made(seed, count)]


def test_fisher_is_the_papers_formula():
    current, *replies = made(4)
    fishers = positive(5)
    found, _ = folded("fisher", replies, current, sure(fishers), floor=0.05)
    means = [np.concatenate([v.ravel() for v in f.values()]).astype(float).mean() for f in fishers]
    for name in current:
        top, bottom = 0.0, 0.0
        for reply, fisher, mean, examples in zip(replies, fishers, means, EXAMPLES, strict=True):
            weight = examples * (fisher[name] / mean + 0.05)
            top, bottom = top + weight * reply[name], bottom + weight
        np.testing.assert_allclose(found[name], top / bottom, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("fishers", "floor"), [([constant(0)] * SITES, 0.1), (positive(6), 1e9)])
def test_where_nobody_is_sure_or_the_floor_is_high_fisher_is_fedavg(fishers, floor):
    current, *replies = made(6)
    found, _ = folded("fisher", replies, current, sure(fishers), floor=floor)
    assert_close(found, aggregated("fedavg", replies, current, examples=EXAMPLES)[0])


@given(scale=st.floats(1e-9, 1e9))
@settings(max_examples=20)
def test_the_scale_of_a_sites_fisher_information_counts_for_nothing(scale):
    current, *replies = made(7)
    fishers = positive(8)
    larger = [{k: frozen(v * scale) for k, v in fishers[0].items()}, *fishers[1:]]
    once, _ = folded("fisher", replies, current, sure(fishers))
    assert_close(folded("fisher", replies, current, sure(larger))[0], once, rtol=1e-4)


def test_a_weight_that_one_site_alone_is_sure_of_becomes_that_sites():
    replies, fishers = [constant(5), constant(-1)], [constant(1), constant(1)]
    name = next(iter(LAYERS))
    one, other = (dict(each) for each in fishers)
    one[name], other[name] = (frozen(np.full(LAYERS[name], each)) for each in (1e6, 0.0))
    found, _ = folded("fisher", replies, constant(0), sure([one, other]), floor=1e-9)
    np.testing.assert_allclose(found[name], 5.0, rtol=1e-4)


# ---- regmean


def moments_of(inputs):
    """Return the triangle of the mean of x x^T, over the rows of ``[n, d]``."""
    gram = inputs.T @ inputs / len(inputs)
    return frozen(gram[np.triu_indices(len(gram))])


def seen(inputs_of_sites):
    return [{GRAM: {name: moments_of(each) for name in LAYERS}} for each in inputs_of_sites]


@given(seed=st.integers(0, 2**31))
@settings(max_examples=25)
def test_regmean_of_linear_layers_is_the_least_squares_solution_of_the_pooled_data(seed):
    rng = np.random.default_rng(seed)
    current, *replies = made(seed)
    inputs = [rng.normal(size=(examples, 2)) for examples in EXAMPLES]
    found, _ = folded("regmean", replies, current, seen(inputs), shrink=1.0)
    pooled = np.concatenate(inputs)
    for name in LAYERS:
        answers = [x @ reply[name].T for x, reply in zip(inputs, replies, strict=True)]
        wanted, *_ = np.linalg.lstsq(pooled, np.concatenate(answers), rcond=None)
        np.testing.assert_allclose(found[name], wanted.T, rtol=1e-3, atol=1e-4)


def test_what_is_no_linear_layers_or_is_weighed_by_positives_is_the_weighted_mean():
    current, *replies = made(9)
    rng = np.random.default_rng(9)
    inputs = [rng.normal(size=(4, 2)) for _ in replies]
    name = next(iter(LAYERS))
    records = [
        {**each, "counts": {"positives": frozen([3, 4], np.uint32)}} for each in seen(inputs)
    ]
    found, _ = folded("regmean", replies, current, records, by_finding=(name,))
    mean, _ = aggregated("fedavg", replies, current, examples=EXAMPLES)
    others = set(current) - set(LAYERS)
    assert others
    assert_close({k: found[k] for k in others}, mean)
    np.testing.assert_allclose(found[name], np.mean([r[name] for r in replies], axis=0), atol=1e-5)


def test_with_everything_but_the_diagonal_shrunk_away_each_input_is_a_mean_of_its_own():
    current, *replies = made(10)
    inputs = [np.random.default_rng(place).normal(size=(9, 2)) for place in range(SITES)]
    found, _ = folded("regmean", replies, current, seen(inputs), shrink=0.0)
    weights = np.array(
        [n * np.square(x).mean(axis=0) for n, x in zip(EXAMPLES, inputs, strict=True)]
    )
    for name in LAYERS:
        stack = np.stack([reply[name] for reply in replies])
        wanted = (weights[:, None] * stack).sum(axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


def test_along_inputs_that_nobody_has_seen_it_is_the_mean():
    rng = np.random.default_rng(11)
    mean, products, moments = rng.normal(size=(3, 4)), np.zeros((3, 4)), np.zeros((4, 4))
    np.testing.assert_allclose(solution(moments, products, mean), mean)
    moments[0, 0], products[:, 0] = 2.0, [2.0, 4.0, 6.0]
    found = solution(moments, products, mean)
    np.testing.assert_allclose(found[:, 0], [1.0, 2.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1:], mean[:, 1:])


@pytest.mark.parametrize("strategy", ["fednova", "fisher"])
def test_rows_can_be_weighed_by_positives(strategy):
    """With equal steps and Fisher information, exactly as fedavg's are."""
    current, *replies = made(14)
    name, rng = next(iter(LAYERS)), np.random.default_rng(14)
    counts = [frozen(rng.integers(0, 3, 2), np.uint32) for _ in replies]
    records = [{"counts": {"positives": each}, FISHER: constant(1)} for each in counts]
    keys = {"by_finding": (name,), "scalars": worked([7] * SITES)}
    found, _ = folded(strategy, replies, current, records, **keys)
    assert_close(found, folded("fedavg", replies, current, records, **keys)[0])


@pytest.mark.parametrize("strategy", ["fednova", "fisher", "regmean"])
def test_replies_that_are_equal_are_that_reply_whatever_the_sites_tell_beside(strategy):
    current, reply = made(12, 2)
    rng = np.random.default_rng(12)
    inputs = [rng.normal(size=(1 + place, 2)) for place in range(SITES)]
    records = [{**a, **b} for a, b in zip(seen(inputs), sure(positive(13)), strict=True)]
    found, _ = folded(strategy, [reply] * SITES, current, records, worked([7] * SITES))
    assert_close(found, reply)
