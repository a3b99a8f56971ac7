"""A network on fixed inputs as a sub-Riemannian structure on its parameters, in CasADi."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import casadi as ca

from subriem.errors import InputError
from subriem.export import lower
from subriem.structure import Structure

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["structure_of"]

Metric = Literal["output", "euclidean", "rows"]


def structure_of(outputs: OutputMap, metric: Metric = "output") -> Structure:
    """The structure whose distribution is spanned by the rows of D: see `OutputMap.structure`.

    Parameters
    ----------
    outputs : OutputMap
    metric : {"output", "euclidean", "rows"}

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the metric is unknown, the rows cannot be independent, or they are not at the
        module's parameters.

    Examples
    --------
    >>> import torch
    >>> from subriem.network import OutputMap
    >>> linear = OutputMap(torch.nn.Linear(2, 1).double(), [[1.0, 2.0]])
    >>> structure_of(linear, "rows").frame_at([0, 0, 0]).ravel()
    array([1., 2., 1.])
    """
    if metric not in ("output", "euclidean", "rows"):
        raise InputError(f"metric: expected output, euclidean or rows, got {metric!r}")
    size, dimension = outputs.size, outputs.dimension
    if size > dimension and metric != "rows":
        raise InputError(
            f"the {metric} metric needs independent rows of D, got {size} rows in dimension "
            f"{dimension}; use metric='rows', or fewer samples"
        )
    if metric != "rows":
        rank = outputs.rank()
        if rank < size:
            raise InputError(
                f"the {metric} metric needs independent rows of D, at the module's parameters "
                f"they have {rank!r}; use metric='rows'"
            )
    map_ = lower(outputs.module, outputs.inputs, list(outputs.shapes)).expand()
    coordinates = tuple(f"theta{k + 1}" for k in range(dimension))
    theta = ca.vertcat(*(ca.SX.sym(name) for name in coordinates))
    jacobian = ca.densify(ca.jacobian(map_(theta), theta))
    frame = jacobian.T
    if metric == "rows":
        inner = ca.SX.eye(size)
    else:
        # <D'a, D'b> is a'(D D')b in parameters and a'(D D')(D D')b in outputs
        gram = jacobian @ frame
        inner = gram if metric == "euclidean" else gram @ gram
    model = ca.Function(
        "model",
        [theta, ca.SX(0, 1)],
        [frame, inner, ca.SX.zeros(dimension, 1), ca.SX(0, 1)],
        {"cse": True},
    )
    return Structure(
        f"{type(outputs.module).__name__} on {outputs.samples} samples, {metric} metric",
        coordinates,
        model,
        parameters={},
        periods={},
        bounds={},
        field_names=tuple(f"f{k + 1}" for k in range(size)),
    )
