"""The README's examples are tests: Python blocks run as they stand, prompts as doctests."""

import doctest
import os

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser


@pytest.fixture(scope="module")
def scratch_folder(tmp_path_factory):
    """The README writes files: elsewhere."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("readme"))
    yield
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=doctest.NORMALIZE_WHITESPACE)],
    patterns=["README.md"],
    fixtures=["scratch_folder"],
).pytest()
