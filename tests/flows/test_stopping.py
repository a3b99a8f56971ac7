"""The a-priori stopping time."""

from __future__ import annotations

import math

import pytest
from flow_cases import TRUTHS, named

import subriem as sr


@pytest.mark.parametrize("case", **named(TRUTHS["full_rank"]))
def test_the_truths(case: dict) -> None:
    for entry in case["stopping"]:
        found = sr.stopping_time(case["C0"], entry["eps"], samples=case["N"])
        assert abs(found / entry["s_eps"] - 1) < 1e-14


@pytest.mark.parametrize("initial", [1e-200, 0.3, 1e200])
def test_the_loss_is_the_tolerance_at_that_time(initial: float) -> None:
    s = sr.stopping_time(initial, initial * 1e-12, samples=7)
    assert abs(math.exp(-2 * s / 7) / 1e-12 - 1) < 1e-12


def test_nothing_to_do_takes_no_time() -> None:
    assert sr.stopping_time(0.0, 1e-3, samples=2) == 0.0
    assert sr.stopping_time(1e-3, 1e-3, samples=2) == 0.0
    assert sr.stopping_time(1e-4, 1e-3, samples=2) == 0.0


@pytest.mark.parametrize(
    ("initial", "tolerance", "samples"),
    [
        (1.0, 0.0, 1),
        (1.0, -1.0, 1),
        (1.0, math.nan, 1),
        (1.0, math.inf, 1),
        (-1.0, 1.0, 1),
        (math.nan, 1.0, 1),
        (math.inf, 1.0, 1),
        (1.0, 1e-3, 0),
        (1.0, 1e-3, -3),
    ],
)
def test_numbers_out_of_range_are_refused(initial: float, tolerance: float, samples: int) -> None:
    with pytest.raises(sr.errors.InputError):
        sr.stopping_time(initial, tolerance, samples=samples)
