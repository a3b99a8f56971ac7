"""Fans of normal geodesics, and the seeds for shooting that pass closest to a target.

A fan is drawn for boxes of one size d (`subriem.geodesics.ball_box`): unit-speed covectors with a
random horizontal part, whose components along brackets of length w are of the order d^{1-w}, on
which dilations act as they do on the nilpotent approximation. Its points at many times are
compared with a target; each seed is the best geodesic of a random part of the fan, so that seeds
are both close to the target and different from each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from subriem.geodesics.ball_box import BallBox, Boxes
from subriem.geodesics.flow_map import flow_map
from subriem.structure import Structure

__all__ = ["Fan", "draw_fan", "nearest_seeds"]

#: Angle that a covector along a bracket of length 2 turns a geodesic by, over a length d.
_TURN = 8.0
_TIMES = 28
#: Share of the least length from which on the fan is compared with a target.
_BELOW = 0.9


@dataclass(frozen=True)
class Fan:
    """Points on a fan of geodesics.

    Attributes
    ----------
    covectors : ndarray, shape (N, n)
        Of unit speed.
    times : ndarray, shape (T,)
        Lengths, as the speed is 1.
    coordinates : ndarray, shape (N, T, n)
        Of the points, in the brackets of the box; NaN where a geodesic has ended.
    """

    covectors: np.ndarray
    times: np.ndarray
    coordinates: np.ndarray


def draw_fan(
    structure: Structure,
    about: BallBox,
    start: np.ndarray,
    box: Boxes,
    count: int,
    reach: float,
    generator: np.random.Generator,
) -> Fan:
    """Draw a fan for one box.

    Parameters
    ----------
    structure : Structure
    about : BallBox
        About the start.
    start : ndarray, shape (n,)
    box : Boxes
        Of length one.
    count : int
        Number of geodesics.
    reach : float
        Length of the longest geodesic over the size of the box.
    generator : numpy.random.Generator

    Returns
    -------
    Fan
    """
    size, weights, frame = box.size[0], box.weights[0], box.frames[0]
    n = structure.dimension
    momenta = np.zeros((count, n))
    flat = weights == 1
    horizontal = generator.standard_normal((count, int(flat.sum())))
    momenta[:, flat] = horizontal / np.linalg.norm(horizontal, axis=1, keepdims=True)
    # so that the turning is moderate over lengths from a tenth of the size to all of the reach:
    # the box knows the length of the geodesic that is wanted up to such factors only
    length = size * np.exp(generator.uniform(np.log(0.1), np.log(reach), (count, 1)))
    turn = _TURN * generator.random((count, n)) / length
    sign = generator.choice([-1.0, 1.0], size=(count, n))
    steep = ~flat
    momenta[:, steep] = (sign * turn ** (weights - 1.0))[:, steep]
    covectors = np.linalg.solve(frame.T, momenta.T).T
    points = np.broadcast_to(start, covectors.shape)
    speed = np.sqrt(2 * structure.hamiltonian_at(points, covectors))
    covectors /= speed[:, None]
    times = size * np.geomspace(0.05, reach, _TIMES)
    flow = flow_map(structure, start, covectors, times, 1e-5, jacobian=False)
    states = flow.state.reshape(-1, n)
    z = about.coordinates(box.take(np.zeros(len(states), dtype=int)), states)
    return Fan(covectors, times, z.reshape(flow.state.shape))


def nearest_seeds(
    fan: Fan,
    about: BallBox,
    target: np.ndarray,
    box: Boxes,
    count: int,
    shortest: float,
    longest: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Covectors for time 1 of fan geodesics that pass near a target.

    Parameters
    ----------
    fan : Fan
    about : BallBox
        About the start.
    target : ndarray, shape (n,)
    box : Boxes
        Of length one: that of the displacement to the target.
    count : int
        Number of seeds at most.
    shortest, longest : float
        Shorter and longer parts of the fan are left out.
    generator : numpy.random.Generator

    Returns
    -------
    ndarray, shape (at most count, n)
    """
    kept = int(np.searchsorted(fan.times, longest, side="right"))
    if kept == 0:
        return np.zeros((0, len(target)))
    # no geodesic to the target is that short, but one a little shorter may pass near it
    first = min(int(np.searchsorted(fan.times, _BELOW * shortest)), kept - 1)
    end = about.coordinates(box, target[None])[0]
    apart = (fan.coordinates[:, first:kept] - end) / box.size[0] ** box.weights[0]
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.einsum("btn,btn->bt", apart, apart)
    distance[np.isnan(distance)] = np.inf
    # each part of the fan is cut at a random length: among long geodesics there are always some
    # that come close by chance, and short ones would not be seen
    caps = 1 + generator.integers(kept - first, size=count)
    chosen, when = [], []
    for group, cap in zip(
        np.array_split(generator.permutation(len(apart)), count), caps, strict=True
    ):
        row, column = divmod(int(distance[group, :cap].argmin()), int(cap))
        if np.isfinite(distance[group[row], column]):
            chosen.append(group[row])
            when.append(first + column)
    return fan.covectors[chosen] * fan.times[when, None]
