"""A network on fixed inputs as the map theta -> x(theta), with its Jacobian and its lift.

The only module that calls ``torch.func``. `OutputMap` holds the map; `Linearization` is the map at
one theta: the actions of D and D', the Gram matrix D D', its factorization, and the horizontal
lift D+ v of an output velocity v.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import psutil
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from subriem.errors import InputError, InputTypeError, NumericalError
from subriem.factorization import (
    NumericalRank,
    SpectralFactor,
    TriangularFactor,
    condition_estimate,
    gram_rank,
    gram_spectrum,
    jacobian_rank,
    jacobian_spectrum,
    orthogonal_triangle,
)
from subriem.gram import assemble_gram, layer_terms
from subriem.krylov import NystromPreconditioner, conjugate_gradient, least_squares

__all__ = ["Linearization", "OutputMap"]

Factor = TriangularFactor | SpectralFactor

# Past these an orthogonal factorization of D, or a full spectrum of D D', takes minutes on a
# common processor, and a damped Cholesky factorization serves instead.
_ORTHOGONAL_FLOPS = 2e11
_SPECTRAL_SIZE = 3000


def _as_tensor(
    value: Any, name: str, dtype: torch.dtype | None, device: torch.device
) -> torch.Tensor:
    """Read real numbers from outside, at their own precision; what is not a tensor is copied."""
    if not isinstance(value, torch.Tensor):
        try:
            # By way of NumPy: torch would read a list of floats in single precision.
            array = np.asarray(getattr(value, "values", value))
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputTypeError(f"{name}: not an array of numbers: {error}") from error
    if value.is_complex():
        raise InputTypeError(f"{name}: complex numbers; expected real ones")
    return value.detach().to(device=device, dtype=dtype)


def _identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same numbers, NaN where the other has it."""
    return one.shape == other.shape and torch.allclose(one, other, 0.0, 0.0, equal_nan=True)


@cache
def _load_forward_mode() -> None:
    """Let torch load its forward-mode rules, which warns of its own use of torch.jit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))


class OutputMap:
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
        Bytes that may be used to work with. By default half of what is free on the device.

    Attributes
    ----------
    parameters : Tensor, shape (K,)
        The module's trained parameters when the map was made, flattened in the order of
        ``module.named_parameters()``.
    samples, width : int
        N and Q.

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
    T. Chen, arXiv:2311.15487, section 2.
    """

    def __init__(self, module: torch.nn.Module, inputs: Any, *, memory: int | None = None) -> None:
        if not isinstance(module, torch.nn.Module):
            raise InputTypeError(f"expected a torch.nn.Module, got {type(module).__name__}")
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        for name, parameter in trained.items():
            if torch.nn.parameter.is_lazy(parameter):
                raise InputError(
                    f"parameter {name!r} has no shape yet; expected an initialised module: "
                    "evaluate it once"
                )
        if not trained or not sum(p.numel() for p in trained.values()):
            raise InputError(
                "the module has no parameter with requires_grad=True; expected at least one, as "
                "the parameters are the state"
            )
        first = next(iter(trained.values()))
        if first.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"the module's parameters are {first.dtype}; expected float32 or float64, in which "
                "the factorizations exist: call module.double()"
            )
        kinds = {(p.dtype, str(p.device)) for p in module.parameters()}
        if len(kinds) > 1:
            raise InputError(
                f"the module's parameters have several dtypes or devices, {sorted(map(str, kinds))}"
                "; expected one (try module.double())"
            )
        self.module = module
        self.dtype: torch.dtype = first.dtype
        self.device: torch.device = first.device
        self._shapes = {name: p.shape for name, p in trained.items()}
        self._sizes = [p.numel() for p in trained.values()]
        if memory is not None and memory <= 0:
            raise InputError(f"memory must be a positive number of bytes, got {memory}")
        self._memory = memory
        self.inputs = self._as_inputs(inputs)
        self.parameters = torch.cat([p.detach().reshape(-1) for p in trained.values()]).clone()
        if not bool(torch.isfinite(self.parameters).all()):
            raise InputError("the module's parameters have NaN or Inf; expected finite numbers")
        self._refuse_batch_dependence()
        sample_shape = self._check_outputs()
        self.samples: int = int(self.inputs.shape[0])
        self.width: int = math.prod(sample_shape)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"OutputMap({type(self.module).__name__}: {self.samples} samples x {self.width} "
            f"outputs, {self.dimension} parameters, {dtype}, {self.device})"
        )

    @property
    def dimension(self) -> int:
        """K, the number of trained parameters."""
        return sum(self._sizes)

    @property
    def size(self) -> int:
        """NQ, the number of outputs over all samples."""
        return self.samples * self.width

    @property
    def memory(self) -> int:
        """Bytes to work with: the argument, or half of what is free on the device now."""
        if self._memory is not None:
            return self._memory
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0] // 2)
        return int(psutil.virtual_memory().available // 2)

    # ------------------------------------------------------------------ checks at definition

    def _as_inputs(self, inputs: Any) -> torch.Tensor:
        # A copy: the inputs are fixed, whatever becomes of the caller's.
        tensor = _as_tensor(inputs, "inputs", None, self.device).clone()
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

    def _refuse_batch_dependence(self) -> None:
        for name, layer in self.module.named_modules():
            where = f"layer {name!r} ({type(layer).__name__})"
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and (
                layer.training or layer.running_mean is None
            ):
                raise InputError(
                    f"{where} normalises over the batch, so that the outputs of a sample depend "
                    "on the others; expected a map of each sample alone: call module.eval() (and "
                    "keep track_running_stats=True)"
                )
            if (
                isinstance(layer, torch.nn.modules.dropout._DropoutNd)
                and layer.training
                and layer.p
            ):
                raise InputError(
                    f"{where} draws at random; expected deterministic outputs: call module.eval()"
                )

    def _check_outputs(self) -> torch.Size:
        buffers = {name: value.clone() for name, value in self.module.named_buffers()}
        before = self.parameters.clone()
        try:
            with torch.no_grad():
                shape = self._compare_outputs()
        finally:
            changed = [
                name
                for name, buffer in self.module.named_buffers()
                if not _identical(buffer, buffers[name])
            ]
            with torch.no_grad():
                for name in changed:
                    self.module.get_buffer(name).copy_(buffers[name])
        if changed:
            raise InputError(
                f"evaluating the module changes its buffers {changed}; expected a fixed map: call "
                "module.eval()"
            )
        if not torch.equal(self.parameters, before):
            raise InputError(
                "evaluating the module changes its parameters in place; expected a fixed map"
            )
        return shape

    def _compare_outputs(self) -> torch.Size:
        names = self.unflatten(self.parameters)
        count = self.inputs.shape[0]
        try:
            raw = self._call(names, self.inputs)
        except Exception as error:
            raise InputError(
                f"the module cannot be evaluated on inputs of shape {tuple(self.inputs.shape)} and "
                f"dtype {self.inputs.dtype}: {error}"
            ) from error
        if not isinstance(raw, torch.Tensor) or not raw.is_floating_point():
            kind = f"a {raw.dtype} one" if isinstance(raw, torch.Tensor) else type(raw).__name__
            raise InputTypeError(f"the module returned {kind}; expected one floating tensor")
        if raw.ndim == 0 or raw.shape[0] != count or raw.numel() == 0:
            raise InputError(
                f"the module returned shape {tuple(raw.shape)} for {count} samples; expected "
                f"({count}, ...), one row a sample"
            )
        if not bool(torch.isfinite(raw).all()):
            raise InputError("the outputs have NaN or Inf at the module's parameters")
        scale = float(raw.abs().max()) or 1.0
        close = 1e4 * torch.finfo(self.dtype).eps * scale
        if not float((self._call(names, self.inputs) - raw).abs().max()) <= close:
            raise InputError(
                "two evaluations gave different outputs; expected a deterministic module: call "
                "module.eval()"
            )
        for row in sorted({0, count - 1}):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    alone = self._call(names, self.inputs[row : row + 1])
            except Exception as error:
                raise InputError(
                    f"the module cannot be evaluated on sample {row} alone: {error}; expected "
                    "outputs that do not depend on the other samples"
                ) from error
            # NaN, as from the spread of one sample, is a difference too.
            same = alone.shape == raw[row : row + 1].shape
            if not same or not float((alone - raw[row : row + 1]).abs().max()) <= close:
                raise InputError(
                    "a sample evaluated alone gave other outputs than within the batch; expected "
                    "outputs that do not depend on the other samples"
                )
        return raw.shape[1:]

    # ------------------------------------------------------------------ parameters

    def flatten(self, parameters: Mapping[str, Any]) -> torch.Tensor:
        """Stack parameters given by name into a vector of shape (K,).

        Parameters
        ----------
        parameters : mapping of str to array_like

        Returns
        -------
        Tensor, shape (K,)

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape is wrong.
        """
        if set(parameters) != set(self._shapes):
            missing = sorted(set(self._shapes) - set(parameters))
            unknown = sorted(set(parameters) - set(self._shapes))
            raise InputError(f"parameters by name: missing {missing}, unknown {unknown}")
        parts = []
        for name, shape in self._shapes.items():
            value = _as_tensor(parameters[name], f"parameter {name!r}", self.dtype, self.device)
            if value.shape != shape:
                raise InputError(
                    f"parameter {name!r} has shape {tuple(value.shape)}, expected {tuple(shape)}"
                )
            parts.append(value.reshape(-1))
        return torch.cat(parts)

    def unflatten(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Split a vector of shape (K,) into the named parameters (views of it).

        Parameters
        ----------
        theta : Tensor, shape (K,)

        Returns
        -------
        dict of str to Tensor
        """
        if theta.shape != (self.dimension,):
            raise InputError(
                f"parameters: expected shape ({self.dimension},), got {tuple(theta.shape)}"
            )
        parts = torch.split(theta, self._sizes)
        return {
            name: part.view(shape)
            for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)
        }

    def load(self, theta: Any) -> None:
        """Write a parameter vector into the module (in place), for instance a trained one.

        Parameters
        ----------
        theta : array_like or mapping, shape (K,)
        """
        values = self.unflatten(self.as_parameters(theta))
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if name in values:
                    parameter.copy_(values[name])

    def as_parameters(self, at: Any = None) -> torch.Tensor:
        """Read a point of parameter space: a vector, a mapping by name, or None for the own one.

        Parameters
        ----------
        at : array_like, mapping or None

        Returns
        -------
        Tensor, shape (K,)

        Raises
        ------
        InputError
            If the shape is wrong or entries are not finite.
        """
        if at is None:
            return self.parameters
        if isinstance(at, Mapping):
            at = self.flatten(at)
        return self._vector(at, self.dimension, "parameters")

    def _vector(self, value: Any, size: int, name: str) -> torch.Tensor:
        vector = _as_tensor(value, name, self.dtype, self.device)
        if vector.shape != (size,):
            raise InputError(f"{name}: expected shape ({size},), got {tuple(vector.shape)}")
        if not bool(torch.isfinite(vector).all()):
            raise InputError(f"{name}: NaN or Inf; expected finite numbers")
        return vector

    # ------------------------------------------------------------------ evaluation

    def _call(self, names: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        # The fused attention kernels have no second derivative; the plain one has.
        with sdpa_kernel(SDPBackend.MATH):
            # A copy, for a first layer that works in place.
            return torch.func.functional_call(self.module, names, (inputs.clone(),))

    def _evaluate(self, names: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        return self._call(names, inputs).reshape(inputs.shape[0], self.width)

    def _flat(self, theta: torch.Tensor) -> torch.Tensor:
        return self._evaluate(self.unflatten(theta), self.inputs).reshape(-1)

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
            return self._flat(self.as_parameters(at))

    def linearize(self, at: Any = None) -> Linearization:
        """The map's linearization at a point: actions, Gram matrix, factorization, lift.

        Parameters
        ----------
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Linearization
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
        InputError
            If it does not fit the memory allowed.
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
        """
        return self.linearize(at).gram

    def lift(self, v: Any, at: Any = None) -> torch.Tensor:
        """D+ v, the horizontal lift of an output velocity: the shortest velocity over P v.

        Parameters
        ----------
        v : array_like, shape (NQ,) or (B, NQ)
        at : array_like or mapping, shape (K,), optional

        Returns
        -------
        Tensor, shape (K,) or (B, K)

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
        """
        return self.linearize(at).rank(tolerance)

    # ------------------------------------------------------------------ per-sample Jacobians

    def rows(
        self, theta: torch.Tensor, names: Sequence[str], start: int, stop: int
    ) -> torch.Tensor:
        """Rows of D that belong to samples start..stop, columns of some parameters.

        Parameters
        ----------
        theta : Tensor, shape (K,)
        names : sequence of str
            Parameters whose columns are wanted, in order.
        start, stop : int
            Samples.

        Returns
        -------
        Tensor, shape ((stop - start) Q, K_names)
        """
        # Tensors of inference mode take no part in derivatives: leave it, with copies.
        with torch.inference_mode(False):
            return self._rows(theta.detach().clone(), names, start, stop)

    def _rows(
        self, theta: torch.Tensor, names: Sequence[str], start: int, stop: int
    ) -> torch.Tensor:
        everything = self.unflatten(theta)
        wanted = {name: everything[name] for name in names}
        rest = {name: value for name, value in everything.items() if name not in wanted}

        def sample(own: dict[str, torch.Tensor], one: torch.Tensor) -> torch.Tensor:
            return self._evaluate({**rest, **own}, one[None])[0]

        count = (stop - start) * self.width
        part = self.inputs[start:stop]
        with contextlib.suppress(RuntimeError, ValueError), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            blocks = torch.func.vmap(torch.func.jacrev(sample), (None, 0))(wanted, part)
            rows = torch.cat([blocks[name].reshape(count, -1) for name in names], dim=1)
            if self._rows_agree(rows, wanted, rest, part):
                return rows
        # Operators without a batching rule (or with a wrong one: PReLU in torch 2.13 mixes the
        # samples with the outputs where they are equally many), or control flow on values.
        return torch.cat([self._sample_rows(sample, wanted, one) for one in part])

    def _rows_agree(
        self,
        rows: torch.Tensor,
        wanted: dict[str, torch.Tensor],
        rest: dict[str, torch.Tensor],
        part: torch.Tensor,
    ) -> bool:
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(rows.shape[0], generator=generator, dtype=torch.float64).to(rows)
        leaves = {name: value.detach().requires_grad_() for name, value in wanted.items()}
        with torch.enable_grad():
            out = self._evaluate({**rest, **leaves}, part).reshape(-1)
        exact = torch.zeros_like(rows[0])
        if out.requires_grad:
            gradient = torch.autograd.grad(
                out, list(leaves.values()), probe, materialize_grads=True
            )
            exact = torch.cat([g.reshape(-1) for g in gradient])
        error = torch.linalg.vector_norm(probe @ rows - exact)
        eps = torch.finfo(rows.dtype).eps
        return bool(error <= 1e3 * eps * torch.linalg.matrix_norm(rows) * probe.norm())

    def _sample_rows(
        self,
        sample: Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor],
        wanted: dict[str, torch.Tensor],
        one: torch.Tensor,
    ) -> torch.Tensor:
        leaves = {name: value.detach().requires_grad_() for name, value in wanted.items()}
        with torch.enable_grad():
            out = sample(leaves, one)
        rows = []
        for component in out:
            if not component.requires_grad:
                rows.append(out.new_zeros(sum(v.numel() for v in wanted.values())))
                continue
            gradient = torch.autograd.grad(
                component, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([g.reshape(-1) for g in gradient]))
        return torch.stack(rows)

    def row_blocks(
        self, theta: torch.Tensor, names: Sequence[str], memory: int
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """Blocks of rows of D as they fit the memory.

        Parameters
        ----------
        theta : Tensor, shape (K,)
        names : sequence of str
        memory : int
            Bytes for one block.

        Yields
        ------
        slice, Tensor
            Which rows, and the rows.
        """
        columns = sum(math.prod(self._shapes[name]) for name in names)
        # vmap holds the stacked blocks and their concatenation at once.
        per_sample = 3 * self.width * columns * self.parameters.element_size()
        step = max(1, min(self.samples, memory // max(1, per_sample)))
        for start in range(0, self.samples, step):
            stop = min(start + step, self.samples)
            rows = slice(start * self.width, stop * self.width)
            yield rows, self.rows(theta, names, start, stop)

    def column_blocks(
        self, theta: torch.Tensor, names: Sequence[str], memory: int
    ) -> Iterator[torch.Tensor]:
        """Blocks of columns of D (all rows) as they fit the memory.

        Parameters
        ----------
        theta : Tensor, shape (K,)
        names : sequence of str
        memory : int
            Bytes for one block; a parameter larger than that is evaluated several times.

        Yields
        ------
        Tensor, shape (NQ, k)
        """
        limit = max(1, memory // (2 * self.size * self.parameters.element_size()))
        group: list[str] = []
        groups: list[list[str]] = []
        filled = 0
        for name in names:
            count = math.prod(self._shapes[name])
            if group and filled + count > limit:
                groups.append(group)
                group, filled = [], 0
            group.append(name)
            filled += count
        if group:
            groups.append(group)
        for members in groups:
            columns = sum(math.prod(self._shapes[name]) for name in members)
            for first in range(0, columns, limit):
                last = min(first + limit, columns)
                block = self.parameters.new_empty(self.size, last - first)
                for rows, values in self.row_blocks(theta, members, memory // 2):
                    block[rows] = values[:, first:last]
                yield block


class Linearization:
    """An `OutputMap` at one point of parameter space: made by `OutputMap.linearize`.

    What is computed once is kept: the graph of the outputs, the Gram matrix, its factorization.

    Parameters
    ----------
    outputs : OutputMap
    theta : Tensor, shape (K,)

    Attributes
    ----------
    parameters : Tensor, shape (K,)
    outputs : OutputMap
    """

    def __init__(self, outputs: OutputMap, theta: torch.Tensor) -> None:
        self.outputs = outputs
        self.parameters = theta.detach().clone()

    def __getstate__(self) -> dict[str, Any]:
        # Without what is computed on demand: the graph of the outputs does not pickle.
        return {"outputs": self.outputs, "parameters": self.parameters}

    def __repr__(self) -> str:
        return f"Linearization of {self.outputs!r}"

    @cached_property
    def _pullback(self) -> tuple[torch.Tensor, Callable[..., Any]]:
        value, pullback = torch.func.vjp(self.outputs._flat, self.parameters)[:2]
        return value.detach(), pullback

    def forget(self) -> None:
        """Free the matrices kept (they are made again when asked for)."""
        for name in ("gram", "factor", "_nystrom", "_pullback"):
            self.__dict__.pop(name, None)

    @property
    def value(self) -> torch.Tensor:
        """The outputs x(theta), shape (NQ,)."""
        return self._pullback[0]

    def _each(self, vectors: Any, size: int, name: str, act: Callable[..., Any]) -> torch.Tensor:
        # Solvers hand tensors over many times a step; only foreign input is read and checked.
        if not (isinstance(vectors, torch.Tensor) and vectors.dtype == self.outputs.dtype):
            vectors = _as_tensor(vectors, name, self.outputs.dtype, self.outputs.device)
        vectors = vectors.detach().to(self.outputs.device)
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != size:
            raise InputError(
                f"{name}: expected shape ({size},) or (B, {size}), got {tuple(vectors.shape)}"
            )
        if vectors.ndim == 1:
            return act(vectors)
        if not len(vectors):
            return act(vectors.new_zeros(size))[None][:0]
        return torch.stack([act(vector) for vector in vectors])

    def jvp(self, v: Any) -> torch.Tensor:
        """D v for v of shape (K,) or (B, K)."""
        _load_forward_mode()

        def act(vector: torch.Tensor) -> torch.Tensor:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                return torch.func.jvp(self.outputs._flat, (self.parameters,), (vector,))[1].detach()
            # Without a forward-mode rule: D v is the derivative of w -> <D'w, v>.
            probe = torch.zeros_like(self.value)
            forward = torch.func.vjp(lambda w: self._pullback[1](w)[0], probe)[1]
            return forward(vector)[0].detach()

        return self._each(v, self.outputs.dimension, "v", act)

    def vjp(self, w: Any) -> torch.Tensor:
        """D' w for w of shape (NQ,) or (B, NQ)."""
        return self._each(
            w, self.outputs.size, "w", lambda vector: self._pullback[1](vector)[0].detach()
        )

    def bend(self, w: Any, v: Any) -> torch.Tensor:
        """Derivative of D' w along v: sum_i w_i (second derivative of x_i) v.

        Parameters
        ----------
        w : array_like, shape (NQ,)
        v : array_like, shape (K,) or (B, K)

        Returns
        -------
        Tensor, shape (K,) or (B, K)
        """
        _load_forward_mode()
        covector = self._each(w, self.outputs.size, "w", lambda vector: vector)

        def pulled(theta: torch.Tensor) -> torch.Tensor:
            return torch.func.vjp(self.outputs._flat, theta)[1](covector)[0]

        def act(vector: torch.Tensor) -> torch.Tensor:
            return torch.func.jvp(pulled, (self.parameters,), (vector,))[1].detach()

        return self._each(v, self.outputs.dimension, "v", act)

    def gram_action(self, w: torch.Tensor) -> torch.Tensor:
        """D D' w for w of shape (NQ,) or (B, NQ), from the actions alone."""
        return self.jvp(self.vjp(w))

    def jacobian(self) -> torch.Tensor:
        """D, dense, shape (NQ, K)."""
        outputs = self.outputs
        needed = outputs.size * outputs.dimension * outputs.parameters.element_size()
        if needed > outputs.memory:
            raise InputError(
                f"the dense Jacobian takes {needed:.2e} bytes, {outputs.memory:.2e} are allowed; "
                "use the actions jvp and vjp, or give OutputMap more memory"
            )
        dense = outputs.parameters.new_empty(outputs.size, outputs.dimension)
        names = list(outputs._shapes)
        for rows, values in outputs.row_blocks(self.parameters, names, outputs.memory // 4):
            dense[rows] = values
        return dense

    @cached_property
    def gram(self) -> torch.Tensor:
        """D D', shape (NQ, NQ), layer by layer where the layers allow it."""
        outputs = self.outputs
        theta = self.parameters
        try:
            terms, leftover = layer_terms(
                outputs.module, outputs._evaluate, outputs.unflatten(theta), outputs.inputs
            )
        except RuntimeError:
            # Layers inside a transform of the module's own, as for derivatives by its inputs.
            return self.general_gram()
        like = self.value.view(outputs.samples, outputs.width)
        memory = outputs.memory
        columns = outputs.column_blocks(theta, leftover, memory // 4)
        gram = assemble_gram(terms, columns, like, memory // 4)
        if terms and not self._agrees(gram):
            # A parameter acts outside its own layer's forward (here, if not elsewhere): the rules
            # do not see it.
            return self.general_gram()
        return gram

    def _agrees(self, gram: torch.Tensor) -> bool:
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(gram.shape[0], generator=generator, dtype=torch.float64).to(gram)
        exact = self.gram_action(probe)
        error = torch.linalg.vector_norm(gram @ probe - exact)
        eps = torch.finfo(gram.dtype).eps
        return bool(error <= 1e3 * eps * torch.linalg.matrix_norm(gram) * probe.norm())

    def general_gram(self) -> torch.Tensor:
        """D D' from per-sample Jacobians in bounded memory, for any module.

        Slower than `gram` on networks that have layer rules, and the oracle it is tested with.
        """
        outputs = self.outputs
        memory = outputs.memory
        columns = outputs.column_blocks(self.parameters, list(outputs._shapes), memory // 4)
        like = self.value.view(outputs.samples, outputs.width)
        return assemble_gram([], columns, like, memory // 4)

    # ------------------------------------------------------------------ factorization

    @property
    def _item(self) -> int:
        return self.outputs.parameters.element_size()

    @property
    def gram_fits(self) -> bool:
        """Whether D D' and a factor of it fit the memory allowed."""
        return 2 * self.outputs.size**2 * self._item <= self.outputs.memory

    @property
    def jacobian_fits(self) -> bool:
        """Whether the dense D and a factorization of it fit the memory allowed."""
        return 3 * self.outputs.size * self.outputs.dimension * self._item <= self.outputs.memory

    @property
    def _stored(self) -> bool:
        # D D' decides nothing about the range of D where K < NQ: that takes D.
        full = self.outputs.dimension >= self.outputs.size
        return self.jacobian_fits or (self.gram_fits and full)

    @cached_property
    def factor(self) -> Factor:
        """The factorization behind the lift, chosen by the measured condition.

        With K >= NQ: Cholesky of D D' where its condition leaves digits; else the triangle of
        the QR factorization of D', where that is affordable; else, where D is numerically rank
        deficient, the truncated spectral form; and for sizes past that a damped Cholesky. With
        K < NQ the truncated spectral form of D. ``.method``, ``.condition`` and ``.rank`` say
        what was chosen.

        Raises
        ------
        NumericalError
            If neither D D' nor D fits the memory (`lift` then works without either).
        """
        outputs = self.outputs
        if outputs.dimension < outputs.size or not self.gram_fits:
            return self.spectrum()
        eps = torch.finfo(outputs.dtype).eps
        lower, failed = torch.linalg.cholesky_ex(self.gram)
        if not int(failed):
            condition = condition_estimate(lower)
            if condition < 1e-2 / (outputs.size * eps):
                return TriangularFactor(lower, condition)
        del lower
        if self.jacobian_fits and 2 * outputs.dimension * outputs.size**2 < _ORTHOGONAL_FLOPS:
            lower = orthogonal_triangle(self.jacobian())
            if bool((lower.diagonal() > 0).all()):
                condition = condition_estimate(lower)
                if condition**0.5 < 1e-1 / (outputs.dimension * eps):
                    return TriangularFactor(lower, condition, "orthogonal")
        if outputs.size <= _SPECTRAL_SIZE:
            return self.spectrum()
        return self.damped(outputs.size * eps)

    def damped(self, damping: float) -> TriangularFactor:
        """Cholesky factorization of D D' + damping * trace(D D')/NQ * 1.

        Parameters
        ----------
        damping : float
            Relative to the mean eigenvalue.

        Returns
        -------
        TriangularFactor

        Raises
        ------
        NumericalError
            If even the damped matrix is not numerically positive definite.
        """
        shift = damping * float(self.gram.diagonal().mean())
        shifted = self.gram.clone()
        shifted.diagonal().add_(shift)
        lower, failed = torch.linalg.cholesky_ex(shifted)
        if int(failed):
            raise NumericalError(f"D D' + {shift:.1e} is not numerically positive definite")
        return TriangularFactor(lower, condition_estimate(lower), "damped", shift)

    def rank(
        self,
        tolerance: float | None = None,
        *,
        absolute: float | None = None,
        resolve: bool = True,
    ) -> NumericalRank:
        """Numerical rank of D with its singular values; the arguments are those of `spectrum`.

        Returns
        -------
        NumericalRank

        Raises
        ------
        NumericalError
            If neither D D' nor D fits the memory.
        """
        return self._decide(gram_rank, jacobian_rank, tolerance, absolute, resolve)

    def spectrum(
        self,
        tolerance: float | None = None,
        *,
        absolute: float | None = None,
        resolve: bool = True,
    ) -> SpectralFactor:
        """All singular values and the rank decision, with the basis of the numerical range.

        From the eigenvalues of D D' where no decision is near its resolution, sqrt(NQ eps), and
        from the dense D otherwise, provided that it fits.

        Parameters
        ----------
        tolerance : float, optional
            Relative truncation of the singular values.
        absolute : float, optional
            Absolute truncation of the singular values, in place of ``tolerance``.
        resolve : bool
            With False, singular values that D D' shows as zero to rounding are believed to be
            zero, without the dense D: for maps known to be rank deficient.

        Returns
        -------
        SpectralFactor

        Raises
        ------
        NumericalError
            If neither D D' nor D fits the memory.
        """
        return self._decide(gram_spectrum, jacobian_spectrum, tolerance, absolute, resolve)

    def _decide(
        self,
        from_gram: Callable[..., Any],
        from_jacobian: Callable[..., Any],
        tolerance: float | None,
        absolute: float | None,
        resolve: bool,
    ) -> Any:
        outputs = self.outputs
        found = None
        if outputs.dimension >= outputs.size and self.gram_fits:
            found = from_gram(self.gram, tolerance, absolute)
            decision = found if isinstance(found, NumericalRank) else found.decision
            # An eigenvalue of relative size e carries a relative error NQ eps / e.
            unclear = decision.singular_values <= 1e2 * decision.resolution
            if not resolve:
                unclear &= decision.singular_values > 0.3 * decision.resolution
            if not unclear.any():
                return found
        if self.jacobian_fits:
            return from_jacobian(self.jacobian(), tolerance, absolute)
        if found is None:
            raise NumericalError(
                f"neither D D' ({outputs.size} x {outputs.size}) nor D ({outputs.size} x "
                f"{outputs.dimension}) fits {outputs.memory:.2e} bytes; give OutputMap more memory"
            )
        return found

    def lift(self, v: Any, *, rtol: float | None = None) -> torch.Tensor:
        """D+ v for v of shape (NQ,) or (B, NQ).

        Parameters
        ----------
        v : array_like
        rtol : float, optional
            Tolerance of the matrix-free solver, used where no matrix fits the memory.

        Returns
        -------
        Tensor, shape (K,) or (B, K)

        Raises
        ------
        NumericalError
            If the matrix-free solver does not reach its tolerance.
        """
        if self._stored:
            factor = self.factor
            return self._each(v, self.outputs.size, "v", lambda w: self.vjp(factor.solve(w)))
        tolerance = rtol if rtol is not None else 1e3 * torch.finfo(self.outputs.dtype).eps
        return self._each(v, self.outputs.size, "v", lambda w: self._krylov_lift(w, tolerance))

    def _krylov_lift(self, v: torch.Tensor, rtol: float) -> torch.Tensor:
        outputs = self.outputs
        # Squares of tiny numbers underflow.
        scale = float(v.abs().max()) or 1.0
        v = v / scale
        if outputs.dimension >= outputs.size:
            found = conjugate_gradient(
                self.gram_action,
                v,
                preconditioner=self._nystrom,
                rtol=rtol,
                max_iterations=20 * int(math.sqrt(outputs.size)) + 200,
            )
            if found.converged:
                return scale * self.vjp(found.solution)
        # Singular, or under-parametrized: the minimum-norm least-squares solution.
        least = least_squares(
            self.jvp, self.vjp, v, rtol=rtol, max_iterations=20 * outputs.size + 200
        )
        if not least.converged:
            raise NumericalError(
                f"the matrix-free lift reached a relative residual of {least.residual:.1e} in "
                f"{least.iterations} iterations, {rtol:.1e} was asked"
            )
        return scale * least.solution

    @cached_property
    def _nystrom(self) -> NystromPreconditioner:
        rank = max(1, min(self.outputs.size // 2, 100))
        return NystromPreconditioner(self.gram_action, self.value, rank)

    def project(self, v: Any) -> torch.Tensor:
        """P v = D D+ v for v of shape (NQ,) or (B, NQ)."""
        if self._stored:
            return self._each(v, self.outputs.size, "v", self.factor.project)
        return self.jvp(self.lift(v))
