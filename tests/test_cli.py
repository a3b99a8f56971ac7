import os
import re
import shutil
import subprocess
import sys
import time
import types

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import subriem
from subriem.cli import main
from subriem.errors import NumericalError
from subriem.results import build_dataset, combine_tasks, provenance, save
from subriem.study.console import Command

STUDY = """
from subriem.results import build_dataset
from subriem.study import Study

study = Study("small", {"power": [2, 3]}, question="How large?")


@study.variant("more", help="a third power")
def more():
    return {"power": [2, 3, 4]}


@study.variant("wrong-one", help="a power that fails")
def wrong():
    return {"power": [2, -1]}


@study.task
def task(power):
    if power < 0:
        raise ValueError("negative power")
    return build_dataset({"value": ((), 2**power, "power of two", "1")}, function="power")


@study.after
def after(dataset, out):
    print("largest", dataset.value.max().item())
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.py"
    path.write_text(STUDY)
    return path


def invoke(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_help_imports_nothing_heavy_and_is_quick():
    code = (
        "import sys, subriem.cli\n"
        "try: subriem.cli.main(['--help'])\n"
        "except SystemExit as exit: code = exit.code\n"
        "heavy = {'torch', 'casadi', 'xarray', 'numpy', 'scipy', 'h5netcdf'} & set(sys.modules)\n"
        "print(code, heavy)"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        times.append(time.perf_counter() - start)
        assert done.stdout.splitlines()[-1] == "0 set()", done.stderr
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "words",
    [["run"], ["show"], ["report"], ["status"], ["models"], ["check"], ["completion"], []],
)
def test_every_command_has_help(words):
    done = invoke(*words, "--help")
    assert done.exit_code == 0
    if words:
        # an example stands on a line of its own
        assert any(line.startswith(f"    subriem {words[0]}") for line in done.output.splitlines())


def test_run_writes_the_default_file_and_calls_after(file):
    done = invoke("run", file, "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stdout == "largest 8\n"
    assert (file.parent / "results" / "small.nc").exists()


def test_a_variant_is_a_flag_anywhere(file):
    done = invoke("run", "--more", file)
    assert (done.exit_code, done.stdout) == (0, "largest 16\n")
    assert "small: 3 of 3 tasks ok" in done.stderr
    assert (file.parent / "results" / "small_more.nc").exists()


def test_run_help_of_a_file_names_its_variants(file):
    done = invoke("run", file, "--help")
    assert done.exit_code == 0
    assert "How large?" in done.output
    assert "--wrong-one" in done.output
    assert "a third power" in done.output


def test_failed_tasks_end_with_1_and_are_named(file):
    done = invoke("run", file, "--wrong-one", "--out", "a.nc")
    assert done.exit_code == 1
    assert done.stdout == "largest 4\n"
    assert "power=-1: ValueError: negative power" in done.stderr
    shown = invoke("show", "a.nc")
    assert shown.exit_code == 0
    assert "power=-1: ValueError: negative power" in shown.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "expected one FILE, got none"),
        (["run", "a.py", "b.py"], "expected one FILE, got a.py b.py"),
        (["run", "none.py"], "there is no file none.py"),
        (["run", "small.py", "--none"], "no such option --none; the variants of small.py: --more"),
        (["run", "small.py", "--more", "--wrong-one"], "choose one of --more, --wrong-one"),
        (["run", "small.py", "--workers", "0"], "--workers"),
        (["run", "small.py", "--resume", "--fresh"], "exclude each other"),
        (["run", "broken.py"], "broken.py does not run: NameError"),
        (["show", "none.nc"], "there is no file none.nc"),
        (["show", "small.py"], "not a NetCDF4 file"),
        (["show"], "Missing argument"),
        (["report", "none.nc"], "there is no file none.nc"),
        (["report", "a.html", "-o", "./a.html"], "would take the place of the results"),
        (["report", "a.nc", "--out", "."], "is a directory"),
        (["completion", "cmd"], "'cmd' is not one of 'bash', 'zsh', 'fish'"),
        (["none"], "No such command"),
    ],
)
def test_a_users_mistake_is_one_line_and_ends_with_2(file, words, message):
    (file.parent / "broken.py").write_text("unknown_name")
    done = invoke(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error")]) == 1


def test_debug_shows_the_traceback(file):
    done = subprocess.run(
        [sys.executable, "-m", "subriem", "show", "none.nc", "--debug"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("ResultsError: there is no file none.nc")


def test_a_numerical_failure_ends_with_1_and_an_unforeseen_error_is_not_hidden():
    def fail(error):
        raise error

    command = Command("c", callback=lambda: fail(NumericalError("rank is\nlost")))
    done = CliRunner().invoke(command, [])
    assert (done.exit_code, done.stderr) == (1, "Error: rank is lost\n")
    done = CliRunner().invoke(Command("c", callback=lambda: fail(ZeroDivisionError("x"))), [])
    assert isinstance(done.exception, ZeroDivisionError)
    done = CliRunner().invoke(Command("c", callback=lambda: fail(KeyboardInterrupt("stop"))), [])
    assert (done.exit_code, done.stderr) == (130, "stop\n")


def test_show_says_what_a_file_holds(tmp_path):
    tasks = [
        build_dataset(
            {
                "loss": ("time", [4.0, 1.0, 0.25][:count], "loss along the orbit", "1"),
                "rank": ("time", [7] * count, "rank of the Jacobian", "1"),
            },
            {"time": ("time", [float(k * count) for k in range(count)], "flow time", "s")},
            function="flow",
        )
        for count in (2, 3)
    ]
    attributes = {**provenance("Study.run", seed=7), "question": "Does it [reach] zero?"}
    path = save(combine_tasks(tasks, {"seed": [1, 2]}, attributes), tmp_path / "a.nc")
    done = CliRunner(env={"COLUMNS": "160"}).invoke(main, ["show", str(path)])
    assert done.exit_code == 0, done.output
    assert "Does it [reach] zero?" in done.output
    assert "seed 2, time_index 3" in done.output
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.split()}
    assert "loss along the orbit" in lines["loss"]
    assert {"0.25", "4"} <= set(lines["loss"].split())
    # padding is no rank
    assert lines["rank"].split().count("7") == 2
    assert " s " in lines["time"]
    assert "combination" not in lines


def test_models_lists_the_zoo(monkeypatch):
    assert subriem.models.available()  # loaded, so that it is what is there again afterwards
    zoo = types.ModuleType("subriem.models")
    zoo.available = lambda: {"linear_network": "x = W2 W1 z", "trailers": "a car [with] trailers"}
    monkeypatch.setitem(sys.modules, "subriem.models", zoo)
    monkeypatch.setattr(subriem, "models", zoo)
    done = invoke("models")
    assert done.exit_code == 0, done.output
    assert "linear_network" in done.output
    assert "a car [with] trailers" in done.output


def test_the_module_is_the_command(file):
    done = subprocess.run(
        [sys.executable, "-m", "subriem", "run", str(file), "--workers", "2"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        cwd=file.parent,
    )
    assert (done.returncode, done.stdout) == (0, "largest 8\n")


def test_report_writes_a_page_beside_the_file_or_where_it_is_told(file):
    assert invoke("run", file, "--out", "a.nc", "--quiet").exit_code == 0
    done = invoke("report", "a.nc")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"a\.html \(\d\.\d MB\)\n", done.stdout)
    page = (file.parent / "a.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "How large?" in page
    assert invoke("report", "a.nc", "-o", "other.html").stdout.startswith("other.html (")


def complete(words, incomplete):
    """What the shell is told, by value."""
    found = ShellComplete(main, {}, "subriem", "_SUBRIEM_COMPLETE").get_completions(
        [str(word) for word in words], incomplete
    )
    return {item.value: item for item in found}


def test_completion_knows_commands_models_variants_and_files(file):
    assert {"report", "run"} <= complete([], "r").keys()
    assert complete(["check"], "trai").keys() >= {"trailers"}
    assert complete(["check"], "my_mod")["my_mod"].type == "file"
    assert complete(["run"], "stud")["stud"].type == "file"
    assert complete(["show"], "a")["a"].type == "file"
    options = complete(["run", file], "--")
    assert options["--more"].help == "a third power"
    assert {"--wrong-one", "--workers", "--resume"} <= options.keys()
    assert "--more" not in complete(["run"], "--")
    assert "--more" not in complete(["run", "none.py"], "--")
    (file.parent / "broken.py").write_text("def (")
    assert "--workers" in complete(["run", "broken.py"], "--w")
    assert complete(["completion"], "").keys() == {"bash", "zsh", "fish"}


def test_completion_imports_nothing_heavy(file):
    code = (
        "import sys, os, subriem.cli\n"
        "try: subriem.cli.main(prog_name='subriem')\n"
        "except SystemExit: pass\n"
        "print({'torch', 'casadi', 'xarray', 'numpy'} & set(sys.modules))"
    )
    words = {"COMP_WORDS": f"subriem run {file} --mo", "COMP_CWORD": "3"}
    env = {**os.environ, **words, "_SUBRIEM_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.splitlines() == ["plain,--more", "set()"], done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell):
    done = invoke("completion", shell)
    assert done.exit_code == 0
    assert f"_SUBRIEM_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_script_completes_in_a_real_bash(file):
    script = invoke("completion", "bash").stdout
    ask = (
        "compopt() { :; }\n"
        "COMP_WORDS=(subriem check trail); COMP_CWORD=2; _subriem_completion subriem\n"
        'echo "${COMPREPLY[@]}"'
    )
    # `subriem` is the one of this Python, installed or not
    folder = file.parent / "bin"
    folder.mkdir()
    command = "from subriem.cli import main; main(prog_name='subriem')"
    (folder / "subriem").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{command}" "$@"\n')
    (folder / "subriem").chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, env=env
    )
    assert done.stdout == "trailers\n", done.stderr
