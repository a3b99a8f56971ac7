"""Elements of a `DifferentialRing` as sums of waves: products of sines and cosines made linear.

A product of sines and cosines is a sum of cosines and sines of sums of their angles; the squares
of one angle cancel of themselves. Each wave lies in [-1, 1], which bounds a sum by the sum of the
sizes of its coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from subriem.arithmetic.differential_ring import DifferentialRing

__all__ = ["Wave", "waves"]


@dataclass(frozen=True)
class Wave:
    """cos(k . angles) or sin(k . angles), times powers of what is no angle.

    Attributes
    ----------
    frequency : tuple of (int, int)
        Angle (as the ring numbers its cosine) and factor; none for a constant.
    sine : bool
    powers : tuple of (int, int)
        Number of a coordinate or another function of the ring, and exponent.
    """

    frequency: tuple[tuple[int, int], ...]
    sine: bool
    powers: tuple[tuple[int, int], ...]

    @property
    def bounded(self) -> bool:
        """Whether it lies in [-1, 1]."""
        return not self.powers

    @property
    def constant(self) -> bool:
        """Whether it is 1."""
        return not self.powers and not self.frequency


def waves(ring: DifferentialRing, element: Any) -> dict[Wave, Fraction]:
    """An element as a sum of waves.

    Parameters
    ----------
    ring : DifferentialRing
    element : element

    Returns
    -------
    dict of Wave to Fraction
        Without zeros.

    Examples
    --------
    >>> ring = DifferentialRing(2)
    >>> a, b = ring.element(0), ring.element(1)
    >>> both = ring.add(ring.sq(ring.sin(ring.sub(a, b))), ring.sq(ring.cos(ring.sub(a, b))))
    >>> [(wave.constant, str(size)) for wave, size in waves(ring, both).items()]
    [(True, '1')]
    """
    total: dict[Wave, Fraction] = {}
    for exponents, coefficient in ring.reduce(ring.lift(element)).to_dict().items():
        by_number = [int(e) for e in reversed(exponents)]
        size = Fraction(int(coefficient.p), int(coefficient.q))
        # e^{i k . angles} to a complex fraction
        products: dict[tuple[tuple[int, int], ...], tuple[Fraction, Fraction]] = {
            (): (size, Fraction(0))
        }
        powers = []
        for number, power in enumerate(by_number):
            if not power:
                continue
            operation = ""
            if number >= ring.dimension:
                operation = ring.generators[number - ring.dimension].operation
            if operation == "cos":
                products = _times_cosine(products, number, power)
            elif operation == "sin":
                for _ in range(power):
                    products = _times_sine(products, number - 1)
            else:
                powers.append((number, power))
        for frequency, (real, imaginary) in products.items():
            # real parts: a cos - b sin; conjugate terms of negative frequency fall on the same wave
            sign = -1 if frequency and frequency[0][1] < 0 else 1
            key = tuple((angle, sign * factor) for angle, factor in frequency)
            for sine, value in ((False, real), (True, -sign * imaginary)):
                if value and (key or not sine):
                    wave = Wave(key, sine, tuple(powers))
                    total[wave] = total.get(wave, Fraction(0)) + value
    return {wave: value for wave, value in total.items() if value}


_Products = dict[tuple[tuple[int, int], ...], tuple[Fraction, Fraction]]


def _shifted(
    frequency: tuple[tuple[int, int], ...], angle: int, by: int
) -> tuple[tuple[int, int], ...]:
    factors = dict(frequency)
    factors[angle] = factors.get(angle, 0) + by
    return tuple(sorted((key, factor) for key, factor in factors.items() if factor))


def _add(
    products: _Products, key: tuple[tuple[int, int], ...], real: Fraction, imaginary: Fraction
) -> None:
    old = products.get(key, (Fraction(0), Fraction(0)))
    products[key] = (old[0] + real, old[1] + imaginary)


def _times_cosine(products: _Products, angle: int, power: int) -> _Products:
    """2^-k sum_j (k over j) e^{i (k - 2 j) angle}."""
    found: _Products = {}
    for frequency, (real, imaginary) in products.items():
        for j in range(power + 1):
            share = Fraction(math.comb(power, j), 2**power)
            key = _shifted(frequency, angle, power - 2 * j)
            _add(found, key, share * real, share * imaginary)
    return found


def _times_sine(products: _Products, angle: int) -> _Products:
    """(e^{i angle} - e^{-i angle}) / (2 i)."""
    found: _Products = {}
    for frequency, (real, imaginary) in products.items():
        for sign in (1, -1):
            # times -+ i / 2
            key = _shifted(frequency, angle, sign)
            _add(found, key, sign * imaginary / 2, -sign * real / 2)
    return found
