"""The Hamiltonian flow on arrays, with its derivatives by the initial covector."""

from __future__ import annotations

from typing import Any, NamedTuple

import casadi as ca
import numpy as np

from subriem.arithmetic.taylor_method import Solutions, TaylorMethod
from subriem.errors import InputError
from subriem.geodesics.hamiltonian import hamilton_equations
from subriem.structure import Structure

__all__ = ["FlowMap", "extremals", "flow_map", "taylor_method"]


class FlowMap(NamedTuple):
    """Points of the Hamiltonian flow: B geodesics at T times.

    Attributes
    ----------
    state, covector : ndarray, shape (B, T, n)
    state_jacobian, covector_jacobian : ndarray, shape (B, T, n, n)
        Derivatives of q and p by the initial covector: ``state_jacobian[b, t, i, j]`` is
        dq_i/dp_j(0). Without ``jacobian`` the last axis is empty.
    status : ndarray of int, shape (B,)
        Position in `subriem.arithmetic.taylor_method.STATUSES`; 0 is "ok".
    event_time : ndarray, shape (B,)
        Where the geodesic ended early; numbers after it are NaN.

    Examples
    --------
    >>> line = Structure.define("line", "x", lambda q: [(1,)])
    >>> points = flow_map(line, [[0.0]], [[2.0]], [0.0, 3.0])
    >>> points.state[0, :, 0], points.state_jacobian[0, -1]
    (array([0., 6.]), array([[3.]]))
    """

    state: np.ndarray
    covector: np.ndarray
    state_jacobian: np.ndarray
    covector_jacobian: np.ndarray
    status: np.ndarray
    event_time: np.ndarray


def taylor_method(
    structure: Structure, *, jacobian: bool = False, engine: str | None = None, device: Any = "cpu"
) -> TaylorMethod:
    """The Taylor method for a structure's geodesics, made once.

    Parameters
    ----------
    structure : Structure
    jacobian : bool
        Whether with the variational equations.
    engine : {"compiled", "batch"}, optional
    device : str or torch.device

    Returns
    -------
    TaylorMethod
        Its states are (q, p); its tangents, one a component of the initial covector, are the
        columns of (dq/dp_0, dp/dp_0).

    Raises
    ------
    InputError
        If the structure has a drift or the engine is not known.
    MissingDependencyError
        If compiled code is asked for and there is no C compiler.
    """

    def build() -> TaylorMethod:
        n = structure.dimension
        equations = hamilton_equations(structure)
        if not jacobian:
            arguments = equations.sx_in()
            parts = equations.call(arguments)
            equations = ca.Function("geodesic_equations", arguments[:2], parts[:2])
        groups = (range(n), range(n, 2 * n))
        return TaylorMethod(equations, groups, n if jacobian else 0, engine, device)

    return structure.cached(("taylor method", jacobian, engine, str(device)), build)


def extremals(
    method: TaylorMethod,
    structure: Structure,
    q0: np.ndarray,
    p0: np.ndarray,
    times: np.ndarray,
    rtol: float,
    *,
    rates: bool = False,
) -> Solutions:
    """Solutions of a method for initial points and covectors.

    Parameters
    ----------
    method : TaylorMethod
        Of `taylor_method`.
    structure : Structure
    q0, p0 : ndarray, shape (B, n)
    times : ndarray, shape (T,)
    rtol : float
    rates : bool
        Whether to return the derivative of the dense output.

    Returns
    -------
    Solutions
    """
    n = structure.dimension
    initial = np.zeros((len(p0), 2 * n * (1 + method.tangents)))
    initial[:, :n] = q0
    initial[:, n : 2 * n] = p0
    # tangent k starts as (0, e_k)
    initial[:, 3 * n :: 2 * n + 1] = 1.0
    return method.solve(initial, structure.parameter_values, times, rtol, rates=rates)


def flow_map(
    structure: Structure,
    q0: Any,
    p0: Any,
    times: Any,
    rtol: float = 1e-12,
    *,
    jacobian: bool = True,
    engine: str | None = None,
    device: Any = "cpu",
) -> FlowMap:
    """The Hamiltonian flow from (q0, p0), on arrays and with little overhead.

    For shooting and for conjugate times, which call it thousands of times; `exponential` is the
    same with labels and diagnostics.

    Parameters
    ----------
    structure : Structure
    q0 : array_like, shape (n,) or (B, n)
        Inside the chart (not checked here).
    p0 : array_like, shape (n,) or (B, n)
    times : array_like, shape (T,)
        From 0 away, in order; all of one sign.
    rtol : float
        Relative tolerance, 1e-14 to 1e-3.
    jacobian : bool
        Whether to solve the variational equations as well.
    engine : {"compiled", "batch"}, optional
        By default compiled where a C compiler is found.
    device : str or torch.device
        Of the batch engine.

    Returns
    -------
    FlowMap
        Always with the geodesic's axis.

    Raises
    ------
    InputError
        If a shape does not fit or a number is not finite.
    MissingDependencyError
        If compiled code is asked for and there is no C compiler.

    Examples
    --------
    >>> plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])
    >>> flow = flow_map(plane, [0, 0], [3, 4], [2.0])
    >>> flow.state[0, 0], flow.state_jacobian[0, 0]
    (array([6., 8.]), array([[2., 0.],
           [0., 2.]]))
    """
    n = structure.dimension
    q, p = np.asarray(q0, dtype=np.float64), np.asarray(p0, dtype=np.float64)
    wanted = np.atleast_1d(np.asarray(times, dtype=np.float64))
    try:
        q, p = np.broadcast_arrays(np.atleast_2d(q), np.atleast_2d(p))
    except ValueError as error:
        raise InputError(
            f"flow_map: shapes {q.shape} of q0 and {p.shape} of p0 do not fit"
        ) from error
    if q.shape[1] != n or q.ndim != 2:
        raise InputError(
            f"flow_map: expected points and covectors of shape (B, {n}), got {q.shape}"
        )
    if not (np.isfinite(q).all() and np.isfinite(p).all()):
        raise InputError("flow_map: expected finite points and covectors, got NaN or infinity")
    check_times(wanted, "flow_map, times")
    check_tolerance(rtol)
    method = taylor_method(structure, jacobian=jacobian, engine=engine, device=device)
    found = extremals(method, structure, q, p, wanted, rtol)
    states = found.states
    columns = states[..., 2 * n :].reshape(*states.shape[:2], method.tangents, 2 * n)
    columns = columns.swapaxes(-1, -2)
    return FlowMap(
        states[..., :n],
        states[..., n : 2 * n],
        columns[..., :n, :],
        columns[..., n:, :],
        found.status,
        found.event_time,
    )


def check_times(times: np.ndarray, what: str) -> None:
    """Refuse times that do not go away from 0.

    Parameters
    ----------
    times : ndarray
    what : str
        What they are, for the message.

    Raises
    ------
    InputError
    """
    if times.ndim != 1 or not len(times):
        raise InputError(f"{what}: expected a number or a list of numbers, got {times.shape}")
    away = np.abs(times)
    if (
        not np.isfinite(times).all()
        or (times.min() < 0 < times.max())
        or (np.diff(away) <= 0).any()
    ):
        raise InputError(
            f"{what}: expected finite times from 0 away, strictly in order and of one sign, "
            f"got {times.tolist() if len(times) < 10 else times}"
        )


def check_tolerance(rtol: float) -> None:
    """Refuse a tolerance that the method cannot keep.

    Parameters
    ----------
    rtol : float

    Raises
    ------
    InputError
    """
    if not 1e-14 <= rtol <= 1e-3:
        raise InputError(f"rtol: expected a number between 1e-14 and 1e-3, got {rtol!r}")
