"""A weighted sum of outputs as a function of the parameters: its gradient and Hessian's action.

The gradient fields of a network, theta' = grad f(theta) with f = sum_j <c_j, net_theta(x_j)>, and
what their flows do to tangent vectors, need no more.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from subriem.network.rows import row_blocks
from subriem.probe import probe_vector

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["OutputPotential", "in_double_precision", "on_other_inputs"]


def in_double_precision(outputs: OutputMap) -> OutputMap:
    """The same map in float64: itself, or a copy where the module is in single precision.

    Parameters
    ----------
    outputs : OutputMap

    Returns
    -------
    OutputMap

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> in_double_precision(OutputMap(torch.nn.Linear(2, 1), [[1.0, 0.0]])).dtype
    torch.float64
    """
    if outputs.dtype is torch.float64:
        return outputs
    module = copy.deepcopy(outputs.module).double()
    return type(outputs)(module, outputs.inputs, memory=outputs.memory)


def on_other_inputs(outputs: OutputMap, inputs: torch.Tensor) -> OutputMap:
    """The same module on other inputs of the same shape and type, not checked again.

    Parameters
    ----------
    outputs : OutputMap
    inputs : Tensor, shape (M, ...)

    Returns
    -------
    OutputMap

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> outputs = OutputMap(torch.nn.Linear(2, 1), [[1.0, 0.0]])
    >>> on_other_inputs(outputs, torch.zeros(3, 2))
    OutputMap(Linear: 3 samples x 1 outputs, 3 parameters, float32, cpu)
    """
    other = copy.copy(outputs)
    other.inputs = inputs
    other.samples = int(inputs.shape[0])
    return other


class OutputPotential:
    """f(theta) = sum_j <c_j, net_theta(x_j)> with fixed inputs x_j and weights c_j.

    Parameters
    ----------
    outputs : OutputMap
        Its inputs are the x_j.
    weights : Tensor, shape (NQ,)
        The c_j, stacked.

    Examples
    --------
    >>> from subriem.network import OutputMap
    >>> module = torch.nn.Sequential(torch.nn.Linear(1, 1, False), torch.nn.Linear(1, 1, False))
    >>> outputs = OutputMap(module.double(), [[1.0]])
    >>> f = OutputPotential(outputs, torch.tensor([2.0]).double())
    >>> theta = torch.tensor([3.0, 5.0]).double()
    >>> f.gradient(theta)
    tensor([10.,  6.], dtype=torch.float64)
    >>> f.gradient_and_hessian_rows(theta, torch.eye(2).double())[1]
    tensor([[0., 2.],
            [2., 0.]], dtype=torch.float64)
    """

    def __init__(self, outputs: OutputMap, weights: torch.Tensor) -> None:
        self.outputs = outputs
        self.weights = weights
        self._batched: bool | None = None

    def _graph(self, theta: torch.Tensor, twice: bool) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode(False), torch.enable_grad():
            leaf = theta.detach().clone().requires_grad_()
            value = self.outputs.flat(leaf) @ self.weights
            if not value.requires_grad:
                return leaf, torch.zeros_like(leaf)
            gradient = torch.autograd.grad(value, leaf, create_graph=twice, materialize_grads=True)[
                0
            ]
        return leaf, gradient

    def gradient(self, theta: torch.Tensor) -> torch.Tensor:
        """Gradient of f.

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        Tensor, shape (K,)
        """
        return self._graph(theta, False)[1]

    def gradient_and_hessian_rows(
        self, theta: torch.Tensor, vectors: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient of f, and its Hessian applied to several vectors; no Hessian is formed.

        Parameters
        ----------
        theta : Tensor, shape (K,)
        vectors : Tensor, shape (R, K)

        Returns
        -------
        gradient : Tensor, shape (K,)
        rows : Tensor, shape (R, K)
        """
        leaf, gradient = self._graph(theta, True)
        if not gradient.requires_grad:
            return gradient, torch.zeros_like(vectors)

        def pull(v: torch.Tensor, batched: bool) -> torch.Tensor:
            return torch.autograd.grad(
                gradient,
                leaf,
                v,
                retain_graph=True,
                is_grads_batched=batched,
                materialize_grads=True,
            )[0]

        if self._batched is None:
            self._batched = self._agree(pull, vectors)
        if self._batched:
            return gradient.detach(), pull(vectors, True)
        return gradient.detach(), torch.stack([pull(v, False) for v in vectors])

    def _agree(self, pull: Any, vectors: torch.Tensor) -> bool:
        """Whether all at once gives what one by one does; some operators have no such rule."""
        try:
            rows = pull(vectors, True)
        except (RuntimeError, ValueError, NotImplementedError):
            return False
        probe = probe_vector(len(vectors), vectors)
        error = torch.linalg.vector_norm(probe @ rows - pull(probe @ vectors, False))
        scale = torch.linalg.matrix_norm(rows) * probe.norm()
        return bool(error <= 1e3 * torch.finfo(rows.dtype).eps * scale)

    def output_gradients(self, theta: torch.Tensor) -> torch.Tensor:
        """The gradients of the single outputs, whatever the weights: the rows of D.

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        Tensor, shape (NQ, K)
        """
        outputs = self.outputs
        blocks = row_blocks(outputs, theta, list(outputs.shapes), outputs.memory // 8)
        return torch.cat([values for _, values in blocks])
