"""The rows of a digest: for each function of subriem, what one asks of its result first.

Nothing is computed but least and greatest values and counts; what the producer calls an estimate,
a bound or proved is called so here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from subriem.results.labels import made_by

__all__ = ["Rows", "rows_of"]

Rows = list[tuple[str, str]]


def rows_of(dataset: xr.Dataset) -> Rows:
    """Names and texts of what is asked first; a text may be "", and means that nothing is known.

    Parameters
    ----------
    dataset : Dataset
        Of any function of subriem; of any other, its scalars are shown and the ranges of the rest.

    Returns
    -------
    list of (str, str)

    Examples
    --------
    >>> rows_of(xr.Dataset({"length": 2.5}))
    [('dimensions', ''), ('length', '2.5')]
    """
    try:
        return _ROWS.get(made_by(dataset), _anything)(dataset)
    except KeyError:
        # a selection of the variables that were made
        return _anything(dataset)


# ------------------------------------------------------------------ numbers as text


def _number(value: Any) -> str:
    return f"{float(value):.6g}" if isinstance(value, float | np.floating) else str(value)


def _span(array: Any) -> str:
    """One number, or the least and the greatest, and how many of them are known."""
    values = np.asarray(array).ravel()
    if values.dtype.kind == "b":
        return _yes(values)
    known = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if not known.size:
        return "not known" if values.size else "none"
    least, greatest = known.min(), known.max()
    text = _number(least) if least == greatest else f"{_number(least)} to {_number(greatest)}"
    missing = "" if known.size == values.size else f" ({known.size} of {values.size} known)"
    return text + missing


def _yes(array: Any) -> str:
    values = np.asarray(array).ravel().astype(bool)
    if values.size == 1:
        return "yes" if values[0] else "no"
    return f"{int(values.sum())} of {values.size}"


def _counts(array: Any, most: int = 4) -> str:
    values = [str(value) for value in np.asarray(array).ravel()]
    if len(values) == 1:
        return values[0]
    common = Counter(values).most_common()
    shown = ", ".join(f"{value}: {count}" for value, count in common[:most])
    return shown + (f", {len(common) - most} others" if len(common) > most else "")


def _last(array: xr.DataArray) -> xr.DataArray:
    return array.isel(time=-1) if "time" in array.dims else array


# ------------------------------------------------------------------ one function a producer


def _flow(orbit: xr.Dataset) -> Rows:
    loss, attributes = np.ravel(orbit["loss"]), orbit.attrs
    predicted = np.ravel(orbit["predicted_loss"])
    known = np.isfinite(predicted) & (predicted > 0)
    off = np.abs(loss[known] / predicted[known] - 1)
    at = "" if known.all() else f", at {known.sum()} of {known.size} times"
    stop = float(attributes["stopping_time"])
    rank = np.ravel(orbit["rank"])
    full = f" of {orbit.sizes['singular_value']}" if "singular_value" in orbit.sizes else ""
    events = [f"{e['kind']} at time {e['time']:.6g}" for e in attributes.get("events", ())]
    least = attributes.get("minimum_loss", 0.0)
    return [
        ("status", f"{attributes['status']}; {attributes['regime']}"),
        (
            "loss",
            f"{_number(loss[0])} to {_number(loss[-1])}, tolerance {attributes['tolerance']:g}"
            + (f" above the minimum {least:.6g}" if least else ""),
        ),
        (
            "prediction",
            f"loss within {off.max():.1e} of it, relative{at}" if known.any() else "none",
        ),
        (
            "stopping time",
            ("not known in advance" if np.isnan(stop) else f"{stop:.6g}")
            + f"; followed to {float(np.ravel(orbit['time'])[-1]):.6g}",
        ),
        (
            "rank of D",
            _rank_of(rank, orbit["smallest_singular_value"], full),
        ),
        ("rank lost", "; ".join(events)),
        (
            "path length",
            f"{_span(_last(orbit['path_length']))}; parameter error, an estimate: "
            f"{_span(_last(orbit['parameter_error']))}",
        ),
    ]


def _growth_vectors(flag: xr.Dataset) -> str:
    vectors = flag["growth_vector"]
    rows = vectors.transpose(..., "step").values.reshape(-1, vectors.sizes["step"])
    degrees = flag["degree_of_nonholonomy"].transpose(*vectors.transpose(..., "step").dims[:-1])
    texts = []
    for row, degree in zip(rows, np.ravel(degrees), strict=True):
        # past the degree the flag is final; degree 0: not decided, all that was computed
        shown = row[: int(degree)] if degree > 0 else row
        vector = f"({', '.join(f'{value:.0f}' for value in shown)})"
        texts.append(vector if degree > 0 else f"{vector}, not final")
    return _counts(texts)


def _flag(flag: xr.Dataset) -> Rows:
    rows = [
        ("status", _counts(flag["status"])),
        ("growth vector", _growth_vectors(flag)),
        ("homogeneous dimension", _span(flag["homogeneous_dimension"])),
        ("certified", _yes(flag["certified"])),
    ]
    if "certificate" in flag:
        rows.append(("certificate", _counts(flag["certificate"], 2)))
    elif "tolerance" in flag.attrs:
        rows.append(("tolerance", f"{flag.attrs['tolerance']:g} decided the ranks"))
    if "regular" in flag:
        rows.append(("regular", f"{_yes(flag['regular'])} (as at generic points)"))
    return rows


def _exponential(fan: xr.Dataset) -> Rows:
    times = np.ravel(fan["time"])
    rows = [
        ("status", _counts(fan["status"])),
        ("geodesics", f"{fan.sizes.get('geodesic', 1)}, at {times.size} times"),
        ("time", _span(times)),
        ("length at the last time", _span(_last(fan["length"]))),
        ("drift of H, relative", _span(fan["hamiltonian_drift"])),
    ]
    if "horizontality_error" in fan:
        rows.append(("horizontality error", _span(fan["horizontality_error"])))
    if "integral_drift" in fan:
        rows.append(("drift of first integrals", _span(fan["integral_drift"])))
    return [*rows, ("method", str(fan.attrs.get("method", "")))]


def _connect(path: xr.Dataset) -> Rows:
    attributes = path.attrs
    bound = path["lower_bound"]
    return [
        ("status", f"{attributes['status']}; method: {attributes['method']}"),
        ("length", _span(path["length"])),
        ("endpoint error", _span(path["endpoint_error"])),
        (
            "lower bound",
            ("" if np.isnan(bound).any() else f"{_span(bound)}, proved: ")
            + str(attributes["lower_bound"]),
        ),
        ("optimality", str(attributes["optimality"])),
        ("abnormal", str(attributes["abnormal"])),
        (
            "search",
            f"{_span(path['minimizers'])} of the least length, from {_span(path['seeds'])} guesses",
        ),
        ("note", str(attributes.get("note", ""))),
    ]


def _plan(path: xr.Dataset) -> Rows:
    return [
        ("status", str(path.attrs["status"])),
        ("length", f"{_span(path['length'])}, of a path that is not claimed to be shortest"),
        ("endpoint error", _span(path["endpoint_error"])),
        ("pieces", f"{path.sizes.get('piece', 0)}, {_span(path['steerings'])} subgoals aimed at"),
        ("note", str(path.attrs.get("note", ""))),
    ]


def _distance(found: xr.Dataset) -> Rows:
    return [
        ("status", _counts(found["status"])),
        ("distance", f"{_span(found['distance'])}, of the shortest paths found"),
        ("lower bound", f"{_span(found['lower_bound'])}, proved where known"),
        ("abnormal minimizers", _counts(found["abnormal"])),
        ("shortest geodesics", f"{_span(found['minimizers'])} a point"),
    ]


def _orbit_dimension(orbit: xr.Dataset) -> Rows:
    rows = [
        ("status", _counts(orbit["status"])),
        ("regime", str(orbit.attrs["regime"])),
        ("dimension", f"{_span(orbit['dimension'])}; codimension {_span(orbit['codimension'])}"),
        ("proved bounds", f"{_span(orbit['lower_bound'])} and {_span(orbit['upper_bound'])}"),
        ("bounds meet", _yes(orbit["certified"])),
        ("certificate", _counts(orbit["certificate"], 2)),
        ("scope", str(orbit.attrs["scope"])),
    ]
    chance = float(np.max(orbit["error_probability"]))
    return [*rows, ("chance of an error", f"at most {chance:.1e}" if chance > 0 else "")]


def _laws(laws: xr.Dataset) -> Rows:
    shown = [str(text) for text in laws["expression"].values]
    return [
        ("status", str(laws.attrs["regime"])),
        ("laws", f"{len(shown)} found, {_span(laws['independent'])} independent"),
        ("complete", f"{_yes(laws['complete'])}; codimension {_span(laws['codimension'])} at most"),
        *[("", text) for text in shown[:3]],
        ("", f"and {len(shown) - 3} more" if len(shown) > 3 else ""),
        ("scope", str(laws.attrs["scope"])),
    ]


def _front(front: xr.Dataset) -> Rows:
    rows = [
        ("status", _counts(front["status"])),
        ("radius", _number(front.attrs["radius"])),
        ("geodesics", f"{front.sizes['direction']} directions x {front.sizes['vertical']} momenta"),
        ("past a conjugate point", _yes(front["past_conjugate"])),
    ]
    if "minimizing" in front:
        rows += [
            ("nothing shorter found", _yes(front["minimizing"])),
            ("cut points", f"{front.sizes['cut']}, {front.attrs['unresolved']} unresolved"),
            ("optimality", str(front.attrs["optimality"])),
        ]
    return rows


def _conjugate(found: xr.Dataset) -> Rows:
    return [
        ("status", _counts(found["status"])),
        ("first conjugate time", _span(found["conjugate_time"])),
        ("located to", _span(found["conjugate_error"])),
        ("multiplicity", _span(found["multiplicity"])),
    ]


def _cut(found: xr.Dataset) -> Rows:
    return [
        ("status", _counts(found["status"])),
        ("cut time", f"{_span(found['cut_time'])}, an estimate"),
        ("kind", _counts(found["kind"])),
        ("first conjugate time", _span(found["conjugate_time"])),
        ("first Maxwell time", _span(found["maxwell_time"])),
        ("none shorter found", _yes(found["confirmed"])),
        ("optimality", str(found.attrs["optimality"])),
    ]


def _ball(within: xr.Dataset) -> Rows:
    return [
        ("status", _counts(within["status"])),
        ("radius", _number(within.attrs["radius"])),
        ("geodesics", f"{within['reach'].size}, each at {within.sizes['shell']} points"),
        ("shortest up to", _span(within["reach"])),
        ("why they stop", _counts(within["kind"])),
        ("optimality", str(within.attrs["optimality"])),
    ]


def _lifts(found: xr.Dataset) -> Rows:
    """Of `extremal_lifts`, and of `abnormal` where it found a curve."""
    own = []
    if "annihilation" in found:
        own = [
            ("status", _counts(found["status"])),
            ("annihilators of D^2", f"dimension {_span(found['annihilator_dimension'])} at first"),
            ("kept to, relative", _span(found["annihilation"])),
        ]
    if "corank" in found:
        normal = f"{_yes(found['normal'])}; residual {_span(found['normal_residual'])}, relative"
        own += [
            ("abnormal", f"corank {_span(found['corank'])}"),
            ("normal", normal),
            ("strictly abnormal", _yes(found["strictly_abnormal"])),
            ("Goh condition", f"kept to {_span(found['goh'])}, relative"),
        ]
    return [*own, ("regime", f"{found.attrs['regime']}, {found.attrs['tolerance']:g}")]


def _lift(path: xr.Dataset) -> Rows:
    rank = np.ravel(path["rank"])
    return [
        ("status", f"{path.attrs['status']}; {path.attrs['regime']}"),
        ("message", str(path.attrs["message"])),
        ("followed to", f"{_span(_last(path['time']))} of the curve's time [0, 1]"),
        ("tracking error", f"{_span(path['tracking_error'])}, measured"),
        ("parameter error", f"{_span(_last(path['parameter_error']))}, an estimate"),
        ("path length", _span(_last(path["path_length"]))),
        ("rank of D", _rank_of(rank, path["smallest_singular_value"])),
    ]


def _rank_of(rank: np.ndarray, smallest: xr.DataArray, full: str = "") -> str:
    found = _span(rank[rank >= 0]).replace("none", "not decided")
    return f"{found}{full}, decided by a tolerance; smallest singular value {_span(smallest)}"


def _holonomy(loop: xr.Dataset) -> Rows:
    return [
        ("status", f"{loop.attrs['status']}; {loop.attrs['regime']}"),
        ("message", str(loop.attrs["message"])),
        (
            "displacement",
            f"norm {_span(loop['displacement_norm'])}, error {_span(loop['parameter_error'])}, "
            "an estimate",
        ),
        ("predicted", f"norm {_span(loop['predicted_norm'])}, by the curvature, to leading order"),
        ("difference, relative", _span(loop["relative_difference"])),
        ("area enclosed", _span(loop["area"])),
        ("vertical to", f"{_span(loop['vertical_error'])}, the norm of D times the displacement"),
        ("loop closes to", _span(loop["closing_error"])),
    ]


def _equilibrium(point: xr.Dataset) -> Rows:
    agrees = "agree" if point.attrs["agrees"] else "do not agree"
    return [
        ("status", f"{point.attrs['status']}; |D'g| / (|D| |g|) = {_span(point['stationarity'])}"),
        ("loss", _span(point["loss"])),
        (
            "rank of D",
            f"{_span(point['rank'])}, decided by a tolerance; gap {_span(point['rank_gap'])}",
        ),
        ("predicted dimension", f"{_span(point['predicted_dimension'])} = K - rank"),
        (
            "nullity of the Hessian",
            f"{_span(point['dimension'])}, decided by a tolerance; gap "
            f"{_span(point['hessian_gap'])}",
        ),
        ("the two", agrees),
    ]


def _manifold(walk: xr.Dataset) -> Rows:
    return [
        ("status", f"{walk.attrs['status']}; {walk.attrs['found']} points beside the first"),
        ("stationary", _yes(walk["verified"])),
        ("loss", _span(walk["loss"])),
        ("stationarity", _span(walk["stationarity"])),
        ("rank of D", f"{_span(walk['rank'])}, decided by a tolerance"),
        ("nullity of the Hessian", f"{_span(walk['dimension'])}, decided by a tolerance"),
        ("way walked", _number(float(walk["moved"].sum()))),
    ]


def _study(study: xr.Dataset) -> Rows:
    status, attributes = study["task_status"], study.attrs
    grid = tuple(map(str, status.dims))
    done = np.asarray(status.values == "ok")
    rows = [
        ("study", str(attributes.get("study", ""))),
        ("question", str(attributes.get("question", ""))),
        ("grid", ", ".join(f"{name} {study.sizes[name]}" for name in grid)),
        (
            "tasks",
            _counts(status) + f"; by {attributes.get('task_function', '')}".removesuffix("; by "),
        ),
    ]
    # what all tasks agree on is an attribute, other attributes are variables over the grid
    placed = attributes.get("combination", {}).get("attributes", {})
    for name in ("status", "regime"):
        _, stored = placed.get(name, ("", name))
        if stored not in study:
            rows.append((name, str(attributes.get(stored, ""))))
        elif set(study[stored].dims) == set(grid):
            rows.append((name, _counts(study[stored].transpose(*grid).values[done])))
    known = {stored for _, stored in placed.values()} | dict(rows).keys()
    if "loss" in study and len(study["loss"].dims) == len(grid) + 1:
        rows.append(("last loss", _span(_at_the_last_time(study, grid)[done])))
    for key, variable in study.data_vars.items():
        name = str(key)
        own = name not in known and not name.startswith("task_") and not name.endswith("_length")
        if own and set(variable.dims) == set(grid):
            values = variable.transpose(*grid).values[done]
            rows.append((name, _described(values, variable.attrs.get("padding_value"))))
    return rows


def _at_the_last_time(study: xr.Dataset, grid: tuple[str, ...]) -> np.ndarray:
    loss = study["loss"].transpose(*grid, ...)
    (along,) = loss.dims[len(grid) :]
    count = study.get(f"{str(along).removesuffix('_index')}_length")
    last = np.full(loss.shape[:-1], loss.shape[-1]) if count is None else count.transpose(*grid)
    place = np.maximum(np.asarray(last, dtype=int) - 1, 0)[..., None]
    return np.take_along_axis(loss.values, place, axis=-1)[..., 0]


def _described(values: np.ndarray, padding: Any = None) -> str:
    if padding is not None:
        values = values[values != padding]
    return _span(values) if values.dtype.kind in "biuf" else _counts(values)


def _anything(dataset: xr.Dataset) -> Rows:
    rows = [
        (name, str(dataset.attrs[name])) for name in ("status", "regime") if name in dataset.attrs
    ]
    rows.append(("dimensions", ", ".join(f"{name} {n}" for name, n in dataset.sizes.items())))
    ordered = sorted(dataset.data_vars.items(), key=lambda pair: pair[1].ndim)
    for name, variable in ordered:
        if name not in dict(rows) and variable.dtype.kind in "biufUO":
            rows.append((str(name), _described(variable.values)))
    return rows


_ROWS: dict[str, Callable[[xr.Dataset], Rows]] = {
    "flow": _flow,
    "lie_flag": _flag,
    "certified_flag": _flag,
    "strong_accessibility": _flag,
    "exponential": _exponential,
    "connect": _connect,
    "plan_motion": _plan,
    "distance": _distance,
    "orbit_dimension": _orbit_dimension,
    "conservation_laws": _laws,
    "wavefront": _front,
    "sphere": _front,
    "conjugate_time": _conjugate,
    "cut_time": _cut,
    "ball": _ball,
    "abnormal": _lifts,
    "extremal_lifts": _lifts,
    "horizontal_lift": _lift,
    "holonomy": _holonomy,
    "equilibrium": _equilibrium,
    "critical_manifold": _manifold,
    "Study.run": _study,
}
