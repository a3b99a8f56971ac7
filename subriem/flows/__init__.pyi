from .equilibria import critical_manifold as critical_manifold
from .equilibria import equilibrium as equilibrium
from .flow import flow as flow
from .losses import CrossEntropyLoss as CrossEntropyLoss
from .losses import Loss as Loss
from .losses import SquaredLoss as SquaredLoss
from .orbit import OrbitPoint as OrbitPoint
from .stopping import stopping_time as stopping_time
