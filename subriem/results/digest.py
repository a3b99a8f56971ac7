"""A dataset in at most ten lines: who made it, how it ended, the numbers that one asks for first.

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

__all__ = ["digest"]

_LINES, _WIDTH = 10, 110
Rows = list[tuple[str, str]]


def digest(dataset: xr.Dataset) -> str:
    """What a person wants to know of a dataset first.

    Parameters
    ----------
    dataset : Dataset
        Of any function of subriem; of any other, its scalars are shown and the ranges of the rest.

    Returns
    -------
    str
        At most ten lines: the function and the structure, what was found, and when.

    Examples
    --------
    >>> flag = xr.Dataset(
    ...     {
    ...         "growth_vector": ("step", [2, 3]),
    ...         "degree_of_nonholonomy": 2,
    ...         "homogeneous_dimension": 4.0,
    ...         "certified": True,
    ...         "status": "filled",
    ...     },
    ...     attrs={"function": "lie_flag", "structure": "Structure h: 3 coordinates", "seed": 1},
    ... )
    >>> print(digest(flag))
    lie_flag of Structure h: 3 coordinates
    status                 filled
    growth vector          (2, 3)
    homogeneous dimension  4
    certified              yes
    made                   seed 1
    """
    function = made_by(dataset)
    try:
        rows = _ROWS.get(function, _anything)(dataset)
    except KeyError:
        # a selection of the variables that were made
        rows = _anything(dataset)
    rows = [(name, " ".join(text.split())) for name, text in rows if text]
    made = _origin(dataset)
    rows = rows[: _LINES - 1 - bool(made)] + ([("made", made)] if made else [])
    structure = str(dataset.attrs.get("structure", ""))
    kind = dataset.attrs.get("kind") if function == "flow" else None
    head = f"{function or 'dataset'}{f' ({kind})' if kind else ''}"
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{head} of {structure}" if structure else head]
    lines += [f"{name:{width}}  {text}" for name, text in rows]
    return "\n".join(
        line if len(line) <= _WIDTH else f"{line[: _WIDTH - 4].rstrip()} ..." for line in lines
    )


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


def _origin(dataset: xr.Dataset) -> str:
    attributes = dataset.attrs
    parts = []
    if "created_at" in attributes:
        parts.append(f"{str(attributes['created_at'])[:16].replace('T', ' ')} UTC")
    if "creation_library" in attributes:
        version = attributes.get("creation_library_version", "")
        parts.append(f"{attributes['creation_library']} {version}".strip())
    if "seed" in attributes:
        parts.append(f"seed {attributes['seed']}")
    return ", ".join(parts)


# ------------------------------------------------------------------ one function a producer


def _flow(orbit: xr.Dataset) -> Rows:
    loss, attributes = np.ravel(orbit["loss"]), orbit.attrs
    predicted = np.ravel(orbit["predicted_loss"])
    known = np.isfinite(predicted) & (predicted > 0)
    off = np.abs(loss[known] / predicted[known] - 1)
    at = "" if known.all() else f", at {known.sum()} of {known.size} times"
    stop = float(attributes["stopping_time"])
    rank = np.ravel(orbit["rank"])
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
            _span(rank[rank >= 0]).replace("none", "not decided")
            + (f" of {orbit.sizes['singular_value']}" if "singular_value" in orbit.sizes else "")
            + f", decided by a tolerance; smallest singular value "
            f"{_span(orbit['smallest_singular_value'])}",
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
        if stored in study:
            values = study[stored].transpose(*grid).values[done]
            rows.append((name, _counts(values)))
        else:
            rows.append((name, str(attributes.get(stored, ""))))
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
    "Study.run": _study,
}
