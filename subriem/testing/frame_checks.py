"""Checks of what a structure is: definition, frame, inner product, smoothness, periods, chart."""

from __future__ import annotations

import casadi as ca
import numpy as np

from subriem.brackets.flag import lie_flag
from subriem.structure import Structure
from subriem.testing.description import point_text
from subriem.testing.model import Model, read_model
from subriem.testing.residual import residual

__all__ = [
    "check_definition",
    "check_frame",
    "check_inner_product",
    "check_periods",
    "check_smoothness",
]

_POINTS = 20
_SEGMENTS = 8
_NODES = 257
_HALVINGS = 30
_ORDERS = 4


def check_definition(model: Model | Structure) -> None:
    """The model's function makes a structure."""
    __tracebackhide__ = True
    model = read_model(model)
    try:
        _ = model.structure
    except Exception as error:  # whatever a user's function raises
        raise AssertionError(
            f"{model.name} does not make a structure: {type(error).__name__}: {error}"
        ) from error


def check_frame(model: Model | Structure) -> None:
    """The frame is finite in the chart, and independent at generic points or redundant as declared.

    A frame is declared redundant by truths whose first entries are below its number of fields.
    """
    __tracebackhide__ = True
    model = read_model(model)
    structure = model.structure
    points = structure.sample(_POINTS, np.random.default_rng(10))
    _demand_finite(structure, points, structure.frame_at(points), "frame")
    if structure.has_drift:
        _demand_finite(structure, points, structure.drift_at(points), "drift")
    generic = points[:3]
    found = lie_flag(structure, generic, max_step=1)["growth_vector"].values[:, 0]
    rank, m = int(found.max()), structure.rank
    declared = max((truth.growth[0] for truth in model.truths), default=m)
    if rank not in (m, declared):
        point = generic[int(found.argmax())]
        raise AssertionError(
            f"{structure.name}: the {m} fields span {rank} dimensions at generic points, expected "
            f"{m if declared == m else f'{m}, or {declared} as the truths declare'}\n"
            f"  at {point_text(structure, point)}: {_dependence(structure, point)}"
        )


def _demand_finite(structure: Structure, points: np.ndarray, values: np.ndarray, what: str) -> None:
    __tracebackhide__ = True
    finite = np.isfinite(values).reshape(len(points), -1).all(axis=1)
    if not finite.all():
        bad = points[int(finite.argmin())]
        raise AssertionError(
            f"{structure.name}: the {what} is not finite at {point_text(structure, bad)}, which is "
            "inside the chart"
        )


def _dependence(structure: Structure, point: np.ndarray) -> str:
    """A combination of the fields that vanishes at a point."""
    frame = structure.frame_at(point)
    lengths = np.linalg.norm(frame, axis=0)
    if (lengths == 0).any():
        return f"{structure.field_names[int(lengths.argmin())]} = 0"
    combination = np.linalg.svd(frame / lengths)[2][-1] / lengths
    combination /= np.abs(combination).max()
    terms = [
        f"{value:+.4g} {name}"
        for value, name in zip(combination, structure.field_names, strict=True)
        if abs(value) > 1e-9
    ]
    return " ".join(terms) + " = 0"


def check_inner_product(model: Model | Structure) -> None:
    """The inner product of the fields is symmetric and positive definite in the chart."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    points = structure.sample(_POINTS, np.random.default_rng(11))
    values = structure.metric_at(points)
    _demand_finite(structure, points, values, "inner product")
    skew = residual(structure, [structure.metric, -structure.metric.T], points)
    if not skew.vanishes.all():
        b, i, j = skew.largest()
        raise AssertionError(
            f"{structure.name}: the inner product is not symmetric: entry ({i}, {j}) is "
            f"{values[b, i, j]:.6g} and ({j}, {i}) is {values[b, j, i]:.6g} at "
            f"{point_text(structure, points[b])}"
        )
    for point, inner in zip(points, values, strict=True):
        diagonal = np.diag(inner)
        if (diagonal <= 0).any():
            k = int(diagonal.argmin())
            name = structure.field_names[k]
            raise AssertionError(
                f"{structure.name}: <{name}, {name}> = {diagonal[k]:.6g} at "
                f"{point_text(structure, point)}, expected positive"
            )
        # in units of the fields' lengths
        cosines = inner / np.sqrt(np.outer(diagonal, diagonal))
        smallest = np.linalg.eigvalsh(cosines)[0]
        if smallest <= 1e-13 * len(cosines):
            raise AssertionError(
                f"{structure.name}: the inner product is not positive definite at "
                f"{point_text(structure, point)}: its smallest eigenvalue is {smallest:.3g} in "
                "units of the fields' lengths"
            )


def check_periods(model: Model | Structure) -> None:
    """Frame, inner product, drift and chart repeat themselves after each declared period."""
    __tracebackhide__ = True
    structure = read_model(model).structure
    points = structure.sample(_POINTS, np.random.default_rng(12))
    parts = {
        "frame": structure.frame,
        "inner product": structure.metric,
        "drift": structure.drift,
        "chart": structure.margins,
    }
    for name, period in structure.periods.items():
        k = structure.coordinates.index(name)
        moved = structure.state + ca.SX(np.eye(structure.dimension)[k] * period)
        for what, expression in parts.items():
            if not expression.numel():
                continue
            there = ca.substitute(expression, structure.state, moved)
            found = residual(structure, [there, -expression], points)
            if not found.vanishes.all():
                b, i, j = found.largest()
                raise AssertionError(
                    f"{structure.name}: period {period:.6g} in {name} is wrong: entry ({i}, {j}) "
                    f"of the {what} changes by {found.values[b, i, j]:.3g} from "
                    f"{point_text(structure, points[b])} to one period on"
                )


def check_smoothness(model: Model | Structure) -> None:
    """Frame, inner product and drift have no jump up to their third derivatives in the chart.

    Searched along segments between random points: where a derivative changes most from one of 257
    nodes to the next, and by bisection from there.
    """
    __tracebackhide__ = True
    structure = read_model(model).structure
    entries = ca.densify(
        ca.vertcat(
            ca.vec(structure.frame),
            ca.vec(structure.metric),
            *([structure.drift] if structure.has_drift else []),
        )
    )
    start, way = ca.SX.sym("start", structure.dimension), ca.SX.sym("way", structure.dimension)
    s = ca.SX.sym("s")
    orders = [ca.substitute(entries, structure.state, start + s * way)]
    for _ in range(_ORDERS - 1):
        orders.append(ca.densify(ca.jacobian(orders[-1], s)))
    along = ca.Function(
        "along", [s, start, way, structure.parameter_symbols], [ca.horzcat(*orders)], {"cse": True}
    )
    generator = np.random.default_rng(13)
    starts, ends = structure.sample(_SEGMENTS, generator), structure.sample(_SEGMENTS, generator)
    nodes = np.linspace(0, 1, _NODES)
    size = entries.numel()
    for a, b in zip(starts, ends, strict=True):
        if structure.inside(a + nodes[:, None] * (b - a)).all():
            _search_jump(structure, along, a, b - a, nodes, size)


def _search_jump(
    structure: Structure,
    along: ca.Function,
    start: np.ndarray,
    way: np.ndarray,
    nodes: np.ndarray,
    size: int,
) -> None:
    __tracebackhide__ = True
    parameters = structure.parameter_values

    def values(s: np.ndarray) -> np.ndarray:
        """Derivatives at s, shape (len(s), entries, orders)."""
        batch = len(s)
        out = along(
            s[None, :],
            np.repeat(start[:, None], batch, axis=1),
            np.repeat(way[:, None], batch, axis=1),
            np.repeat(parameters[:, None], batch, axis=1),
        )
        return np.asarray(out).reshape(size, batch, _ORDERS).swapaxes(0, 1)

    table = values(nodes)
    if not np.isfinite(table).all():
        b, i, k = np.argwhere(~np.isfinite(table))[0]
        raise AssertionError(
            f"{structure.name}: derivative {k} of {_entry_name(structure, i)} is not finite at "
            f"{point_text(structure, start + nodes[b] * way)}, which is inside the chart"
        )
    change = np.abs(np.diff(table, axis=0))
    largest = np.abs(table).max(axis=(0, 2))
    # what is nothing but rounding has no scale of its own
    visible = np.maximum(1e-5 * largest, 1e-10 * np.abs(table).max())[:, None]
    # what stands out from its neighbours: a steep slope does not, a jump does
    padded = np.pad(change, ((1, 1), (0, 0), (0, 0)))
    excess = change - np.maximum(padded[:-2], padded[2:])
    entries, orders = np.nonzero(excess.max(axis=0) > visible / 2)
    if not len(entries):
        return
    suspect = excess[:, entries, orders].argmax(axis=0)
    low, high = nodes[suspect], nodes[suspect + 1]
    each = np.arange(len(entries))

    def pick(s: np.ndarray) -> np.ndarray:
        """Of each suspect its own derivative at its own node."""
        return values(s)[each, entries, orders]

    at_low, at_high = pick(low), pick(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = pick(middle)
        left = np.abs(at_middle - at_low) >= np.abs(at_high - at_middle)
        low, at_low = np.where(left, low, middle), np.where(left, at_low, at_middle)
        high, at_high = np.where(left, middle, high), np.where(left, at_middle, at_high)
    jump = np.abs(at_high - at_low)
    # NaN between two nodes is no smooth entry either
    found = np.flatnonzero(~(jump <= visible[entries, 0]))
    if len(found):
        first = found[int(orders[found].argmin())]
        i, k = int(entries[first]), int(orders[first])
        what = "jumps" if k == 0 else f"has a derivative of order {k} that jumps"
        raise AssertionError(
            f"{structure.name} is not smooth: {_entry_name(structure, i)} {what} by "
            f"{jump[first]:.3g} (of at most {largest[i]:.3g}) at "
            f"{point_text(structure, start + low[first] * way)}"
        )


def _entry_name(structure: Structure, position: int) -> str:
    n, m = structure.dimension, structure.rank
    names = structure.field_names
    if position < n * m:
        return f"the {structure.coordinates[position % n]} component of {names[position // n]}"
    position -= n * m
    if position < m * m:
        return f"<{names[position % m]}, {names[position // m]}>"
    return f"the {structure.coordinates[position - m * m]} component of the drift"
