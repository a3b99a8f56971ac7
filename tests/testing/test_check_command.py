import subprocess
import sys

import pytest
from click.testing import CliRunner

from subriem.cli import main

GOOD = """
import subriem as sr

cart = sr.Structure.define("[cart]", "x y", lambda q: [(1, 0), (0, q.x)])
"""
WRONG = """
from subriem.structure import Structure, Truth

TRUTHS = (Truth((0, 0), (1, 1, 2), source="a [misprint]"),)


def wrong() -> Structure:
    return Structure.define("wrong", "x y", lambda q: [(1, 0), (0, q.x)])
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "good_cart.py").write_text(GOOD)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "raises.py").write_text("def raises():\n    raise OSError('no wheel')\n")
    (tmp_path / "bad_syntax.py").write_text("def (\n")
    return tmp_path


def check(*targets):
    return CliRunner(env={"COLUMNS": "60"}).invoke(main, ["check", *targets])


@pytest.mark.parametrize("target", ["unicycle", "good_cart.py", "good_cart:cart"])
def test_sound_models_end_with_0(folder, target):
    done = check(target)
    assert done.exit_code == 0, done.output
    assert "all passed" in done.output
    rows = [line.split() for line in done.output.splitlines() if line.endswith(" s")]
    assert len(rows) >= 12
    assert all(row[1] == "ok" for row in rows)
    assert [row[0] for row in rows][:2] == ["definition", "frame"]
    assert ("[cart]" in done.output) == target.startswith("good")


def test_a_failed_check_ends_with_1_and_says_why(folder):
    done = check("wrong.py", "good_cart.py")
    assert done.exit_code == 1
    assert "wrong(), 1 truth" in done.output
    assert "1 failed" in done.output
    assert "growth vector (1, 2) at x=0, y=0, expected (1, 1, 2)" in done.output
    assert "as declared in TRUTHS (source: a [misprint])" in done.output
    failed = [line.split()[0] for line in done.output.splitlines() if "FAILED" in line]
    assert failed == ["truths"]
    assert "Traceback" not in done.output


def test_a_model_that_raises_is_a_failed_check(folder):
    done = check("raises.py")
    assert done.exit_code == 1
    assert "raises() does not make a structure: OSError: no wheel" in done.output


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "Missing argument"),
        (["unicicle"], "did you mean unicycle"),
        (["none.py"], "there is no file none.py"),
        (["good_cart.py", "none"], "there is no model 'none'"),
        (["good_cart:carts"], "has no 'carts'"),
        (["bad_syntax.py"], "does not run: SyntaxError"),
        (["multilayer_perceptron"], "only structures have checks"),
    ],
)
def test_a_users_mistake_is_one_line_and_ends_with_2(folder, targets, message):
    done = check(*targets)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert "ok" not in done.stdout
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1


def test_help_has_examples():
    done = check("--help")
    assert done.exit_code == 0
    assert "    subriem check models/my_model.py" in done.output.splitlines()


def test_the_command_finds_modules_of_the_current_folder(folder):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "subriem", "check", "good_cart:cart"],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert "all passed" in done.stdout
