import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subriem.errors import InputError, InputTypeError
from subriem.results.json_text import decode_json, encode_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=5)
)
KEYS = st.sampled_from(["__complex__", "__pairs__", "__x"]) | st.text(max_size=3) | st.integers()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


def typed(value):
    """A value with its types, since 1 == 1.0 == True."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value), repr(value)


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_values_come_back_as_they_were(value):
    assert typed(decode_json(encode_json(value))) == typed(value)


def test_nan_and_signed_zero_come_back():
    nan, infinity, zero = decode_json(encode_json([math.nan, -math.inf, -0.0]))
    assert math.isnan(nan)
    assert infinity == -math.inf
    assert math.copysign(1, zero) == -1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32),
        np.array([[1, 2], [3, 4]], np.int8),
        np.array([1 + 2j, complex(np.inf, 0)]),
        np.array([True, False]),
        np.array(["a", "bcd"]),
        np.array(1.5),
        np.array([2**64 - 1], np.uint64),
    ],
)
def test_arrays_come_back_with_type_and_shape(array):
    back = decode_json(encode_json(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert back.shape == array.shape


def test_tuples_come_back_as_lists_and_keys_as_tuples():
    assert decode_json(encode_json({(1, 2): (3, 4)})) == {(1, 2): [3, 4]}


def test_an_unknown_type_is_named_with_its_place():
    with pytest.raises(InputTypeError, match=r"options\['a'\]\[1\].*got object"):
        encode_json({"a": [1, object()]}, "options")


def test_text_that_is_no_json_is_an_error():
    with pytest.raises(InputError, match="expected text written by encode_json"):
        decode_json("{nothing")
