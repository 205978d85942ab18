"""Each strategy against Flower's class of that name, or the paper's formula written out."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from scipy.stats import trim_mean

from server.strategies.adaptive import SECOND
from server.strategies.bulyan import nearest_mean, winners
from tests.strategies.folding import SPEC, adaptor, aggregated, parameters_of, update

#: A server round so late that FedAdam's correction of the bias, which the paper has not, is none.
LATE = 10**6


def made(seed, count):
    rng = np.random.default_rng(seed)
    return [adaptor(lambda shape: rng.normal(size=shape)) for _ in range(count)]


def by_flower(strategy, adaptors, examples, losses=None):
    """Return what a class of Flower's makes of the replies, in float64."""
    replies = []
    for place, arrays in enumerate(adaptors):
        record = ArrayRecord({k: Array(v.astype(np.float64)) for k, v in arrays.items()})
        metrics = {"num-examples": int(examples[place])}
        if losses is not None:
            metrics["train_loss"] = losses[place]
        content = RecordDict({"arrays": record, "metrics": MetricRecord(metrics)})
        replies.append(Message(content, 1, "train"))
    found, _ = strategy.aggregate_train(LATE, replies)
    return {name: array.numpy() for name, array in found.items()}


def sent(arrays):
    return {name: array.astype(np.float64) for name, array in arrays.items()}


def assert_close(found, wanted):
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5, atol=1e-6)


WEIGHTS = [3, 50, 8, 11, 7, 20, 9]


def test_fedavg_is_flowers():
    current, *replies = made(0, 8)
    found, _ = aggregated("fedavg", replies, current, examples=WEIGHTS)
    assert_close(found, by_flower(flower.FedAvg(), replies, WEIGHTS))


@pytest.mark.parametrize("server_lr", [1.0, 0.3])
def test_fedavgm_is_flowers_over_several_rounds(server_lr):
    current, *replies = made(1, 22)
    theirs = flower.FedAvgM(server_learning_rate=server_lr, server_momentum=0.7)
    theirs.current_arrays, state = ArrayRecord({k: Array(v) for k, v in sent(current).items()}), {}
    for round_ in range(3):
        batch = replies[7 * round_ : 7 * round_ + 7]
        current, state = aggregated(
            "fedavgm", batch, current, state, WEIGHTS, momentum=0.7, server_lr=server_lr
        )
        assert_close(current, by_flower(theirs, batch, WEIGHTS))


@pytest.mark.parametrize(
    ("strategy", "theirs", "keys"),
    [
        ("fedadam", flower.FedAdam, {"beta_1": 0.8, "beta_2": 0.95}),
        ("fedyogi", flower.FedYogi, {"beta_1": 0.8, "beta_2": 0.95}),
        ("fedadagrad", flower.FedAdagrad, {}),
    ],
)
def test_an_adaptive_server_is_flowers_that_begins_at_tau_squared(strategy, theirs, keys):
    current, *replies = made(2, 22)
    tau, state = 0.05, {}
    reference = theirs(eta=0.2, tau=tau, **keys)
    reference.v_t = {name: np.full(array.shape, tau**2) for name, array in current.items()}
    for round_ in range(3):
        batch = replies[7 * round_ : 7 * round_ + 7]
        reference.current_arrays = sent(current)
        current, state = aggregated(
            strategy, batch, current, state, WEIGHTS, server_lr=0.2, tau=tau, **keys
        )
        assert_close(current, by_flower(reference, batch, WEIGHTS))
        assert_close(state[SECOND], reference.v_t)


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 5.0])
def test_qfedavg_is_flowers(q, monkeypatch):
    current, *replies = made(3, 8)
    losses = [0.2, 0.9, 0.4, 1.5, 0.1, 0.7, 2.0]
    told = iter(losses)

    def telling(strategy, site, arrays, examples):
        return update(strategy, site, arrays, examples, next(told))

    monkeypatch.setattr("tests.strategies.folding.update", telling)
    found, _ = aggregated("qfedavg", replies, current, q=q, lipschitz=4.0)
    theirs = flower.QFedAvg(client_learning_rate=0.25, q=q)
    theirs.current_arrays = ArrayRecord({k: Array(v) for k, v in sent(current).items()})
    assert_close(found, by_flower(theirs, replies, WEIGHTS, losses))


def test_qfedavg_with_q_of_zero_is_the_plain_mean_and_one_site_is_followed_as_it_says():
    current, *replies = made(4, 8)
    found, _ = aggregated("qfedavg", replies, current, q=0.0)
    assert_close(found, {k: np.mean([r[k] for r in replies], axis=0) for k in current})
    (one,) = replies[:1]
    found, _ = aggregated("qfedavg", [one], current, q=2.0, lipschitz=3.0)
    square = sum(np.square(one[k] - current[k]).sum() for k in current)
    share = 1 / (1 + 2.0 * 3.0 * square / 1.0)  # the site's loss is 1
    assert_close(found, {k: current[k] + share * (one[k] - current[k]) for k in current})


@pytest.mark.parametrize("count", [1, 4, 7])
def test_fedmedian_is_numpys_median(count):
    current, *replies = made(5, 1 + count)
    found, _ = aggregated("fedmedian", replies, current)
    assert_close(found, {k: np.median([r[k] for r in replies], axis=0) for k in current})


@pytest.mark.parametrize("count", [5, 7, 10, 14])
def test_fedtrimmedavg_is_scipys_trimmed_mean(count):
    current, *replies = made(6, 1 + count)
    found, _ = aggregated("fedtrimmedavg", replies, current, trimmed=0.2)
    wanted = {k: trim_mean(np.stack([r[k] for r in replies]), 0.2, axis=0) for k in current}
    assert_close(found, wanted)


def krum_scores(replies, attackers):
    """Return Krum's scores as the paper says them, by loops."""
    flat = [np.concatenate([r[k].astype(float).ravel() for k in SPEC.tensors()]) for r in replies]
    scores = []
    for i, each in enumerate(flat):
        others = sorted(((each - other) ** 2).sum() for j, other in enumerate(flat) if j != i)
        scores.append(sum(others[: len(flat) - attackers - 2]))
    return scores


@pytest.mark.parametrize("attackers", [0, 1, 2])
def test_krum_gives_the_reply_with_the_smallest_score(attackers):
    current, *replies = made(7, 8)
    found, _ = aggregated("krum", replies, current, attackers=attackers)
    assert_close(found, replies[int(np.argmin(krum_scores(replies, attackers)))])


@pytest.mark.parametrize(("attackers", "selected"), [(1, 3), (2, 5), (1, 0), (0, 7)])
def test_multikrum_gives_the_mean_of_the_smallest_scores(attackers, selected):
    current, *replies = made(8, 8)
    found, _ = aggregated(
        "multikrum", replies, current, attackers=attackers, selected=selected, examples=WEIGHTS
    )
    count = selected or 7 - attackers - 2
    best = np.argsort(krum_scores(replies, attackers))[:count]
    assert_close(found, {k: np.mean([replies[i][k] for i in best], axis=0) for k in current})


def test_bulyans_mean_is_flowers_over_the_same_selection():
    current, *replies = made(9, 12)

    def selected(contents, attackers, number):
        flat = [np.concatenate([a.numpy().ravel() for a in c["arrays"].values()]) for c in contents]
        squared = np.array([[np.square(a - b).sum() for b in flat] for a in flat])
        return [contents[place] for place in winners(squared, attackers, number)]

    found, _ = aggregated("bulyan", replies, current, attackers=2)
    theirs = flower.Bulyan(num_malicious_nodes=2, selection_rule=selected)
    assert_close(found, by_flower(theirs, replies, [1] * 11))


def test_bulyan_scores_the_rest_anew():
    """Of 7 points on a line; with one attacker the winner's neighbours lose it at each turn."""
    points = np.array([0.0, 1.0, 2.1, 3.3, 4.6, 6.0, 50.0])
    squared = (points[:, None] - points) ** 2
    rest, wanted = list(range(7)), []
    while len(wanted) < 5:
        nearest = max(1, len(rest) - 1 - 2)
        scores = {i: sum(sorted(squared[i, j] for j in rest if j != i)[:nearest]) for i in rest}
        wanted.append(min(scores, key=scores.__getitem__))
        rest.remove(wanted[-1])
    assert winners(squared, 1, 5) == wanted
    assert 6 not in wanted


def test_the_mean_of_the_nearest_to_the_median():
    stack = np.array([[0.0, 9.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [99.0, -9.0]])
    np.testing.assert_allclose(nearest_mean(stack, 3), [2.0, 2.0])


def test_parameters_are_the_strategys_own_where_nothing_is_said():
    assert parameters_of("fedavgm")["server_lr"] == 1.0
    assert parameters_of("fedadam")["server_lr"] == 0.01
    assert parameters_of("fedadam", server_lr=0.5)["server_lr"] == 0.5
