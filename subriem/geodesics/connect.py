"""The shortest horizontal path between two points, with what is and is not known about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import casadi as ca
import numpy as np
import xarray as xr

from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.geodesics.conjugate import conjugate_time
from subriem.geodesics.distance import read_inside
from subriem.geodesics.hamiltonian import hamiltonian
from subriem.geodesics.lifts import lifted_ends
from subriem.geodesics.shortest import (
    Path,
    Solutions,
    constrained_path,
    shortest_paths,
    trace,
)
from subriem.results.schema import build_dataset, coordinate_axis
from subriem.structure import Structure, require_structure
from subriem.structure.coordinates import Symbols

__all__ = ["connect"]

#: Relative singular value of the exponential map's Jacobian below which it counts as singular.
_SINGULAR = 1e-7


def connect(
    structure: Structure,
    start: Any,
    end: Any,
    *,
    times: Any = 101,
    every: bool = False,
    obstacles: Callable[..., Any] | None = None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    seed: int = 0,
    strict: bool = False,
) -> xr.Dataset:
    """The shortest horizontal path found between two points.

    Normal geodesics are searched for globally: seeds from fans of geodesics in the scales of the
    ball-box theorem, Levenberg-Marquardt shooting, until nothing shorter comes and several seeds
    agree. Where few or none do, direct collocation (IPOPT) gives a second opinion, polished by
    multiple shooting.

    Parameters
    ----------
    structure : Structure
        Without a drift.
    start, end : point
        Of periodic coordinates the end is known up to periods; all that are near take part.
    times : int or array_like, shape (T,)
        How many equal times in [0, 1], or which. The path runs at constant speed from time 0 to
        time 1.
    every : bool
        Return all geodesics found, over ``geodesic``, shortest first.
    obstacles : callable, optional
        q (as in `Structure.define`) to an expression or a list of expressions, each positive
        where the state may be.
    bounds : mapping, optional
        Coordinate to the smallest and largest value allowed (None for no bound).
    seed : int
        Of everything random.
    strict : bool
        Raise where no path is found.

    Returns
    -------
    xarray.Dataset
        Over ``time`` (and ``geodesic``):

        ``state``, ``covector``, ``control``
            Angles of the state are not brought back to one period. The covector is for time 1,
            NaN for a path of the direct method.
        ``length``
            NaN where nothing was found, infinite where the end is not in the orbit of the start.
        ``endpoint_error``
            Distance in coordinates from the end; for the direct method, of an integration of
            its controls.
        ``hamiltonian_drift``
            Largest change of H along the path, relative to H.
        ``minimizers``, ``seeds``, ``agreeing``
            How many geodesics of the least length (to 1e-9) were found, from how many guesses,
            and how many of these led to that length.
        ``degenerate``
            Whether the exponential map is singular at the end.
        ``lower_bound``
            Proved, of the distance: by a projection that does not increase length, or by a first
            integral (infinite); NaN where none is known.
        ``conjugate_time``
            The first along the shortest, up to the end at 1; NaN where there is none or where it
            is not defined.

        Attributes: ``status`` (``"shortest found"``, ``"direct"``, ``"same point"``,
        ``"not found"``, ``"unreachable"``), ``optimality``, which says what is claimed,
        ``abnormal`` (whether strictly abnormal minimizers are ``"excluded"`` by a theorem,
        ``"considered"`` or ``"not considered"``), ``lower_bound``, which projection proves it
        or why there is none, and ``note``, why nothing was found where that is known.

    Raises
    ------
    InputError
        If a point or an argument does not fit, a point lies outside the chart, the bounds or the
        obstacles' clearance, or the structure has a drift.
    InputTypeError
        If the first argument is not a structure, or the obstacles are not a callable.
    NumericalError
        With ``strict``, where no path is found.

    Notes
    -----
    The direct method keeps obstacles and bounds at the collocation points; ``clearance`` is the
    least value of the expressions at a thousand times along its path.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> path = connect(heisenberg, [0, 0, 0], [1, 0, 1])
    >>> path.attrs["status"], round(float(path.length), 9)
    ('shortest found', 2.683129778)
    """
    require_structure(structure)
    hamiltonian(structure)
    origin, goal = (
        _one(structure, point, what) for point, what in ((start, "start"), (end, "end"))
    )
    wanted = _read_times(times)
    targets = lifted_ends(structure, origin, goal)
    inequalities = _inequalities(structure, obstacles, bounds)
    if inequalities is None:
        (found,) = shortest_paths(
            structure, origin, [targets], every=every, thorough=True, seed=seed
        )
    else:
        _check_clear(structure, inequalities, {"start": origin, "end": goal})
        found = constrained_path(structure, origin, targets, inequalities, seed)
    if strict and not found.paths:
        raise NumericalError(
            f"{structure.name}: no path from {origin.tolist()} to {goal.tolist()} "
            f"({found.status}); {found.note}"
        )
    paths = found.paths if every else found.paths[:1]
    traced = [_traced(structure, origin, path, wanted) for path in paths]
    if not every and not traced:
        traced = [_nowhere(structure, found.length, wanted)]
    conjugate, about = _first_conjugate(structure, origin, found)
    columns = {name: np.array([row[name] for row in traced]) for name in _EMPTY}
    over = ("geodesic",) if every else ()

    def variable(name: str, *dims: str) -> tuple[tuple[str, ...], Any, str, str]:
        values = columns[name]
        if every and not len(values):
            sizes = {"time": len(wanted), "field": structure.rank}
            shape = [sizes.get(dim, structure.dimension) for dim in dims]
            values = np.zeros((0, *shape))
        return (*over, *dims), values if every else values[0], _EMPTY[name], "1"

    variables: dict[str, Any] = {
        "state": variable("state", "time", "coordinate"),
        "covector": variable("covector", "time", "coordinate"),
        "control": variable("control", "time", "field"),
        **{
            name: variable(name)
            for name in ("length", "endpoint_error", "hamiltonian_drift", "degenerate")
        },
        "minimizers": ((), found.minimizers, "shortest geodesics found", "1"),
        "seeds": ((), found.seeds, "guesses that were shot", "1"),
        "agreeing": ((), found.agreeing, "guesses that led to the shortest", "1"),
        "lower_bound": ((), found.bound.value, "proved lower bound of the distance", "1"),
        "conjugate_time": ((), conjugate, "first conjugate time up to the end", "1"),
    }
    if inequalities is not None and found.paths:
        clearance = _clearance(structure, origin, found.paths[0], inequalities)
        variables["clearance"] = ((), clearance, "least value of the constraints", "1")
    return build_dataset(
        variables,
        {
            "time": ("time", wanted, "time along the path", "1"),
            "coordinate": coordinate_axis(structure.coordinates),
            "field": ("field", np.array(structure.field_names), "vector field of the frame", "1"),
        },
        function="connect",
        arguments={"start": start, "end": end, "times": times, "every": every, "bounds": bounds},
        structure=repr(structure),
        seed=seed,
        attributes={
            "status": found.status,
            "method": found.paths[0].method if found.paths else "none",
            "optimality": _claim(found, about, inequalities is not None),
            "abnormal": f"{found.abnormal.verdict}: {found.abnormal.text}",
            "lower_bound": found.bound.reason,
            "note": found.note,
        },
    )


#: What is told of each path.
_EMPTY = {
    "state": "point of the path",
    "covector": "covector p for time 1",
    "control": "control u: q' = F u",
    "length": "length of the path",
    "endpoint_error": "distance from the end, in coordinates",
    "hamiltonian_drift": "largest change of H, relative to H",
    "degenerate": "whether the exponential map is singular at the end",
}


def _one(structure: Structure, at: Any, what: str) -> np.ndarray:
    point = read_inside(structure, at, what)
    if point.ndim != 1:
        raise InputError(f"{what}: expected one point, got {len(point)}")
    return point


def _read_times(times: Any) -> np.ndarray:
    if isinstance(times, int) and not isinstance(times, bool):
        if times < 2:
            raise InputError(f"times: expected at least 2, got {times}")
        return np.linspace(0, 1, times)
    try:
        wanted = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"times: expected a number or a list, got {times!r}") from error
    good = wanted.ndim == 1 and len(wanted) and np.isfinite(wanted).all()
    if not good or wanted[0] < 0 or wanted[-1] > 1 or (np.diff(wanted) <= 0).any():
        raise InputError(f"times: expected increasing times in [0, 1], got {times!r}")
    return wanted


def _inequalities(
    structure: Structure,
    obstacles: Callable[..., Any] | None,
    bounds: Mapping[str, tuple[float | None, float | None]] | None,
) -> Callable[[ca.SX], ca.SX] | None:
    """The state to what must not be negative, or None."""
    if obstacles is None and not bounds:
        return None
    if obstacles is not None and not callable(obstacles):
        raise InputTypeError(f"obstacles: expected a callable, got {type(obstacles).__name__}")
    unknown = sorted(set(bounds or {}) - set(structure.coordinates))
    if unknown:
        raise InputError(f"bounds: {structure.name} has no coordinate {', '.join(unknown)}")

    def inequalities(state: ca.SX) -> ca.SX:
        kept = []
        if obstacles is not None:
            given = obstacles(Symbols(structure.coordinates, values=state))
            kept += list(given) if isinstance(given, list | tuple) else [given]
        for name, (low, high) in (bounds or {}).items():
            value = state[structure.coordinates.index(name)]
            kept += [] if low is None else [value - low]
            kept += [] if high is None else [high - value]
        return ca.vertcat(*kept)

    return inequalities


def _check_clear(
    structure: Structure,
    inequalities: Callable[[ca.SX], ca.SX],
    points: Mapping[str, np.ndarray],
) -> None:
    values = structure.function(inequalities(structure.state))
    for what, point in points.items():
        least = float(np.asarray(values(point, structure.parameter_values)).min())
        if not least >= 0:
            raise InputError(
                f"{what}: {point.tolist()} is outside the bounds or in an obstacle "
                f"(least value {least:g}, expected none below 0)"
            )


def _clearance(
    structure: Structure, start: np.ndarray, path: Path, inequalities: Callable[[ca.SX], ca.SX]
) -> float:
    states = trace(structure, start, path, np.linspace(0, 1, 1001))[0]
    values = structure.function(inequalities(structure.state))
    return float(np.asarray(values(states.T, structure.parameter_values)).min())


def _traced(structure: Structure, start: np.ndarray, path: Path, times: np.ndarray) -> Any:
    at = times if times[-1] == 1 else np.append(times, 1.0)
    states, covectors, controls = trace(structure, start, path, at)
    error, drift = float(np.linalg.norm(states[-1] - path.target)), math.nan
    if path.method == "abnormal":
        pass  # H is not what is constant along it
    elif path.method == "direct":
        error = path.pieces.endpoint_error  # type: ignore[union-attr]
    elif path.length == 0:
        drift = 0.0
    else:
        energy = structure.hamiltonian_at(states, covectors)
        drift = float(np.abs(energy / energy[0] - 1).max())
    count = len(times)
    return {
        "state": states[:count],
        "covector": covectors[:count],
        "control": controls[:count],
        "length": path.length,
        "endpoint_error": error,
        "hamiltonian_drift": drift,
        "degenerate": bool(path.condition < _SINGULAR),
    }


def _nowhere(structure: Structure, length: float, times: np.ndarray) -> Any:
    states = np.full((len(times), structure.dimension), np.nan)
    return {
        "state": states,
        "covector": states,
        "control": np.full((len(times), structure.rank), np.nan),
        "length": length,
        "endpoint_error": math.nan,
        "hamiltonian_drift": math.nan,
        "degenerate": False,
    }


def _first_conjugate(
    structure: Structure, start: np.ndarray, found: Solutions
) -> tuple[float, str]:
    """The first conjugate time of the shortest path, and what to say about it."""
    if found.status != "shortest found" or found.paths[0].method != "shooting":
        return math.nan, "conjugate times were not looked for"
    try:
        first = conjugate_time(structure, start, found.paths[0].covector, 1.0)
    except InputError:
        return math.nan, "conjugate times are not defined, as the brackets do not span the space"
    time, status = float(first["conjugate_time"]), str(first["status"].item())
    if status == "abnormal":
        return time, "the path is an abnormal extremal too: conjugate times are not defined"
    if math.isnan(time):
        return time, "no conjugate time was found before the end"
    if time < 1 - 1e-6 and found.proved:
        # the Jacobian is too near singular for the search, as along a path that lingers near the
        # start in directions of high weight
        return math.nan, "conjugate times could not be told from rounding"
    if time < 1 - 1e-6:
        return time, f"NOT a minimizer: time {time:.9g} is conjugate to the start"
    return time, "the end is conjugate to the start"


def _claim(found: Solutions, about_conjugate: str, constrained: bool) -> str:
    """What the answer claims, and what it does not."""
    if found.status == "same point":
        return "the start is the end: length 0 is the least"
    if found.status == "unreachable":
        return f"the end is not in the orbit of the start: {found.note}"
    if not found.paths:
        return f"no path was found; this does not prove that there is none. {found.note}".strip()
    best = found.paths[0]
    parts = []
    if best.method == "abnormal":
        parts.append(
            f"an abnormal extremal, shorter than the normal geodesics found from {found.seeds} "
            "seeds, but for those that come ever nearer to it"
        )
    elif best.method == "direct":
        parts.append("a local minimum of the direct method, the shortest of those found")
        if not constrained:
            parts.append("not confirmed as a geodesic")
    elif best.method == "multiple shooting":
        parts.append(
            f"a normal geodesic found by the direct method after {found.seeds} seeds of shooting "
            "had found nothing as short"
        )
    else:
        parts.append(
            f"the shortest of the normal geodesics found from {found.seeds} seeds, "
            f"{found.agreeing} of which led to it"
        )
        if found.minimizers > 1:
            parts.append(
                f"{found.minimizers} geodesics of this length were found: the end is a cut point"
                + (", and they form a continuous family" if best.condition < _SINGULAR else "")
            )
    if best.method != "abnormal" and (not constrained or best.method == "shooting"):
        parts.append(about_conjugate)
    parts.append(found.abnormal.text)
    if found.proved:
        parts.append(
            f"proved to be shortest: its length equals, to 1e-9, the lower bound by "
            f"{found.bound.reason}"
        )
    elif math.isnan(found.bound.value):
        parts.append(f"no proof that nothing is shorter: {found.bound.reason}")
    else:
        parts.append(
            f"no proof that nothing is shorter than this, but nothing is shorter than "
            f"{found.bound.value:.10g}, by {found.bound.reason}"
        )
    return "; ".join(parts)
