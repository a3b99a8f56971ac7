"""The Lie flag of a structure at points: growth vector, step, adapted frame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from subriem.brackets.certificate import add_certificate
from subriem.brackets.growth import GenericRank, Growth, generic_rank, growth
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure

__all__ = ["lie_flag", "strong_accessibility"]

#: Degrees of nonholonomy beyond this are out of reach of the default.
MAX_STEP = 32


def lie_flag(
    structure: Structure,
    at: Any,
    *,
    max_step: int | None = None,
    tolerance: float = 1e-11,
    certify: bool = False,
    strict: bool = False,
) -> xr.Dataset:
    """Lie flag D^1, D^2, ... of a structure at one point or at many.

    Parameters
    ----------
    structure : Structure
    at : points
        One point or a batch: arrays, lists, dicts by coordinate name, DataArrays; entries may be
        texts such as ``"pi/2"``.
    max_step : int, optional
        Where to stop if nothing was decided before; 32 by default.
    tolerance : float
        Relative size of the perturbations of the point and of every operation under which a
        direction must persist to be counted.
    certify : bool
        Besides, prove what can be proved: exactly for polynomial and rational models at rational
        points, from below in ball arithmetic for others. Needs python-flint.
    strict : bool
        Raise where the flag is not decided.

    Returns
    -------
    xarray.Dataset
        Over ``step`` (and ``point``):

        ``growth_vector``
            dim D^k. It goes on constant after the flag is filled or closed.
        ``singular_values``, ``rank_gap``
            Of the vectors that span D^k, in units chosen by rows and columns; the gap is the
            ratio at the rank decided, infinite where the rank is full.
        ``accepted``, ``rejected``
            The decision itself: how many times what perturbations explain the smallest direction
            counted and the largest one not counted were.

        and for each point ``status`` (``"filled"``, ``"closed"``: the fields found are closed
        under brackets, ``"not decided at step k"``), ``bracket_generating``,
        ``degree_of_nonholonomy`` (the step; 0 where not decided), ``homogeneous_dimension`` (NaN
        where not filled), ``regular`` (the growth vector is that of generic points),
        ``certified``, and over ``direction`` the adapted frame with its ``bracket`` names and
        ``weight``. With ``certify`` also ``lower_bound``, ``upper_bound`` and ``certificate``.

    Raises
    ------
    InputError
        If a point does not fit or lies outside the chart, or an argument is out of range.
    InputTypeError
        If the first argument is not a structure.
    MissingDependencyError
        If ``certify`` is asked for without python-flint.
    NumericalError
        With ``strict``, where the flag is not decided.

    Notes
    -----
    By the Chow-Rashevskii theorem a bracket-generating structure on a connected state space
    connects any two points by horizontal paths. A plateau is not the end: at singular points
    growth vectors stall and go on. See Agrachev, Barilari, Boscain, *A Comprehensive
    Introduction to Sub-Riemannian Geometry* (2019), section 10.1, and F. Jean, *Control of
    Nonholonomic Systems* (2014).

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> flag = lie_flag(martinet, at=[[0, 0, 0], [1, 0, 0]])
    >>> flag.growth_vector.values
    array([[2, 2, 3],
           [2, 3, 3]])
    >>> flag.degree_of_nonholonomy.values, flag.regular.values
    (array([3, 2]), array([False,  True]))
    """
    return _flag(
        "lie_flag", structure, at, max_step, tolerance, certify=certify, strict=strict, drift=False
    )


def strong_accessibility(
    structure: Structure,
    at: Any,
    *,
    max_step: int | None = None,
    tolerance: float = 1e-11,
    strict: bool = False,
) -> xr.Dataset:
    """Strong accessibility rank of q' = f_0(q) + sum_i u_i f_i(q), with f_0 the drift.

    The flag of the ideal that the f_i generate when the drift is a letter of brackets but not a
    direction of its own. Where it fills the space the system is strongly accessible: the points
    reachable at exactly time T have an interior for every T > 0 (Sussmann, Jurdjevic,
    *Controllability of nonlinear systems*, J. Differential Equations 12 (1972)). This does not
    say that the system is small-time locally controllable.

    Parameters
    ----------
    structure : Structure
        With a drift.
    at, max_step, tolerance, strict
        As in `lie_flag`.

    Returns
    -------
    xarray.Dataset
        As of `lie_flag`; ``bracket_generating`` is called ``strongly_accessible``.

    Raises
    ------
    InputError
        If the structure has no drift; and as `lie_flag`.
    InputTypeError, NumericalError
        As `lie_flag`.

    Examples
    --------
    >>> integrator = Structure.define(
    ...     "double integrator", "x v", lambda q: [(0, 1)], drift=lambda q: (q.v, 0)
    ... )
    >>> strong_accessibility(integrator, at=[0, 0]).growth_vector.values
    array([1, 2])
    """
    require_structure(structure)
    if not structure.has_drift:
        raise InputError(f"{structure.name} has no drift; give one to Structure.define(drift=...)")
    found = _flag(
        "strong_accessibility",
        structure,
        at,
        max_step,
        tolerance,
        certify=False,
        strict=strict,
        drift=True,
    )
    found = found.rename(bracket_generating="strongly_accessible")
    found["strongly_accessible"].attrs["long_name"] = "whether the accessibility rank is full"
    return found


def _flag(
    function: str,
    structure: Structure,
    at: Any,
    max_step: int | None,
    tolerance: float,
    *,
    certify: bool,
    strict: bool,
    drift: bool,
) -> xr.Dataset:
    require_structure(structure)
    points = structure.points(at)
    batch = np.atleast_2d(points)
    if not len(batch):
        raise InputError("at: expected at least one point, got none")
    outside = np.flatnonzero(~structure.inside(batch))
    if len(outside):
        raise InputError(
            f"at: point {batch[outside[0]].tolist()} (number {outside[0]}) is outside the chart of "
            f"{structure.name}"
        )
    limit = MAX_STEP if max_step is None else max_step
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer):
        raise InputTypeError(f"max_step: expected an integer, got {max_step!r}")
    if limit < 1:
        raise InputError(f"max_step: expected at least 1, got {max_step}")
    if not 1e-14 <= tolerance <= 1e-3:
        raise InputError(f"tolerance: expected between 1e-14 and 1e-3, got {tolerance}")
    finite = np.isfinite(structure.frame_at(batch)).all(axis=(1, 2))
    if not finite.all():
        bad = batch[np.flatnonzero(~finite)[0]].tolist()
        raise InputError(f"at: the frame of {structure.name} is not finite at {bad}")
    found = growth(structure, batch, int(limit), tolerance, drift=drift)
    generic = generic_rank(structure, tolerance, drift)
    single = points.ndim == 1
    variables, coordinates = _variables(structure, batch, found, generic, single)
    dataset = build_dataset(
        variables,
        coordinates,
        function=function,
        arguments={"at": at, "max_step": max_step, "tolerance": tolerance, "certify": certify},
        structure=repr(structure),
        attributes={
            "tolerance": tolerance,
            "regime": "decided by a tolerance",
            "method": f"brackets to step {found.named_steps}, path series beyond",
            "generic_growth_vector": list(generic.growth),
        },
    )
    if single:
        dataset.attrs["status"] = str(dataset["status"].item())
    if certify:
        dataset = add_certificate(dataset, structure, at, int(limit))
    undecided = np.flatnonzero(np.atleast_1d(dataset["degree_of_nonholonomy"].values) == 0)
    if strict and len(undecided):
        raise NumericalError(
            f"{structure.name}: the flag is not decided at step {found.ranks.shape[1]} at "
            f"{batch[undecided[0]].tolist()}; growth vector so far "
            f"{found.ranks[undecided[0]].tolist()}"
        )
    return dataset


def _variables(
    structure: Structure, points: np.ndarray, found: Growth, generic: GenericRank, single: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    n = structure.dimension
    steps = found.ranks.shape[1]
    filled = (found.ranks == n).any(axis=1)
    settled = np.where(filled, (found.ranks == n).argmax(axis=1) + 1, found.settled)
    status = np.where(
        filled, "filled", np.where(settled > 0, "closed", f"not decided at step {steps}")
    )
    increments = np.diff(found.ranks, axis=1, prepend=0)
    homogeneous = (increments * np.arange(1, steps + 1)).sum(axis=1)
    typical = np.array([*generic.growth, *[generic.growth[-1]] * steps])[:steps]
    regular = (found.ranks == typical).all(axis=1)
    order = np.arange(n)
    values = found.singular_values
    kept = np.take_along_axis(values, np.maximum(found.ranks - 1, 0)[..., None], axis=2)[..., 0]
    dropped = np.take_along_axis(values, np.minimum(found.ranks, n - 1)[..., None], axis=2)[..., 0]
    full = (found.ranks == n) | (dropped == 0)
    gap = np.where(full, math.inf, kept / np.where(dropped == 0, 1.0, dropped))
    gap = np.where(found.ranks == 0, math.nan, gap)

    def over(*dims: str) -> tuple[str, ...]:
        return dims if single else ("point", *dims)

    def shaped(array: Any) -> Any:
        return np.asarray(array)[0] if single else np.asarray(array)

    variables = {
        "growth_vector": (
            over("step"),
            shaped(found.ranks),
            "growth vector: dimension of D^step",
            "1",
        ),
        "bracket_generating": (
            over(),
            shaped(filled),
            "whether the flag fills the space (False: see status)",
            "1",
        ),
        "status": (over(), shaped(status), "filled, closed, or not decided", "1"),
        "degree_of_nonholonomy": (
            over(),
            shaped(settled),
            "step at which the flag is final (0: not decided)",
            "1",
        ),
        "certified": (
            over(),
            shaped(np.zeros(len(points), dtype=bool)),
            "whether the growth vector is proved",
            "1",
        ),
        "homogeneous_dimension": (
            over(),
            shaped(np.where(filled, homogeneous, math.nan)),
            "homogeneous dimension (NaN where the flag does not fill the space)",
            "1",
        ),
        "regular": (
            over(),
            shaped(regular),
            "whether the growth vector is that of generic points",
            "1",
        ),
        "singular_values": (
            over("step", "singular_value"),
            shaped(values),
            "singular values of the vectors that span D^step, equilibrated",
            "1",
        ),
        "rank_gap": (over("step"), shaped(gap), "ratio of singular values at the rank", "1"),
        "accepted": (
            over("step"),
            shaped(found.accepted),
            "smallest direction counted, over what perturbations explain",
            "1",
        ),
        "rejected": (
            over("step"),
            shaped(found.rejected),
            "largest direction not counted, over what perturbations explain",
            "1",
        ),
        "adapted_frame": (
            over("coordinate", "direction"),
            shaped(found.frame),
            "frame adapted to the flag, a column a direction (0 past the rank)",
            "1",
        ),
        "weight": (
            over("direction"),
            shaped(found.weights),
            "step of each direction (0: none)",
            "1",
        ),
        "bracket": (
            over("direction"),
            shaped(np.array(found.names)),
            "bracket behind each direction (empty where it comes from path series)",
            "1",
        ),
    }
    coordinates: dict[str, Any] = {
        "step": ("step", np.arange(1, steps + 1), "step of the Lie flag", "1"),
        "coordinate": coordinate_axis(structure.coordinates),
        "direction": ("direction", order, "direction of the adapted frame", "1"),
    }
    where = shaped(points)
    for k, name in enumerate(structure.coordinates):
        if name not in variables and name not in ("step", "direction", "point", "coordinate"):
            coordinates[name] = (over(), where[..., k], f"coordinate {name} of the point", "1")
    return variables, coordinates
