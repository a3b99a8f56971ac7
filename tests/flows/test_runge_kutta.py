"""The embedded Runge-Kutta pairs: their order, on paper and on parameter space."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from flow_cases import formula_map

from subriem.flows.runge_kutta import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    Tableau,
    tableau_for,
    try_step,
)

PAIRS = pytest.mark.parametrize("table", [BOGACKI_SHAMPINE, DORMAND_PRINCE], ids=lambda t: t.name)


def matrix(table: Tableau) -> np.ndarray:
    rows = np.zeros((len(table.stages), len(table.stages)))
    for number, row in enumerate(table.stages):
        rows[number, : len(row)] = row
    return rows


@PAIRS
def test_the_coefficients_are_scipys(table: Tableau) -> None:
    theirs = scipy.integrate.RK23 if table is BOGACKI_SHAMPINE else scipy.integrate.RK45
    rows = matrix(table)
    stages = len(theirs.C)
    assert np.abs(rows[:-1, : stages - 1] - theirs.A[:, : stages - 1]).max() < 1e-15
    assert np.abs(rows[-1, :-1] - theirs.B).max() < 1e-15
    assert np.abs(np.array(table.nodes)[:-1] - theirs.C).max() < 1e-15
    # SciPy's estimate has the opposite sign for one of the pairs; its size is what counts.
    assert np.abs(np.abs(np.array(table.error) @ theirs.E) / (theirs.E @ theirs.E) - 1) < 1e-12


@PAIRS
def test_the_pair_is_consistent(table: Tableau) -> None:
    rows = matrix(table)
    assert np.abs(rows.sum(1) - table.nodes).max() < 1e-14
    assert table.nodes[-1] == 1.0
    assert abs(sum(table.error)) < 1e-15
    weights, nodes = rows[-1], np.array(table.nodes)
    for power in range(table.order):
        assert abs(weights @ nodes**power - 1 / (power + 1)) < 1e-14
    # The embedded solution is one order lower: its estimate integrates all but the top power.
    for power in range(table.order - 1):
        assert abs(np.array(table.error) @ nodes**power) < 1e-14
    assert abs(np.array(table.error) @ nodes ** (table.order - 1)) > 1e-5


def one_step(table: Tableau, h: float) -> tuple[float, float, float]:
    """Error, estimate and length of one step of theta' = (theta_2, -theta_1)."""
    outputs = formula_map([0.6, 0.8], lambda theta: theta, 2)

    def field(at: object, _: float) -> torch.Tensor:
        x = at.value  # type: ignore[attr-defined]
        return torch.stack([x[1], -x[0]])

    at = outputs.linearize()
    attempt = try_step(table, field, at, field(at, 0.0), h)
    assert attempt is not None
    cos, sin = math.cos(h), math.sin(h)
    exact = np.array([0.6 * cos + 0.8 * sin, -0.6 * sin + 0.8 * cos])
    error = float(np.linalg.norm(attempt.at.parameters.numpy() - exact))
    return error, attempt.error, attempt.length


@PAIRS
def test_error_estimate_and_length_have_their_orders(table: Tableau) -> None:
    first, second = one_step(table, 0.4), one_step(table, 0.2)
    assert abs(math.log2(first[0] / second[0]) - (table.order + 1)) < 0.3
    assert abs(math.log2(first[1] / second[1]) - table.order) < 0.3
    # The estimate is that of the lower order, hence on the safe side.
    assert second[1] > second[0]
    # The speed is one throughout.
    assert abs(second[2] / 0.2 - 1) < 10 * second[0]


def test_the_field_sees_the_nodes() -> None:
    """theta' = 5 c^4 in the step's own time: exact for the pair of order five."""
    outputs = formula_map([0.0], lambda theta: theta, 1)
    one = torch.ones(1, dtype=torch.float64)
    attempt = try_step(
        DORMAND_PRINCE, lambda at, c: 5 * c**4 * one, outputs.linearize(), 0 * one, 1.0
    )
    assert attempt is not None
    assert abs(float(attempt.at.parameters[0]) - 1.0) < 1e-14


def test_a_stage_without_velocity_or_value_ends_the_attempt() -> None:
    outputs = formula_map([1.0], torch.sqrt, 1)
    at = outputs.linearize()
    down = torch.tensor([-1.0], dtype=torch.float64)
    assert try_step(DORMAND_PRINCE, lambda *_: None, at, down, 0.1) is None
    assert try_step(DORMAND_PRINCE, lambda *_: down, at, down, 2.0) is None
    assert try_step(DORMAND_PRINCE, lambda *_: down, at, down, 0.1) is not None


def test_the_higher_order_serves_the_tighter_tolerance() -> None:
    assert tableau_for(1e-2) is BOGACKI_SHAMPINE
    assert tableau_for(1e-6) is DORMAND_PRINCE
    assert tableau_for(1e-12) is DORMAND_PRINCE
