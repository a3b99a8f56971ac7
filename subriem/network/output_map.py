"""`OutputMap`: a torch module on fixed inputs as a map of its parameters."""

from __future__ import annotations

import math
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from subriem.errors import InputError, InputTypeError
from subriem.factorization import NumericalRank
from subriem.network.checks import check_outputs, refuse_batch_dependence
from subriem.network.linearization import Linearization
from subriem.network.parameter_space import ParameterSpace
from subriem.network.reading import as_tensor

if TYPE_CHECKING:
    from subriem.structure import Structure

__all__ = ["OutputMap"]


class OutputMap(ParameterSpace):
    """The outputs of a torch module on fixed inputs, as a map of its parameters.

    x : R^K -> R^{NQ}, the outputs of N samples with Q components each, stacked sample-major.
    Device and dtype follow the module; use ``module.double()`` for geometry.

    Parameters
    ----------
    module : torch.nn.Module
        Any module that treats samples independently: nested, with shared weights, buffers, in
        eval mode. Parameters with ``requires_grad=False`` are constants.
    inputs : array_like or Tensor, shape (N, ...)
        The fixed inputs, first axis the samples. Floating inputs take the module's dtype.
    memory : int, optional
        Bytes that may be used to work with. By default half of what is free on the device when
        the map is made.

    Attributes
    ----------
    parameters : Tensor, shape (K,)
        The module's trained parameters when the map was made, flattened in the order of
        ``module.named_parameters()``.
    samples, width : int
        N and Q.
    memory : int
        Bytes that may be used to work with.
    shapes : dict of str to torch.Size
        Of the trained parameters, by name.

    Raises
    ------
    InputTypeError
        If ``module`` is not a torch module or does not return one floating tensor.
    InputError
        If the inputs are empty or not finite, nothing is trained, or the outputs of a sample
        depend on the other samples (batch normalisation in train mode) or on chance (dropout).

    Examples
    --------
    >>> module = torch.nn.Linear(2, 1).double()
    >>> outputs = OutputMap(module, [[1.0, 0.0], [0.0, 1.0]])
    >>> outputs
    OutputMap(Linear: 2 samples x 1 outputs, 3 parameters, float64, cpu)
    >>> outputs.gram()
    tensor([[2., 1.],
            [1., 2.]], dtype=torch.float64)
    >>> outputs.rank()
    NumericalRank(2 of 2, gap inf, tolerance 3.7e-08)

    References
    ----------
    T. Chen, arXiv:2311.15487.
    """

    def __init__(self, module: torch.nn.Module, inputs: Any, *, memory: int | None = None) -> None:
        if not isinstance(module, torch.nn.Module):
            raise InputTypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
        super().__init__(module)
        if memory is not None and (isinstance(memory, bool) or not isinstance(memory, Integral)):
            raise InputTypeError(f"memory must be a whole number of bytes, got {memory!r}")
        if memory is not None and memory <= 0:
            raise InputError(f"memory must be a positive number of bytes, got {memory}")
        self.memory: int = memory or self._free_memory()
        self.inputs = self._as_inputs(inputs)
        refuse_batch_dependence(module)
        sample_shape = check_outputs(self)
        self.samples: int = int(self.inputs.shape[0])
        self.width: int = math.prod(sample_shape)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"OutputMap({type(self.module).__name__}: {self.samples} samples x {self.width} "
            f"outputs, {self.dimension} parameters, {dtype}, {self.device})"
        )

    @property
    def size(self) -> int:
        """NQ, the number of outputs over all samples."""
        return self.samples * self.width

    def _free_memory(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0] // 2)
        return int(psutil.virtual_memory().available // 2)

    def _as_inputs(self, inputs: Any) -> torch.Tensor:
        # A copy: the inputs are fixed, whatever becomes of the caller's.
        tensor = as_tensor(inputs, "inputs", None, self.device).clone()
        if tensor.is_floating_point() or tensor.dtype is torch.bool:
            tensor = tensor.to(self.dtype)
        if tensor.ndim == 0 or tensor.shape[0] == 0 or tensor.numel() == 0:
            raise InputError(
                f"inputs have shape {tuple(tensor.shape)}; expected (N, ...) with N >= 1 samples"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = (~torch.isfinite(tensor.reshape(tensor.shape[0], -1))).any(1).nonzero()[0]
            raise InputError(f"inputs have NaN or Inf, first in sample {int(bad)}")
        return tensor

    # ------------------------------------------------------------------ evaluation

    def call(self, names: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """What the module returns for parameters given by name.

        Parameters
        ----------
        names : dict of str to Tensor
            Parameters by name.
        inputs : Tensor, shape (N, ...)

        Returns
        -------
        Tensor, shape (N, ...)
        """
        # The fused attention kernels have no second derivative; the plain one has.
        with sdpa_kernel(SDPBackend.MATH):
            # A copy, for a first layer that works in place.
            return torch.func.functional_call(self.module, names, (inputs.clone(),))

    def evaluate(self, names: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        """Outputs as rows, one a sample, for parameters given by name.

        Parameters
        ----------
        names : dict of str to Tensor
            Parameters by name.
        inputs : Tensor, shape (N, ...)

        Returns
        -------
        Tensor, shape (N, Q)
        """
        return self.call(names, inputs).reshape(inputs.shape[0], self.width)

    def flat(self, theta: torch.Tensor) -> torch.Tensor:
        """Outputs of a parameter vector, stacked sample-major; differentiable.

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        Tensor, shape (NQ,)

        Raises
        ------
        InputError
            If the shape is wrong.
        """
        return self.evaluate(self.unflatten(theta), self.inputs).reshape(-1)

    def __call__(self, at: Any = None) -> torch.Tensor:
        """Outputs x(theta), stacked sample-major.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional
            Where; the map's own ``parameters`` by default.

        Returns
        -------
        Tensor, shape (NQ,)
        """
        with torch.no_grad():
            return self.flat(self.as_parameters(at))

    def linearize(self, at: Any = None) -> Linearization:
        """The map's linearization at a point: actions, Gram matrix, factorization, lift.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Linearization

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return Linearization(self, self.as_parameters(at))

    def jvp(self, v: Any, at: Any = None) -> torch.Tensor:
        """D v, the output velocity of a parameter velocity; no Jacobian is formed.

        Parameters
        ----------
        v : array_like, shape (K,) or (B, K)
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (NQ,) or (B, NQ)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return self.linearize(at).jvp(v)

    def vjp(self, w: Any, at: Any = None) -> torch.Tensor:
        """D' w, the pull-back of an output covector; no Jacobian is formed.

        Parameters
        ----------
        w : array_like, shape (NQ,) or (B, NQ)
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (K,) or (B, K)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return self.linearize(at).vjp(w)

    def jacobian(self, at: Any = None) -> torch.Tensor:
        """D, dense, formed in row blocks.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (NQ, K)

        Raises
        ------
        InputError, InputTypeError
            As `jvp`, and if it does not fit the memory allowed.
        """
        return self.linearize(at).jacobian()

    def gram(self, at: Any = None) -> torch.Tensor:
        """D D', the empirical neural tangent kernel on the inputs.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (NQ, NQ)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return self.linearize(at).gram

    def structure(self, metric: Literal["output", "euclidean", "rows"] = "output") -> Structure:
        """The distribution spanned by the rows of D, as a CasADi `Structure` on the parameters.

        The module is lowered through `torch.export`, see `subriem.export`; its outputs agree with
        Torch to rounding. Coordinates are ``theta1`` ... ``thetaK`` in the order of
        ``parameters``, the frame is D'. Meant for small networks: every entry of D is an
        expression.

        Parameters
        ----------
        metric : {"output", "euclidean", "rows"}
            Inner product of v and w in range D': <Dv, Dw>, under which theta -> x is a
            sub-Riemannian submersion onto flat output space; <v, w>; or the one in which the
            rows of D are orthonormal.

        Returns
        -------
        Structure

        Raises
        ------
        InputError
            If the module has an operator without a CasADi form (it is named), or the rows of D
            are not independent and the metric needs them to be.
        InputTypeError
            If the module does not return one floating tensor.

        Examples
        --------
        >>> linear = OutputMap(torch.nn.Linear(1, 1).double(), [[2.0]])
        >>> linear.structure().hamiltonian_at([0, 0], [2.0, 1.0])
        array(0.5)
        """
        # CasADi and the exporter are imported where they are needed only.
        from subriem.network.symbolic import structure_of

        return structure_of(self, metric)

    def lift(self, v: Any, at: Any = None) -> torch.Tensor:
        """D+ v, the horizontal lift of an output velocity: the shortest velocity over P v.

        Parameters
        ----------
        v : array_like, shape (NQ,) or (B, NQ)
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (K,) or (B, K)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.

        Examples
        --------
        >>> outputs = OutputMap(torch.nn.Linear(1, 1).double(), [[0.0], [1.0]])
        >>> v = torch.tensor([1.0, 3.0], dtype=torch.float64)
        >>> bool(torch.allclose(outputs.jvp(outputs.lift(v)), v))
        True
        """
        return self.linearize(at).lift(v)

    def project(self, v: Any, at: Any = None) -> torch.Tensor:
        """P v with P = D D+, the orthogonal projector on range D.

        Parameters
        ----------
        v : array_like, shape (NQ,) or (B, NQ)
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (NQ,) or (B, NQ)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return self.linearize(at).project(v)

    def singular_values(self, at: Any = None) -> torch.Tensor:
        """The min(NQ, K) singular values of D, descending.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (min(NQ, K),)

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        values = self.linearize(at).rank().singular_values
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def rank(self, at: Any = None, *, tolerance: float | None = None) -> NumericalRank:
        """Numerical rank of D: an int that carries singular values, gap and tolerance.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional
        tolerance : float, optional
            Relative to the largest singular value; by default the rounding error of the method.

        Returns
        -------
        NumericalRank

        Raises
        ------
        InputError, InputTypeError
            If an argument is not finite numbers of that shape.
        """
        return self.linearize(at).rank(tolerance)
