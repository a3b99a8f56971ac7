"""Numbers given exactly: their values against fractions and mpmath, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp

from subriem.arithmetic.exact import evaluate_exact, simplest_fraction, to_float
from subriem.errors import InputError, InputTypeError


def exactly(value):
    return evaluate_exact(value, lambda fraction: fraction, {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", Fraction(1, 10)),
        ("1e-8", Fraction(1, 10**8)),
        (" -3/4 ", Fraction(-3, 4)),
        ("2**-3", Fraction(1, 8)),
        ("-(1/2 + 1/3)*6", Fraction(-5)),
        ("-2**2", Fraction(-4)),
        (0.1, Fraction(3602879701896397, 36028797018963968)),
        (np.float64(0.5), Fraction(1, 2)),
        (np.int64(3), Fraction(3)),
        (Fraction(2, 7), Fraction(2, 7)),
        (10**30, Fraction(10**30)),
    ],
)
def test_fractions(text, value):
    assert exactly(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3*pi/4", 3 * mp.pi / 4),
        ("sqrt(2)/2", mp.sqrt(2) / 2),
        ("atan(2) + log(3)", mp.atan(2) + mp.log(3)),
        ("exp(-1)*cos(pi/5)", mp.exp(-1) * mp.cos(mp.pi / 5)),
    ],
)
def test_to_float(text, value):
    assert to_float(text) == pytest.approx(float(value), rel=4e-16)


@pytest.mark.parametrize(
    "text", ["", "1/0", "x", "pi", "2**0.5", "1 if 1 else 2", "__import__('os')", "1j", "True"]
)
def test_texts_that_are_refused(text):
    with pytest.raises(InputError):
        exactly(text)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(InputError, match="finite"):
        exactly(value)
    with pytest.raises(InputError, match="finite"):
        simplest_fraction(value)


@pytest.mark.parametrize("value", [None, True, [1], 1j])
def test_other_kinds_are_refused(value):
    with pytest.raises(InputTypeError):
        exactly(value)


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6))
def test_simplest_fraction_recovers_what_was_written(numerator, denominator):
    assert simplest_fraction(numerator / denominator) == Fraction(numerator, denominator)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_simplest_fraction_rounds_to_its_double(value):
    assert float(simplest_fraction(value)) == value
