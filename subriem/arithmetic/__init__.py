"""One walk over the instructions of a CasADi function, in many number systems."""

from subriem.arithmetic.program import OPERATIONS, Instruction, Program

__all__ = ["OPERATIONS", "Instruction", "Program"]
