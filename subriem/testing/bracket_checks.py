"""Checks of the Lie brackets of a structure: finite differences, flows, algebra.

The brackets are those of combinations of the fields (and of the drift) with integer coefficients:
a bracket that is wrong for one pair of fields is wrong for generic combinations.
"""

from __future__ import annotations

from collections.abc import Callable

import casadi as ca
import numpy as np

from subriem.brackets.lie_bracket import lie_bracket
from subriem.structure import Structure
from subriem.testing.description import point_text
from subriem.testing.model import Model, read_model
from subriem.testing.residual import residual

__all__ = [
    "check_bracket_algebra",
    "check_brackets_against_differences",
    "check_brackets_against_flows",
]

_POINTS = 4
_LEVELS = 6
_SUBSTEPS = 8


def check_brackets_against_differences(model: Model | Structure) -> None:
    """Brackets agree with extrapolated central differences of the fields' values."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    f, g = _combinations(structure, 2)
    points = structure.sample(_POINTS, np.random.default_rng(20))
    frame = structure.function(ca.horzcat(f, g))
    for point in points:
        here = _values(structure, frame, point)
        step = _step(structure, f, g, point, here)

        def estimate(h: float, point: np.ndarray = point, here: np.ndarray = here) -> np.ndarray:
            along = []
            for mover, moved in ((0, 1), (1, 0)):
                shift = h * here[:, mover]
                ahead = _values(structure, frame, point + shift)[:, moved]
                behind = _values(structure, frame, point - shift)[:, moved]
                along.append((ahead - behind) / (2 * h))
            return along[0] - along[1]

        _compare(structure, f, g, point, step, estimate, power=2, divisor=1, method="differences")


def check_brackets_against_flows(model: Model | Structure) -> None:
    """Brackets agree with the commutator of flows, (e^-tg e^-tf e^tg e^tf q - q) / t^2."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    f, g = _combinations(structure, 2)
    points = structure.sample(_POINTS, np.random.default_rng(21))
    frame = structure.function(ca.horzcat(f, g))
    for point in points:
        step = _step(structure, f, g, point, _values(structure, frame, point))

        def estimate(t: float, point: np.ndarray = point) -> np.ndarray:
            moved = point
            for letter, time in ((0, t), (1, t), (0, -t), (1, -t)):
                moved = _flow(structure, frame, letter, moved, time)
            return (moved - point) / t**2

        _compare(structure, f, g, point, step, estimate, power=1, divisor=2, method="flows")


def check_bracket_algebra(model: Model | Structure) -> None:
    """Brackets are antisymmetric and satisfy the Jacobi identity, up to rounding."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    f, g, h = _combinations(structure, 3)
    state = structure.state
    # with two fields a third combination says nothing new, their bracket does
    h = h + lie_bracket(f, g, state)
    points = structure.sample(_POINTS, np.random.default_rng(22))

    def bracket(a: ca.SX, b: ca.SX) -> ca.SX:
        return lie_bracket(a, b, state)

    identities = {
        "[f, g] + [g, f]": [bracket(f, g), bracket(g, f)],
        "[f, [g, h]] + [g, [h, f]] + [h, [f, g]]": [
            bracket(f, bracket(g, h)),
            bracket(g, bracket(h, f)),
            bracket(h, bracket(f, g)),
        ],
    }
    for name, terms in identities.items():
        found = residual(structure, terms, points)
        if not found.vanishes.all():
            b, i, _ = found.largest()
            raise AssertionError(
                f"{structure.name}: {name} is {found.values[b, i, 0]:.3g}, not 0, in "
                f"{structure.coordinates[i]} at {point_text(structure, points[b])}, where its "
                f"terms add up to {found.size[b, i, 0]:.3g}"
            )


def _combinations(structure: Structure, count: int) -> list[ca.SX]:
    """Combinations of the fields with small integer coefficients, exact in floats."""
    generator = np.random.default_rng(23)
    letters = structure.frame
    if structure.has_drift:
        letters = ca.horzcat(letters, structure.drift)
    size = letters.shape[1]
    coefficients = generator.integers(1, 4, (size, count))
    coefficients *= generator.choice([-1, 1], (size, count))
    if size > 1:
        # the first two are independent whatever was drawn
        coefficients[:2, :2] = [[1, 1], [1, 2]]
    return [ca.densify(letters @ ca.DM(coefficients[:, k].astype(float))) for k in range(count)]


def _values(structure: Structure, function: ca.Function, point: np.ndarray) -> np.ndarray:
    return np.asarray(function(point, structure.parameter_values))


def _step(structure: Structure, f: ca.SX, g: ca.SX, point: np.ndarray, here: np.ndarray) -> float:
    """A time over which the flows of both fields bend little and stay in the chart."""
    slopes = structure.evaluate(
        "slopes of letters",
        ca.horzcat(ca.jacobian(f, structure.state), ca.jacobian(g, structure.state)),
        point,
    )
    # in units of the coordinates at the point, so that their scales do not matter
    units = np.maximum(np.abs(here).max(axis=1), np.abs(point))
    units[units == 0] = 1.0
    n = structure.dimension
    bends = [
        np.abs(slopes[:, k : k + n] * units / units[:, None]).sum(axis=1).max() for k in (0, n)
    ]
    step = 0.1 / max(*bends, float(np.abs(here / units[:, None]).max()), 1e-300)
    for _ in range(40):
        ways = 2 * step * np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)]) @ here.T
        if structure.inside(point + ways).all():
            return step
        step /= 2
    raise AssertionError(
        f"{structure.name}: the flows of the fields leave the chart at once from "
        f"{point_text(structure, point)}"
    )


def _flow(
    structure: Structure, frame: ca.Function, letter: int, point: np.ndarray, time: float
) -> np.ndarray:
    """The flow of a field by the classical Runge-Kutta method.

    Its error is a power series in the time, which extrapolation removes with the rest.
    """
    h = time / _SUBSTEPS
    for _ in range(_SUBSTEPS):
        k1 = _values(structure, frame, point)[:, letter]
        k2 = _values(structure, frame, point + h / 2 * k1)[:, letter]
        k3 = _values(structure, frame, point + h / 2 * k2)[:, letter]
        k4 = _values(structure, frame, point + h * k3)[:, letter]
        point = point + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return point


def _extrapolate(values: list[np.ndarray], power: int) -> tuple[np.ndarray, np.ndarray]:
    """The limit of values at steps h, h/2, h/4, ... and its error, entry by entry.

    Richardson's table, of which the entry is taken that its two ancestors agree with best (Ridders,
    *Accurate computation of F'(x) and F'(x) F''(x)*, Adv. Eng. Software 4 (1982)).
    """
    best, error = values[0], np.full(values[0].shape, np.inf)
    row = [values[0]]
    for value in values[1:]:
        before, row = row, [value]
        for k, ancestor in enumerate(before):
            factor = 2.0 ** (power * (k + 1))
            row.append((factor * row[k] - ancestor) / (factor - 1))
            difference = np.maximum(np.abs(row[-1] - row[k]), np.abs(row[-1] - ancestor))
            better = difference < error
            best, error = np.where(better, row[-1], best), np.where(better, difference, error)
    return best, error


def _compare(
    structure: Structure,
    f: ca.SX,
    g: ca.SX,
    point: np.ndarray,
    step: float,
    estimate: Callable[[float], np.ndarray],
    *,
    power: int,
    divisor: int,
    method: str,
) -> None:
    __tracebackhide__ = True
    steps = [step / 2**k for k in range(_LEVELS)]
    limit, error = _extrapolate([estimate(h) for h in steps], power)
    state = structure.state
    exact = structure.evaluate("bracket of letters", lie_bracket(f, g, state), point)[:, 0]
    slopes = [ca.fabs(ca.jacobian(field, state)) for field in (f, g)]
    size = structure.evaluate(
        "size of bracket of letters", slopes[1] @ ca.fabs(f) + slopes[0] @ ca.fabs(g), point
    )[:, 0]
    fields = np.abs(structure.evaluate("both letters", ca.horzcat(f, g), point)).max(axis=1)
    bend = structure.evaluate("slope of letters", slopes[0] + slopes[1], point)
    # what fifty roundings of the point and of the fields do to the smallest step's estimate
    noise = fields + bend @ (np.abs(point) + step * fields)
    if divisor == 2:
        noise = np.abs(point) + step * noise
    rounding = 1e-14 * noise / steps[-1] ** divisor
    if not (error <= 1e-4 * size + rounding).all():
        i = int((error / (size + rounding)).argmax())
        raise AssertionError(
            f"{structure.name}: {method} do not converge in {structure.coordinates[i]} at "
            f"{point_text(structure, point)}: their limit is known to {error[i]:.1e} of "
            f"{size[i]:.1e}; the fields are not smooth there"
        )
    off = np.abs(limit - exact)
    if not (off <= 100 * error + rounding).all():
        i = int((off / (error + rounding)).argmax())
        raise AssertionError(
            f"{structure.name}: [f, g] is {exact[i]:.10g} in {structure.coordinates[i]} at "
            f"{point_text(structure, point)}, and {limit[i]:.10g} by {method}, with an error of "
            f"about {error[i]:.0e}"
        )
