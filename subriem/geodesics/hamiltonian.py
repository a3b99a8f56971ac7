"""The normal Hamiltonian of a structure, and Hamilton's equations.

    H(q, p) = 1/2 p' F G^-1 F' p = max over u of p' F u - 1/2 u' G u,

attained at u = G^-1 F' p. So q' = F u, and p' is minus the derivative by q of p' F u - 1/2 u' G u
at fixed u, which needs no derivative of G^-1. Everything is a CasADi expression.
"""

from __future__ import annotations

from typing import Any

import casadi as ca

from subriem.errors import InputError
from subriem.structure import Structure

__all__ = [
    "conserved_momenta",
    "covector_symbols",
    "extremal_control",
    "hamilton_equations",
    "hamiltonian",
    "observables",
]


def covector_symbols(structure: Structure) -> ca.SX:
    """Symbols p for a covector, the same ones at every call.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    casadi.SX, shape (n, 1)

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(1,)])
    >>> covector_symbols(line)
    SX(p_x)
    """
    return structure.cached(
        "covector symbols",
        lambda: ca.vertcat(*(ca.SX.sym(f"p_{name}") for name in structure.coordinates)),
    )


def extremal_control(structure: Structure) -> ca.SX:
    """The control u = G^-1 F' p of a normal extremal, in the state and `covector_symbols`.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    casadi.SX, shape (m, 1)

    Examples
    --------
    >>> scaled = Structure.define(
    ...     "scaled line", "x", lambda q: [(1,)], inner_product=lambda q: [[4]]
    ... )
    >>> extremal_control(scaled)
    SX((p_x/4))
    """

    def build() -> ca.SX:
        momenta = ca.densify(structure.frame.T @ covector_symbols(structure))
        if structure.orthonormal:
            return momenta
        diagonal = ca.diag(structure.metric)
        if ca.is_equal(structure.metric, ca.diag(diagonal), 2):
            return momenta / diagonal
        # G = L D L' by CasADi, and two triangular solves: rational, as G is definite
        return ca.densify(ca.ldl_solve(momenta, *ca.ldl(structure.metric, False)))

    return structure.cached("extremal control", build)


def hamiltonian(structure: Structure) -> ca.SX:
    """The normal Hamiltonian H = 1/2 p' F G^-1 F' p, in the state and `covector_symbols`.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    casadi.SX, scalar

    Raises
    ------
    InputError
        If the structure has a drift.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(q.x,)])
    >>> hamiltonian(line)
    SX((0.5*sq((x*p_x))))
    """
    _without_drift(structure)
    momenta = structure.frame.T @ covector_symbols(structure)
    if structure.orthonormal:
        return 0.5 * ca.sumsqr(momenta)
    return 0.5 * ca.dot(momenta, extremal_control(structure))


def _without_drift(structure: Structure) -> None:
    if structure.has_drift:
        raise InputError(
            f"{structure.name} has a drift: its optimal paths are not sub-Riemannian geodesics; "
            "expected a structure without one"
        )


def _phase_velocity(structure: Structure) -> ca.SX:
    _without_drift(structure)
    p, control = covector_symbols(structure), extremal_control(structure)
    held = ca.SX.sym("u", structure.rank)
    power = ca.dot(p, structure.frame @ held)
    cost = 0.5 * (held.T @ structure.metric @ held)
    force = -ca.gradient(power - cost, structure.state)
    force = ca.substitute(ca.densify(force), held, control)
    return ca.densify(ca.vertcat(structure.frame @ control, force))


def hamilton_equations(structure: Structure) -> ca.Function:
    """Hamilton's equations q' = dH/dp, p' = -dH/dq, and their variational equations.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    casadi.Function
        ((q, p), parameters, z) to the velocity (q', p'), the margins of the chart, and z', where
        z is a variation of (q, p).

    Raises
    ------
    InputError
        If the structure has a drift.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(q.x,)])
    >>> velocity, margins, varied = hamilton_equations(line)([2, 3], [], [1, 0])
    >>> velocity, varied
    (DM([12, -18]), DM([12, -9]))
    """
    phase = ca.vertcat(structure.state, covector_symbols(structure))
    velocity = _phase_velocity(structure)
    variation = ca.SX.sym("z", 2 * structure.dimension)
    varied = ca.densify(ca.jtimes(velocity, phase, variation))
    return ca.Function(
        "geodesic_equations",
        [phase, structure.parameter_symbols, variation],
        [velocity, ca.densify(structure.margins), varied],
        {"cse": True},
    )


def observables(structure: Structure) -> ca.Function:
    """What is reported along a geodesic: control, Hamiltonian and the velocity F u.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    casadi.Function
        ((q, p), parameters) to u, H and F u.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(q.x,)])
    >>> observables(line)([2, 3], [])
    (DM(6), DM(18), DM(12))
    """

    def build() -> ca.Function:
        control = extremal_control(structure)
        return ca.Function(
            "observables",
            [
                ca.vertcat(structure.state, covector_symbols(structure)),
                structure.parameter_symbols,
            ],
            [
                ca.densify(control),
                ca.densify(hamiltonian(structure)),
                ca.densify(structure.frame @ control),
            ],
            {"cse": True},
        )

    return structure.cached("observables", build)


def conserved_momenta(structure: Structure) -> tuple[str, ...]:
    """Coordinates on which neither frame nor metric depends: their p_i are first integrals.

    Parameters
    ----------
    structure : Structure

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from casadi import cos, sin
    >>> cart = Structure.define(
    ...     "cart", "x y theta", lambda q: [(cos(q.theta), sin(q.theta), 0), (0, 0, 1)]
    ... )
    >>> conserved_momenta(cart)
    ('x', 'y')
    """
    everything: Any = ca.veccat(structure.frame, structure.metric)
    depends = ca.which_depends(everything, structure.state, 1, False)
    return tuple(
        name for name, moves in zip(structure.coordinates, depends, strict=True) if not moves
    )
