"""The counted size of a message, against the size of the message that Flower writes."""

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st

from server.sizes import payload_bytes

# A list of both negative numbers and those above 2^63 is more than Protocol Buffers hold.
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats()
TEXTS = st.text(max_size=200)


def records(make, *values):
    """Return records of such values and of lists of them."""
    either = st.one_of(*values, *(st.lists(value, max_size=5) for value in values))
    return st.dictionaries(TEXTS, either, max_size=4).map(make)


SIZES = st.one_of(st.integers(0, 300), st.integers(2**14 - 9, 2**14 + 9), st.just(2**21))
ARRAYS = st.builds(
    Array,
    TEXTS,
    st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple),
    TEXTS,
    SIZES.map(bytes),
)
CONTENTS = st.dictionaries(
    TEXTS,
    st.one_of(
        st.dictionaries(TEXTS, ARRAYS, max_size=4).map(ArrayRecord),
        records(MetricRecord, INTEGERS, FLOATS),
        records(ConfigRecord, INTEGERS, FLOATS, TEXTS, st.booleans(), st.binary(max_size=200)),
    ),
    max_size=4,
).map(RecordDict)


@given(content=CONTENTS)
def test_the_count_is_the_size_of_what_flower_serializes(content):
    assert payload_bytes(content) == len(recorddict_to_proto(content).SerializeToString())
