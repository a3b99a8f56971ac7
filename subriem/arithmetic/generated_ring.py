"""Polynomials over the rationals in coordinates and adjoined functions, with derivations.

The elements are python-flint's ``fmpq_mpoly``. Adjoining a function makes a larger polynomial ring;
elements of the smaller one are taken along by `GeneratedRing.lift`, which every operation applies.
What the adjoined functions are is the matter of `subriem.arithmetic.differential_ring`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from subriem.arithmetic.exact import simplest_fraction
from subriem.arithmetic.flint_library import load_flint
from subriem.errors import InputError, SubriemError

__all__ = ["GeneratedRing", "Generator", "WorkLimitReached"]


class WorkLimitReached(SubriemError):
    """An exact computation took more work than it was allowed."""


@dataclass
class Generator:
    """A function adjoined to a ring.

    Attributes
    ----------
    operation : str
        ``"sin"``, ``"exp"``, ``"inv"``, ``"root"``, ``"pi"``, ...; cos comes right before its sin.
    arguments : list of polynomials
    partials : list of polynomials
        Its derivatives by its arguments.
    degree : int
        q of a q-th root.
    """

    operation: str
    arguments: list[Any]
    partials: list[Any]
    degree: int = 0


class GeneratedRing:
    """Polynomials over the rationals in coordinates and adjoined functions.

    Every operation is a method of CasADi's name for it and takes elements of the ring, also those
    made before the last generator was adjoined.

    Parameters
    ----------
    dimension : int
        Number of coordinates.
    work_limit : int
        How many products of terms may be formed.
    largest : int
        How many generators may be adjoined.

    Attributes
    ----------
    generators : list of Generator
        In the order in which they were adjoined; element number ``dimension + k`` is the k-th.
    work : int
        Products of terms formed so far, and 20 for each operation.

    Raises
    ------
    MissingDependencyError
        Without python-flint.

    Examples
    --------
    >>> ring = GeneratedRing(2)
    >>> x, y = ring.element(0), ring.element(1)
    >>> quotient = ring.div(x, y)
    >>> ring.is_zero(ring.sub(ring.mul(quotient, y), x))
    True
    """

    def __init__(self, dimension: int, work_limit: int = 20_000_000, largest: int = 200) -> None:
        self.flint = load_flint()
        self.dimension = dimension
        self.work_limit = work_limit
        self.work = 0
        self.largest = largest
        self.generators: list[Generator] = []
        #: Constants whose simplest fraction is not the double itself.
        self.rounded: set[float] = set()
        self._grow()

    def __repr__(self) -> str:
        adjoined = ", ".join(generator.operation for generator in self.generators)
        return f"GeneratedRing of {self.dimension} coordinates and {adjoined or 'no functions'}"

    # ------------------------------------------------------------------ elements

    @property
    def size(self) -> int:
        """Number of coordinates and generators."""
        return self.dimension + len(self.generators)

    def element(self, k: int) -> Any:
        """Coordinate k, or generator k - dimension."""
        return self.context.gen(self.size - 1 - k)

    def lift(self, p: Any) -> Any:
        """An element as one of the ring as it is now."""
        return p if p.context() is self.context else p.project_to_context(self.context)

    def rational(self, value: Fraction) -> Any:
        """A fraction as an element."""
        return self.context.constant(self.flint.fmpq(value.numerator, value.denominator))

    def constant(self, value: float) -> Any:
        """A model's constant as an element, read as the simplest fraction that rounds to it."""
        simple = simplest_fraction(value)
        if simple != Fraction(value):
            self.rounded.add(value)
        return self.rational(simple)

    def is_zero(self, p: Any) -> bool:
        """Whether an element is zero in the ring (if so, it is as a function)."""
        return bool(self.clear([p])[0].is_zero())

    def _grow(self) -> None:
        names = [f"x{k}" for k in range(self.dimension)]
        names += [f"g{k}" for k in range(len(self.generators))]
        # later generators lead, so that the leading monomial of each relation is a power of its
        # own generator and division by it is the rewriting that is meant
        self.context = self.flint.fmpq_mpoly_ctx.get(tuple(reversed(names)), "lex")
        for generator in self.generators:
            generator.arguments = [self.lift(p) for p in generator.arguments]
            generator.partials = [self.lift(p) for p in generator.partials]
        self._relations: list[tuple[int, int, Any]] = []
        for k in range(self.dimension, self.size):
            generator, g = self.generators[k - self.dimension], self.element(k)
            if generator.operation == "sin":
                self._relations.insert(0, (k, 2, g**2 + self.element(k - 1) ** 2 - 1))
            elif generator.operation == "root":
                power = generator.degree
                self._relations.insert(0, (k, power, g**power - generator.arguments[0]))

    def _adjoin(self, operation: str, arguments: Sequence[Any], degree: int = 0) -> int:
        if len(self.generators) >= self.largest:
            raise WorkLimitReached(f"the model needs more than {self.largest} functions")
        self.generators.append(Generator(operation, list(arguments), [], degree))
        self._grow()
        return self.size - 1

    def _find(self, operation: str, arguments: Sequence[Any], degree: int = 0) -> int | None:
        for k, generator in enumerate(self.generators):
            if (
                generator.operation == operation
                and generator.degree == degree
                and all(a == b for a, b in zip(generator.arguments, arguments, strict=True))
            ):
                return self.dimension + k
        return None

    def _is(self, k: int, operation: str) -> bool:
        return k >= self.dimension and self.generators[k - self.dimension].operation == operation

    def _function(
        self, operation: str, arguments: Sequence[Any], partials: Callable[..., Sequence[Any]]
    ) -> Any:
        """The generator for a function, with its derivatives where there is what to derive by."""
        arguments = [self.lift(p) for p in arguments]
        k = self._find(operation, arguments)
        if k is None:
            k = self._adjoin(operation, arguments)
            if self.dimension:
                made = partials(self.element(k))
                self.generators[k - self.dimension].partials = [self.lift(p) for p in made]
        return self.element(k)

    # ------------------------------------------------------------------ arithmetic

    def spend(self, work: int) -> None:
        """Count work; raises WorkLimitReached where it exceeds the limit."""
        self.work += work
        if self.work > self.work_limit:
            raise WorkLimitReached(f"more than {self.work_limit} products of terms")

    def reduce(self, p: Any) -> Any:
        """Rewrite squares of sines and powers of roots by their relations."""
        if self._relations:
            for k, power, relation in self._relations:
                if p.degrees()[self.size - 1 - k] >= power:
                    self.spend(20 + len(p) * len(relation))
                    p = divmod(p, relation)[1]
        return p

    def add(self, p: Any, q: Any) -> Any:
        """P + q."""
        return self.lift(p) + self.lift(q)

    def sub(self, p: Any, q: Any) -> Any:
        """P - q."""
        return self.lift(p) - self.lift(q)

    def neg(self, p: Any) -> Any:
        """-p."""
        return -p

    def twice(self, p: Any) -> Any:
        """2 p."""
        return 2 * p

    def mul(self, p: Any, q: Any) -> Any:
        """P q, reduced."""
        p, q = self.lift(p), self.lift(q)
        self.spend(20 + len(p) * len(q))
        return self.reduce(p * q)

    def sq(self, p: Any) -> Any:
        """p^2."""
        return self.mul(p, p)

    def div(self, p: Any, q: Any) -> Any:
        """P / q."""
        inverse = self.inv(q)
        return self.mul(p, inverse)

    def power(self, p: Any, exponent: int) -> Any:
        """P to an integer power."""
        if exponent < 0:
            p, exponent = self.inv(p), -exponent
        result = self.rational(Fraction(1))
        for bit in bin(exponent)[2:]:
            result = self.mul(result, result)
            if bit == "1":
                result = self.mul(result, p)
        return result

    def inv(self, p: Any) -> Any:
        """1 / p, as the product of the reciprocals of its factors."""
        p = self.reduce(self.lift(p))
        if p.is_zero():
            raise InputError("division by zero")
        if p.is_constant():
            return self.context.constant(1 / p.leading_coefficient())
        leading, factors = p.factor()
        inverse = self.context.constant(1 / self.flint.fmpq(leading))
        for factor, exponent in factors:
            inverse = self.mul(inverse, self.power(self._reciprocal(factor), int(exponent)))
        return inverse

    def _reciprocal(self, factor: Any) -> Any:
        factor = self.lift(factor)
        for k, generator in enumerate(self.generators):
            if factor == self.element(self.dimension + k):
                if generator.operation == "inv":
                    return generator.arguments[0]
                if generator.operation == "root":
                    rest = self.power(factor, generator.degree - 1)
                    return self.mul(rest, self.inv(generator.arguments[0]))
        return self._function("inv", [factor], lambda v: [-self.sq(v)])

    # ------------------------------------------------------------------ derivations

    def derivation(self, field: Sequence[Any]) -> list[Any]:
        """A vector field as a derivation: its values on all coordinates and generators.

        Parameters
        ----------
        field : sequence of elements, one a coordinate

        Returns
        -------
        list of elements
        """
        values = [self.lift(p) for p in field]
        for generator in self.generators:
            terms = (
                self.mul(partial, self.apply(values, argument))
                for argument, partial in zip(generator.arguments, generator.partials, strict=True)
            )
            values.append(sum(terms, self.rational(Fraction(0))))
        return values

    def apply(self, derivation: Sequence[Any], p: Any) -> Any:
        """The derivative of an element along a derivation.

        Parameters
        ----------
        derivation : sequence of elements
            As `derivation` returns.
        p : element

        Returns
        -------
        element
        """
        p = self.lift(p)
        total = self.rational(Fraction(0))
        if p.is_constant():
            return total
        degrees = p.degrees()
        for k, rate in enumerate(derivation):
            position = self.size - 1 - k
            if degrees[position] > 0 and not rate.is_zero():
                derivative = p.derivative(position)
                self.spend(20 + len(derivative) * len(rate))
                total += derivative * rate
        return self.reduce(total)

    def occurring(self, elements: Sequence[Any]) -> set[int]:
        """Numbers of the coordinates and generators in some elements and their derivatives.

        Parameters
        ----------
        elements : sequence of elements

        Returns
        -------
        set of int
        """
        found: set[int] = set()
        waiting = [self.lift(p) for p in elements]
        while waiting:
            degrees = waiting.pop().degrees()
            new = {k for k in range(self.size) if degrees[self.size - 1 - k] > 0} - found
            found |= new
            for k in new:
                if k >= self.dimension:
                    generator = self.generators[k - self.dimension]
                    waiting += generator.partials
                    if generator.operation in ("inv", "root"):
                        waiting += generator.arguments
        return found

    # ------------------------------------------------------------------ denominators

    def clear(self, vector: Sequence[Any]) -> list[Any]:
        """A vector without reciprocals: multiplied by powers of what they are reciprocals of.

        Parameters
        ----------
        vector : sequence of elements

        Returns
        -------
        list of elements
        """
        cleared = [self.reduce(self.lift(p)) for p in vector]
        reciprocals = [k for k in range(self.dimension, self.size) if self._is(k, "inv")]
        # the last one adjoined first: what it is the reciprocal of may hold earlier ones; a root
        # of a reciprocal brings it back, hence the repetition
        while left := [k for k in reciprocals if self._degree(cleared, k) > 0]:
            k = left[-1]
            top = self._degree(cleared, k)
            denominator = self.generators[k - self.dimension].arguments[0]
            powers = [self.power(denominator, j) for j in range(top + 1)]
            cleared = [
                sum(
                    (self.mul(part, powers[top - j]) for j, part in self._parts(p, k)),
                    self.rational(Fraction(0)),
                )
                for p in cleared
            ]
        return cleared

    def _degree(self, vector: Sequence[Any], k: int) -> int:
        return max((int(p.degrees()[self.size - 1 - k]) for p in vector), default=0)

    def _parts(self, p: Any, k: int) -> Iterator[tuple[int, Any]]:
        """The powers of element k in a polynomial, and what each is multiplied by."""
        position = self.size - 1 - k
        self.spend(len(p))
        parts: dict[int, dict[tuple[int, ...], Any]] = {}
        for exponents, coefficient in p.to_dict().items():
            j = int(exponents[position])
            rest = (*exponents[:position], 0, *exponents[position + 1 :])
            parts.setdefault(j, {})[rest] = coefficient
        for j, terms in parts.items():
            yield j, self.context.from_dict(terms)

    def without_units(self, vector: Sequence[Any]) -> list[Any]:
        """A vector divided by the denominators, exponentials and roots that all entries share.

        None of these vanishes where the ring's functions are defined.
        """
        vector = list(vector)
        for k in range(self.dimension, self.size):
            generator = self.generators[k - self.dimension]
            if generator.operation == "inv":
                unit = generator.arguments[0]
            elif generator.operation in ("exp", "root"):
                unit = self.element(k)
            else:
                continue
            while any(not p.is_zero() for p in vector):
                self.spend(sum(map(len, vector)))
                divided = [divmod(p, unit) for p in vector]
                if any(not remainder.is_zero() for _, remainder in divided):
                    break
                vector = [quotient for quotient, _ in divided]
        return vector
