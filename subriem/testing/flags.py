"""Assertions on the Lie flag: bracket-generating, growth vector."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr

from subriem.brackets.flag import lie_flag
from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, require_structure
from subriem.testing.description import point_text, tuple_text

__all__ = ["assert_bracket_generating", "assert_growth_vector"]

# Where a failure looks for a point at which the assertion holds.
_CHART_POINTS = 12
_NEAR = (0.01, 0.1)
_NEAR_POINTS = 6


def assert_bracket_generating(
    structure: Structure, at: Any, step: int | None = None, *, tolerance: float = 1e-11
) -> None:
    """Assert that the flag of a structure fills the space, at a point or at every point of a batch.

    Parameters
    ----------
    structure : Structure
    at : points
        As for `subriem.lie_flag`.
    step : int, optional
        The degree of nonholonomy demanded: brackets of at most this length must suffice.
    tolerance : float
        As for `subriem.lie_flag`.

    Raises
    ------
    AssertionError
        If the flag is closed below the dimension, is not decided, or needs longer brackets. The
        message shows the flag with the figures behind it, and a point nearby where the assertion
        holds, if sampling finds one.
    InputError
        If ``step`` is not positive; and as `subriem.lie_flag`.
    InputTypeError
        If the first argument is not a structure, or ``step`` not an integer.

    Examples
    --------
    >>> from subriem.models import heisenberg, integrable_saddle
    >>> assert_bracket_generating(heisenberg(), at=[0, 0, 0], step=2)
    >>> assert_bracket_generating(integrable_saddle(), at=[1, 2, 3])
    Traceback (most recent call last):
    AssertionError: integrable_saddle is not bracket-generating at x=1, y=2, z=3
    ...
    """
    __tracebackhide__ = True
    require_structure(structure)
    if step is not None and (isinstance(step, bool) or not isinstance(step, Integral)):
        raise InputTypeError(f"step: expected an integer, got {step!r}")
    if step is not None and step < 1:
        raise InputError(f"step: expected at least 1, got {step}")
    points, flag = _flag(structure, at, tolerance)

    def holds(flag: xr.Dataset) -> np.ndarray:
        good = flag["bracket_generating"].values
        return good if step is None else good & (flag["degree_of_nonholonomy"].values <= step)

    failed = np.flatnonzero(~holds(flag))
    if not len(failed):
        return
    one = flag.isel(point=failed[0])
    point = points[failed[0]]
    filled = bool(one["bracket_generating"])
    wanted = f" with step {step}" if step is not None and filled else ""
    lines = [
        f"{structure.name} is not bracket-generating{wanted} at {point_text(structure, point)}",
        *_flag_lines(structure, one),
    ]
    if filled:
        lines.append(f"degree of nonholonomy {int(one['degree_of_nonholonomy'])}, expected {step}")
    lines += _elsewhere(structure, point, tolerance, holds, len(failed), len(points))
    raise AssertionError("\n".join(lines))


def assert_growth_vector(
    structure: Structure, at: Any, growth: Sequence[int], *, tolerance: float = 1e-11
) -> None:
    """Assert the growth vector of a structure, at a point or at every point of a batch.

    Parameters
    ----------
    structure : Structure
    at : points
        As for `subriem.lie_flag`.
    growth : sequence of int
        Dimensions of D^1, D^2, ... up to the step at which the flag fills the space or is closed,
        and no further: (2, 3), not (2, 3, 3). For a flag that is closed below the dimension of
        the space this asserts that it is.
    tolerance : float
        As for `subriem.lie_flag`.

    Raises
    ------
    AssertionError
        If the growth vector is another or is not decided. The message points at the first step
        that differs, shows the flag with the figures behind it, and a point nearby where the
        assertion holds, if sampling finds one.
    InputError
        If ``growth`` cannot be a growth vector of this structure; and as `subriem.lie_flag`.
    InputTypeError
        If the first argument is not a structure, or an entry of ``growth`` is not an integer.

    Examples
    --------
    >>> from subriem.models import martinet
    >>> assert_growth_vector(martinet(), [0, 0, 0], (2, 2, 3))
    >>> assert_growth_vector(martinet(), [1, 0, 0], (2, 2, 3))
    Traceback (most recent call last):
    AssertionError: martinet: growth vector (2, 3) at x=1, y=0, z=0, expected (2, 2, 3)
      first difference at step 2: dim D^2 is 3, expected 2
    ...
    """
    __tracebackhide__ = True
    require_structure(structure)
    expected = _read_growth(structure, growth)
    points, flag = _flag(structure, at, tolerance)

    def holds(flag: xr.Dataset) -> np.ndarray:
        table = flag["growth_vector"].values
        final = flag["degree_of_nonholonomy"].values
        if len(expected) > table.shape[1]:
            return np.zeros(len(table), dtype=bool)
        same = (table[:, : len(expected)] == expected).all(axis=1)
        return same & (final == len(expected))

    failed = np.flatnonzero(~holds(flag))
    if not len(failed):
        return
    one = flag.isel(point=failed[0])
    point = points[failed[0]]
    found = _final(one)
    undecided = "" if int(one["degree_of_nonholonomy"]) else " so far"
    lines = [
        f"{structure.name}: growth vector {tuple_text(found)}{undecided} at "
        f"{point_text(structure, point)}, expected {tuple_text(expected)}",
        f"  {_first_difference(found, expected, str(one['status'].item()))}",
        *_flag_lines(structure, one),
    ]
    lines += _elsewhere(structure, point, tolerance, holds, len(failed), len(points))
    raise AssertionError("\n".join(lines))


def _flag(structure: Structure, at: Any, tolerance: float) -> tuple[np.ndarray, xr.Dataset]:
    """The points as a batch and their flags over ``point``."""
    points = np.atleast_2d(structure.points(at))
    return points, lie_flag(structure, points, tolerance=tolerance)


def _read_growth(structure: Structure, growth: Sequence[int]) -> tuple[int, ...]:
    try:
        listed = list(growth)
    except TypeError:
        raise InputTypeError(f"growth: expected a tuple of integers, got {growth!r}") from None
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InputTypeError(f"growth: expected integers, got {value!r}")
    n = structure.dimension
    increasing = all(a <= b for a, b in itertools.pairwise(listed))
    if not listed or not increasing or listed[0] < 0 or listed[-1] > n:
        raise InputError(
            f"growth: expected dimensions that do not fall, from 0 to {n}, got {tuple(listed)}"
        )
    if len(listed) > 1 and listed[-1] == listed[-2]:
        raise InputError(
            f"growth: {tuple(listed)} repeats its last entry; a growth vector ends at the step "
            "where the flag fills the space or is closed"
        )
    return tuple(int(value) for value in listed)


def _final(one: xr.Dataset) -> tuple[int, ...]:
    """The growth vector up to where it is final, or as far as it was computed."""
    found = tuple(int(value) for value in one["growth_vector"].values)
    final = int(one["degree_of_nonholonomy"])
    return found[:final] if final else found


def _first_difference(found: tuple[int, ...], expected: tuple[int, ...], status: str) -> str:
    for k, (here, there) in enumerate(zip(found, expected, strict=False), start=1):
        if here != there:
            return f"first difference at step {k}: dim D^{k} is {here}, expected {there}"
    if len(found) == len(expected):
        return f"the flag is {status}"
    shorter = min(len(found), len(expected))
    if len(found) < len(expected):
        dimension = expected[shorter]
        return (
            f"first difference at step {shorter + 1}: the flag is {status} at step {shorter}, "
            f"expected dim D^{shorter + 1} = {dimension}"
        )
    return (
        f"first difference at step {shorter + 1}: dim D^{shorter + 1} is {found[shorter]}, "
        f"expected the end at step {shorter}"
    )


def _flag_lines(structure: Structure, one: xr.Dataset) -> list[str]:
    """The flag of one point with what its ranks were decided by."""
    growth = _final(one)
    status = str(one["status"].item())
    n = structure.dimension
    if status == "closed":
        status = f"closed at rank {growth[-1]} of {n}: the fields found are closed under brackets"
    elif status.startswith("not decided"):
        status += f", at rank {growth[-1]} of {n}"
    lines = [f"  growth vector {tuple_text(growth)}, status: {status}"]
    lines.append("  step  dim  accepted  rejected  singular values")
    for k, dimension in enumerate(growth):
        figures = [float(one[name].values[k]) for name in ("accepted", "rejected")]
        shown = [f"{x:.1e}" if np.isfinite(x) else "-" for x in figures]
        values = " ".join(f"{x:.2g}" for x in one["singular_values"].values[k])
        lines.append(f"  {k + 1:4d}  {dimension:3d}  {shown[0]:>8}  {shown[1]:>8}  {values}")
    lines.append("  (accepted, rejected: directions over what perturbations explain; cut at 100)")
    return lines


def _elsewhere(
    structure: Structure,
    point: np.ndarray,
    tolerance: float,
    holds: Any,
    failed: int,
    total: int,
) -> list[str]:
    """Where the assertion does hold, as far as a few samples show."""
    candidates = _candidates(structure, point)
    lines = [f"  it fails at {failed} of the {total} points given"] if total > 1 else []
    flag = lie_flag(structure, candidates, tolerance=tolerance)
    good = np.flatnonzero(holds(flag))
    if not len(good):
        return [*lines, f"  it holds at none of {len(candidates)} points sampled in the chart"]
    distances = np.linalg.norm(structure.wrap(candidates[good] - point), axis=1)
    nearest = good[int(distances.argmin())]
    growth = tuple_text(_final(flag.isel(point=nearest)))
    return [
        *lines,
        f"  it holds at {len(good)} of {len(candidates)} points sampled, the nearest "
        f"{point_text(structure, candidates[nearest])}, where the growth vector is {growth}",
    ]


def _candidates(structure: Structure, point: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(4)
    found = [structure.sample(_CHART_POINTS, generator)]
    for radius in _NEAR:
        around = point + radius * (1 + np.abs(point)) * generator.uniform(
            -1, 1, (_NEAR_POINTS, len(point))
        )
        found.append(around[structure.inside(around)])
    candidates = np.concatenate(found)
    finite = np.isfinite(structure.frame_at(candidates)).all(axis=(1, 2))
    return candidates[finite]
