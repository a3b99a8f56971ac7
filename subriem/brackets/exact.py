"""Lie flags with proof: the growth vector at a point given exactly.

The vector fields are read into a `DifferentialRing`, where brackets are exact. The flag grows by
right-normed brackets, D^{k+1} = D^k + [D^1, D^k], and the fields may be multiplied by functions
that do not vanish at the point, as this changes none of its spaces.

- *Independence* of values at the point is exact where they are rational, else proved in balls. So
  the lower bounds hold always.
- *Dependence* of values is exact where they are rational, else proved by the relations among the
  constants that occur (sqrt 2 squared is 2, sin^2 + cos^2 = 1). A value proved neither way counts
  for the upper bound as independent.
- A bracket that is a combination of earlier ones, with rational coefficients or with coefficients
  analytic near the point, is not expanded further. When none is left the Lie algebra is *closed* at
  the point: all later dimensions equal the last.

Source: Bellaiche, *The tangent space in sub-Riemannian geometry* (1996), section 4, for the flag;
Johansson, *Arb*, IEEE Trans. Computers 66 (2017) 1281, for proofs by balls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subriem.arithmetic.differential_ring import DifferentialRing
from subriem.arithmetic.exact import to_float
from subriem.arithmetic.generated_ring import WorkLimitReached
from subriem.arithmetic.point_values import PointValues, generic_values
from subriem.arithmetic.program import Program
from subriem.brackets.invariant_subspace import restrict_to_invariant_subspace
from subriem.brackets.local_module import LocalModule, RationalCombinations
from subriem.brackets.span_at_point import CertifiedSpan, RationalSpan, Span
from subriem.errors import InputError
from subriem.structure import Structure, require_structure

__all__ = ["CertifiedFlag", "certified_flag"]


@dataclass(frozen=True)
class CertifiedFlag:
    """Proved bounds of the dimensions of a Lie flag at a point.

    Attributes
    ----------
    lower : tuple of int
        Proved lower bounds of dim D^1, dim D^2, ... at the point.
    upper : tuple of (int or None)
        Proved upper bounds; None where nothing was proved. Those that equal ``lower`` are the
        dimensions.
    closed : bool
        Whether it is proved that all further dimensions equal the last one; then the tuples end
        where that dimension is first reached.
    method : str
        ``"exact"`` where all decisions were made among fractions, ``"balls"`` where some were made
        in ball arithmetic, ``"none"`` if there was nothing to decide with.
    words : tuple of (str, int)
        The brackets whose values span the flag, as found, each with its length.
    notes : tuple of str
        How constants were read, and how the flag was closed.
    reason : str
        Why the flag ends before it is closed; empty if it is.

    Examples
    --------
    >>> martinet = Structure.define(
    ...     "martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)]
    ... )
    >>> flag = certified_flag(martinet, [0, 0, 0])
    >>> flag.growth_vector, flag.method, flag.closed
    ((2, 2, 3), 'exact', True)
    """

    lower: tuple[int, ...]
    upper: tuple[int | None, ...]
    closed: bool
    method: str
    words: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def growth_vector(self) -> tuple[int, ...] | None:
        """The dimensions, where all are proved from both sides."""
        return self.lower if self.lower and self.lower == self.upper else None


def certified_flag(
    structure: Structure,
    point: Sequence[Any] | Mapping[str, Any],
    *,
    max_step: int = 30,
    work_limit: int = 20_000_000,
    precision: int = 2048,
) -> CertifiedFlag:
    """Bounds of the growth vector at one point, with proof.

    Parameters
    ----------
    structure : Structure
        Its drift, if it has one, takes no part.
    point : sequence, or mapping by coordinate, of int, float, Fraction or str
        A float is the dyadic fraction that it is; texts such as ``"pi/2"`` and ``"1/3"`` are exact.
    max_step : int
        Brackets are formed up to this length.
    work_limit : int
        How many products of terms the computation may form before it stops where it is.
    precision : int
        Balls of up to this many bits are tried.

    Returns
    -------
    CertifiedFlag
        Also where nothing can be proved: its ``reason`` says why.

    Raises
    ------
    InputError
        If the point does not fit the structure, or a limit is not positive.
    InputTypeError
        If ``structure`` is not a structure or an entry of the point not a number.
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> martinet = Structure.define("martinet", "x y z", lambda q: [(1, 0, 0), (0, 1, q.x**2 / 2)])
    >>> flag = certified_flag(martinet, [0, 0, 0])
    >>> flag.growth_vector, flag.closed, flag.method
    ((2, 2, 3), True, 'exact')
    >>> flag.words
    (('f1', 1), ('f2', 1), ('[f1,[f1,f2]]', 3))
    >>> certified_flag(martinet, ["1e-8", 0, 0]).growth_vector
    (2, 3)
    """
    structure = require_structure(structure)
    for what, limit in (("max_step", max_step), ("work_limit", work_limit)):
        if limit < 1:
            raise InputError(f"{what}: expected a positive number, got {limit}")
    entries = _read_point(structure, point)
    program = Program(structure.function(structure.frame))
    ring = DifferentialRing(structure.dimension, work_limit)
    try:
        fields = _read_frame(program, structure.parameter_values, ring)
        growth = _Growth(structure, PointValues(ring, entries, precision), fields)
    except (InputError, WorkLimitReached) as error:
        return CertifiedFlag((), (), False, "none", reason=f"not proved: {error}")
    restricted = False
    while not growth.closed and len(growth.lower) < max_step:
        try:
            growth.advance()
        except WorkLimitReached as error:
            growth.stop(str(error))
            break
        if growth.stalled and not restricted:
            restricted = True
            growth = _restricted(growth, structure, program, entries) or growth
    return growth.result()


def _restricted(
    growth: _Growth, structure: Structure, program: Program, entries: list[Any]
) -> _Growth | None:
    """The flag from its start, in a smaller space, if the fields are tangent to one."""
    ring = growth.at.ring
    try:
        found = restrict_to_invariant_subspace(
            program, list(structure.parameter_values), entries, ring.work_limit
        )
        if found is None:
            return None
        smaller, fields = found
        at = PointValues(smaller, [0] * smaller.dimension, growth.at.precision)
        return _Growth(structure, at, fields)
    except WorkLimitReached:
        return None


def _read_point(structure: Structure, point: Any) -> list[Any]:
    if isinstance(point, Mapping):
        if set(point) != set(structure.coordinates):
            raise InputError(
                f"point: expected {', '.join(structure.coordinates)}, got {', '.join(point)}"
            )
        point = [point[name] for name in structure.coordinates]
    entries = [entry.item() if hasattr(entry, "item") else entry for entry in point]
    if len(entries) != structure.dimension:
        raise InputError(f"point: expected {structure.dimension} coordinates, got {len(entries)}")
    for entry in entries:
        to_float(entry)  # refuses what is no number
    return entries


def _read_frame(program: Program, values: Any, ring: DifferentialRing) -> list[list[Any]]:
    n = ring.dimension
    coordinates = [ring.element(k) for k in range(n)]
    (entries,) = program.run(ring, coordinates, [ring.constant(value) for value in values])
    entries = [ring.lift(p) for p in entries]
    return [entries[start : start + n] for start in range(0, len(entries), n)]


@dataclass
class _Word:
    name: str
    field: list[Any]
    derivation: list[Any]


class _Growth:
    """The flag as it grows, step by step."""

    def __init__(self, structure: Structure, at: PointValues, fields: Sequence[list[Any]]) -> None:
        self.names, self.dimension = structure.field_names, structure.dimension
        self.ring = ring = at.ring
        self.at, self.fields = at, fields
        rational = at.rational_values([p for field in fields for p in field])
        self.method = "balls" if rational is None else "exact"
        self.span: Span = CertifiedSpan(at) if rational is None else RationalSpan(rational)
        self.combinations = RationalCombinations(ring)
        self.module = LocalModule(ring, lambda p: at.is_zero(at.value(p)) is False)
        generic = generic_values(ring)
        #: Pivots at random values: a field independent of them there is none of their combinations.
        self.generic = None if generic is None else RationalSpan(generic)
        self.pivots: list[list[Any]] = []  # not yet taken by self.generic
        self.basis: list[_Word] = []
        self.frontier: list[_Word] = []
        self.lower: list[int] = []
        self.upper: list[int | None] = []
        self.words: list[tuple[str, int]] = []
        self.undecided = 0
        self.pruned: set[str] = set()
        self.closed = False
        self.stopped = ""

    @property
    def stalled(self) -> bool:
        """Whether the last step proved no new direction, and not that there is none."""
        first = self.lower == [0]
        return not self.closed and (first or self.lower[-2:-1] == self.lower[-1:])

    def advance(self) -> None:
        """Add the brackets that are longer by one."""
        step = len(self.lower) + 1
        self.frontier = self._take(step, self._candidates(step))
        if step == 1:
            self.basis = self.frontier
        rank, n = self.span.rank, self.ring.dimension
        self.lower.append(rank)
        self.upper.append(min(n, rank + self.undecided))
        self.closed = rank == n or not self.frontier

    def stop(self, why: str) -> None:
        """Record the part of a step that was done."""
        self.stopped = f"not proved beyond step {len(self.lower)}: {why}"
        self.lower.append(self.span.rank)
        self.upper.append(None)

    def _candidates(self, step: int) -> Iterator[tuple[str, list[Any]]]:
        if step == 1:
            yield from zip(self.names, self.fields, strict=True)
        elif step == 2:
            for j, g in enumerate(self.basis):
                for f in self.basis[:j]:
                    yield self._bracket(f, g)
        else:
            for w in self.frontier:
                for f in self.basis:
                    yield self._bracket(f, w)

    def _bracket(self, f: _Word, g: _Word) -> tuple[str, list[Any]]:
        ring = self.ring
        field = [
            ring.sub(ring.apply(f.derivation, b), ring.apply(g.derivation, a))
            for a, b in zip(f.field, g.field, strict=True)
        ]
        return f"[{f.name},{g.name}]", field

    def _take(self, step: int, candidates: Iterator[tuple[str, list[Any]]]) -> list[_Word]:
        """The new brackets that may lead to further ones."""
        kept: list[tuple[str, list[Any], bool | None]] = []
        for name, raw in candidates:
            field = self.ring.without_units(self.ring.clear(raw))
            if all(p.is_zero() for p in field):
                continue
            if not self.combinations.add(field):
                self.pruned.add("rational")
                continue
            self.ring.spend(10 * sum(map(len, field)))
            independent = self.span.add(field)
            kept.append((name, field, independent))
            self.undecided += independent is None
            if independent:
                self.words.append((name, step))
                self.module.add(field)
                self.pivots.append(field)
                if self.span.rank == self.ring.dimension:
                    return []
        frontier = []
        for name, field, independent in kept:
            if not independent and self._is_combination(field):
                self.pruned.add("analytic")
                self.undecided -= independent is None
                continue
            frontier.append(_Word(name, field, self.ring.derivation(field)))
        return frontier

    def _is_combination(self, field: list[Any]) -> bool:
        if self.generic is not None:
            while self.pivots:
                self.generic.add(self.pivots.pop())
            if not self.generic.contains(field):
                return False
        return self.module.contains(field)

    def result(self) -> CertifiedFlag:
        """What was proved."""
        lower, upper = self.lower, self.upper
        if self.closed:
            # later steps bound the earlier ones
            while len(lower) > 1 and lower[-1] == lower[-2] and upper[-1] == upper[-2]:
                lower, upper = lower[:-1], upper[:-1]
            reason = ""
        else:
            reason = self.stopped or f"brackets longer than {len(lower)} were not formed"
        return CertifiedFlag(
            tuple(lower),
            tuple(upper),
            self.closed,
            self.method,
            tuple(self.words),
            tuple(self._notes()),
            reason,
        )

    def _notes(self) -> list[str]:
        notes = []
        if self.ring.rounded:
            notes.append("constants were read as the simplest fractions that round to them")
        if not self.ring.dimension:
            return [*notes, "closed: all fields vanish at the point"]
        if self.ring.dimension < self.dimension:
            notes.append(
                f"computed in an affine subspace of dimension {self.ring.dimension} through the "
                "point, to which all fields are tangent"
            )
        if self.closed and self.span.rank == self.ring.dimension:
            notes.append("closed: the brackets span all directions")
        elif self.closed:
            kinds = " or ".join(sorted(self.pruned, reverse=True))
            notes.append(
                "closed: all further brackets are combinations of these"
                + (f" with {kinds} coefficients" if kinds else "")
            )
        return notes
