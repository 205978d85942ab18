"""Replies made for the tests, and strategies over them."""

from functools import cache

import numpy as np

from fedretune.adaptors import AdaptorSpec
from fedretune.strategies import Parameters
from scenarios import RunConfig
from server.simulator import take_identity
from server.strategies import STRATEGIES, Setup, Update

#: A small adaptor, with a tensor of each number of axes that there is.
SPEC = AdaptorSpec("linear", "double", 2, True, "learnable", 2)

take_identity()  # Flower makes a message only where it knows whose


@cache
def config_of(strategy: str, **keys: float) -> RunConfig:
    """Return a run's config; the keys are the table ``aggregation``'s."""
    table = {f"aggregation.{key.replace('_', '-')}": value for key, value in keys.items()}
    return RunConfig.from_flat({"strategy": strategy, **table})


def parameters_of(strategy: str, **keys: float) -> Parameters:
    """Return the parameters of a strategy, its own defaults where nothing is said."""
    return config_of(strategy, **keys).aggregation.model_dump()


def least(strategy: str, **keys: float) -> int:
    """Return the fewest sites that a strategy can aggregate."""
    return config_of(strategy).traits.least(parameters_of(strategy, **keys))


def adaptor(fill, dtype=np.float32):
    """Return an adaptor of `SPEC`, made by a function from a shape to values; read-only."""
    return {name: frozen(fill(shape), dtype) for name, (shape, _) in SPEC.tensors().items()}


def constant(value, dtype=np.float32):
    """Return an adaptor of one value."""
    return adaptor(lambda shape: np.full(shape, value), dtype)


def frozen(values, dtype=np.float32):
    """Return an array as the wire gives it: nobody can write to it."""
    array = np.asarray(values).astype(dtype)
    array.setflags(write=False)
    return array


def update(strategy, site, arrays, examples=10, value=1.0):
    """Return a site's reply; what the strategy's site part adds to it is `value` everywhere."""
    added = config_of(strategy).site_part().adds(SPEC)
    records = {
        record: {
            name: frozen(np.full(tensor.shape, value), tensor.dtypes[0])
            for name, tensor in tensors.items()
        }
        for record, tensors in added.arrays.items()
    }
    scalars = {
        record: {name: kind(value) for name, kind in kinds.items()}
        for record, kinds in added.scalars.items()
    }
    return Update(site, arrays, examples, {**records, "adaptor": arrays}, scalars)


def aggregated(strategy, adaptors, current, state=None, examples=None, **keys):
    """Return the next adaptor and state after a round in which sites send these adaptors."""
    setup = Setup(parameters_of(strategy, **keys), SPEC, len(adaptors))
    fold = STRATEGIES[strategy](setup, current, state or {})
    for place, arrays in enumerate(adaptors):
        weight = 10 if examples is None else examples[place]
        fold.add(update(strategy, f"site-{place:03}", arrays, weight))
    return fold.result()
