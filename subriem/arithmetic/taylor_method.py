"""An adaptive Taylor method of high order for batches of solutions, on one of two engines.

``compiled`` runs C that is generated from the equation (`subriem.arithmetic.taylor_source`),
``batch`` the same recurrences on Torch tensors (`subriem.arithmetic.taylor_batch`), on a CPU or a
GPU. The step keeps the last two terms of the series below the tolerance (Jorba, Zou, *A software
package for the numerical integration of ODEs by means of high-order Taylor methods*, Experimental
Mathematics 14 (2005)); the series itself is the dense output.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import casadi as ca
import numpy as np

from subriem.arithmetic.native_library import load_library
from subriem.arithmetic.program import Program
from subriem.arithmetic.recurrences import Recurrences
from subriem.arithmetic.taylor_source import taylor_source
from subriem.errors import InputError, MissingDependencyError

__all__ = ["STATUSES", "Solutions", "TaylorMethod", "taylor_order"]

#: What became of a solution, by its code.
STATUSES = ("ok", "left the chart", "blew up", "step limit", "met a kink", "step too long")
#: Solutions that one thread takes at least.
_SHARE = 512
_MAX_STEPS = 1_000_000


def taylor_order(rtol: float) -> int:
    """The order for a tolerance.

    Jorba and Zou's order is optimal where a step costs the square of its order; six more pay,
    as part of the cost does not grow with it (measured on geodesics of SE(2)).

    Parameters
    ----------
    rtol : float

    Returns
    -------
    int

    Examples
    --------
    >>> taylor_order(1e-12)
    20
    """
    return max(6, math.ceil(-0.5 * math.log(rtol)) + 6)


@dataclass(frozen=True)
class Solutions:
    """What a Taylor method found.

    Attributes
    ----------
    states : ndarray, shape (B, T, N)
        NaN after an event.
    rates : ndarray, shape (B, T, N), or None
        Derivative of the dense output, where asked for.
    status : ndarray of int, shape (B,)
        Position in `STATUSES`.
    event : ndarray of int, shape (B,)
        Which watched function (then: which kink) vanished; -1 for none.
    event_time : ndarray, shape (B,)
        NaN where there was no event.
    steps : ndarray of int, shape (B,)
    """

    states: np.ndarray
    rates: np.ndarray | None
    status: np.ndarray
    event: np.ndarray
    event_time: np.ndarray
    steps: np.ndarray


class TaylorMethod:
    """Solutions of y' = f(y, w) that stop where one of the functions e(y, w) reaches zero.

    Parameters
    ----------
    function : casadi.Function
        (y, w) to f and e, where e may have no rows; with tangents (y, w, z) to f, e and (df/dy) z.
    groups : sequence of ranges
        Consecutive states that share one scale: the error in each is relative to the size of
        those of its group that move.
    tangents : int
        How many tangent vectors z' = (df/dy) z follow each solution. A row of ``initial`` is then
        y, z_1, z_2, ....
    engine : {"compiled", "batch"}, optional
        By default the first on the CPU where a C compiler is found, else the second.
    device : str or torch.device
        Of the batch engine.

    Raises
    ------
    InputError
        If the engine is not known, or compiled code is asked for on another device.
    MissingDependencyError
        If compiled code is asked for and there is no C compiler.

    Examples
    --------
    >>> y, w = ca.SX.sym("y", 2), ca.SX.sym("w", 0)
    >>> oscillator = ca.Function("f", [y, w], [ca.vertcat(y[1], -y[0]), ca.SX(0, 1)])
    >>> method = TaylorMethod(oscillator, [[0, 1]])
    >>> found = method.solve(np.array([[1.0, 0.0]]), [], [math.pi], 1e-12)
    >>> np.round(found.states, 9) + 0.0
    array([[[-1.,  0.]]])
    """

    def __init__(
        self,
        function: ca.Function,
        groups: Sequence[Sequence[int]],
        tangents: int = 0,
        engine: str | None = None,
        device: Any = "cpu",
    ) -> None:
        if engine not in (None, "compiled", "batch"):
            raise InputError(f"engine: expected 'compiled' or 'batch', got {engine!r}")
        elsewhere = str(device).partition(":")[0] != "cpu"
        if elsewhere and engine == "compiled":
            raise InputError(f"device: compiled code runs on the CPU, got {device!r}")
        if elsewhere:
            engine = "batch"
        self.recurrences = Recurrences(Program(function))
        self.groups = [list(group) for group in groups]
        self.tangents = tangents
        self.device = device
        if engine is None:
            try:
                _ = self._integrate
                engine = "compiled"
            except MissingDependencyError:
                engine = "batch"
        elif engine == "compiled":
            _ = self._integrate
        self.engine = engine

    @cached_property
    def _integrate(self) -> Any:
        function = load_library(
            taylor_source(self.recurrences, self.groups, self.tangents)
        ).integrate
        function.restype = ctypes.c_int
        whole, real, array = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
        function.argtypes = [
            *(whole, whole, ctypes.c_int, real, whole, real),
            *(array, array, array),
            *(array, array, array, array, array, array),
        ]
        return function

    @cached_property
    def _batch(self) -> Any:
        from subriem.arithmetic.taylor_batch import TaylorBatch

        return TaylorBatch(self.recurrences, self.groups, self.tangents, self.device)

    def solve(
        self,
        initial: np.ndarray,
        parameters: Any,
        times: Any,
        rtol: float,
        *,
        rates: bool = False,
        order: int | None = None,
        max_steps: int = _MAX_STEPS,
    ) -> Solutions:
        """Solutions at given times.

        Parameters
        ----------
        initial : ndarray, shape (B, N)
            At time 0.
        parameters : array_like
            w.
        times : array_like, shape (T,)
            From 0 away: increasing and not negative, or decreasing and not positive.
        rtol : float
            Size of the last terms of the series, relative to their group of states.
        rates : bool
            Whether to return the derivative of the dense output as well.
        order : int, optional
            By default `taylor_order`.
        max_steps : int
            For one solution.

        Returns
        -------
        Solutions
        """
        initial = np.ascontiguousarray(initial, dtype=np.float64)
        times = np.asarray(times, dtype=np.float64)
        backward = times[-1] < 0
        wanted = np.ascontiguousarray(np.abs(times))
        fixed = np.ascontiguousarray(parameters, dtype=np.float64)
        count, size = initial.shape
        shape = (count, len(wanted), size)
        found = Solutions(
            np.full(shape, np.nan),
            np.full(shape, np.nan) if rates else None,
            np.zeros(count, dtype=np.int32),
            np.full(count, -1, dtype=np.int32),
            np.full(count, np.nan),
            np.zeros(count, dtype=np.int64),
        )
        order = order or taylor_order(rtol)
        direction = -1.0 if backward else 1.0
        if self.engine == "batch":
            self._batch.integrate(order, rtol, max_steps, direction, initial, fixed, wanted, found)
            return found

        def run(first: int, last: int) -> None:
            part = slice(first, last)
            failed = self._integrate(
                *(last - first, len(wanted), order, rtol, max_steps, direction),
                *(_address(initial[part]), _address(fixed), _address(wanted)),
                _address(found.states[part]),
                None if found.rates is None else _address(found.rates[part]),
                *(_address(found.status[part]), _address(found.event[part])),
                *(_address(found.event_time[part]), _address(found.steps[part])),
            )
            if failed:
                raise MemoryError("no memory for the series of a Taylor method")

        threads = min(_threads(), count // _SHARE)
        if threads <= 1:
            run(0, count)
        else:
            edges = np.linspace(0, count, threads + 1).astype(int)
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, edges[:-1].tolist(), edges[1:].tolist()))
        return found


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
