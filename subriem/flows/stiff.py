"""The Euclidean gradient flow and the family between it and the adapted flow.

Their rates are the eigenvalues of D D' (over N), spread over many orders of magnitude: the system
is stiff. It is integrated by CVODE (SUNDIALS, through scikit-sundae): variable-order BDF with
Newton-GMRES, Jacobian-vector products from the Gauss-Newton part of the Hessian, and that part's
exact inverse as the preconditioner, which by the identity (1 + D'ED)^-1 = 1 - D'(...)D lives in
output space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sksundae.cvode import CVODE, CVODEJacTimes, CVODEPrecond

from subriem.errors import NumericalError
from subriem.flows.losses import Loss
from subriem.flows.path_following import PathPoint
from subriem.flows.path_lift import PathLift
from subriem.network import Linearization, OutputMap

__all__ = ["StiffFlow"]


class StiffFlow:
    """Iterate over the points at given times of theta' = -(tau D+ + (1 - tau) D') grad_x C.

    tau = 0 is the Euclidean gradient flow and tau = 1 the adapted one; in between the vector
    field is their convex combination (Chen, Munoz Ewald, arXiv:2408.01517). All have the
    same equilibria, as D'g and D+g vanish together.

    Parameters
    ----------
    lift : PathLift
    start : Linearization
    loss : Loss
    targets : Tensor, shape (NQ,)
    tau : float
        In [0, 1].
    times : sequence of float
        Increasing, from 0; a point is yielded at each.
    rtol : float
        Relative tolerance of the integrator (a local one).
    stop_at : float
        Stop when the loss exceeds its minimum by no more than this; located to the time step.
    max_steps : int
        Integrator steps between two of the times.

    Attributes
    ----------
    outcome : str
        ``"running"``, ``"target"``, ``"end"`` or ``"collapsed"``.
    message : str
        The integrator's own, where it failed.
    """

    def __init__(
        self,
        lift: PathLift,
        start: Linearization,
        loss: Loss,
        targets: torch.Tensor,
        *,
        tau: float,
        times: Sequence[float],
        rtol: float,
        stop_at: float,
        max_steps: int = 20000,
    ) -> None:
        self.lift = lift
        self.loss = loss
        self.targets = targets
        self.tau = tau
        self.times = list(times)
        self.rtol = rtol
        self.stop_at = stop_at
        self.max_steps = max_steps
        self.outcome = "running"
        self.message = ""
        self.evaluations = 0
        self._start = start
        self._outputs: OutputMap = start.outputs
        self._last: tuple[bytes, Linearization] | None = None
        self._basis: tuple[Linearization, torch.Tensor, torch.Tensor] | None = None

    def _point(self, state: np.ndarray) -> Linearization:
        """The linearization at CVODE's state; its callbacks come several to a point."""
        theta = np.array(state[:-1])
        key = theta.tobytes()
        if self._last is None or self._last[0] != key:
            self._last = (key, self._outputs.linearize(self._tensor(theta)))
        return self._last[1]

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        like = self._outputs.parameters
        return torch.from_numpy(np.array(values)).to(dtype=like.dtype, device=like.device)

    def _pull(self, at: Linearization, w: torch.Tensor) -> torch.Tensor:
        """(tau D+ + (1 - tau) D') w."""
        pulled = (1.0 - self.tau) * at.vjp(w) if self.tau < 1.0 else 0.0
        if self.tau > 0.0:
            pulled = pulled + self.tau * self.lift.velocity(at, w, 0.1 * self.rtol)
        return pulled  # type: ignore[return-value]

    def _field(self, _: float, state: np.ndarray, out: np.ndarray) -> None:
        self.evaluations += 1
        at = self._point(state)
        if not bool(torch.isfinite(at.value).all()):
            out[:] = math.nan
            return
        velocity = -self._pull(at, self.loss.gradient(at.value, self.targets))
        out[:-1] = velocity.double().cpu().numpy()
        # The path length rides along as one more state.
        out[-1] = float(torch.linalg.vector_norm(velocity))

    def _jacobian_times(
        self, _: float, state: np.ndarray, __: np.ndarray, v: np.ndarray, out: np.ndarray
    ) -> None:
        at = self._point(state)
        bent = self.loss.curvature(at.value, at.jvp(self._tensor(v[:-1])))
        out[:-1] = -self._pull(at, bent).double().cpu().numpy()
        out[-1] = 0.0

    def _setup(
        self, _: float, state: np.ndarray, __: np.ndarray, jok: int, jnew: list[int], ___: float
    ) -> None:
        if jok and self._basis is not None:
            jnew[0] = 0
            return
        jnew[0] = 1
        at = self._point(state)
        found = at.spectrum(resolve=False)
        self._basis = (at, found.left, found.values)

    def _precondition(
        self,
        _: float,
        __: np.ndarray,
        ___: np.ndarray,
        rhs: np.ndarray,
        out: np.ndarray,
        gamma: float,
        ____: float,
        _____: int,
    ) -> None:
        assert self._basis is not None
        at, left, values = self._basis
        r = self._tensor(rhs[:-1])
        # On the orthonormal basis V = D'U/S of range D' the operator is diagonal; the loss's
        # curvature is taken as 1/N, exact for the squared loss.
        rates = gamma / self.loss.samples * (self.tau + (1.0 - self.tau) * values**2)
        inside = (at.jvp(r) @ left) / values
        change = at.vjp(left @ ((rates / (1.0 + rates)) * inside / values))
        out[:-1] = (r - change).double().cpu().numpy()
        out[-1] = rhs[-1]

    def _solver(self) -> CVODE:
        def reached(_: float, state: np.ndarray, events: np.ndarray) -> None:
            excess = self.loss.excess(self._point(state).value, self.targets)
            events[0] = math.log(max(excess, 1e-300) / max(self.stop_at, 1e-300))

        reached.terminal = [True]  # type: ignore[attr-defined]
        reached.direction = [-1]  # type: ignore[attr-defined]
        theta = self._start.parameters
        scale = float(torch.linalg.vector_norm(theta)) / math.sqrt(len(theta)) or 1.0
        return CVODE(
            self._field,
            method="BDF",
            rtol=self.rtol,
            atol=1e-4 * self.rtol * scale,
            linsolver="gmres",
            krylov_dim=10,
            precond=CVODEPrecond(self._setup, self._precondition, "left"),
            jactimes=CVODEJacTimes(None, self._jacobian_times),
            max_num_steps=self.max_steps,
            eventsfn=reached,
            num_events=1,
        )

    def __iter__(self) -> Iterator[PathPoint]:
        """Yield the start, then the point at every time until the loss is reached."""
        yield PathPoint(self.times[0], self._start, math.nan, math.nan, 0.0)
        state = np.append(self._start.parameters.double().cpu().numpy(), 0.0)
        solver = self._solver()
        solver.init_step(self.times[0], state)
        for time in self.times[1:]:
            try:
                found = solver.step(time)
            except (RuntimeError, ValueError) as error:
                raise NumericalError(f"CVODE failed at time {time:.6g}: {error}") from error
            if not found.success:
                self.outcome, self.message = "collapsed", str(found.message)
                return
            end = np.atleast_2d(found.y)[-1]
            at = self._outputs.linearize(self._tensor(end[:-1]))
            yield PathPoint(float(np.atleast_1d(found.t)[-1]), at, math.nan, math.nan, end[-1])
            if found.t_events is not None and len(np.atleast_1d(found.t_events)):
                self.outcome = "target"
                return
        self.outcome = "end"
