"""Definition of a structure by its vector fields, with what is refused at once."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.exact import to_float
from subriem.errors import InputError, InputTypeError
from subriem.structure.coordinates import Symbols, read_names
from subriem.structure.structure import Structure
from subriem.structure.symmetries import read_symmetries

__all__ = ["Chart", "define", "entry", "row", "square", "structure_from"]

Periodic = Sequence[str] | Mapping[str, float]
Domain = Mapping[str, tuple[Any, Any]] | Callable[..., Any] | None


class Chart:
    """Symbols, periods and bounds of a state space, shared by all ways to define a structure.

    Parameters
    ----------
    name : str
        Of the structure, for the messages.
    coordinates : str or sequence of str
    parameters : mapping or None
    periodic : sequence of str, or mapping to periods
    domain : mapping, callable or None
    """

    def __init__(
        self,
        name: str,
        coordinates: str | Sequence[str],
        parameters: Mapping[str, float] | None,
        periodic: Periodic,
        domain: Domain,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InputTypeError(f"expected a name, got {name!r}")
        self.name = name
        self.coordinates = read_names(coordinates)
        given = dict(parameters or {})
        names = read_names(list(given), "parameter") if given else ()
        self.parameters = {key: to_float(value) for key, value in given.items()}
        clash = sorted(set(names) & set(self.coordinates))
        if clash:
            raise InputError(f"{name}: {', '.join(clash)} is both a coordinate and a parameter")
        self.q = Symbols(self.coordinates)
        self.p = Symbols(names, "parameter")
        angles = periodic if isinstance(periodic, Mapping) else dict.fromkeys(periodic, 2 * math.pi)
        self.periods = {key: to_float(value) for key, value in angles.items()}
        self._known(self.periods, "periodic")
        if any(not 0 < period < math.inf for period in self.periods.values()):
            raise InputError(f"{name}: expected positive periods, got {self.periods}")
        self.bounds, self.margins = self._read_domain(domain)

    def _known(self, names: Mapping[str, Any], what: str) -> None:
        unknown = sorted(set(names) - set(self.coordinates))
        if unknown:
            raise InputError(
                f"{self.name}, {what}: no coordinate {', '.join(unknown)}; "
                f"there are {', '.join(self.coordinates)}"
            )

    def _read_domain(self, domain: Domain) -> tuple[dict[str, tuple[float, float]], ca.SX]:
        if domain is None:
            return {}, ca.SX(0, 1)
        if callable(domain):
            given = self.call(domain, "domain")
            rows = given if isinstance(given, Sequence) else [given]
            return {}, ca.vertcat(*(entry(value, f"{self.name}, domain") for value in rows))
        self._known(domain, "domain")
        bounds, margins = {}, []
        for key, pair in domain.items():
            try:
                low, high = pair
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{self.name}, domain of {key}: expected (low, high), got {pair!r}"
                ) from error
            low = -math.inf if low is None else to_float(low) if low != -math.inf else low
            high = math.inf if high is None else to_float(high) if high != math.inf else high
            if not low < high:
                raise InputError(f"{self.name}, domain of {key}: expected low < high, got {pair}")
            bounds[key] = (float(low), float(high))
            margins += [self.q[key] - low] if math.isfinite(low) else []
            margins += [high - self.q[key]] if math.isfinite(high) else []
        return bounds, ca.vertcat(*margins) if margins else ca.SX(0, 1)

    def call(self, function: Callable[..., Any], what: str) -> Any:
        """Call a user's function of q, or of q and p.

        Parameters
        ----------
        function : callable
        what : str

        Returns
        -------
        object

        Raises
        ------
        InputTypeError
            If it is not callable, or fails on symbols.
        """
        if not callable(function):
            raise InputTypeError(f"{self.name}, {what}: expected a function of q, got {function!r}")
        positional = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
        arguments = (self.q, self.p)[: 2 if len(positional) >= 2 else 1]
        try:
            return function(*arguments)
        except (TypeError, NotImplementedError) as error:
            raise InputTypeError(
                f"{self.name}, {what}: the function failed on CasADi symbols ({error}); "
                "use CasADi's functions, as in `from casadi import cos, sin`"
            ) from error

    def known_symbols(self, expression: ca.SX, what: str) -> None:
        """Refuse an expression in symbols that are not of this chart.

        Parameters
        ----------
        expression : casadi.SX
        what : str

        Raises
        ------
        InputError
        """
        function = ca.Function(
            "known", [self.q.vector, self.p.vector], [expression], {"allow_free": True}
        )
        if function.has_free():
            free = ", ".join(map(str, function.get_free()))
            raise InputError(f"{self.name}, {what}: {free} is neither coordinate nor parameter")


def entry(value: Any, what: str) -> ca.SX:
    """One entry of a field or form as an expression.

    Parameters
    ----------
    value : number or casadi.SX
    what : str

    Returns
    -------
    casadi.SX, scalar

    Raises
    ------
    InputError
        If it is a number that is not finite.
    InputTypeError
        If it is neither.

    Examples
    --------
    >>> entry(2, "f1")
    SX(2)
    """
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, ca.SX | ca.DM) and value.shape == (1, 1):
        return ca.SX(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise InputError(
                f"{what} is {value}, expected a finite number (functions of Python's math turn "
                "symbols into nan: use CasADi's, as in `from casadi import cos, sin`)"
            )
        return ca.SX(float(value))
    if hasattr(value, "__float__") and not isinstance(value, bool | ca.MX):
        return ca.SX(to_float(value))
    raise InputTypeError(
        f"{what}: expected a number or a CasADi SX expression, got {type(value).__name__}"
    )


def row(values: Any, length: int, what: str) -> ca.SX:
    """A field or form as a column of expressions.

    Parameters
    ----------
    values : sequence, or casadi.SX vector
    length : int
    what : str

    Returns
    -------
    casadi.SX, shape (length, 1)

    Raises
    ------
    InputError
        If the length is another.
    InputTypeError
        If an entry is neither number nor expression.
    """
    if (
        isinstance(values, ca.SX | ca.DM)
        and min(values.shape) == 1 == max(values.shape) - length + 1
    ):
        return ca.vec(ca.densify(ca.SX(values)))
    try:
        listed = list(values)
    except TypeError as error:
        raise InputTypeError(f"{what}: expected a tuple of {length} entries") from error
    if len(listed) != length:
        raise InputError(f"{what}: expected {length} entries, got {len(listed)}")
    return ca.vertcat(*(entry(value, f"{what}, entry {k}") for k, value in enumerate(listed)))


def define(
    name: str,
    coordinates: str | Sequence[str],
    frame: Callable[..., Any],
    *,
    inner_product: Callable[..., Any] | None = None,
    parameters: Mapping[str, float] | None = None,
    periodic: Periodic = (),
    domain: Domain = None,
    drift: Callable[..., Any] | None = None,
    field_names: Sequence[str] | None = None,
    symmetries: Mapping[str, Callable[..., Any]] | None = None,
) -> Structure:
    """Define a structure by its vector fields: see `Structure.define`."""
    chart = Chart(name, coordinates, parameters, periodic, domain)
    n = len(chart.coordinates)
    given = chart.call(frame, "frame")
    if isinstance(given, ca.SX):
        given = ca.horzsplit(given)
    if not isinstance(given, Sequence) or not len(given):
        raise InputTypeError(f"{name}, frame: expected a list of tuples, got {given!r}")
    columns = ca.horzcat(
        *(row(field, n, f"{name}, field f{k + 1}") for k, field in enumerate(given))
    )
    m = columns.shape[1]
    metric = ca.SX.eye(m)
    if inner_product is not None:
        metric = square(chart.call(inner_product, "inner product"), m, f"{name}, inner product")
    uncontrolled = None
    if drift is not None:
        uncontrolled = row(chart.call(drift, "drift"), n, f"{name}, drift")
    labels = read_names(field_names, "field") if field_names else None
    structure = structure_from(chart, columns, metric, drift=uncontrolled, field_names=labels)
    if symmetries is not None:
        structure.symmetries = read_symmetries(structure, chart.q, symmetries)
    return structure


def square(given: Any, m: int, what: str) -> ca.SX:
    """An m x m matrix of expressions.

    Parameters
    ----------
    given : nested sequence or matrix
    m : int
    what : str

    Returns
    -------
    casadi.SX, shape (m, m)

    Raises
    ------
    InputError
        If the shape is another.
    InputTypeError
        If an entry is neither number nor expression.
    """
    if isinstance(given, ca.SX | ca.DM | np.ndarray):
        if tuple(given.shape) != (m, m):
            raise InputError(f"{what}: expected shape ({m}, {m}), got {tuple(given.shape)}")
        return ca.SX(ca.densify(ca.SX(given)))
    listed = list(given)
    if len(listed) != m:
        raise InputError(f"{what}: expected {m} rows, got {len(listed)}")
    return ca.vertcat(*(row(line, m, f"{what}, row {k}").T for k, line in enumerate(listed)))


def structure_from(
    chart: Chart,
    frame: ca.SX,
    metric: ca.SX,
    *,
    drift: ca.SX | None = None,
    field_names: tuple[str, ...] | None = None,
) -> Structure:
    """Build a structure from expressions, and check it at sample points of its chart.

    Parameters
    ----------
    chart : Chart
    frame : casadi.SX, shape (n, m)
    metric : casadi.SX, shape (m, m)
    drift : casadi.SX, shape (n, 1), optional
    field_names : tuple of str, optional

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        As `Structure.define`.
    """
    n, m = frame.shape
    names = field_names or tuple(f"f{k + 1}" for k in range(m))
    if len(names) != m:
        raise InputError(f"{chart.name}: {m} fields and {len(names)} field names")
    uncontrolled = ca.SX.zeros(n, 1) if drift is None else drift
    outputs = [frame, metric, uncontrolled, chart.margins]
    for expression, what in zip(
        outputs, ("frame", "inner product", "drift", "domain"), strict=True
    ):
        chart.known_symbols(expression, what)
    model = ca.Function("model", [chart.q.vector, chart.p.vector], outputs)
    structure = Structure(
        chart.name,
        chart.coordinates,
        model,
        parameters=chart.parameters,
        periods=chart.periods,
        bounds=chart.bounds,
        field_names=names,
        has_drift=drift is not None,
    )
    _check(structure)
    return structure


def _check(structure: Structure) -> None:
    points = structure.sample(3)
    name = structure.name
    evaluated = [("frame", structure.frame_at), ("drift", structure.drift_at)]
    if not structure.orthonormal:
        evaluated.append(("inner product", structure.metric_at))
    for what, evaluate in evaluated:
        values = evaluate(points)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            point = dict(zip(structure.coordinates, points[bad[0][0]].tolist(), strict=True))
            where = ", ".join(f"{key}={value:.3g}" for key, value in point.items())
            raise InputError(
                f"{name}, {what}: entry {tuple(int(k) for k in bad[0][1:])} is not finite at the "
                f"sample point {where}; a `domain` says where the chart is"
            )
    # An orthonormal frame of thousands of fields has nothing to be checked here.
    metric = np.zeros((0, 0)) if structure.orthonormal else structure.metric_at(points)
    for point, inner in zip(points, metric, strict=False):
        scale = np.sqrt(np.abs(np.diag(inner)))
        skew = np.abs(inner - inner.T) > 1e-12 * np.outer(scale, scale)
        symmetric = not skew.any()
        try:
            np.linalg.cholesky(inner)
        except np.linalg.LinAlgError:
            symmetric = False
        if not symmetric:
            raise InputError(
                f"{name}, inner product: expected symmetric positive definite, got "
                f"{inner.tolist()} at the sample point {point.tolist()}"
            )
    for key, period in structure.periods.items():
        moved = points.copy()
        moved[:, structure.coordinates.index(key)] += period
        parts = (structure.frame_at, structure.metric_at, structure.drift_at)
        here, there = [part(points) for part in parts], [part(moved) for part in parts]
        for before, after in zip(here, there, strict=True):
            if np.abs(before - after).max(initial=0.0) > 1e-9 * (1 + np.abs(before).max(initial=0)):
                raise InputError(
                    f"{name}: the structure does not have period {period:.6g} in {key}; "
                    "leave it out of `periodic`"
                )
