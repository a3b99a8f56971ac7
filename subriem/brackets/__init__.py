"""Lie brackets, the Lie flag and what follows from it."""

from subriem.brackets.bracket_family import BracketFamily, bracket_family
from subriem.brackets.conservation import ConservationLaws, conservation_laws
from subriem.brackets.exact import CertifiedFlag, certified_flag
from subriem.brackets.field_family import FieldFamily, field_family, training_family
from subriem.brackets.flag import lie_flag, strong_accessibility
from subriem.brackets.lie_bracket import lie_bracket, named_bracket
from subriem.brackets.nilpotent import nilpotent_approximation
from subriem.brackets.orbit import orbit_dimension
from subriem.brackets.privileged import PrivilegedCoordinates, privileged_coordinates

__all__ = [
    "BracketFamily",
    "CertifiedFlag",
    "ConservationLaws",
    "FieldFamily",
    "PrivilegedCoordinates",
    "bracket_family",
    "certified_flag",
    "conservation_laws",
    "field_family",
    "lie_bracket",
    "lie_flag",
    "named_bracket",
    "nilpotent_approximation",
    "orbit_dimension",
    "privileged_coordinates",
    "strong_accessibility",
    "training_family",
]
