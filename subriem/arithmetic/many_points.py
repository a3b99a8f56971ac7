"""A CasADi function at many points: the numbers go from array to array.

Called with a matrix, CasADi also evaluates a function column by column, but copies every number
through its own matrices one at a time, which takes most of the time where the function is small.
"""

from __future__ import annotations

from typing import Any

import casadi as ca
import numpy as np

__all__ = ["values_at"]

#: Points that one mapped function takes: they stay in the first cache.
_CHUNK = 256


def values_at(
    function: ca.Function, points: np.ndarray, parameters: np.ndarray
) -> list[np.ndarray]:
    """Values of a function at points.

    Parameters
    ----------
    function : casadi.Function
        (point, parameters) to any number of dense outputs.
    points : ndarray, shape (B, n)
    parameters : ndarray, shape (number of parameters,)
        The same at all points.

    Returns
    -------
    list of ndarray, shape (B, nonzeros)
        One for each output, its entries column by column.

    Examples
    --------
    >>> x, w = ca.SX.sym("x", 2), ca.SX.sym("w")
    >>> values_at(ca.Function("f", [x, w], [w * x]), np.eye(2), np.array([3.0]))
    [array([[3., 0.],
           [0., 3.]])]
    """
    count, lanes = len(points), max(1, min(_CHUNK, len(points)))
    mapped = function.map(lanes)  # CasADi keeps it
    taken = np.zeros((lanes, function.nnz_in(0)))
    fixed = np.tile(np.asarray(parameters, dtype=np.float64), (lanes, 1))
    given = [np.zeros((lanes, function.nnz_out(k))) for k in range(function.n_out())]
    found = [np.empty((count, part.shape[1])) for part in given]
    buffer: Any
    buffer, evaluate = mapped.buffer()
    for k, array in enumerate((taken, fixed)):
        if array.size:
            buffer.set_arg(k, array.data)
    for k, array in enumerate(given):
        if array.size:
            buffer.set_res(k, array.data)
    for first in range(0, count, lanes):
        rows = min(lanes, count - first)
        taken[:rows] = points[first : first + rows]
        evaluate()
        for part, array in zip(found, given, strict=True):
            part[first : first + rows] = array[:rows]
    return found
