"""Structures whose fields are the gradients of a linear family of functions.

A gradient flow theta' = -grad L(phi(theta)) moves in the span of the gradients of the entries of
phi, whatever the loss. A network has far more entries than one would write down (one a path), but
a single function psi_w of random weights w draws from their span.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import casadi as ca

from subriem.structure.structure import Structure

__all__ = ["Block", "GradientStructure"]


@dataclass(frozen=True)
class Block:
    """Coordinates that form one matrix or vector.

    Attributes
    ----------
    name : str
        As it is printed: ``U1``.
    shape : tuple of int
        The coordinates follow row by row.

    Examples
    --------
    >>> Block("U1", (2, 3)).size
    6
    """

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


class GradientStructure(Structure):
    """The gradients of psi_w for all weights w, orthonormal, as a structure.

    Nothing is built before it is asked for: the frame, with a field for each entry of phi, can be
    far larger than the potential, which has all of them as combinations.

    Parameters
    ----------
    name : str
    coordinates : sequence of str
    blocks : sequence of Block
        How the coordinates form matrices, in order.
    count : int
        Number m of fields.
    frame : callable
        The state (n, 1) to the frame (n, m).
    potential : callable
        The state to the weights (a column of symbols) and psi_w(state). The gradients of psi_w
        for all w span what the frame spans.
    laws : callable, optional
        The state to a column of functions believed constant along all fields. They are verified
        before they are used.

    Notes
    -----
    The callables are functions of a module, or partial applications of such, so that the
    structure pickles.

    Examples
    --------
    >>> def frame(q):
    ...     return ca.vertcat(q[1], q[0])
    >>> def potential(q):
    ...     w = ca.SX.sym("w")
    ...     return w, w * q[0] * q[1]
    >>> product = GradientStructure("xy", ["x", "y"], [Block("q", (2,))], 1, frame, potential)
    >>> product
    Structure xy: 2 coordinates (x, y), 1 field
    >>> product.frame_at([2, 3]).ravel()
    array([3., 2.])
    """

    def __init__(
        self,
        name: str,
        coordinates: Sequence[str],
        blocks: Iterable[Block],
        count: int,
        frame: Callable[[ca.SX], ca.SX],
        potential: Callable[[ca.SX], tuple[ca.SX, ca.SX]],
        laws: Callable[[ca.SX], ca.SX] | None = None,
    ) -> None:
        self.blocks = tuple(blocks)
        self.potential = potential
        self.laws = laws
        self._count = count
        self._frame = frame
        super().__init__(
            name,
            tuple(coordinates),
            None,
            parameters={},
            periods={},
            bounds={},
            field_names=(),
        )

    @property
    def rank(self) -> int:
        """Number m of fields."""
        return self._count

    @property
    def field_names(self) -> tuple[str, ...]:
        """``f1``, ``f2``, ..."""
        return tuple(f"f{k + 1}" for k in range(self._count))

    @property
    def model(self) -> ca.Function:
        """(state, parameters) to frame, metric, drift and margins."""
        return self.cached("model", self._build)

    def _build(self) -> ca.Function:
        state = self.state
        outputs: list[Any] = [
            ca.densify(self._frame(state)),
            ca.SX.eye(self._count),
            ca.SX.zeros(self.dimension, 1),
            ca.SX(0, 1),
        ]
        return ca.Function("model", [state, ca.SX(0, 1)], outputs, {"cse": True})
