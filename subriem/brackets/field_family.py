"""Vector fields in number or in a continuum, drawn from one expression.

A family is one CasADi function (state, weights) -> field: the distribution is spanned by the fields
of all weights. A structure's frame is a family with the controls as weights; a network is one with
a weight for each unit, whose paths nobody could list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import casadi as ca
import numpy as np

from subriem.arithmetic.prime_field import RATIONAL
from subriem.arithmetic.program import Program
from subriem.errors import InputError, InputTypeError
from subriem.structure import Block, GradientStructure, Structure

__all__ = ["FieldFamily", "field_family", "training_family"]


@dataclass(frozen=True)
class FieldFamily:
    """Fields h(theta, w) for all weights w.

    Attributes
    ----------
    name : str
    coordinates : tuple of str
    fields : casadi.Function
        (state (n, 1), weights) to the field (n, 1), in scalar operations.
    count : int or None
        How many fields span the distribution, where that is known.
    scope : str
        For which motions a count of the family holds.
    laws : casadi.Function or None
        State to functions believed constant along all fields, a column.
    blocks : tuple of Block
        How the coordinates form matrices; empty if they do not.

    Examples
    --------
    >>> turn = Structure.define("turn", "x y", lambda q: [(-q.y, q.x)])
    >>> family = field_family(turn)
    >>> family.dimension, family.count, family.scope
    (2, 1, 'all controls')
    """

    name: str
    coordinates: tuple[str, ...]
    fields: ca.Function
    count: int | None
    scope: str
    laws: ca.Function | None = None
    blocks: tuple[Block, ...] = ()

    def __repr__(self) -> str:
        count = "a continuum of" if self.count is None else str(self.count)
        return f"FieldFamily {self.name}: {self.dimension} coordinates, {count} fields"

    @property
    def dimension(self) -> int:
        """Dimension n of the state space."""
        return len(self.coordinates)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return int(self.fields.size1_in(1))

    @cached_property
    def program(self) -> Program:
        """(state, weights) to the field."""
        return Program(_dense(self.fields))

    @cached_property
    def adjoint_program(self) -> Program:
        """(state, weights, covector) to (dh)' covector."""
        state, weights, covector = self._symbols(), ca.SX.sym("w", self.weights), self._symbols("p")
        field = self.fields(state, weights)
        pulled = ca.jtimes(field, state, covector, True)
        return Program(_dense(ca.Function("adjoint", [state, weights, covector], [pulled])))

    @cached_property
    def rational(self) -> bool:
        """Whether the fields are rational functions of state and weights."""
        return not self.program.operations - RATIONAL

    def slopes(self, functions: ca.Function) -> tuple[Program, Program]:
        """Derivatives of functions of the state: along the family, and all.

        Parameters
        ----------
        functions : casadi.Function
            State to c functions, a column.

        Returns
        -------
        along : Program
            (state, weights) to the c derivatives along the field.
        gradients : Program
            (state, weights) to the c x n Jacobian, dense, column by column.
        """
        state, weights = self._symbols(), ca.SX.sym("w", self.weights)
        values = functions(state)
        along = ca.jtimes(values, state, self.fields(state, weights))
        jacobian = ca.jacobian(values, state)
        arguments = [state, weights]
        return (
            Program(_dense(ca.Function("along", arguments, [along]))),
            Program(ca.Function("gradients", arguments, [jacobian])),
        )

    def _symbols(self, name: str = "q") -> ca.SX:
        return ca.SX.sym(name, self.dimension)


def _dense(function: ca.Function) -> ca.Function:
    symbols = function.sx_in()
    outputs = [ca.densify(output) for output in function.call(symbols)]
    return ca.Function(function.name(), symbols, outputs)


def field_family(target: Any, data: Literal["given", "all"] = "given") -> FieldFamily:
    """The fields of a structure, with the drift as one of them where there is one, or of a network.

    Parameters
    ----------
    target : Structure, OutputMap or FieldFamily
    data : {"given", "all"}
        For an `OutputMap`: see `network_family`.

    Returns
    -------
    FieldFamily

    Raises
    ------
    InputTypeError
        If ``target`` is none of them.
    InputError
        If ``data`` is neither, or is ``"all"`` for something else than an `OutputMap`.

    Examples
    --------
    >>> s = Structure.define("s", "x y", lambda q: [(1, q.x)])
    >>> field_family(s)
    FieldFamily s: 2 coordinates, 1 fields
    """
    check_data(target, data)
    if isinstance(target, FieldFamily):
        return target
    if isinstance(target, GradientStructure):
        state = target.state
        weights, potential = target.potential(state)
        field = ca.gradient(potential, state)
        laws = None
        if target.laws is not None:
            laws = ca.Function("laws", [state], [ca.densify(target.laws(state))])
        return FieldFamily(
            target.name,
            target.coordinates,
            ca.Function("fields", [state, weights], [ca.densify(field)]),
            target.rank,
            "all data and losses",
            laws if laws is not None and laws.size1_out(0) else None,
            target.blocks,
        )
    if not isinstance(target, Structure):
        from subriem.network import OutputMap

        if isinstance(target, OutputMap):
            from subriem.brackets.network_family import network_family

            return network_family(target, data)
        raise InputTypeError(
            f"target: expected a Structure, a FieldFamily or an OutputMap, got "
            f"{type(target).__name__}"
        )
    columns = ca.horzcat(target.frame, target.drift) if target.has_drift else target.frame
    values = ca.DM(target.parameter_values)
    columns = ca.substitute(columns, target.parameter_symbols, values)
    weights = ca.SX.sym("u", columns.shape[1])
    field = ca.densify(columns @ weights)
    return FieldFamily(
        target.name,
        target.coordinates,
        ca.Function("fields", [target.state, weights], [field]),
        int(columns.shape[1]),
        "all controls",
    )


def check_data(target: Any, data: str) -> None:
    """Refuse a word for the data that is not known, or that the target has no use for.

    Parameters
    ----------
    target : Structure, OutputMap or FieldFamily
    data : str

    Raises
    ------
    InputError
        See `field_family`.
    """
    if data not in ("given", "all"):
        raise InputError(f"data: expected 'given' or 'all', got {data!r}")
    if data == "all" and isinstance(target, Structure | FieldFamily):
        raise InputError(
            "data: 'all' goes with an OutputMap; the fields of a structure are what they are"
        )


def training_family(
    target: Any,
    *,
    cometric: Callable[[ca.SX], Any] | None = None,
    friction: float | Callable[[ca.SX], Any] | None = None,
) -> FieldFamily:
    """The fields of another geometry of training: another metric, or momentum.

    Parameters
    ----------
    target : Structure, OutputMap or FieldFamily
        Its fields are the gradients of the outputs: those of Euclidean gradient flows.
    cometric : callable, optional
        The state to the inverse of the metric, n x n or its diagonal (n, 1): theta' = -M^-1 grad L.
        Mirror descent with the entropy has ``lambda q: q``, which is the geometry of nonnegative
        matrix factorization by multiplicative updates.
    friction : float or callable, optional
        Momentum, tau in theta'' + tau(t) theta' = -M^-1 grad L, where theta'' is the covariant
        acceleration of the metric. The family lives on (time, theta, p) with p = M theta', so
        that its orbits have codimension equal to the number of laws, which may depend on time. A
        callable takes the time.

    Returns
    -------
    FieldFamily

    Raises
    ------
    InputError
        If neither is given, or the cometric has another shape.
    InputTypeError
        If ``target`` is none of them.

    Notes
    -----
    With momentum, theta' = M^-1 p and p' = -(1/2) grad_theta p' M^-1 p - tau p - grad L: only the
    last term is free, the rest always takes part. The family contains it with a weight of its own,
    as the Lie algebra of an affine system does.

    References
    ----------
    Marcotte, Gribonval, Peyre, *Keep the momentum*, ICML 2024, arXiv 2405.12888.

    Examples
    --------
    >>> s = Structure.define("xy", "x y", lambda q: [(q.y, q.x)])
    >>> training_family(s, friction=1)
    FieldFamily xy with momentum: 5 coordinates, 2 fields
    """
    family = field_family(target)
    if cometric is None and friction is None:
        raise InputError("training_family: expected a cometric, a friction or both, got neither")
    n = family.dimension
    state, weights = ca.SX.sym("q", n), ca.SX.sym("w", family.weights)
    differential = family.fields(state, weights)
    name, blocks = family.name, family.blocks
    inverse = ca.SX.eye(n)
    if cometric is not None:
        inverse = ca.SX(cometric(state))
        if inverse.shape == (n, 1):
            inverse = ca.diag(inverse)
        if inverse.shape != (n, n):
            raise InputError(f"cometric: expected shape ({n}, {n}) or ({n}, 1)")
        name += " in another metric"
    if friction is None:
        fields = ca.Function("fields", [state, weights], [ca.densify(inverse @ differential)])
        return replace(family, name=name, fields=fields, laws=None)
    time, momentum, pace = ca.SX.sym("t"), ca.SX.sym("p", n), ca.SX.sym("s")
    rate = friction(time) if callable(friction) else float(np.float64(friction))
    energy = ca.dot(momentum, inverse @ momentum) / 2
    free = -ca.gradient(energy, state) - rate * momentum
    moved = ca.vertcat(pace, pace * (inverse @ momentum), pace * free + differential)
    fields = ca.Function(
        "fields",
        [ca.vertcat(time, state, momentum), ca.vertcat(weights, pace)],
        [ca.densify(moved)],
    )
    phase = ("time", *family.coordinates, *(f"p_{name}" for name in family.coordinates))
    momenta = tuple(Block(f"p_{block.name}", block.shape) for block in blocks)
    return replace(
        family,
        name=f"{name} with momentum",
        coordinates=phase,
        fields=fields,
        count=None if family.count is None else family.count + 1,
        laws=None,
        blocks=(Block("time", (1,)), *blocks, *momenta) if blocks else (),
    )
