"""The examples of the documentation are tests: every block of Python runs as it stands."""

import doctest
import os
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

HERE = Path(__file__).parent

# configuration, extensions and pictures are run when the site is built
collect_ignore = ["conf.py", "check_site.py", "list_rooms.py", "extensions", "pictures", "_build"]


@pytest.fixture(scope="module")
def examples_folder(tmp_path_factory):
    """The pages write files: elsewhere. What they import from docs/examples is forgotten after."""
    before, path, modules = os.getcwd(), list(sys.path), set(sys.modules)
    os.chdir(tmp_path_factory.mktemp("docs"))
    yield
    os.chdir(before)
    sys.path[:] = path
    for name in ("rolling_coin", "sideways"):
        if name not in modules:
            sys.modules.pop(name, None)


def _name_examples(namespace):
    namespace["EXAMPLES"] = str(HERE / "examples")


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=doctest.NORMALIZE_WHITESPACE)],
    patterns=["*.md"],
    setup=_name_examples,
    fixtures=["examples_folder"],
).pytest()
