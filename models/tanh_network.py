"""A small multilayer perceptron with tanh, on fixed inputs, as a structure on its parameters.

The distribution is spanned by the gradients of the outputs on the inputs (T. Chen,
arXiv:2311.15487): theta in R^K, f_{jq} = grad x_{jq}(theta) for sample j and output q, an
orthonormal frame in the `rows` metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from subriem.models.multilayer_perceptron import multilayer_perceptron

from subriem.errors import InputError
from subriem.network import OutputMap
from subriem.structure import Structure, Truth

# One sample, one output: a single gradient field, whose flow stays on its integral curves.
TRUTHS = (
    Truth(
        at=("1/2", "-1/3", "1/5", "2/3", "-3/4", "1/7", "1/4"),
        growth=(1,),
        generating=False,
        arguments={"widths": (1, 2, 1), "inputs": ((0.5,),)},
        source="a single vector field is involutive",
    ),
)


def tanh_network(
    widths: Sequence[int] = (1, 2, 1),
    inputs: Any = ((-0.5,), (1.0,)),
    metric: Literal["output", "euclidean", "rows"] = "rows",
) -> Structure:
    """Small tanh network on fixed inputs: the gradients of its outputs span the distribution.

    Parameters
    ----------
    widths : sequence of int
        Input width, hidden widths, output width.
    inputs : array_like, shape (N, widths[0])
    metric : {"output", "euclidean", "rows"}

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If widths or inputs do not fit.

    Examples
    --------
    >>> tanh_network()
    Structure tanh_network: 7 coordinates (theta1, ..., theta7), 2 fields
    """
    points = np.asarray(inputs, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != widths[0]:
        raise InputError(f"inputs: expected shape (N, {widths[0]}), got {points.shape}")
    outputs = OutputMap(multilayer_perceptron(widths, "tanh"), points)
    structure = outputs.structure(metric)
    structure.name = "tanh_network"
    return structure
