"""The curves in output space, against their formulas and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import torch
from flow_cases import cross_entropy_gradient, normal

from subriem.flows import CrossEntropyLoss, SquaredLoss
from subriem.flows.curves import EuclideanFlow, Segment


def vector(size: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(normal(size, seed=seed))


def test_the_segment() -> None:
    x, z = vector(6, 1), vector(6, 2)
    segment = Segment(x, z)
    assert torch.equal(segment.position(1.0), z)
    assert torch.allclose(segment.position(0.0), x, rtol=1e-15, atol=1e-15)
    for t in (0.0, 0.3, 1 - 1e-9):
        assert torch.allclose(segment.position(t), x + t * (z - x), rtol=1e-14, atol=1e-15)
        assert torch.equal(segment.velocity(t), z - x)
        assert abs(segment.scale(t) / ((1 - t) * float((z - x).norm())) - 1) < 1e-14
        assert 0 < segment.longest_step(t) < 1 - t


def test_the_segment_keeps_the_digits_of_what_remains() -> None:
    """At 1 - t = 1e-9 the distance to an end at the origin is known to all its digits."""
    x = vector(4, 1)
    segment = Segment(x, torch.zeros(4, dtype=torch.float64))
    left = 2.0**-30
    assert torch.equal(segment.position(1 - left), left * x)


def test_the_squared_loss_flows_along_the_segment() -> None:
    x, y = vector(6, 1), vector(6, 2)
    loss = SquaredLoss(y.view(3, 2))
    curve = EuclideanFlow(loss, x, y, 20.0)
    for s in (0.0, 0.7, 5.0, 20.0):
        wanted = y + math.exp(-s / 3) * (x - y)
        assert float((curve.position(s) - wanted).norm()) < 1e-12
        assert float((curve.velocity(s) + (wanted - y) / 3).norm()) < 1e-12
        assert abs(curve.scale(s) - float((wanted - y).norm())) < 1e-12
        assert abs(curve.loss(s) - float(((wanted - y) ** 2).sum()) / 6) < 1e-12


def test_the_squared_loss_stops_at_the_stopping_time() -> None:
    x, y = vector(6, 1), vector(6, 2)
    initial = float(((x - y) ** 2).sum()) / 6
    curve = EuclideanFlow(SquaredLoss(y.view(3, 2)), x, y, 1000.0, 1e-8 * initial)
    assert curve.stopped
    assert abs(curve.horizon - 1.5 * math.log(1e8)) < 1e-6
    assert not EuclideanFlow(SquaredLoss(y.view(3, 2)), x, y, 1.0, 1e-8 * initial).stopped


@pytest.mark.parametrize("smoothing", [0.3, 0.02])
def test_cross_entropy_on_the_logits_is_scipys(smoothing: float) -> None:
    loss = CrossEntropyLoss([0, 2, 1, 1], smoothing=smoothing)
    x = 3 * vector(12, 5)
    y = loss.fit(4, 3, x)
    times = np.array([0.0, 0.5, 3.0, 40.0, 300.0])
    curve = EuclideanFlow(loss, x, y, 300.0)
    theirs = scipy.integrate.solve_ivp(
        lambda _, z: -cross_entropy_gradient(z, loss.targets),
        (0.0, 300.0), x.numpy(), "Radau", t_eval=times, rtol=1e-11, atol=1e-12,
    )  # fmt: skip
    for s, wanted in zip(times, theirs.y.T, strict=True):
        position = curve.position(s)
        assert np.linalg.norm(position.numpy() - wanted) < 1e-8
        # The component sums are kept.
        drift = position.view(4, 3).sum(1) - x.view(4, 3).sum(1)
        assert float(drift.abs().max()) < 1e-11
        wanted_loss = float(loss.value(torch.from_numpy(wanted.copy()), y))
        assert abs(curve.loss(s) - wanted_loss) < 1e-9


def test_cross_entropy_stops_where_the_excess_is_the_tolerance() -> None:
    loss = CrossEntropyLoss([0, 2, 1, 1], smoothing=0.2)
    x = vector(12, 5)
    y = loss.fit(4, 3, x)
    initial = loss.excess(x, y)
    for factor in (1e-3, 1e-8, 1e-12):
        curve = EuclideanFlow(loss, x, y, 1e4, factor * initial)
        assert curve.stopped
        assert abs(loss.excess(curve.position(curve.horizon), y) / (factor * initial) - 1) < 1e-6
        before = curve.position(curve.horizon * (1 - 1e-4))
        assert loss.excess(before, y) > factor * initial
