"""Lie brackets, the Lie flag and what follows from it."""

from subriem.brackets.bracket_family import BracketFamily, bracket_family
from subriem.brackets.exact import CertifiedFlag, certified_flag
from subriem.brackets.flag import lie_flag, strong_accessibility
from subriem.brackets.lie_bracket import lie_bracket, named_bracket
from subriem.brackets.nilpotent import nilpotent_approximation
from subriem.brackets.privileged import PrivilegedCoordinates, privileged_coordinates

__all__ = [
    "BracketFamily",
    "CertifiedFlag",
    "PrivilegedCoordinates",
    "bracket_family",
    "certified_flag",
    "lie_bracket",
    "lie_flag",
    "named_bracket",
    "nilpotent_approximation",
    "privileged_coordinates",
    "strong_accessibility",
]
