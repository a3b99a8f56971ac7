"""A torch module as a CasADi function of its parameters, through ``torch.export``.

`lower` traces the module once and writes every operator of the trace as CasADi expressions:
`arrays` holds tensors in flight, `operators` one function an operator, `lowering` the walk.
"""

from subriem.export.lowering import lower as lower
from subriem.export.operators import OPERATORS as OPERATORS
