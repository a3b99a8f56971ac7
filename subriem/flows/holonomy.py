"""`holonomy`: what a closed loop in output space does to the parameters, and its leading order.

With u, v constant output velocities and U = D+ u, V = D+ v their horizontal lifts, [U, V] is
vertical, D [U, V] = 0: it is the curvature of the horizontal distribution range D'. Going around
the parallelogram of h u and h v displaces the parameters by h^2 [U, V] + O(h^3). Any loop c from
x_0 spans the bivector A = 1/2 of the integral of (c - x_0) ^ c' dt, and displaces them by the
curvature of A, to the same order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr

from subriem.errors import InputError, InputTypeError
from subriem.factorization import SpectralFactor
from subriem.flows.horizontal_lift import horizontal_lift
from subriem.flows.output_curves import Piece, quadrature_nodes, read_curve
from subriem.krylov import conjugate_gradient
from subriem.network import Linearization, OutputMap
from subriem.network.reading import as_tensor
from subriem.results import build_dataset

__all__ = ["curvature", "holonomy"]

# Parts of a bivector below this many units in the last place of the largest are rounding.
_NEGLIGIBLE = 5e3


def holonomy(
    outputs: OutputMap,
    loop: Any,
    *,
    size: float | None = None,
    velocity: Any = None,
    start: Any = None,
    rtol: float = 1e-10,
    max_steps: int = 500,
    strict: bool = False,
) -> xr.Dataset:
    """Lift a closed loop of outputs, and compare where the parameters end with the curvature.

    After the loop the outputs are back where they were; the parameters have moved along the
    fibre of equal outputs. To leading order in the size of the loop the displacement is the
    curvature of the horizontal distribution on the area enclosed, the prediction; the two differ
    by a relative error of the order of the size.

    Parameters
    ----------
    outputs : OutputMap
    loop : array_like, callable, Curve, or a pair of directions
        A closed curve in output space from x(theta_0), as for `horizontal_lift`: way points, of
        which the last equals the first, or a function on [0, 1]. With ``size``: a pair (u, v) of
        output directions, each of shape (NQ,) or (N, Q), for the parallelogram x_0, x_0 + hu,
        x_0 + hu + hv, x_0 + hv, x_0.
    size : float, optional
        h of the parallelogram; negative values go around the other way along both directions.
    velocity : callable, optional
        The derivative of a function.
    start : array_like or mapping, shape (K,), optional
        theta_0; the module's own by default.
    rtol : float
        Local error allowed to the parameters, relative to the path length of an edge. The
        displacement is of second order in the size of the loop: ``parameter_error`` should be
        well below ``displacement_norm``.
    max_steps : int
        Step budget of every smooth piece.
    strict : bool
        Raise `NumericalError` where the status is not "converged".

    Returns
    -------
    xarray.Dataset
        ``displacement`` and ``predicted_displacement`` over ``parameter``, and the numbers
        ``displacement_norm``, ``predicted_norm``, ``relative_difference`` (of the displacement
        from the prediction; NaN where that is zero), ``vertical_error`` (|D displacement|, of
        higher order), ``closing_error`` (|x(theta_1) - x_0|), ``area`` (the norm of the bivector:
        the area enclosed by a plane loop), ``path_length`` and ``parameter_error``. Attributes:
        ``status``, ``message`` and the counts of `horizontal_lift`. Where the lift does not
        reach the end of the loop the displacement and what follows from it are NaN.

    Raises
    ------
    InputError
        If the loop does not start at x(theta_0) or does not close, or sizes do not fit.
    InputTypeError
        If an argument is of the wrong kind.
    NumericalError
        If neither D D' nor D fits the memory of the map; with ``strict=True``, see above.

    Examples
    --------
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ... ).double()
    >>> outputs = OutputMap(network, [[-1.0], [1.0]])
    >>> found = holonomy(outputs, ([1.0, 0.0], [0.0, 1.0]), size=1e-3)
    >>> found.status, bool(found.relative_difference < 0.1)
    ('converged', True)
    >>> bool(found.closing_error < 1e-9)
    True

    References
    ----------
    R. Montgomery, A Tour of Subriemannian Geometries, Their Geodesics and Applications, AMS 2002
    (holonomy and curvature); G. H. Golub, V. Pereyra, SIAM J. Numer. Anal. 10 (1973) 413-432 (the
    derivative of D+).
    """
    if not isinstance(outputs, OutputMap):
        raise InputTypeError(f"expected an OutputMap, got {type(outputs).__name__}")
    at = outputs.linearize(outputs.as_parameters(start))
    curve = loop if size is None else _parallelogram(outputs, at.value, loop, size)
    pieces = read_curve(curve, outputs, at.value, velocity)
    _require_closed(pieces, at.value)
    planes = _area(pieces, at.value)
    area = float(torch.linalg.vector_norm(planes[0]))
    predicted = torch.zeros_like(at.parameters)
    for weight, first, second in zip(*planes, strict=True):
        predicted += weight * curvature(at, first, second)
    path = horizontal_lift(
        outputs,
        curve,
        velocity=velocity,
        times=[pieces[-1].end],
        start=at.parameters,
        rtol=rtol,
        max_steps=max_steps,
        keep=(),
        strict=strict,
    )
    arrived = path.attrs["status"] == "converged"
    end = torch.from_numpy(path.final_parameters.values).to(at.parameters)
    displacement = end - at.parameters
    closing = outputs.linearize(end).value - at.value
    if not arrived:
        displacement, closing = (torch.full_like(v, torch.nan) for v in (displacement, closing))
    arguments = {
        "loop": loop,
        "size": size,
        "velocity": velocity,
        "start": start,
        "rtol": rtol,
        "max_steps": max_steps,
    }
    numbers = {
        "displacement_norm": (_norm(displacement), "norm of the displacement"),
        "predicted_norm": (_norm(predicted), "norm of the predicted displacement"),
        "relative_difference": (
            _norm(displacement - predicted) / _norm(predicted) if predicted.any() else np.nan,
            "distance of the displacement from its prediction, over the norm of that",
        ),
        "vertical_error": (_norm(at.jvp(displacement)), "norm of D times the displacement"),
        "closing_error": (_norm(closing), "distance of the outputs after the loop from before"),
        "area": (area, "area enclosed by the loop: norm of its bivector"),
        "path_length": (float(path.path_length[-1]), "length of the path of parameters"),
        "parameter_error": (
            float(path.parameter_error[-1]) if arrived else np.nan,
            "estimated error of the displacement",
        ),
    }
    variables: dict[str, Any] = {
        "displacement": (
            "parameter",
            displacement.cpu().numpy(),
            "displacement of the parameters by the loop",
            "1",
        ),
        "predicted_displacement": (
            "parameter",
            predicted.cpu().numpy(),
            "curvature of the horizontal distribution on the area enclosed",
            "1",
        ),
        **{name: ((), value, text, "1") for name, (value, text) in numbers.items()},
    }
    kept = ("regime", "status", "message", "velocity_error", "pieces", "steps", "rejected_steps",
            "loose_steps", "lifts", "factorizations", "krylov_iterations")  # fmt: skip
    return build_dataset(
        variables,
        function="subriem.holonomy",
        arguments=arguments,
        structure=repr(outputs),
        attributes={name: path.attrs[name] for name in kept},
    )


def curvature(at: Linearization, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The vertical part of [D+ u, D+ v] at a point, for constant output velocities u and v.

    With Golub and Pereyra's derivative of D+, and B(w, z) the derivative of D'w along z,

        vertical part of (dV) U = (1 - D+ D) B(D+'V, U),

    as the other terms are horizontal. In [U, V] = (dV) U - (dU) V these cancel where D has full
    row rank. No Jacobian is formed.

    Parameters
    ----------
    at : Linearization
    u, v : Tensor, shape (NQ,)

    Returns
    -------
    Tensor, shape (K,)

    Raises
    ------
    NumericalError
        If neither D D' nor D fits the memory of the map.

    Examples
    --------
    A screw motion, x = (r, z - phi): the lift of (0, 1) turns by -1/(1 + r^2).

    >>> class Screw(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.point = torch.nn.Parameter(torch.tensor([1.0, 0.0, 0.0]).double())
    ...
    ...     def forward(self, rows):
    ...         a, b, z = self.point
    ...         return rows @ torch.stack([torch.hypot(a, b), z - torch.atan2(b, a)])[:, None]
    >>> outputs = OutputMap(Screw(), [[1.0, 0.0], [0.0, 1.0]])
    >>> u, v = torch.eye(2, dtype=torch.float64)
    >>> curvature(outputs.linearize(), u, v)
    tensor([0.0000, 0.5000, 0.5000], dtype=torch.float64)
    """
    first, second = _covector(at, u), _covector(at, v)
    along, across = at.vjp(first), at.vjp(second)
    bracket = at.bend(second, along) - at.bend(first, across)
    for _ in range(2):
        # Twice, as the first pass leaves the rounding of the factorization.
        bracket = bracket - at.vjp(_covector(at, at.jvp(bracket)))
    return bracket


def _covector(at: Linearization, v: torch.Tensor) -> torch.Tensor:
    """(D D')+ v, whose pull-back by D' is D+ v."""
    factor = at.factor
    if isinstance(factor, SpectralFactor):
        return factor.solve(v)
    # Conjugate gradients mend the rounding of the factor, and its damping where it is damped.
    return conjugate_gradient(
        at.gram_action,
        v,
        preconditioner=factor.solve,
        rtol=10 * torch.finfo(v.dtype).eps,
        max_iterations=20,
        norm="energy",
    ).solution


def _parallelogram(outputs: OutputMap, x: torch.Tensor, pair: Any, size: Any) -> torch.Tensor:
    if isinstance(size, bool) or not isinstance(size, (int, float, np.number)):
        raise InputTypeError(f"size must be a number, got {size!r}")
    if not np.isfinite(size):
        raise InputError(f"size must be finite, got {size}")
    try:
        first, second = pair
    except (TypeError, ValueError) as error:
        raise InputError(
            f"with a size the loop is a pair (u, v) of output directions, got {type(pair).__name__}"
        ) from error
    edges = []
    for name, direction in (("u", first), ("v", second)):
        vector = as_tensor(direction, name, outputs.dtype, outputs.device).reshape(-1)
        if len(vector) != outputs.size:
            raise InputError(
                f"{name}: expected an output direction of shape ({outputs.size},) or "
                f"({outputs.samples}, {outputs.width}), got {len(vector)} numbers"
            )
        if not bool(torch.isfinite(vector).all()):
            raise InputError(f"{name}: NaN or Inf; expected finite numbers")
        edges.append(float(size) * vector)
    along, across = edges
    return torch.stack([x, x + along, x + along + across, x + across, x])


def _require_closed(pieces: list[Piece], x: torch.Tensor) -> None:
    last = pieces[-1]
    distance = _norm(last.curve.position(last.span) - x)
    scale = last.curve.scale(0.0)
    if distance > 1e-8 * scale + 1e3 * torch.finfo(x.dtype).eps * _norm(x):
        raise InputError(
            f"the loop ends at a distance of {distance:.3g} from where it starts; expected it to "
            "close (for the parallelogram of a pair of directions give its size)"
        )


def _area(
    pieces: list[Piece], x: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """The bivector 1/2 of the integral of (c - x) ^ c', as the sum of weights w_k a_k ^ b_k.

    All a_k, b_k are orthonormal: as few terms as its rank allows, one for a plane loop.
    """
    nodes = list(quadrature_nodes(pieces))
    positions = torch.stack([position for position, _ in nodes]) - x
    moves = torch.stack([move for _, move in nodes])
    # In a basis of what the loop spans, which is small even where the output space is not.
    _, values, basis = torch.linalg.svd(torch.cat([positions, moves]), full_matrices=False)
    negligible = _NEGLIGIBLE * torch.finfo(x.dtype).eps
    basis = basis[values > negligible * values[0]]
    product = (positions @ basis.mT).mT @ (moves @ basis.mT)
    skew = 0.5 * (product - product.mT)
    # i S z = m z with z = (a + i b) / sqrt(2) gives S = sum over m > 0 of m b ^ a.
    weights, vectors = torch.linalg.eigh(1j * skew)
    largest = float(weights.abs().max()) if len(weights) else 0.0
    keep = weights > negligible * max(largest, float(values[0]) ** 2)
    rows = math.sqrt(2.0) * vectors[:, keep].mT
    return weights[keep], list(rows.imag @ basis), list(rows.real @ basis)


def _norm(vector: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(vector))
