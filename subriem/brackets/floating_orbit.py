"""The dimension of an orbit of gradient fields of any torch network, in floating point.

The fields are h(theta; c, x) = grad <c, net_theta(x)>. Pulled back to theta_0 by flows of fields of
the family they span, all flows taken together, the tangent space of the orbit (Sussmann); and if
the pull-backs by one more generic flow add nothing to a subspace, then it contains all iterated
brackets, for they are the derivatives of pull-backs. So a walk with generic legs is followed,
its pull-backs are collected after each leg, and the count ends when legs add nothing any more.

Each pull-back comes with its error: the walk is followed a second time, in other steps, by a few
random covectors. A rank decided so is an estimate; what decided it is in the result.

Source: Sussmann, *Trans. Amer. Math. Soc.* 180 (1973) 171.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from subriem.errors import InputError

if TYPE_CHECKING:
    import torch

    from subriem.network import OutputMap

    _State = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]

__all__ = ["SIGNIFICANT", "FloatingOrbit", "floating_orbit"]

#: A singular value is different from zero if it is this many times what the errors explain.
SIGNIFICANT = 10.0
# The decision is clear if the values on its two sides differ by this factor.
_CLEAR = 100.0
_LEGS = 6  # legs of a path, before it starts anew
_MOVED = 0.5  # how far a leg moves, relative to the size of theta
_QUIET = 2  # enlargements without gain that end the count
_PROBES = 8
_SPARE = 16
_SPREAD = 3.0  # sizes of random inputs: the fields of larger and smaller ones differ more
_MORE = 256  # fields after a leg, more than covectors: some are seen by few inputs only
_BUDGET = 60  # enlargements at most, beside those that few fields need to fill the rank
_REDRAWS = 10
_TOGETHER = 3  # random inputs in the field of a leg
_WATCHED = 32  # given inputs in it, as long as no kink is met
_SPOILT = 1e-7  # relative errors from which on pull-backs are left out


@dataclass(frozen=True)
class FloatingOrbit:
    """An estimate of the dimension of an orbit, with what decided it.

    Attributes
    ----------
    dimension : int
        Rank found.
    parameters : int
        K.
    singular_values : ndarray
        Of the collected pull-backs, rows and columns scaled to be comparable; descending. Empty
        where all fields vanish.
    noise : float
        Size of singular values that the errors of integration and rounding explain, estimated.
    gap : float
        Ratio of the last value counted to the first not counted, or to ``noise`` where that is
        larger; ``inf`` where all fields vanish, 0 where errors explain all values.
    ranks : tuple of int
        After each enlargement.
    legs, paths : int
        How many were walked.
    kinks : int
        How many legs were cut short because the fields ceased to be smooth on them.
    lost : int
        How many legs were given up: no smooth one was found, or errors were too large.
    settled : bool
    status : str
        ``"settled"``, or ``"full"`` where all of ``upper`` (or K) was reached; ``"undecided"``:
        there is no clear gap; ``"budget"``: the rank was still growing, or too many legs were
        lost; ``"above upper"``: the rank contradicts ``upper``.
    point : ndarray, shape (K,)
    data : str
        The scope, as given.

    Notes
    -----
    With ``kinks > 0`` the module is not smooth, and with ``data="given"`` the count belongs to the
    region of activations of the point.
    """

    dimension: int
    parameters: int
    singular_values: np.ndarray
    noise: float
    gap: float
    ranks: tuple[int, ...]
    legs: int
    paths: int
    kinks: int
    lost: int
    settled: bool
    status: str
    point: np.ndarray
    data: str

    def __repr__(self) -> str:
        return (
            f"FloatingOrbit({self.dimension} of {self.parameters}, {self.status}, gap "
            f"{self.gap:.1g}, noise {self.noise:.1g})"
        )


def floating_orbit(
    outputs: OutputMap,
    *,
    data: Literal["given", "all"] = "given",
    at: Any = None,
    upper: int | None = None,
    seed: int = 0,
    tolerance: float = 1e-13,
    memory: float | None = None,
) -> FloatingOrbit:
    """Estimate the dimension of the orbit of the gradient fields of a network's outputs.

    Parameters
    ----------
    outputs : OutputMap
        A module in single precision is copied to double precision.
    data : {"given", "all"}
        The fields of the map's own inputs; or of all inputs of their shape, drawn at random in
        sizes from a third to three times theirs.
    at : array_like or mapping, shape (K,), optional
        The point. By default a generic one: the map's parameters plus random numbers of their size.
    upper : int, optional
        An upper bound of the dimension, if one is known: fewer covectors are then carried.
    seed : int
        Of the point, the inputs and the walk.
    tolerance : float
        Error of theta allowed on a leg, relative to its norm.
    memory : float, optional
        Bytes to work with; by default what the map allows itself.

    Returns
    -------
    FloatingOrbit

    Raises
    ------
    InputError
        If ``data="all"`` and the inputs are integers (tokens), if an argument is out of range, or
        if the vectors do not fit the memory.

    Examples
    --------
    >>> import torch
    >>> from subriem.network import OutputMap
    >>> module = torch.nn.Sequential(torch.nn.Linear(2, 1, False), torch.nn.Linear(1, 2, False))
    >>> floating_orbit(OutputMap(module.double(), [[1.0, 2.0]]), data="all").dimension
    3
    """
    from subriem.network.potential import in_double_precision

    if data not in ("given", "all"):
        raise InputError(f"data: expected 'given' or 'all', got {data!r}")
    if data == "all" and not outputs.inputs.is_floating_point():
        raise InputError(
            f"data: 'all' draws real inputs at random, but the map's inputs are "
            f"{outputs.inputs.dtype}; expected data='given' with the tokens wanted as inputs"
        )
    if upper is not None and not 0 <= upper <= outputs.dimension:
        raise InputError(f"upper: expected 0 to {outputs.dimension}, got {upper}")
    if not 0 < tolerance < 1e-3:
        raise InputError(f"tolerance: expected a number between 0 and 1e-3, got {tolerance}")
    # the user's point is read before the copy, as its dtype and device are the map's own
    given = None if at is None else outputs.as_parameters(at).double()
    count = _Count(in_double_precision(outputs), data, given, upper, seed, tolerance, memory)
    return count.run()


class _Count:
    """The state of a count: point, covectors, what has been collected."""

    def __init__(
        self,
        outputs: OutputMap,
        data: str,
        at: torch.Tensor | None,
        upper: int | None,
        seed: int,
        tolerance: float,
        memory: float | None,
    ) -> None:
        import torch

        self.outputs, self.data, self.tolerance = outputs, data, tolerance
        self.generator = torch.Generator().manual_seed(seed)
        size = outputs.dimension
        self.upper = size if upper is None else upper
        self.theta = self._generic_point() if at is None else at.to(outputs.parameters)
        self.covector_count = min(size, self.upper + _SPARE)
        room = float(memory if memory is not None else outputs.memory)
        # the covectors, the triangle, the rows to come and the factorization's copies of both
        needed = 8.0 * (6 * self.covector_count**2 + 4 * self.covector_count * size)
        if needed > room:
            raise InputError(
                f"memory: {needed:.2e} bytes are needed for {self.covector_count} covectors of "
                f"{size} parameters, {room:.2e} are allowed; expected more memory or an upper bound"
            )
        # increments of an extrapolated step: a table and its predecessor, and the graph
        self.chunk = max(1, min(1024, int((room - needed / 2) / (8 * 40 * size))))
        self.triangle: torch.Tensor | None = None
        self.singular_values = np.zeros(0)
        self.noise_squared = 0.0
        self.kinks = self.legs = self.paths = self.lost = 0
        self.whole = False

    # ------------------------------------------------------------------ what is drawn

    def _normal(self, *shape: int) -> torch.Tensor:
        import torch

        numbers = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return numbers.to(self.outputs.parameters)

    def _generic_point(self) -> torch.Tensor:
        import torch

        outputs = self.outputs
        overall = outputs.parameters.square().mean().sqrt()
        overall = overall if overall > 0 else torch.ones_like(overall)
        parts = []
        for part in outputs.unflatten(outputs.parameters).values():
            own = part.square().mean().sqrt()
            parts.append((part + (own if own > 0 else overall) * self._normal(*part.shape)).ravel())
        return torch.cat(parts)

    def _draw(self, count: int, spread: float = 1.0) -> OutputMap:
        """The map on some inputs: given ones, or random ones of up to spread times their size."""
        import torch

        from subriem.network.potential import on_other_inputs

        outputs = self.outputs
        inputs = outputs.inputs
        if self.data == "given":
            if count >= outputs.samples:
                return outputs
            chosen = torch.randperm(outputs.samples, generator=self.generator)[:count]
            return on_other_inputs(outputs, inputs[chosen.to(inputs.device)])
        size = inputs.square().mean().sqrt()
        size = size if size > 0 else torch.ones_like(size)
        wide = torch.rand(count, generator=self.generator, dtype=torch.float64)
        sizes = (spread ** (2 * wide - 1)).to(inputs).reshape(-1, *[1] * (inputs.ndim - 1))
        drawn = size * sizes * self._normal(count, *inputs.shape[1:])
        return on_other_inputs(outputs, drawn)

    def _follow(self, state: _State) -> _State | None:
        """The state after a random leg without kinks, or None."""
        import torch

        from subriem.brackets.horizontal_walk import carry, plan_leg
        from subriem.network.potential import OutputPotential

        theta, covectors, other, probed = state
        few = _TOGETHER if self.data == "all" else _WATCHED
        for _ in range(_REDRAWS):
            drawn = self._draw(self.outputs.samples if self.whole else few)
            potential = OutputPotential(drawn, self._normal(drawn.size))
            speed = float(torch.linalg.vector_norm(potential.gradient(theta)))
            if not (speed > 0 and math.isfinite(speed)):
                continue
            duration = _MOVED * (float(torch.linalg.vector_norm(theta)) or 1.0) / speed
            leg, other_end, compared = plan_leg(potential, other, probed, duration, self.tolerance)
            self.kinks += leg.kink
            if leg.kink and self.data == "given" and drawn.samples < self.outputs.samples:
                raise _NotSmoothError
            if leg.steps:
                return *carry(leg, theta, covectors, self.chunk), other_end, compared
        return None

    # ------------------------------------------------------------------ the count

    def run(self) -> FloatingOrbit:
        """Walk until nothing is added."""
        try:
            return self._walk()
        except _NotSmoothError:
            # kinks of all given inputs must be seen, so all take part in each leg
            self.whole, self.triangle, self.noise_squared = True, None, 0.0
            self.legs = self.paths = self.lost = 0
            return self._walk()

    def _walk(self) -> FloatingOrbit:
        self._begin()
        start = (self.theta, self.covectors, self.theta, self.probed)
        self._enlarge(*start)
        ranks = [self._decide()[0]]
        state: _State = start
        legs = 0
        while not self._ended(ranks):
            self.paths += legs == 0
            moved = self._follow(state)
            if moved is not None and self._enlarge(*moved):
                ranks.append(self._decide()[0])
                self.legs += 1
                legs = (legs + 1) % _LEGS
            else:
                self.lost += 1
                legs = 0
            state = moved if moved is not None and legs else start
        return self._result(ranks)

    def _begin(self) -> None:
        import torch

        first = self._rows(self._draw(self._per_leg(), _SPREAD), self.theta)
        scale = torch.linalg.vector_norm(first, dim=0)
        typical = scale[scale > 0].median() if bool((scale > 0).any()) else scale.new_ones(())
        # directions that hardly any field has must not weigh more than rounding lets them
        scale = torch.where(scale > 1e-6 * typical, scale, typical)
        size = self.outputs.dimension
        if self.covector_count == size:
            self.covectors = torch.diag(1 / scale)
        else:
            mixed = torch.linalg.qr(self._normal(size, self.covector_count))[0]
            self.covectors = mixed.T / scale
        self.mixture = self._normal(_PROBES, self.covector_count)
        self.probed = self.mixture @ self.covectors

    def _per_leg(self) -> int:
        """How many inputs give their fields after a leg."""
        wanted = self.covector_count + _MORE
        return max(2, math.ceil(wanted / self.outputs.width))

    def _rows(self, drawn: OutputMap, theta: torch.Tensor) -> torch.Tensor:
        from subriem.network.potential import OutputPotential

        return OutputPotential(drawn, drawn.parameters[:0]).output_gradients(theta)

    def _enlarge(
        self,
        theta: torch.Tensor,
        covectors: torch.Tensor,
        other: torch.Tensor,
        probed: torch.Tensor,
    ) -> bool:
        """Collect the pull-backs of fields at a point of the walk, unless errors spoil them."""
        import torch

        drawn = self._draw(self._per_leg(), _SPREAD)
        values = self._rows(drawn, theta) @ covectors.T
        compared = self._rows(drawn, other) @ probed.T
        size = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        live = (size > 1e-12 * size.max())[:, 0] if len(size) else size[:, 0] > 0
        values, compared, size = values[live], compared[live], size[live]
        values = values / size
        difference = values @ self.mixture.T - compared / size
        noise_squared = float(difference.square().sum()) / _PROBES
        if not noise_squared <= _SPOILT**2 * len(values):
            return False
        self.noise_squared += noise_squared
        held = values if self.triangle is None else torch.cat([self.triangle, values])
        if len(held) > held.shape[1]:
            held = torch.linalg.qr(held, mode="r")[1]
        self.triangle = held
        self.singular_values = torch.linalg.svdvals(held).cpu().numpy()
        return True

    def _decide(self) -> tuple[int, float, float]:
        """Rank, gap and noise."""
        values = self.singular_values
        largest = float(values[0]) if len(values) else 0.0
        rounding = np.finfo(np.float64).eps * math.sqrt(self.outputs.dimension) * largest
        noise = max(math.sqrt(self.noise_squared), rounding)
        rank = int((values > SIGNIFICANT * noise).sum())
        last = float(values[rank - 1]) if rank else 0.0
        after = float(values[rank]) if rank < len(values) else 0.0
        if rank == 0:
            return 0, math.inf if largest == 0 else 0.0, noise
        return rank, last / max(after, noise), noise

    def _ended(self, ranks: list[int]) -> bool:
        budget = _BUDGET
        if self.data == "given":
            budget += 2 * self.covector_count // self.outputs.size
        if ranks[-1] >= self.upper or len(ranks) > budget or self.lost > _REDRAWS:
            return True
        return len(ranks) > _QUIET and ranks[-1] == ranks[-1 - _QUIET]

    def _result(self, ranks: list[int]) -> FloatingOrbit:
        rank, gap, noise = self._decide()
        quiet = len(ranks) > _QUIET and ranks[-1] == ranks[-1 - _QUIET]
        if rank > self.upper:
            status = "above upper"
        elif gap < _CLEAR:
            status = "undecided"
        elif rank == self.upper:
            status = "full"
        elif quiet:
            status = "settled"
        else:
            status = "budget"
        return FloatingOrbit(
            rank,
            self.outputs.dimension,
            self.singular_values,
            noise,
            gap,
            tuple(ranks),
            self.legs,
            self.paths,
            self.kinks,
            self.lost,
            status in ("settled", "full"),
            status,
            self.theta.cpu().numpy(),
            self.data,
        )


class _NotSmoothError(Exception):
    """The module has kinks, and not all inputs were watched."""
