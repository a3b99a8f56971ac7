"""Sub-Riemannian structures: coordinates, frame, inner product, chart, as CasADi expressions."""

from subriem.structure.combinations import direct_sum, product
from subriem.structure.coordinates import read_points
from subriem.structure.gradient_structure import Block, GradientStructure
from subriem.structure.require import require_structure
from subriem.structure.structure import Structure
from subriem.structure.truth import Truth

__all__ = [
    "Block",
    "GradientStructure",
    "Structure",
    "Truth",
    "direct_sum",
    "product",
    "read_points",
    "require_structure",
]
