"""`Structure`: a sub-Riemannian structure, its expressions and its compiled functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import casadi as ca
import numpy as np

from subriem.errors import InputError
from subriem.structure.chart import sample_chart, wrap
from subriem.structure.coordinates import read_points
from subriem.structure.symbolic_model import SymbolicModel
from subriem.structure.symmetries import Symmetry

__all__ = ["Structure"]


class Structure(SymbolicModel):
    """A state space, a frame F(q) of vector fields on it, and their inner products G(q).

    Made by `Structure.define` or `Structure.from_constraints`; everything is a CasADi expression
    in the symbols ``state`` and ``parameter_symbols``, and every compiled function is built once.

    Parameters
    ----------
    name : str
    coordinates : tuple of str
    model : casadi.Function
        (state, parameters) to frame (n, m), metric (m, m), drift (n, 1) and margins (d, 1), which
        are positive inside the chart.
    parameters : dict of str to float
    periods : dict of str to float
        Of the periodic coordinates.
    bounds : dict of str to (float, float)
        Of the coordinates that the chart bounds.
    field_names : tuple of str
    has_drift : bool
    symmetries : tuple of Symmetry
        Isometries, checked by whoever declares them: see `subriem.structure.symmetries`.

    Examples
    --------
    >>> heisenberg = Structure.define(
    ...     "heisenberg", "x y z", lambda q: [(1, 0, -q.y / 2), (0, 1, q.x / 2)]
    ... )
    >>> heisenberg
    Structure heisenberg: 3 coordinates (x, y, z), 2 fields
    >>> heisenberg.velocity([0, 2, 0], [1, 1])
    array([ 1.,  1., -1.])
    """

    def __init__(
        self,
        name: str,
        coordinates: tuple[str, ...],
        model: ca.Function | None,
        *,
        parameters: Mapping[str, float],
        periods: Mapping[str, float],
        bounds: Mapping[str, tuple[float, float]],
        field_names: tuple[str, ...],
        has_drift: bool = False,
        symmetries: tuple[Symmetry, ...] = (),
    ) -> None:
        super().__init__(coordinates, parameters, model)
        self.name = name
        self.periods = dict(periods)
        self.bounds = dict(bounds)
        self._field_names = field_names
        self.has_drift = has_drift
        self.symmetries = symmetries

    def __repr__(self) -> str:
        n, m = self.dimension, self.rank
        shown = ", ".join(self.coordinates[:8]) + (", ..." if n > 8 else "")
        text = f"Structure {self.name}: {n} coordinate{'s' * (n != 1)} ({shown}), "
        text += f"{m} field{'s' * (m != 1)}" + (" and a drift" if self.has_drift else "")
        if self.parameters:
            values = ", ".join(f"{key}={value:g}" for key, value in self.parameters.items())
            text += f"; {values}"
        return text

    # ------------------------------------------------------------------ what it is

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the frame fields."""
        return self._field_names

    @property
    def rank(self) -> int:
        """Number m of frame fields (the rank of the distribution where they are independent)."""
        return int(self.frame.shape[1])

    @property
    def orthonormal(self) -> bool:
        """Whether the frame is orthonormal as declared: G is the identity."""
        return bool(ca.is_equal(self.metric, ca.SX.eye(self.rank), 2))

    def field(self, which: int | str) -> ca.SX:
        """One field of the frame by number or name (``"f1"``), or ``"drift"``.

        Parameters
        ----------
        which : int or str

        Returns
        -------
        casadi.SX, shape (n, 1)

        Raises
        ------
        InputError
            If there is no such field.
        """
        if which == "drift" and self.has_drift:
            return self.drift
        if isinstance(which, str):
            if which not in self.field_names:
                names = ", ".join(self.field_names) + (", drift" if self.has_drift else "")
                raise InputError(f"{self.name} has no field {which!r}; there are {names}")
            which = self.field_names.index(which)
        if not -self.rank <= which < self.rank:
            raise InputError(f"{self.name} has no field number {which}; there are {self.rank}")
        return self.frame[:, range(self.rank)[which]]

    def with_parameters(self, **values: float) -> Structure:
        """The same structure at other parameter values.

        Parameters
        ----------
        **values : float

        Returns
        -------
        Structure

        Raises
        ------
        InputError
            If a parameter is unknown or a value not finite.

        Examples
        --------
        >>> cart = Structure.define(
        ...     "cart", "x", lambda q, p: [(p.gain,)], parameters={"gain": 1.0}
        ... )
        >>> cart.with_parameters(gain=3).velocity([0], [1])
        array([3.])
        """
        unknown = sorted(set(values) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise InputError(
                f"{self.name} has no parameter {', '.join(unknown)}; there are {known}"
            )
        for key, value in values.items():
            if not math.isfinite(float(value)):
                raise InputError(f"{self.name}: parameter {key} = {value!r} is not finite")
        changed = type(self).__new__(type(self))
        new = {**self.parameters, **{key: float(value) for key, value in values.items()}}
        changed.__setstate__({**self.__getstate__(), "parameters": new})
        return changed

    # ------------------------------------------------------------------ numbers

    def velocity(self, at: Any, control: Any) -> np.ndarray:
        """The velocity F(q) u, plus the drift where there is one.

        Parameters
        ----------
        at : points
        control : array_like, shape (m,) or (B, m)

        Returns
        -------
        ndarray, shape (n,) or (B, n)

        Raises
        ------
        InputError
            If the controls do not fit.
        """
        frame = self.frame_at(at)
        controls = np.asarray(control, dtype=np.float64)
        if controls.ndim not in (1, 2) or controls.shape[-1] != self.rank:
            raise InputError(
                f"control: expected shape ({self.rank},) or (B, {self.rank}), got {controls.shape}"
            )
        moved = np.einsum("...nm,...m->...n", frame, controls)
        return moved + self.drift_at(at) if self.has_drift else moved

    def hamiltonian_at(self, at: Any, covector: Any) -> np.ndarray:
        """Normal Hamiltonian H = 1/2 p' F G^-1 F' p.

        Parameters
        ----------
        at : points
        covector : array_like, shape (n,) or (B, n)

        Returns
        -------
        ndarray, shape () or (B,)

        Raises
        ------
        InputError
            If the covectors do not fit.
        InputTypeError
            If an argument is not numbers.
        """
        points = self.points(at)
        covectors = read_points(self.coordinates, covector, "covector")
        momenta = np.einsum("...nm,...n->...m", self.frame_at(points), covectors)
        if self.orthonormal:
            return np.asarray(0.5 * np.square(momenta).sum(axis=-1))
        metric = np.broadcast_to(self.metric_at(points), (*momenta.shape, self.rank))
        controls = np.linalg.solve(metric, momenta[..., None])[..., 0]
        return np.asarray(0.5 * (momenta * controls).sum(axis=-1))

    def inside(self, at: Any) -> np.ndarray:
        """Whether points lie inside the chart.

        Parameters
        ----------
        at : points
            One point, or a batch: see `read_points`.

        Returns
        -------
        ndarray of bool, shape () or (B,)

        Raises
        ------
        InputError, InputTypeError
            If they are not points of this structure.
        """
        points = self.points(at)
        if not self.margins.shape[0]:
            return np.ones(points.shape[:-1], dtype=bool)
        margins = self.evaluate("margins", self.margins, points)[..., 0]
        return np.asarray((margins > 0).all(axis=-1))

    def wrap(self, at: Any) -> np.ndarray:
        """Points with periodic coordinates brought to the half-open period around 0.

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
        return wrap(self.coordinates, self.periods, self.points(at))

    def sample(self, count: int, generator: np.random.Generator | None = None) -> np.ndarray:
        """Random points inside the chart, on the scale of its periods and bounds, else of 1.

        Parameters
        ----------
        count : int
        generator : numpy.random.Generator, optional
            By default seeded with 0.

        Returns
        -------
        ndarray, shape (count, n)

        Raises
        ------
        InputError
            If a thousand draws a point do not fall inside the chart.
        """
        try:
            return sample_chart(
                self.coordinates, self.periods, self.bounds, self.inside, count, generator
            )
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    # ------------------------------------------------------------------ ways to make one

    @classmethod
    def define(
        cls,
        name: str,
        coordinates: str | Sequence[str],
        frame: Callable[..., Any],
        *,
        inner_product: Callable[..., Any] | None = None,
        parameters: Mapping[str, float] | None = None,
        periodic: Sequence[str] | Mapping[str, float] = (),
        domain: Mapping[str, tuple[Any, Any]] | Callable[..., Any] | None = None,
        drift: Callable[..., Any] | None = None,
        field_names: Sequence[str] | None = None,
        symmetries: Mapping[str, Callable[..., Any]] | None = None,
    ) -> Structure:
        """Define a structure by its vector fields.

        Parameters
        ----------
        name : str
        coordinates : str or sequence of str
            ``"x y theta"``.
        frame : callable
            q, or q and the parameters p, to a list with one tuple a vector field. Coordinates
            are ``q.x``, ``q["x"]`` or ``q[0]``; functions are CasADi's (``casadi.cos``).
        inner_product : callable, optional
            q (and p) to the m x m inner products of the fields; orthonormal by default.
        parameters : mapping, optional
            Names and default values.
        periodic : sequence of str, or mapping to periods
            Angles; the period is 2 pi where none is given.
        domain : mapping or callable, optional
            The chart: bounds by coordinate (``{"phi": (-1.5, 1.5)}``, None for no bound), or a
            callable to the expressions that are positive inside.
        drift : callable, optional
            q (and p) to the uncontrolled field.
        field_names : sequence of str, optional
            ``f1``, ``f2``, ... by default.
        symmetries : mapping, optional
            Isometries by name: q to g(q), or (q, s) to g_s(q) for a one-parameter family with g_0
            the identity. They are checked at sample points. `cut_time` finds Maxwell points by
            them.

        Returns
        -------
        Structure

        Raises
        ------
        InputError
            If a field has a wrong length, a coordinate or parameter is unknown, a value at a
            sample point is not finite, the inner product is not symmetric positive definite
            there, the frame does not have the period declared, or a symmetry is no isometry.
        InputTypeError
            If an entry is neither a number nor a CasADi expression.

        Examples
        --------
        >>> from casadi import cos, sin
        >>> unicycle = Structure.define(
        ...     "unicycle", "x y theta",
        ...     lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)], periodic=("theta",),
        ... )
        >>> unicycle.frame_at([0, 0, 0])
        array([[1., 0.],
               [0., 0.],
               [0., 1.]])
        """
        from subriem.structure.definition import define

        return define(
            name,
            coordinates,
            frame,
            inner_product=inner_product,
            parameters=parameters,
            periodic=periodic,
            domain=domain,
            drift=drift,
            field_names=field_names,
            symmetries=symmetries,
        )

    @classmethod
    def from_constraints(
        cls,
        name: str,
        coordinates: str | Sequence[str],
        forms: Callable[..., Any],
        *,
        inner_product: Callable[..., Any] | None = None,
        parameters: Mapping[str, float] | None = None,
        periodic: Sequence[str] | Mapping[str, float] = (),
        domain: Mapping[str, tuple[Any, Any]] | Callable[..., Any] | None = None,
    ) -> Structure:
        """Define a structure by Pfaffian constraints A(q) q' = 0.

        The frame is a smooth basis of the kernel of A: see `subriem.structure.constraints`.

        Parameters
        ----------
        name, coordinates, parameters, periodic, domain
            As in `define`.
        forms : callable
            q (and p) to a list with one tuple a form: the rows of A(q).
        inner_product : callable, optional
            q (and p) to an n x n inner product on the state space, restricted to the kernel;
            that of the coordinates by default.

        Returns
        -------
        Structure

        Raises
        ------
        InputError, InputTypeError
            As `define`, and if the forms are not independent at a sample point.

        Examples
        --------
        >>> from casadi import cos, sin
        >>> cart = Structure.from_constraints(
        ...     "cart", "x y theta", lambda q: [(sin(q.theta), -cos(q.theta), 0)]
        ... )
        >>> cart
        Structure cart: 3 coordinates (x, y, theta), 2 fields
        """
        from subriem.structure.constraints import from_constraints

        return from_constraints(
            name,
            coordinates,
            forms,
            inner_product=inner_product,
            parameters=parameters,
            periodic=periodic,
            domain=domain,
        )

    def restrict(self, fields: Sequence[int | str]) -> Structure:
        """The structure spanned by some of the fields, with their inner products.

        Parameters
        ----------
        fields : sequence of int or str
            Numbers or names.

        Returns
        -------
        Structure

        Raises
        ------
        InputError
            If there is none, one is unknown, or one is named twice.
        """
        from subriem.structure.combinations import restrict

        return restrict(self, fields)

    def change_coordinates(
        self,
        coordinates: str | Sequence[str],
        forward: Callable[..., Any],
        inverse: Callable[..., Any],
        *,
        name: str | None = None,
        periodic: Sequence[str] | Mapping[str, float] = (),
        domain: Mapping[str, tuple[Any, Any]] | Callable[..., Any] | None = None,
    ) -> Structure:
        """The same structure in other coordinates z = phi(q): fields (d phi) f at phi^-1(z).

        Parameters
        ----------
        coordinates : str or sequence of str
            Names of the new coordinates, as many as the old.
        forward, inverse : callable
            phi and its inverse, from coordinates (and parameters) to a tuple.
        name : str, optional
        periodic, domain
            Of the new coordinates, as in `define`; the old chart is carried over besides.

        Returns
        -------
        Structure

        Raises
        ------
        InputError, InputTypeError
            If the two are not inverse to each other at sample points of the chart, or a shape or a
            kind does not fit.
        """
        from subriem.structure.combinations import change_coordinates

        return change_coordinates(
            self, coordinates, forward, inverse, name=name, periodic=periodic, domain=domain
        )
