"""Assertion that a sampled path is horizontal: its velocities lie in the distribution.

Two ways to hold samples against q' = F(q) u. Without controls the states are differentiated: the
velocity of the quintic spline through all samples, whose error is estimated by the spline through
every other sample. With controls F(q) u is integrated, again by the spline through its samples,
and compared with the increments of the state; this loses no digits. In both, what every other
sample says differently from all of them is what the samples cannot tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import make_interp_spline

from subriem.errors import InputError, InputTypeError
from subriem.structure import Structure, require_structure
from subriem.testing.description import point_text

__all__ = ["assert_horizontal"]

_DEGREE = 5
#: Twice the samples that a quintic spline needs, as every other sample makes one too.
_LEAST = 2 * (_DEGREE + 1)
# Where the samples determine a velocity to no better than this, nothing can be said about it ...
_BLIND = 0.1
# ... which is let pass at corners of the path, up to this share of the samples.
_CORNERS = 0.1


def assert_horizontal(
    path: xr.Dataset | tuple[Any, Any], structure: Structure, *, rtol: float = 1e-6
) -> None:
    """Assert that a sampled path moves in the distribution (plus the drift, where there is one).

    Parameters
    ----------
    path : xarray.Dataset or (times, states)
        A dataset has ``state`` over (time, coordinate), and may have ``control`` over
        (time, field): then q' = F(q) u is held against the states, not only q' in span F. Further
        dimensions (``geodesic``) are paths of their own. Arrays are of shapes (T,) and (T, n).
        Missing samples (NaN) at the end of a path are left out.
    structure : Structure
    rtol : float
        Largest velocity out of the distribution (or off F(q) u), relative to the speed, beyond
        what the samples cannot tell. Coordinates are measured in the largest entries of their
        rows of the frame, so that units do not matter.

    Raises
    ------
    AssertionError
        If the path leaves the distribution, with the time, the point and the angle; or if the
        samples are too coarse to tell.
    InputError
        If there are fewer than 12 samples, times do not increase, or shapes do not fit.
    InputTypeError
        If an argument is of a wrong kind.

    Notes
    -----
    The rank of a frame is cut at 1e-10 of its largest singular value, in these units.

    Examples
    --------
    >>> from subriem.models import heisenberg
    >>> t = np.linspace(0, 1, 40)
    >>> circle = np.stack([np.cos(t), np.sin(t), t / 2], axis=1)
    >>> assert_horizontal((t, circle), heisenberg())
    >>> assert_horizontal((t, 0.99 * circle), heisenberg())
    Traceback (most recent call last):
    AssertionError: heisenberg: the path is not horizontal at time ...
    ...
    """
    __tracebackhide__ = True
    require_structure(structure)
    if not 0 < rtol < 1:
        raise InputError(f"rtol: expected between 0 and 1, got {rtol}")
    for label, times, states, controls in _read_paths(path, structure):
        if controls is None:
            _check_velocities(label, times, states, structure, rtol)
        else:
            _check_controls(label, times, states, controls, structure, rtol)


_Path = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]


def _read_paths(path: Any, structure: Structure) -> list[_Path]:
    if isinstance(path, tuple) and len(path) == 2:
        times = np.asarray(path[0], dtype=np.float64)
        states = np.asarray(path[1], dtype=np.float64)
        return [_read_path("the path", times, states, None, structure)]
    if not isinstance(path, xr.Dataset):
        raise InputTypeError(
            f"path: expected a Dataset or (times, states), got {type(path).__name__}"
        )
    if "state" not in path or not {"time", "coordinate"} <= set(path["state"].dims):
        raise InputError("path: expected a variable state over (time, coordinate)")
    if "time" not in path.coords:
        raise InputError("path: expected a coordinate time")
    state = path["state"]
    names = [str(name) for name in path["coordinate"].values] if "coordinate" in path else []
    if set(names) == set(structure.coordinates):
        state = state.sel(coordinate=list(structure.coordinates))
    elif state.sizes["coordinate"] != structure.dimension or state["coordinate"].dtype.kind in "UO":
        raise InputError(
            f"path: expected the coordinates {', '.join(structure.coordinates)}, "
            f"got {', '.join(names)}"
        )
    control = path.get("control")
    if control is not None and set(control.dims) != {*state.dims, "field"} - {"coordinate"}:
        raise InputError(f"path: expected control over (time, field), got {control.dims}")
    others = [dim for dim in state.dims if dim not in ("time", "coordinate")]
    paths = []
    for index in np.ndindex(*(state.sizes[dim] for dim in others)):
        where = dict(zip(others, index, strict=True))
        one = state.isel(where).transpose("time", "coordinate").values
        time = path["time"].isel({k: v for k, v in where.items() if k in path["time"].dims}).values
        steer = None
        if control is not None:
            steer = control.isel(where).transpose("time", "field").values
        label = " ".join(f"{dim} {position}" for dim, position in where.items()) or "the path"
        paths.append(_read_path(label, time, one, steer, structure))
    return paths


def _read_path(
    label: str,
    times: np.ndarray,
    states: np.ndarray,
    controls: np.ndarray | None,
    structure: Structure,
) -> _Path:
    n, m = structure.dimension, structure.rank
    if times.ndim != 1 or states.shape != (len(times), n):
        raise InputError(
            f"{label}: expected times of shape (T,) and states of shape (T, {n}), got "
            f"{times.shape} and {states.shape}"
        )
    if controls is not None and controls.shape != (len(times), m):
        raise InputError(
            f"{label}: expected controls of shape ({len(times)}, {m}), got {controls.shape}"
        )
    table = np.column_stack([times, states] + ([] if controls is None else [controls]))
    known = np.isfinite(table).all(axis=1)
    count = int(known.argmin()) if not known.all() else len(known)
    if known[count:].any():
        raise InputError(f"{label}: sample {count} is not finite and later ones are")
    if count < _LEAST:
        raise InputError(f"{label}: expected at least {_LEAST} samples, got {count}")
    times, states = times[:count], states[:count].copy()
    if not (np.diff(times) > 0).all():
        k = int(np.argmin(np.diff(times)))
        raise InputError(f"{label}: times do not increase at {times[k]:.6g}")
    for name, period in structure.periods.items():
        k = structure.coordinates.index(name)
        states[:, k] = np.unwrap(states[:, k], period=period)
    return label, times, states, None if controls is None else controls[:count]


def _frames(structure: Structure, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame along the path, and the unit of each coordinate."""
    frames = structure.frame_at(states)
    if not np.isfinite(frames).all():
        k = int(np.argwhere(~np.isfinite(frames))[0][0])
        raise InputError(f"the frame is not finite at {point_text(structure, states[k])}")
    units = np.abs(frames).max(axis=(0, 2))
    # a coordinate that no field moves is measured with the others
    units[units == 0] = units.max() if units.max() > 0 else 1.0
    return frames, units


def _check_velocities(
    label: str, times: np.ndarray, states: np.ndarray, structure: Structure, rtol: float
) -> None:
    __tracebackhide__ = True
    frames, units = _frames(structure, states)
    velocity = _derivative(times, states) / units
    half = _derivative(times[::2], states[::2]) / units
    unsure = _spread_out(np.linalg.norm(velocity[::2] - half, axis=1), len(times))
    speed = np.linalg.norm(velocity, axis=1)
    if structure.has_drift:
        velocity = velocity - structure.drift_at(states) / units
    scaled = frames / units[:, None]
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    kept = values > 1e-10 * values.max(axis=1, keepdims=True)
    inside = np.einsum("tnr,tkr,tk->tn", left * kept[:, None, :], left, velocity)
    outside = velocity - inside
    off = np.linalg.norm(outside, axis=1)
    rounding = _rounding(states / units, np.diff(times).min())
    k = _worst(label, times, off, speed, unsure, rounding, structure, states, rtol)
    if k is None:
        return
    # with a drift, what moves is measured with it
    angle = float(np.arcsin(min(1.0, off[k] / speed[k])))
    direction = int(np.abs(outside[k]).argmax())
    raise AssertionError(
        f"{structure.name}: {label} is not horizontal at time {times[k]:.6g}\n"
        f"  at {point_text(structure, states[k])}\n"
        f"  the velocity makes an angle of {angle:.3g} rad ({np.degrees(angle):.3g} degrees) with "
        f"the distribution, most of it along {structure.coordinates[direction]}; allowed "
        f"{rtol:.0e} and {unsure[k] / max(speed[k], 1e-300):.1e} for what the samples cannot tell"
    )


def _check_controls(
    label: str,
    times: np.ndarray,
    states: np.ndarray,
    controls: np.ndarray,
    structure: Structure,
    rtol: float,
) -> None:
    __tracebackhide__ = True
    _, units = _frames(structure, states)
    moved = structure.velocity(states, controls) / units
    # over pairs of steps, which is what both splines can integrate
    last = len(times) - (len(times) + 1) % 2
    times, states, moved = times[:last], states[:last], moved[:last]
    steps = np.diff(times[::2])[:, None]
    predicted = np.diff(_integral(times, moved)[::2], axis=0) / steps
    half = np.diff(_integral(times[::2], moved[::2]), axis=0) / steps
    actual = np.diff(states[::2] / units, axis=0) / steps
    rounding = _rounding(states / units, steps.min())
    unsure = rounding + _spread_out(np.linalg.norm(predicted - half, axis=1), len(steps))
    off = np.linalg.norm(actual - predicted, axis=1)
    speed = np.linalg.norm(predicted, axis=1)
    speed = np.maximum(speed, np.linalg.norm(actual, axis=1))
    k = _worst(label, times[::2], off, speed, unsure, rounding, structure, states[::2], rtol)
    if k is None:
        return
    coordinate = int(np.abs(actual[k] - predicted[k]).argmax())
    name, unit = structure.coordinates[coordinate], units[coordinate]
    angle = float(np.arcsin(min(1.0, off[k] / speed[k])))
    raise AssertionError(
        f"{structure.name}: {label} does not follow its controls between times "
        f"{times[2 * k]:.6g} and {times[2 * k + 2]:.6g}\n"
        f"  at {point_text(structure, states[2 * k])}\n"
        f"  the mean velocity of {name} is {actual[k, coordinate] * unit:.6g}, that of F(q) u is "
        f"{predicted[k, coordinate] * unit:.6g}; the angle between the two is about {angle:.3g} "
        f"rad, allowed {rtol:.0e} and {unsure[k] / speed[k]:.1e} for what the samples cannot tell"
    )


def _worst(
    label: str,
    times: np.ndarray,
    off: np.ndarray,
    speed: np.ndarray,
    unsure: np.ndarray,
    rounding: float,
    structure: Structure,
    states: np.ndarray,
    rtol: float,
) -> int | None:
    """The sample that violates the assertion most, or None; refuses samples that are too coarse."""
    __tracebackhide__ = True
    # a path at rest, up to rounding, has no direction
    moving = speed > np.maximum(1e-12 * speed.max(initial=0.0), 100 * rounding)
    blind = moving & (unsure > _BLIND * speed)
    if blind.sum() > max(2, _CORNERS * len(times)):
        k = int(np.where(blind, unsure / np.where(moving, speed, 1.0), 0.0).argmax())
        raise AssertionError(
            f"{structure.name}: {label} is too coarse to tell at {int(blind.sum())} of "
            f"{len(times)} samples: at time {times[k]:.6g}, {point_text(structure, states[k])}, "
            f"every other sample gives a velocity that differs by {unsure[k] / speed[k]:.0%}; "
            "expected more samples, or fewer corners"
        )
    excess = np.where(moving & ~blind, off - rtol * speed - unsure, -np.inf)
    k = int((excess / np.where(moving, speed, 1.0)).argmax())
    return k if excess[k] > 0 else None


def _rounding(states: np.ndarray, step: float) -> float:
    """The speed that rounding of the states can fake over a step."""
    return float(np.linalg.norm(np.abs(states).max(axis=0)) * np.finfo(float).eps / step)


def _derivative(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    return make_interp_spline(times, values, k=_DEGREE).derivative()(times)


def _integral(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    return make_interp_spline(times, values, k=_DEGREE).antiderivative()(times)


def _spread_out(error: np.ndarray, count: int) -> np.ndarray:
    """An error known at some samples as a bound at all ``count``: the largest of its neighbours."""
    padded = np.concatenate([error[:1].repeat(2), error, error[-1:].repeat(2)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 5)
    largest = windows.max(axis=1)
    if len(largest) == count:
        return largest
    # samples between two known ones take the larger
    after = np.append(largest[1:], largest[-1])
    full = np.empty(count)
    full[::2] = largest
    full[1::2] = np.maximum(largest, after)[: count // 2]
    return full
