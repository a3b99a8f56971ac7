"""The plugin and the decorator, in pytest runs of their own."""

import subprocess
import sys

import pytest

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.structure import Truth
from subriem.testing import Model, parametrize_with_checks

pytest_plugins = ["pytester"]

MODELS = """
import subriem as sr
from subriem.structure import Truth
from subriem.testing import Model, parametrize_with_checks

wrong = Model(sr.models.heisenberg(), [Truth((0, 0, 0), (2, 2, 3))], name="wrong")

@parametrize_with_checks([sr.models.unicycle(), "grushin", wrong])
def test_models(model, check):
    check(model)
"""


def test_the_plugin_imports_nothing_heavy():
    code = (
        "import sys, subriem.testing.plugin\n"
        "heavy = {'casadi', 'torch', 'numpy', 'scipy', 'xarray', 'hypothesis', 'rich', 'pytest'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_run_that_does_not_use_subriem_does_not_import_it_all(pytester):
    pytester.makepyfile(
        """
        import sys, pytest

        @pytest.mark.parametrize("x", [1, "a", None])
        def test_light(x):
            assert "subriem.testing.plugin" in sys.modules
            assert not {"casadi", "torch", "xarray"} & set(sys.modules)
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:hypothesispytest")
    done.assert_outcomes(passed=3)


def test_one_test_for_each_model_and_check_with_readable_names(pytester):
    pytester.makepyfile(MODELS)
    done = pytester.runpytest_subprocess("-v")
    outcomes = done.parseoutcomes()
    assert outcomes["failed"] == 1
    done.stdout.fnmatch_lines(
        [
            "*::test_models?unicycle-periods? PASSED*",
            "*::test_models?grushin()-truths? PASSED*",
            "*::test_models?grushin(alpha=2)-smoothness? PASSED*",
            "*::test_models?wrong-truths? FAILED*",
            "E *heisenberg: growth vector (2, 3) at x=0, y=0, z=0, expected (2, 2, 3)",
            "E *first difference at step 2: dim D^2 is 3, expected 2",
        ]
    )
    # the user's line is shown, none of ours
    done.stdout.no_fnmatch_line("*flag_checks.py:*")
    done.stdout.no_fnmatch_line("*flags.py:*")


def test_checks_run_without_the_plugin(pytester):
    pytester.makepyfile(MODELS.replace(", wrong]", "]"))
    done = pytester.runpytest_subprocess("-p", "no:subriem", "-q")
    assert done.ret == 0


def test_structures_have_names_in_other_parametrized_tests(pytester):
    pytester.makepyfile(
        """
        import pytest, subriem as sr
        from subriem.testing import Model

        @pytest.mark.parametrize("it", [sr.models.trailers(2), Model(sr.models.engel()), 7, 1.5])
        def test_it(it):
            pass
        """
    )
    done = pytester.runpytest_subprocess("-v")
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(["*?trailers(2)?*", "*?engel?*", "*?7?*", "*?1.5?*"])


def test_the_marks_are_those_of_pytest():
    known = Model(sr.models.heisenberg(), [Truth((0, 0, 0), (2, 3))])
    mark = parametrize_with_checks([known]).mark
    assert mark.args[0] == ("model", "check")
    assert [case.id for case in mark.args[1]][:2] == ["heisenberg-definition", "heisenberg-frame"]
    assert any(case.id == "heisenberg-truths" for case in mark.args[1])


def test_targets_must_be_a_list_of_models():
    with pytest.raises(InputError, match="at least one model"):
        parametrize_with_checks([])
    with pytest.raises(InputTypeError, match="expected a list, got str"):
        parametrize_with_checks("heisenberg")
    with pytest.raises(InputTypeError, match="expected a list, got Structure"):
        parametrize_with_checks(sr.models.heisenberg())
    with pytest.raises(InputTypeError, match="a name, a function"):
        parametrize_with_checks([3])
