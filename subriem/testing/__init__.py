"""Checks for pytest: of brackets, of models, of paths. Names are imported on first use."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
