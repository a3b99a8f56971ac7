"""Expressions in named coordinates and parameters, and the functions compiled from them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

import casadi as ca
import numpy as np

from subriem.arithmetic.many_points import values_at
from subriem.structure.coordinates import Symbols, read_points

__all__ = ["SymbolicModel"]

T = TypeVar("T")


class SymbolicModel:
    """Frame, metric, drift and chart as expressions, and what is compiled from them.

    Nothing is written out before it is asked for, and everything is built once.

    Parameters
    ----------
    coordinates : tuple of str
    parameters : dict of str to float
    model : casadi.Function or None
        (state, parameters) to frame (n, m), metric (m, m), drift (n, 1) and margins (d, 1). None
        where a subclass builds it.

    Attributes
    ----------
    state : casadi.SX, shape (n, 1)
    parameter_symbols : casadi.SX, shape (number of parameters, 1)

    Examples
    --------
    >>> x = ca.SX.sym("x", 2)
    >>> outputs = [x, ca.SX.eye(1), ca.SX.zeros(2, 1), ca.SX(0, 1)]
    >>> model = ca.Function("model", [x, ca.SX(0, 1)], outputs)
    >>> symbolic = SymbolicModel(("x", "y"), {}, model)
    >>> symbolic.evaluate("frame", symbolic.frame, [1, 2])
    array([[1.],
           [2.]])
    """

    def __init__(
        self,
        coordinates: tuple[str, ...],
        parameters: Mapping[str, float],
        model: ca.Function | None,
    ) -> None:
        self.coordinates = coordinates
        self.parameters = dict(parameters)
        self._model = model
        self._bind()

    def _bind(self) -> None:
        self._cache: dict[Hashable, Any] = {}
        self.state = Symbols(self.coordinates).vector
        self.parameter_symbols = Symbols(tuple(self.parameters), "parameter").vector

    def __getstate__(self) -> dict[str, Any]:
        # Expressions do not pickle, the function that holds them does.
        left_out = {"_cache", "state", "parameter_symbols"}
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    @property
    def model(self) -> ca.Function:
        """(state, parameters) to frame, metric, drift and margins."""
        assert self._model is not None
        return self._model

    @property
    def _expressions(self) -> list[ca.SX]:
        return self.cached(
            "expressions", lambda: self.model.call([self.state, self.parameter_symbols])
        )

    @property
    def frame(self) -> ca.SX:
        """Columns f_1 ... f_m span the distribution; shape (n, m)."""
        return self._expressions[0]

    @property
    def metric(self) -> ca.SX:
        """Inner products of the frame fields, the identity if orthonormal; shape (m, m)."""
        return self._expressions[1]

    @property
    def drift(self) -> ca.SX:
        """The uncontrolled field, zero where there is none (`has_drift`); shape (n, 1)."""
        return self._expressions[2]

    @property
    def margins(self) -> ca.SX:
        """What is positive inside the chart; shape (d, 1)."""
        return self._expressions[3]

    @property
    def dimension(self) -> int:
        """Dimension n of the state space."""
        return len(self.coordinates)

    @property
    def parameter_values(self) -> np.ndarray:
        """The parameters' values in order."""
        return np.array(list(self.parameters.values()), dtype=np.float64)

    def cached(self, key: Hashable, build: Callable[[], T]) -> T:
        """What ``build`` makes, made once for this structure and kept under ``key``.

        Parameters
        ----------
        key : hashable
        build : callable
            Without arguments.

        Returns
        -------
        object
            What ``build`` returned when it was first called for this key.
        """
        if key not in self._cache:
            self._cache[key] = build()
        return self._cache[key]

    def function(self, expression: ca.SX) -> ca.Function:
        """Compile an expression in ``state`` and ``parameter_symbols``.

        Parameters
        ----------
        expression : casadi.SX

        Returns
        -------
        casadi.Function
            (state, parameters) to the expression.
        """
        # densified: a caller that reads the nonzeros finds every entry at its place
        return ca.Function(
            "values", [self.state, self.parameter_symbols], [ca.densify(expression)], {"cse": True}
        )

    def points(self, at: Any, what: str = "point") -> np.ndarray:
        """Read one point or a batch; see `read_points`.

        Parameters
        ----------
        at : points
        what : str
            What an error calls them.

        Returns
        -------
        ndarray, shape (n,) or (B, n)

        Raises
        ------
        InputError, InputTypeError
            If they are not points in these coordinates.
        """
        return read_points(self.coordinates, at, what)

    def evaluate(self, name: str, expression: ca.SX, at: Any) -> np.ndarray:
        """Values of an expression at points; compiled once for each ``name``.

        Parameters
        ----------
        name : str
        expression : casadi.SX, shape (r, c)
        at : points
            As `read_points` takes them.

        Returns
        -------
        ndarray, shape (..., r, c)

        Raises
        ------
        InputError, InputTypeError
            If they are not points in these coordinates.
        """
        points = self.points(at)
        function = self.cached(("function", name), lambda: self.function(expression))
        rows, columns = expression.shape
        (values,) = values_at(function, np.atleast_2d(points), self.parameter_values)
        # CasADi stores column by column
        shaped = values.reshape(-1, columns, rows).transpose(0, 2, 1)
        return shaped.reshape(*points.shape[:-1], rows, columns)

    def frame_at(self, at: Any) -> np.ndarray:
        """The frame F(q).

        Parameters
        ----------
        at : points
            One point, or a batch: see `read_points`.

        Returns
        -------
        ndarray, shape (n, m) or (B, n, m)

        Raises
        ------
        InputError, InputTypeError
            If they are not points of this structure.
        """
        return self.evaluate("frame", self.frame, at)

    def metric_at(self, at: Any) -> np.ndarray:
        """The inner products G(q) of the frame fields.

        Parameters
        ----------
        at : points
            One point, or a batch: see `read_points`.

        Returns
        -------
        ndarray, shape (m, m) or (B, m, m)

        Raises
        ------
        InputError, InputTypeError
            If they are not points of this structure.
        """
        return self.evaluate("metric", self.metric, at)

    def drift_at(self, at: Any) -> np.ndarray:
        """The drift f_0(q); zero where there is none.

        Parameters
        ----------
        at : points
            One point, or a batch: see `read_points`.

        Returns
        -------
        ndarray, shape (n,) or (B, n)

        Raises
        ------
        InputError, InputTypeError
            If they are not points of this structure.
        """
        return self.evaluate("drift", self.drift, at)[..., 0]
