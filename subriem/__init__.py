"""Modelling with sub-Riemannian geometry and control theory.

See https://arxiv.org/abs/2311.15487 for the geometrically adapted gradient flow. Submodules and
names are imported on first use, so that ``import subriem`` is light.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
