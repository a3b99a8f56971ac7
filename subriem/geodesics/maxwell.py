"""Maxwell points by symmetry: where an isometry gives a second geodesic to the same point.

Let g be an isometry, q(s) the geodesic of the covector p from q_0, and q_1 = q(t).

- Where g fixes q_0 and q_1, the image of the geodesic leads from q_0 to q_1 as well; its covector
  is (dg)^-T p.
- Where g exchanges q_0 and q_1, the image of the geodesic run backwards does, with -(dg)^-T p(t).
  On a group g is a translation after a reflection; the Maxwell strata of SE(2) come from these
  (Sachkov, *ESAIM COCV* 16 (2010) 1018).
- Isometries that form a continuous family about q_0 have fields that vanish at q_0; where such a
  field vanishes at q_1, q_1 is conjugate too, so that conjugate points are all that is looked at.

Isometries are products of the declared ones: of a subset of the single ones, then of one of each
one-parameter family.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import casadi as ca
import numpy as np
import scipy.linalg

from subriem.geodesics.flow_map import flow_map
from subriem.geodesics.meeting import Scales
from subriem.structure import Structure
from subriem.structure.symmetries import Symmetry

__all__ = ["SymmetricMeeting", "symmetric_maxwell"]

_NODES = 96
_RTOL = 1e-14
#: Residual in coordinates, relative to their size, that counts as a solution.
_SOLVED = 1e-11
#: Relative size below which a field vanishes.
_VANISHES = 1e-8

#: Relative difference of the ends of two geodesics up to which they meet.
_MEETS = 1e-8

Look = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class SymmetricMeeting:
    """A Maxwell point by symmetry.

    Attributes
    ----------
    time : float
    covector : ndarray, shape (n,)
        Of the other geodesic, at the start.
    symmetry : str
        Of which symmetries the isometry is made, and whether it exchanges the ends.
    endpoint_error : float
        Largest difference of the ends of the two geodesics in a coordinate.
    uncertainty : float
        The next step of the time in Newton's method.
    """

    time: float
    covector: np.ndarray
    symmetry: str
    endpoint_error: float
    uncertainty: float


def symmetric_maxwell(
    structure: Structure, point: np.ndarray, covectors: np.ndarray, limits: np.ndarray
) -> list[list[SymmetricMeeting]]:
    """Maxwell points of geodesics by the symmetries that their structure declares.

    Parameters
    ----------
    structure : Structure
    point : ndarray, shape (n,)
        The start.
    covectors : ndarray, shape (B, n)
    limits : ndarray, shape (B,)
        Times up to these, which the geodesics reach; a first conjugate time where there is one.

    Returns
    -------
    list of list of SymmetricMeeting
        One list a geodesic, by time.

    Examples
    --------
    >>> grushin = Structure.define(
    ...     "grushin", "x y", lambda q: [(1, 0), (0, q.x)],
    ...     symmetries={"mirror": lambda q: (-q.x, q.y)},
    ... )
    >>> p, limit = np.array([[1.0, 2.0]]), np.array([2.0])
    >>> first = symmetric_maxwell(grushin, np.zeros(2), p, limit)[0][0]
    >>> bool(abs(first.time - np.pi / 2) < 1e-12), first.covector + 0, first.symmetry
    (True, array([-1.,  2.]), 'mirror')
    """
    singles = [symmetry for symmetry in structure.symmetries if not symmetry.family]
    families = [symmetry for symmetry in structure.symmetries if symmetry.family]
    shares = np.arange(1, _NODES + 1) / _NODES
    flow = flow_map(structure, point, limits[:, None] * covectors, shares, _RTOL, jacobian=False)
    scales = Scales.at(structure, point)
    geodesics = _Geodesics(structure, point, scales, covectors, limits, flow.state)
    found: list[list[SymmetricMeeting]] = [[] for _ in covectors]
    for k, meeting in _about_the_start(geodesics, families):
        found[k].append(meeting)
    for count in range(len(singles) + 1):
        for chosen in itertools.combinations(singles, count):
            for exchange in (False, True):
                # that the families fix the start depends on no geodesic
                if chosen or exchange:
                    isometry = _Isometry(structure, point, chosen, families, exchange)
                    for k, meeting in isometry.meetings(geodesics):
                        found[k].append(meeting)
    return [sorted(meetings, key=lambda meeting: meeting.time) for meetings in found]


@dataclass(frozen=True)
class _Geodesics:
    """Geodesics from one point, with their states at equal times up to each limit."""

    structure: Structure
    point: np.ndarray
    scales: Scales
    covectors: np.ndarray
    limits: np.ndarray
    states: np.ndarray

    def meeting(
        self, k: int, time: float, other: np.ndarray, name: str, uncertainty: float
    ) -> SymmetricMeeting | None:
        """A Maxwell point, if the other geodesic is another one and ends there."""
        own = self.covectors[k]
        both = time * np.stack([own, other])
        flow = flow_map(self.structure, self.point, both, [1.0], _RTOL, jacobian=False)
        ends = flow.state[:, 0]
        apart = float(np.abs(self.structure.wrap(ends[1] - ends[0])).max())
        length = time * float(np.sqrt(2 * self.structure.hamiltonian_at(self.point, own)))
        if not self.scales.distinct(both[0], both[1], length) or not apart <= _MEETS * _size(ends):
            return None
        return SymmetricMeeting(time, other, name, apart, uncertainty)


def _size(states: np.ndarray) -> float:
    return float(1 + np.abs(states).max())


class _Isometry:
    """Products of isometries g_a, and the condition that one fixes or exchanges two points."""

    def __init__(
        self,
        structure: Structure,
        point: np.ndarray,
        singles: Sequence[Symmetry],
        families: Sequence[Symmetry],
        exchange: bool,
    ) -> None:
        self.structure, self.point, self.exchange = structure, point, exchange
        self.count = len(families)
        self.singles, self.families = singles, families
        names = [symmetry.name for symmetry in (*singles, *families)]

        def build() -> ca.Function:
            n = structure.dimension
            a = ca.SX.sym("a", self.count)
            ends = [ca.SX.sym("start", n), ca.SX.sym("end", n)]
            images = []
            for image in ends:
                for symmetry in singles:
                    image = symmetry.map(image, 0)[0]
                for k, symmetry in enumerate(families):
                    image = symmetry.map(image, a[k])[0]
                images.append(image)
            aims = ends[::-1] if exchange else ends
            residual = ca.vertcat(images[0] - aims[0], images[1] - aims[1])
            outputs = [
                residual,
                ca.jacobian(residual, a),
                ca.jacobian(residual, ends[1]),
                # dg at the point whose covector is carried
                ca.jacobian(images[exchange], ends[exchange]),
            ]
            arguments = [*ends, a]
            return ca.Function("isometry", arguments, [ca.densify(out) for out in outputs])

        self.function = structure.cached(("isometry", *names, exchange), build)

    def look(self, states: np.ndarray, a: np.ndarray) -> list[np.ndarray]:
        """Residual (B, 2n), its derivatives by a and by the end, and dg."""
        batch, n = states.shape
        starts = np.repeat(self.point[:, None], batch, axis=1)
        outputs = [
            np.asarray(out).reshape(out.shape[0], batch, out.shape[1] // batch).swapaxes(0, 1)
            for out in self.function(starts, states.T, a.T)
        ]
        residual = self.structure.wrap(outputs[0][..., 0].reshape(-1, n)).reshape(batch, 2 * n)
        return [residual, *outputs[1:]]

    def meetings(self, geodesics: _Geodesics) -> Iterator[tuple[int, SymmetricMeeting]]:
        """Times at which the condition is met, from the best g_a at each of many times."""
        structure, n, k = self.structure, self.structure.dimension, self.count
        count, nodes = geodesics.states.shape[:2]
        states = geodesics.states.reshape(-1, n)
        a = np.zeros((len(states), k))
        if k:
            # an isometry that carries the start first: mostly that leaves little choice
            for rows in (n, 2 * n):

                def fit(
                    x: np.ndarray, which: np.ndarray, rows: int = rows
                ) -> tuple[np.ndarray, np.ndarray]:
                    residual, slopes, *_ = self.look(states[which], x)
                    return residual[:, :rows], slopes[:, :rows]

                a = _least_squares(fit, a, 30)[0]
        error = np.linalg.norm(self.look(states, a)[0], axis=1).reshape(count, nodes)
        padded = np.pad(error, ((0, 0), (1, 1)), constant_values=np.inf)
        dips = (error <= padded[:, :-2]) & (error <= padded[:, 2:])
        # where it is met all along, each geodesic is carried to itself
        dips[(error <= _SOLVED * _size(states)).mean(axis=1) > 0.5] = False
        which, node = np.nonzero(dips)
        spacing = geodesics.limits[which] / nodes
        guessed = (node + 1) * spacing
        covectors = geodesics.covectors[which]

        def along(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # near time 0 everything is nearly exchanged: a solution is near its guess
            near = np.abs(x[:, k] - guessed[rows]) < 1.5 * spacing[rows]
            near &= x[:, k] > 0.1 * spacing[rows]
            time = np.where(near, x[:, k], guessed[rows])[:, None]
            flow = flow_map(
                structure, self.point, time * covectors[rows], [1.0], _RTOL, jacobian=False
            )
            ends, momenta = flow.state[:, 0], flow.covector[:, 0] / time
            residual, by_a, by_end, _ = self.look(ends, x[:, :k])
            frames = structure.frame_at(ends)
            controls = np.einsum("bnm,bn->bm", frames, momenta)
            controls = np.linalg.solve(structure.metric_at(ends), controls[..., None])
            residual[~near] = np.inf
            return residual, np.concatenate([by_a, by_end @ frames @ controls], axis=2)

        guess = np.column_stack([a[which * nodes + node], guessed])
        x, residual, step = _least_squares(along, guess, 40)
        good = residual <= _SOLVED * _size(states)
        good &= x[:, k] <= geodesics.limits[which] * (1 + 1e-12)
        for j in np.flatnonzero(good):
            covector, time = covectors[j], float(x[j, k])
            flow = flow_map(structure, self.point, time * covector, [1.0], _RTOL, jacobian=False)
            slope = self.look(flow.state[0], x[j : j + 1, :k])[3][0]
            carried = -flow.covector[0, 0] / time if self.exchange else covector
            other = np.linalg.solve(slope.T, carried)
            meeting = geodesics.meeting(
                which[j], time, other, self._name(x[j, :k]), abs(float(step[j, k]))
            )
            if meeting is not None:
                yield int(which[j]), meeting

    def _name(self, a: np.ndarray) -> str:
        used = [symmetry.name for symmetry in self.singles]
        used += [s.name for s, amount in zip(self.families, a, strict=True) if abs(amount) > 1e-9]
        return ", ".join(used) + (", backwards" if self.exchange else "")


def _about_the_start(
    geodesics: _Geodesics, families: Sequence[Symmetry]
) -> Iterator[tuple[int, SymmetricMeeting]]:
    """Points at the limits that isometries about the start fix in a continuous way."""
    if not families:
        return
    n, point = len(geodesics.point), geodesics.point
    q, s = ca.SX.sym("q", n), ca.SX.sym("s")
    fields = ca.horzcat(
        *(ca.substitute(ca.jacobian(family.map(q, s)[0], s), s, 0) for family in families)
    )
    slopes = ca.Function("slopes", [q], [ca.densify(ca.jacobian(ca.vec(fields), q))])
    values = ca.Function("fields", [q], [ca.densify(fields)])
    tensor = np.asarray(slopes(point)).reshape(len(families), n, n)
    about = scipy.linalg.null_space(np.asarray(values(point)), rcond=_VANISHES)
    if not about.shape[1]:
        return
    name = ", ".join(family.name for family in families)
    for k, (covector, limit) in enumerate(zip(geodesics.covectors, geodesics.limits, strict=True)):
        # of the fields that vanish at the start, those that move the covector
        acting = np.einsum("knm,n,kc->mc", tensor, covector, about)
        _, sizes, right = np.linalg.svd(acting, full_matrices=False)
        fixing = about @ right[sizes > _VANISHES * np.abs(covector).max()].T
        if not fixing.shape[1]:
            continue
        end = geodesics.states[k, -1]
        _, sizes, right = np.linalg.svd(np.asarray(values(end)) @ fixing, full_matrices=False)
        if sizes[-1] > _VANISHES * _size(end):
            continue
        slope = np.einsum("knm,k->nm", tensor, fixing @ right[-1])
        # half a turn, where the field turns
        half = np.pi / np.linalg.norm(slope, 2)
        other = scipy.linalg.expm(-half * slope.T) @ covector
        meeting = geodesics.meeting(k, float(limit), other, f"about the start: {name}", 0.0)
        if meeting is not None:
            yield k, meeting


def _least_squares(
    look: Look, x: np.ndarray, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levenberg-Marquardt for a batch: solutions, norms of the residuals, next steps.

    ``look`` takes rows of x and which they are, to residuals and Jacobians.
    """
    x = x.copy()
    everything = np.arange(len(x))
    if not len(x):
        return x, np.zeros(0), x
    residual, slopes = look(x, everything)
    error = np.linalg.norm(residual, axis=1)
    raised = np.ones(len(x))

    def next_step(rows: np.ndarray) -> np.ndarray:
        left, values, right = np.linalg.svd(slopes[rows], full_matrices=False)
        damping = raised[rows] * np.minimum(error[rows], 1) ** 2
        weights = values / (values**2 + damping[:, None] + 1e-30)
        weights *= np.einsum("bji,bj->bi", left, residual[rows])
        return np.asarray(np.einsum("bji,bj->bi", right, weights))

    active = everything
    for _ in range(iterations):
        active = active[(error[active] > 1e-15) & (raised[active] < 1e8)]
        if not len(active):
            break
        trial = x[active] - next_step(active)
        new, new_slopes = look(trial, active)
        new_error = np.linalg.norm(new, axis=1)
        better = new_error < error[active]
        slow = better & (new_error > (1 - 1e-3) * error[active])
        rows = active[better]
        x[rows], residual[rows], slopes[rows] = trial[better], new[better], new_slopes[better]
        error[rows] = new_error[better]
        raised[rows] = np.maximum(raised[rows] / 10, 1e-3)
        raised[active[~better]] *= 10
        active = active[~slow]
    raised[:] = 1.0
    return x, error, next_step(everything)
