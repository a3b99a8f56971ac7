"""Every structure of the zoo passes the checks that users run on theirs."""

import importlib
import pkgutil

import subriem as sr
from subriem.testing import parametrize_with_checks


def structures():
    for info in pkgutil.iter_modules(sr.models.__path__):
        if hasattr(importlib.import_module(f"subriem.models.{info.name}"), "TRUTHS"):
            yield info.name


@parametrize_with_checks(structures())
def test_zoo(model, check):
    check(model)
