"""A network on fixed inputs as the map theta -> x(theta), with its Jacobian and its lift.

The only room that calls ``torch.func``. `OutputMap` holds the map; `Linearization` is the map at
one theta: the actions of D and D', the Gram matrix D D', its factorization, and the horizontal
lift D+ v of an output velocity v.
"""

from subriem.network.linearization import Factor as Factor
from subriem.network.linearization import Linearization as Linearization
from subriem.network.output_map import OutputMap as OutputMap
