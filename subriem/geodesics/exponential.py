"""The exponential map: normal geodesics from points and covectors, with what can be checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from subriem.arithmetic.many_points import values_at
from subriem.arithmetic.taylor_method import STATUSES, Solutions
from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.geodesics.flow_map import check_times, check_tolerance, extremals, taylor_method
from subriem.geodesics.hamiltonian import conserved_momenta, observables
from subriem.geodesics.killing import flow_integrals
from subriem.geodesics.symplectic import STAGES, collocation_method
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure

__all__ = ["exponential", "read_start"]

_RTOL = 1e-10


def exponential(
    structure: Structure,
    at: Any,
    covector: Any,
    time: Any,
    *,
    rtol: float = _RTOL,
    symplectic_step: float | None = None,
    engine: str | None = None,
    device: Any = "cpu",
    strict: bool = False,
) -> xr.Dataset:
    """Normal geodesics: solutions of Hamilton's equations for H = 1/2 p' F G^-1 F' p.

    Parameters
    ----------
    structure : Structure
        Without a drift.
    at : points
        Where the geodesics start: one point, or one for each covector.
    covector : points
        The initial covectors p: one, or a batch with a leading axis.
    time : float or array_like, shape (T,)
        A horizon, for the start and the point at the horizon; or the times wanted, from 0 away
        and all of one sign. On the geodesic of p, speed is sqrt(2 H), constant.
    rtol : float
        Relative tolerance of the Taylor method, 1e-14 to 1e-3: each step's last terms against
        the size of the state, and of the covector. Not with a symplectic step.
    symplectic_step : float, optional
        Use the symplectic Gauss collocation of order 8 with steps of this length instead, for
        long times: H stays within a fixed bound, its error does not grow. See
        `subriem.geodesics.symplectic`.
    engine : {"compiled", "batch"}, optional
        C code, or Torch tensors; by default the first on the CPU where a C compiler is found.
    device : str or torch.device
        Of the batch engine; not with a symplectic step.
    strict : bool
        Raise where a geodesic ends early.

    Returns
    -------
    xarray.Dataset
        Over ``geodesic`` (not for one point and one covector), ``time``, and ``coordinate`` or
        ``field``:

        ``state``, ``covector``
            Periodic coordinates are lifted: they are not brought back to one period.
        ``control``
            u = G^-1 F' p, with q' = F u.
        ``length``
            From the start.
        ``hamiltonian``
            H along the geodesic; ``hamiltonian_drift`` is its largest change at the times
            wanted, relative to H.
        ``horizontality_error``
            Largest entry of q' - F u against the largest of F u over the times wanted, q' being
            the derivative of the dense output (absent with a symplectic step).
        ``integral_drift``
            Over ``integral`` too: the largest change of each first integral that is linear in the
            covector (infinitesimal isometries) or a function of the state alone, among low
            degrees, relative to the size of its terms (absent where there is none).
        ``status``
            ``"ok"``; ``"constant"`` where the covector annihilates the distribution, so that
            H = 0 and the geodesic stays where it is; or why it ended at ``event_time``:
            ``"left the chart"``, ``"blew up"`` (the step fell below rounding: the geodesic
            leaves every bounded set, or the equations become singular), ``"met a kink"`` (an
            operation of the model is not smooth there), ``"step limit"``. Values from then on
            are NaN.
        ``steps``
            Steps taken.

        Attributes: ``engine`` and ``method``; ``conserved_momenta``, the coordinates on which
        neither frame nor metric depends, whose momenta the method keeps without error.

    Raises
    ------
    InputError
        If a shape does not fit, a number is not finite, a start lies outside the chart, an
        argument is out of range or the structure has a drift.
    InputTypeError
        If the first argument is not a structure.
    MissingDependencyError
        If compiled code is asked for and there is no C compiler.
    NumericalError
        With ``strict``, where a geodesic ends early.

    Notes
    -----
    Every normal extremal projects to a geodesic: locally a shortest path (Agrachev, Barilari,
    Boscain, *A Comprehensive Introduction to Sub-Riemannian Geometry* (2019), theorem 4.65).
    Until when it is shortest, this function does not say.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> circle = exponential(heisenberg, [0, 0, 0], [1, 0, 1], 2 * math.pi)
    >>> np.round(circle.state.values[-1], 8) + 0.0, round(float(circle.length[-1]), 8)
    (array([0.        , 0.        , 3.14159265]), 6.28318531)
    """
    require_structure(structure)
    q, p, single = read_start(structure, at, covector)
    times = _read_times(time)
    check_tolerance(rtol)
    attributes: dict[str, Any] = {"conserved_momenta": list(conserved_momenta(structure))}
    if symplectic_step is None:
        taylor = taylor_method(structure, engine=engine, device=device)
        found = extremals(taylor, structure, q, p, times, rtol, rates=True)
        attributes["engine"] = taylor.engine
        attributes["method"] = "Taylor method, adaptive step and order by the tolerance"
    else:
        if not (isinstance(symplectic_step, int | float) and 0 < symplectic_step < math.inf):
            raise InputError(f"symplectic_step: expected a length > 0, got {symplectic_step!r}")
        if (rtol, str(device)) != (_RTOL, "cpu"):
            raise InputError(
                "rtol and device go with the Taylor method; got them with a symplectic_step, which "
                "alone decides the accuracy, on the CPU"
            )
        gauss = collocation_method(structure, engine)
        found = gauss.solve(q, p, times, float(symplectic_step))
        attributes["engine"] = gauss.engine
        attributes["method"] = f"Gauss collocation of order {2 * STAGES}, symplectic"
    n = structure.dimension
    states, covectors = found.states[..., :n], found.states[..., n:]
    at_start, (control, hamiltonians, velocity) = _observe(structure, q, p, times, found.states)
    start_energy, energy = at_start[1][:, 0], hamiltonians[..., 0]
    constant = _vanishing(structure, q, p)
    status = np.array([*STATUSES, "constant"])[np.where(constant, len(STATUSES), found.status)]
    drift = _largest(np.abs(energy - start_energy[:, None]))
    relative = np.where(start_energy > 0, start_energy, 1.0)
    length = np.sqrt(2 * start_energy)[:, None] * np.abs(times)
    length = np.where(np.isnan(states[..., 0]), np.nan, length)

    def over(*dims: str) -> tuple[str, ...]:
        return dims if single else ("geodesic", *dims)

    def shaped(values: np.ndarray) -> np.ndarray:
        return values[0] if single else values

    variables: dict[str, Any] = {
        "state": (over("time", "coordinate"), shaped(states), "point of the geodesic", "1"),
        "covector": (over("time", "coordinate"), shaped(covectors), "covector p", "1"),
        "control": (over("time", "field"), shaped(control), "control u: q' = F u", "1"),
        "length": (over("time"), shaped(length), "length from the start", "1"),
        "hamiltonian": (over("time"), shaped(energy), "normal Hamiltonian H", "1"),
        "hamiltonian_drift": (
            over(),
            shaped(drift / relative),
            "largest change of H, relative to H",
            "1",
        ),
        "status": (over(), shaped(status), "ok, constant, or why the geodesic ended", "1"),
        "event_time": (
            over(),
            shaped(found.event_time),
            "time at which the geodesic ended early (NaN: it did not)",
            "1",
        ),
        "steps": (over(), shaped(found.steps), "steps taken", "1"),
    }
    if found.rates is not None:
        variables["horizontality_error"] = (
            over(),
            shaped(_horizontality(found, velocity, n)),
            "largest entry of q' - F u, relative to F u",
            "1",
        )
    integrals = flow_integrals(structure)
    if integrals.names:
        start = np.concatenate([q, p], axis=1)
        changes = integrals.drift(start, found.states, structure.parameter_values)
        variables["integral_drift"] = (
            over("integral"),
            shaped(changes),
            "largest change of a first integral, relative to its terms",
            "1",
        )
    coordinates: dict[str, Any] = {
        "time": ("time", times, "time along the geodesic", "1"),
        "coordinate": coordinate_axis(structure.coordinates),
        "field": ("field", np.array(structure.field_names), "vector field of the frame", "1"),
    }
    if integrals.names:
        names = np.array(integrals.names)
        coordinates["integral"] = ("integral", names, "first integral of the geodesics", "1")
    dataset = build_dataset(
        variables,
        coordinates,
        function="exponential",
        arguments={
            "at": at,
            "covector": covector,
            "time": time,
            "rtol": rtol,
            "symplectic_step": symplectic_step,
            "engine": engine,
        },
        structure=repr(structure),
        attributes=attributes,
    )
    ended = np.flatnonzero(found.status)
    if strict and len(ended):
        first = ended[0]
        raise NumericalError(
            f"{structure.name}: geodesic {first} from {q[first].tolist()} {status[first]} at time "
            f"{found.event_time[first]:g}"
        )
    return dataset


def read_start(structure: Structure, at: Any, covector: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Points and covectors as arrays of one length, points inside the chart.

    Parameters
    ----------
    structure : Structure
    at, covector : points

    Returns
    -------
    q, p : ndarray, shape (B, n)
    single : bool
        Whether neither had a leading axis.

    Raises
    ------
    InputError
        If the two do not fit, or a point is outside the chart or has no finite frame.
    """
    q, p = structure.points(at, "at"), structure.points(covector, "covector")
    single = q.ndim == p.ndim == 1
    if q.ndim == p.ndim == 2 and len(q) != len(p) and 1 not in (len(q), len(p)):
        raise InputError(f"at, covector: expected one point or {len(p)}, got {len(q)}")
    start = np.atleast_2d(q)
    outside = np.flatnonzero(~structure.inside(start))
    if len(outside):
        raise InputError(
            f"at: point {start[outside[0]].tolist()} (number {outside[0]}) is outside the chart "
            f"of {structure.name}"
        )
    finite = np.isfinite(structure.frame_at(start)).all(axis=(1, 2))
    if not finite.all():
        bad = start[np.flatnonzero(~finite)[0]].tolist()
        raise InputError(f"at: the frame of {structure.name} is not finite at {bad}")
    q, p = np.broadcast_arrays(start, np.atleast_2d(p))
    return q, p, single


def _read_times(time: Any) -> np.ndarray:
    try:
        times = np.asarray(time, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"time: expected a number or a list of numbers, got {time!r}"
        ) from error
    if times.ndim == 0:
        if not (math.isfinite(times) and times != 0):
            raise InputError(f"time: expected a horizon that is finite and not 0, got {time!r}")
        return np.array([0.0, float(times)])
    check_times(times, "time")
    return times


def _observe(
    structure: Structure, q: np.ndarray, p: np.ndarray, times: np.ndarray, states: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Control, Hamiltonian and velocity F u at the start (B, ...) and at all times (B, T, ...)."""
    function, parameters = observables(structure), structure.parameter_values
    at_start = values_at(function, np.concatenate([q, p], axis=1), parameters)
    later = states[:, times != 0]
    moved = values_at(function, later.reshape(-1, states.shape[-1]), parameters)
    along = []
    for start, rest in zip(at_start, moved, strict=True):
        values = np.empty((*states.shape[:2], start.shape[1]))
        values[:, times != 0] = rest.reshape(*later.shape[:2], rest.shape[1])
        # a geodesic that ends at once has no state at time 0
        ended = np.isnan(states[:, times == 0, :1])
        values[:, times == 0] = np.where(ended, np.nan, start[:, None])
        along.append(values)
    return at_start, along


def _vanishing(structure: Structure, q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Whether p annihilates the distribution at q, to rounding."""
    # one frame where all start at one point
    frame = structure.frame_at(q[:1] if (q == q[:1]).all() else q)
    momenta = np.einsum("bnm,bn->bm", frame, p)
    sizes = np.einsum("bnm,bn->bm", np.abs(frame), np.abs(p))
    return np.asarray((np.abs(momenta) <= 4 * np.finfo(float).eps * sizes).all(axis=1))


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest over all but the first axis, leaving NaN out; NaN where there is nothing."""
    return np.asarray(
        np.fmax.reduce(values.reshape(len(values), math.prod(values.shape[1:])), axis=1)
    )


def _horizontality(found: Solutions, velocity: np.ndarray, n: int) -> np.ndarray:
    assert found.rates is not None
    reached = ~np.isnan(found.states[..., 0])
    gap = np.where(reached[..., None], found.rates[..., :n] - velocity, np.nan)
    size = _largest(np.abs(velocity))
    return _largest(np.abs(gap)) / np.where(size > 0, size, 1.0)
