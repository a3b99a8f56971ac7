"""`Linearization`: an output map at one point; the actions of D, its Gram matrix, its lift."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch

from subriem.errors import InputError, NumericalError
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
from subriem.network.reading import as_tensor
from subriem.network.rows import column_blocks, row_blocks
from subriem.probe import probe_vector

if TYPE_CHECKING:
    from subriem.network.output_map import OutputMap

__all__ = ["Factor", "Linearization"]

Factor = TriangularFactor | SpectralFactor

# Past these an orthogonal factorization of D, or a full spectrum of D D', takes minutes on a
# common processor, and a damped Cholesky factorization serves instead.
_ORTHOGONAL_FLOPS = 2e11
_SPECTRAL_SIZE = 3000


@cache
def _load_forward_mode() -> None:
    """Let torch load its forward-mode rules, which warns of its own use of torch.jit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))


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
        # The graph of the outputs does not pickle.
        return {"outputs": self.outputs, "parameters": self.parameters}

    def __repr__(self) -> str:
        return f"Linearization of {self.outputs!r}"

    @cached_property
    def _graph(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The parameters as a leaf, and the outputs with their graph back to it."""
        # Plain autograd takes every module; tensors of inference mode take no part in it.
        with torch.inference_mode(False), torch.enable_grad():
            theta = self.parameters.clone().requires_grad_()
            return theta, self.outputs.flat(theta)

    def _pull(self, w: torch.Tensor, create_graph: bool = False) -> torch.Tensor:
        theta, value = self._graph
        if not value.requires_grad:
            return torch.zeros_like(theta)
        with torch.inference_mode(False), torch.enable_grad():
            return torch.autograd.grad(
                value,
                theta,
                w.clone() if w.is_inference() else w,
                retain_graph=True,
                create_graph=create_graph,
                materialize_grads=True,
            )[0]

    def _push_backwards(self, v: torch.Tensor) -> torch.Tensor:
        """D v as the derivative of the linear map w -> <D'w, v>: two reverse passes."""
        with torch.inference_mode(False), torch.enable_grad():
            probe = torch.zeros_like(self.value).clone().requires_grad_()
            pulled = self._pull(probe, create_graph=True)
            if not pulled.requires_grad:
                return torch.zeros_like(self.value)
            return torch.autograd.grad(pulled, probe, v, materialize_grads=True)[0]

    @cached_property
    def _forward_mode(self) -> bool:
        """Whether torch's forward mode works on this module and agrees with its reverse mode."""
        # It passes by `torch.no_grad` and by some options of some layers (a padded embedding).
        v = probe_vector(self.outputs.dimension, self.parameters)
        w = probe_vector(self.outputs.size, self.parameters, seed=1)
        with contextlib.suppress(NotImplementedError, RuntimeError):
            pushed, pulled = self._push_forwards(v), self._pull(w).detach()
            scale = torch.linalg.vector_norm(pushed) * torch.linalg.vector_norm(w)
            scale = scale + torch.linalg.vector_norm(pulled) * torch.linalg.vector_norm(v)
            error = float(torch.dot(pushed, w) - torch.dot(pulled, v))
            return abs(error) <= 1e3 * torch.finfo(pushed.dtype).eps * float(scale)
        return False

    def _push_rows(self, v: torch.Tensor) -> torch.Tensor:
        """D v from blocks of rows of D, for operators that have one reverse mode and no more."""
        outputs = self.outputs
        pushed = torch.empty_like(self.value)
        for rows, values in row_blocks(
            outputs, self.parameters, list(outputs.shapes), outputs.memory // 4
        ):
            pushed[rows] = values @ v
        return pushed

    def _push_forwards(self, v: torch.Tensor) -> torch.Tensor:
        _load_forward_mode()
        return torch.func.jvp(self.outputs.flat, (self.parameters,), (v,))[1].detach()

    def forget(self) -> None:
        """Free the matrices kept."""
        for name in ("gram", "factor", "_nystrom", "_graph", "_forward_mode"):
            self.__dict__.pop(name, None)

    @property
    def value(self) -> torch.Tensor:
        """The outputs x(theta), shape (NQ,)."""
        return self._graph[1].detach()

    def _each(self, vectors: Any, size: int, name: str, act: Callable[..., Any]) -> torch.Tensor:
        # Solvers hand tensors over many times a step; only foreign input is read and checked.
        if not (isinstance(vectors, torch.Tensor) and vectors.dtype == self.outputs.dtype):
            vectors = as_tensor(vectors, name, self.outputs.dtype, self.outputs.device)
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

        def act(vector: torch.Tensor) -> torch.Tensor:
            if self._forward_mode:
                return self._push_forwards(vector)
            try:
                return self._push_backwards(vector).detach()
            except (NotImplementedError, RuntimeError):
                return self._push_rows(vector).detach()

        return self._each(v, self.outputs.dimension, "v", act)

    def vjp(self, w: Any) -> torch.Tensor:
        """D' w for w of shape (NQ,) or (B, NQ)."""
        return self._each(w, self.outputs.size, "w", lambda vector: self._pull(vector).detach())

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
        covector = self._each(w, self.outputs.size, "w", lambda vector: vector)
        theta = self._graph[0]
        pulled = self._pull(covector, create_graph=True)

        def act(vector: torch.Tensor) -> torch.Tensor:
            if not pulled.requires_grad:
                return torch.zeros_like(vector)
            # The Hessian of <w, x> is symmetric, so that the reverse mode gives its rows.
            return torch.autograd.grad(
                pulled, theta, vector, retain_graph=True, materialize_grads=True
            )[0].detach()

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
        names = list(outputs.shapes)
        for rows, values in row_blocks(outputs, self.parameters, names, outputs.memory // 4):
            dense[rows] = values
        return dense

    @cached_property
    def gram(self) -> torch.Tensor:
        """D D', shape (NQ, NQ), layer by layer where the layers allow it."""
        outputs, theta = self.outputs, self.parameters
        named, memory = outputs.unflatten(theta), outputs.memory
        try:
            terms, leftover = layer_terms(
                outputs.module, outputs.evaluate, named, outputs.inputs, memory // 2
            )
        except RuntimeError:
            # Layers inside a transform of the module's own, as for derivatives by its inputs.
            return self.general_gram()
        like = self.value.view(outputs.samples, outputs.width)
        columns = column_blocks(outputs, theta, leftover, memory // 4)
        gram = assemble_gram(terms, columns, like, memory // 4)
        if len(leftover) < len(outputs.shapes) and not self._agrees(gram):
            # A parameter acts outside its own layer's forward (here, if not elsewhere): the rules
            # do not see it.
            return self.general_gram()
        return gram

    def _agrees(self, gram: torch.Tensor) -> bool:
        probe = probe_vector(gram.shape[0], gram)
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
        columns = column_blocks(outputs, self.parameters, list(outputs.shapes), memory // 4)
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

    @property
    def _orthogonal_affordable(self) -> bool:
        flops = 2 * self.outputs.dimension * self.outputs.size**2
        return self.jacobian_fits and flops < _ORTHOGONAL_FLOPS

    @cached_property
    def factor(self) -> Factor:
        """The factorization behind the lift, chosen by the measured condition.

        With K >= NQ: Cholesky of D D' where its condition leaves digits; else the triangle of
        the QR factorization of D', where that is affordable; else, where D is numerically rank
        deficient, the truncated spectral form; and for sizes past that Cholesky as it is, or
        damped where it breaks down. With
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
        large = outputs.size > _SPECTRAL_SIZE and not self._orthogonal_affordable
        if not int(failed):
            condition = condition_estimate(lower)
            # where nothing better is affordable, it is still the best preconditioner there is
            if large or condition < 1e-2 / (outputs.size * eps):
                return TriangularFactor(lower, condition)
        del lower
        if self._orthogonal_affordable:
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
        # The diagonal is put back rather than a second matrix made.
        diagonal = self.gram.diagonal()
        before = diagonal.clone()
        shift = damping * float(before.mean())
        diagonal.add_(shift)
        lower, failed = torch.linalg.cholesky_ex(self.gram)
        diagonal.copy_(before)
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
        if outputs.dimension >= outputs.size:
            found = conjugate_gradient(
                self.gram_action,
                v,
                preconditioner=self._nystrom,
                rtol=rtol,
                max_iterations=20 * int(math.sqrt(outputs.size)) + 200,
            )
            # With the condition the residual that can be reached grows; 1e-8 is the worst taken.
            if found.converged or found.residual <= 1e-8:
                return self.vjp(found.solution)
        # Singular, or under-parametrized: the minimum-norm least-squares solution.
        least = least_squares(
            self.jvp, self.vjp, v, rtol=rtol, max_iterations=20 * outputs.size + 200
        )
        if not least.converged:
            raise NumericalError(
                f"the matrix-free lift reached a relative residual of {least.residual:.1e} in "
                f"{least.iterations} iterations, {rtol:.1e} was asked"
            )
        return least.solution

    @cached_property
    def _nystrom(self) -> NystromPreconditioner:
        rank = max(1, min(self.outputs.size // 2, 100))
        return NystromPreconditioner(self.gram_action, self.value, rank)

    def project(self, v: Any) -> torch.Tensor:
        """P v = D D+ v for v of shape (NQ,) or (B, NQ)."""
        if self._stored:
            factor = self.factor
            if factor.method != "damped":
                return self._each(v, self.outputs.size, "v", factor.project)
        return self.jvp(self.lift(v))
