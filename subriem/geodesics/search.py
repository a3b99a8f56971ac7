"""All normal geodesics from a point to others that a global search finds, and the shortest.

Round after round: seeds from a fan, shooting, a polish of what is new. Where few of these seeds
agree, guesses from relaxed paths are shot as well. After the first round only geodesics shorter
than the shortest known are looked for, with other seeds and at last other fans, until nothing
shorter came and several seeds agreed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from subriem.geodesics.ball_box import BallBox, Boxes
from subriem.geodesics.fan import Fan, draw_fan, nearest_seeds
from subriem.geodesics.relaxation import relaxed_guesses
from subriem.geodesics.shooting import polish, shoot
from subriem.structure import Structure

__all__ = ["Found", "find_geodesics"]

#: Seeds for a target in a round, in dimension up to three; twice as many in higher ones.
_SEEDS = 32
#: The same for a lift other than the nearest, where there are many.
_FEWEST = 64
#: Seeds that must have led to the shortest geodesic, and their share of those for one target.
_AGREEING, _SHARE = 4, 0.08
_ROUNDS = 6
#: Dimension up to which paths are never relaxed; two higher they always are.
_FLAT = 3
#: Share of the seeds agreeing below which paths are relaxed; how many of them for the nearest
#: lift, and for the others together.
_FEW, _RELAXED, _RELAXED_OTHERS = 0.15, 32, 64
#: Logarithmic range of the lengths of paths that are relaxed, over the least that they can have.
_LOOSE = 1.8
#: Guesses that are shot at once, which bounds the memory.
_CHUNK = 16384
#: Relative difference of lengths up to which rough solutions may turn out the same.
_ROUGH = 1e-3
#: The same for polished ones, and for states along two paths to be one.
_EQUAL, _SAME_PATH = 1e-9, 1e-6


@dataclass
class Found:
    """Geodesics from the start to one point, shortest first.

    Attributes
    ----------
    covector : ndarray, shape (k, n)
        For time 1.
    path : ndarray, shape (k, T, n)
        States at a few times.
    length : ndarray, shape (k,)
    lift : ndarray of int, shape (k,)
        Which of the targets given is the end.
    condition : ndarray, shape (k,)
        Of the Jacobian of the exponential map at the end, in the box's scales: near zero the end
        is conjugate to the start along the geodesic.
    seeds, agreeing : int
        How many guesses were shot, and how many of them led to the length of the shortest.
    """

    covector: np.ndarray
    path: np.ndarray
    length: np.ndarray
    lift: np.ndarray
    condition: np.ndarray
    seeds: int = 0
    agreeing: int = 0

    @property
    def shortest(self) -> float:
        """Length of the shortest; infinite where there is none."""
        return float(self.length[0]) if len(self.length) else np.inf

    @property
    def minimizers(self) -> int:
        """How many have that length, to 1e-9."""
        return int((self.length <= self.shortest * (1 + _EQUAL)).sum())


@dataclass
class _Point:
    """The search for one point: its targets, each as often as there are boxes for it."""

    targets: np.ndarray
    lift: np.ndarray
    boxes: Boxes
    found: Found
    least: np.ndarray
    rough_lengths: list[float] = field(default_factory=list)
    settled: bool = False
    hard: bool = False

    @property
    def first_lift(self) -> int:
        """The nearest lift."""
        return int(self.lift[self.boxes.size.argmin()])

    def count_agreeing(self) -> None:
        """How many rough solutions have the length of the shortest."""
        rough, best = np.array(self.rough_lengths), self.found.shortest
        self.found.agreeing = int((np.abs(rough - best) <= 1e-4 * best).sum())


class _Batch:
    """Guesses, and for which target of which point each is."""

    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []
        self.owners: list[int] = []
        self.which: list[int] = []

    def __len__(self) -> int:
        return len(self.owners)

    def add(self, guesses: np.ndarray, owner: int, row: int) -> None:
        self.parts.append(guesses)
        self.owners += [owner] * len(guesses)
        self.which += [row] * len(guesses)


def find_geodesics(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    lifts: Sequence[np.ndarray],
    bounds: Sequence[np.ndarray],
    *,
    every: bool = False,
    thorough: bool = False,
    seed: int = 0,
) -> list[Found]:
    """Normal geodesics from a start to points, the shortest as sure as seeds can make it.

    Parameters
    ----------
    structure : Structure
    box : BallBox
        About the start.
    start : ndarray, shape (n,)
    lifts : sequence of ndarray, shape (number of lifts, n)
        For each point the targets that stand for it (angles and what a period adds to them);
        none of them the start.
    bounds : sequence of ndarray, shape (number of lifts,)
        For each of these targets a lower bound of its distance: those beyond the shortest
        geodesic known are passed over, unless every one is wanted. NaN where none is known.
    every : bool
        Keep longer geodesics too.
    thorough : bool
        Four times as many seeds.
    seed : int
        Of the generator of the fans.

    Returns
    -------
    list of Found
    """
    generator = np.random.default_rng(seed)
    n = structure.dimension
    count = _SEEDS * 2 ** min(max(n - 3, 0), 1) * (4 if thorough else 1)
    points = []
    for targets, least in zip(lifts, bounds, strict=True):
        empty = np.zeros((0, n))
        nothing = Found(empty, np.zeros((0, 4, n)), np.zeros(0), np.zeros(0, int), np.zeros(0))
        boxes, rows = box.measure(targets - start)
        points.append(_Point(targets[rows], rows, boxes, nothing, np.nan_to_num(least)[rows]))
    fans: dict[tuple[int, int, int], Fan] = {}
    for turn in range(_ROUNDS):
        todo = [k for k, point in enumerate(points) if not point.settled]
        if not todo:
            break
        before = [points[k].found.shortest for k in todo]
        rows_of = {k: _rows(points[k], turn, every) for k in todo}
        batch = _Batch()
        for k in todo:
            point, wanted = points[k], rows_of[k]
            for row in [] if point.hard else wanted:
                near = point.lift[row] == point.first_lift
                # many lifts share the seeds
                own_count = count if near else min(count, max(_FEWEST, 2 * count // len(wanted)))
                fan = _fan(structure, box, start, point.boxes, row, turn, fans, generator)
                seeds = nearest_seeds(
                    fan,
                    box,
                    point.targets[row],
                    point.boxes.take(np.array([row])),
                    own_count,
                    float(point.least[row]),
                    np.inf if every else 1.05 * point.found.shortest,
                    generator,
                )
                batch.add(seeds, k, row)
        _advance(structure, box, start, points, batch, every)
        # where few agree, paths are relaxed
        batch = _Batch()
        for k in todo:
            point = points[k]
            point.count_agreeing()
            few = point.found.agreeing < _FEW * point.found.seeds
            point.hard = point.hard or n > _FLAT + 1 or (few and n > _FLAT)
            if point.hard:
                for row, share in _shares(point, rows_of[k]):
                    share *= (4 if thorough else 1) * (1 if turn < 2 else 2)
                    batch.add(np.zeros((share, n)), k, row)
        if len(batch):
            _relax(structure, box, start, points, batch, generator)
            _advance(structure, box, start, points, batch, every)
        for k, shortest in zip(todo, before, strict=True):
            point = points[k]
            best = point.found.shortest
            point.count_agreeing()
            rivals = int((point.least < best * (1 - _EQUAL)).sum())
            # other lifts that may have a geodesic of the same length
            others = (point.least <= best * (1 + _EQUAL)) & (point.lift != point.first_lift)
            # settled at once where a lower bound proves that nothing is shorter
            proved = rivals == 0 and (turn > 0 or not others.any())
            enough = max(_AGREEING, _SHARE * point.found.seeds / max(rivals, 1))
            point.settled = (proved and not every) or (
                turn > 0
                and best > shortest * (1 - 1e-7)
                and np.isfinite(best)
                and point.found.agreeing >= enough
            )
    return [point.found for point in points]


def _rows(point: _Point, turn: int, every: bool) -> list[int]:
    """The targets to shoot at: the nearest lift, then those that may have a shorter path."""
    rows = np.arange(len(point.targets))
    if turn == 0:
        rows = rows[point.lift == point.first_lift]
    elif not every:
        rows = rows[point.least <= point.found.shortest * (1 + _EQUAL)]
    return [int(row) for row in rows]


def _shares(point: _Point, rows: list[int]) -> list[tuple[int, int]]:
    """How many paths to relax for each target: fewer the farther it is by its lower bound."""
    near = [row for row in rows if point.lift[row] == point.first_lift]
    others = sorted(set(rows) - set(near), key=lambda row: float(point.least[row]))
    total = sum(1 / (rank + 1) for rank in range(len(others)))
    shares = [(row, -(-_RELAXED // len(near))) for row in near]
    return shares + [
        (row, int(np.ceil(_RELAXED_OTHERS / (rank + 1) / total))) for rank, row in enumerate(others)
    ]


def _relax(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    points: list[_Point],
    batch: _Batch,
    generator: np.random.Generator,
) -> None:
    """Put guesses from relaxed paths into a batch of zeros."""
    owners, which = np.array(batch.owners, int), np.array(batch.which, int)
    targets, boxes = _gather(points, owners, which)
    least = np.array([points[k].least[row] for k, row in zip(owners, which, strict=True)])
    lengths = np.maximum(least, boxes.size)
    lengths *= np.exp(generator.uniform(0, _LOOSE, len(lengths)))
    shortest = np.array([points[k].found.shortest for k in owners])
    lengths = np.minimum(lengths, shortest)
    units = box.linear_units(boxes)
    guesses = relaxed_guesses(structure, start, targets, units, lengths, generator)
    sound = np.flatnonzero(np.isfinite(guesses).all(axis=1))
    batch.parts = [guesses[sound]]
    batch.owners, batch.which = owners[sound].tolist(), which[sound].tolist()


def _fan(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    boxes: Boxes,
    row: int,
    turn: int,
    fans: dict[tuple[int, int, int], Fan],
    generator: np.random.Generator,
) -> Fan:
    """The fan for boxes of about this size, drawn when first needed."""
    size, family = boxes.size[row], int(boxes.family[row])
    power = int(np.ceil(2 * np.log2(size)))
    generation = max(turn - 1, 0)
    key = (family, power, generation)
    if key not in fans:
        n = structure.dimension
        rounded = boxes.take(np.array([row]))
        rounded.size[:] = 2.0 ** (power / 2)
        count = 1024 * 2 ** min(max(n - 2, 0), 2)
        reach = (1.5 + 1.5 * max(box.step, 2)) * 1.5**generation
        fans[key] = draw_fan(structure, box, start, rounded, count, reach, generator)
    return fans[key]


def _advance(
    structure: Structure,
    box: BallBox,
    start: np.ndarray,
    points: list[_Point],
    batch: _Batch,
    every: bool,
) -> None:
    """Shoot all guesses, polish what is new and hand it to the points."""
    if not len(batch):
        return
    guesses = np.concatenate(batch.parts)
    owners, which = np.array(batch.owners, int), np.array(batch.which, int)
    for k in owners.tolist():
        points[k].found.seeds += 1
    longest = None if every else np.array([points[k].found.shortest for k in owners])
    for first in range(0, len(guesses), _CHUNK):
        part = slice(first, first + _CHUNK)
        targets, boxes = _gather(points, owners[part], which[part])
        caps = None if longest is None else longest[part]
        rough, rows = shoot(structure, box, start, targets, boxes, guesses[part], caps)
        lengths = _lengths(structure, start, rough)
        owner, row = owners[part][rows], which[part][rows]
        chosen = []
        for k in np.unique(owner):
            own = np.flatnonzero(owner == k)
            points[k].rough_lengths += lengths[own].tolist()
            chosen += _worth_polishing(points[k], rough, lengths, row, own, every)
        if not chosen:
            continue
        targets, boxes = _gather(points, owner[chosen], row[chosen])
        shot = polish(structure, box, start, targets, boxes, rough[chosen])
        lengths = _lengths(structure, start, shot.covector)
        for j in np.flatnonzero(shot.error <= shot.allowed):
            point = points[owner[chosen[j]]]
            lift = int(point.lift[row[chosen[j]]])
            _insert(
                point.found, shot.covector[j], shot.path[j], lengths[j], lift, shot.condition[j]
            )


def _gather(
    points: list[_Point], owners: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, Boxes]:
    offsets = np.cumsum([0, *(len(point.targets) for point in points)])
    rows = offsets[owners] + which
    targets = np.concatenate([point.targets for point in points])
    boxes = Boxes(
        *(
            np.concatenate([getattr(point.boxes, name) for point in points])
            for name in ("size", "family", "weights", "frames")
        )
    )
    return targets[rows], boxes.take(rows)


def _lengths(structure: Structure, start: np.ndarray, covectors: np.ndarray) -> np.ndarray:
    points = np.broadcast_to(start, covectors.shape)
    return np.sqrt(2 * structure.hamiltonian_at(points, covectors))


def _worth_polishing(
    point: _Point,
    rough: np.ndarray,
    lengths: np.ndarray,
    row: np.ndarray,
    own: np.ndarray,
    every: bool,
) -> list[int]:
    """Rough solutions that differ from each other and may be the shortest."""
    limit = np.inf
    if not every:
        limit = (1 + _ROUGH) * min(point.found.shortest, lengths[own].min())
    chosen: list[int] = []
    for j in own[np.argsort(lengths[own], kind="stable")]:
        if lengths[j] > limit:
            break
        if not any(
            row[i] == row[j]
            and np.abs(rough[i] - rough[j]).max() <= _ROUGH * np.abs(rough[j]).max()
            for i in chosen
        ):
            chosen.append(int(j))
    return chosen


def _insert(
    found: Found,
    covector: np.ndarray,
    path: np.ndarray,
    length: float,
    lift: int,
    condition: float,
) -> None:
    """Add a geodesic in its place unless its path is there already."""
    scale = max(length, np.abs(path - path[-1]).max())
    for k in range(len(found.length)):
        if found.lift[k] == lift and np.abs(found.path[k] - path).max() <= _SAME_PATH * scale:
            return
    place = int(np.searchsorted(found.length, length))
    found.covector = np.insert(found.covector, place, covector, axis=0)
    found.path = np.insert(found.path, place, path, axis=0)
    found.length = np.insert(found.length, place, length)
    found.lift = np.insert(found.lift, place, lift)
    found.condition = np.insert(found.condition, place, condition)
