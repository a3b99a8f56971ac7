"""Run folders: killed clients and workers, damaged files, tasks that hang, two runs at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from subriem.cli import main
from subriem.errors import InputError, InputTypeError, ResultsError
from subriem.results import open_results
from subriem.study import Study, load_study
from subriem.study.executors import in_processes
from subriem.study.lock import hold
from subriem.study.parts import is_whole
from subriem.study.status import read_status
from subriem.study.worker import TaskCall

#: Each task leaves a line with its process in LOG when it begins, and does what PLAN says.
STUDY = """
import os, resource, signal, subprocess, sys, time
import numpy as np
import xarray as xr
from subriem.study import Study

study = Study("rough", {"k": list(range(8))})


@study.task
def task(k):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{k} {os.getpid()}\\n")
    plan = dict(item.split("=") for item in os.environ.get("PLAN", "").split())
    value = np.array([float(k), 1.0])
    match plan.get(str(k)):
        case "hang":
            time.sleep(600)
        case "hang-in-a-child":
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "segfault-once":
            marker = os.environ["LOG"] + ".once"
            if not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(os.getpid(), signal.SIGSEGV)
        case "raise":
            raise ValueError("out of luck")
        case "nan":
            value[:] = np.nan
        case "shape":
            value = value.reshape(1, 2)
        case "full":
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        case "slow":
            time.sleep(0.3)
    dims = ("time", "coordinate")[-value.ndim :]
    attrs = {"long_name": "value", "units": "1"}
    axes = {d: xr.Variable(d, np.arange(float(n)), attrs) for d, n in zip(dims, value.shape)}
    return xr.Dataset({"value": xr.Variable(dims, value, attrs)}, axes)


if __name__ == "__main__":
    study.main()
"""


class Rough:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "rough.py"
        self.file.write_text(STUDY)
        self.out = folder / "rough.nc"
        self.parts = folder / "rough.parts"
        self.log = folder / "log"

    def begun(self) -> list[tuple[int, int]]:
        """Task and process of every beginning so far."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(k), int(pid)) for k, pid in map(str.split, lines)]

    def tasks(self) -> list[int]:
        """Tasks that began since the last time."""
        begun = sorted(k for k, _ in self.begun())
        self.log.unlink(missing_ok=True)
        return begun

    def start(self, *arguments: str, plan: str = "") -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(self.file), "--out", str(self.out), *arguments],
            env={**os.environ, "LOG": str(self.log), "PLAN": plan, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, plan: str = "") -> tuple[int, str]:
        with self.start(*arguments, plan=plan) as process:
            _, error = process.communicate(timeout=60)
        return process.returncode, error

    def messages(self) -> list[str]:
        return open_results(self.out).task_message.values.tolist()

    def status(self):
        done = CliRunner().invoke(main, ["status", str(self.out)])
        return done.exit_code, done.output + done.stderr


@pytest.fixture
def rough(tmp_path):
    return Rough(tmp_path)


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.mark.slow
def test_a_killed_client_loses_and_repeats_nothing(rough):
    process = rough.start("--workers", "2", plan="5=hang 6=hang")
    wait_until(lambda: len(list(rough.parts.glob("0000[0-7].nc"))) == 5)
    wait_until(lambda: len(rough.begun()) == 7)
    # another process sees how far it is, and is kept off
    code, text = rough.status()
    assert code == 0
    assert "8 tasks, 5 done, 2 running, 0 failed, 1 missing" in text
    assert f"run by process {process.pid} on " in text
    assert "running: k=5, for " in text
    code, error = rough.run("--resume")
    assert code == 2
    assert "another run has" in error
    assert f"process {process.pid} on " in error
    assert ", since 20" in error
    process.kill()
    process.communicate()
    wait_until(lambda: not any(is_alive(pid) for _, pid in rough.begun()))
    finished = {file: file.read_bytes() for file in rough.parts.glob("0000[0-7].nc")}
    _, text = rough.status()
    assert "5 done, 0 running, 0 failed, 3 missing" in text
    assert "interrupted: k=6" in text
    assert "run by" not in text

    # the lock of the dead is free, and a cut and a changed part are seen and named
    cut, changed, *_ = sorted(finished)
    cut.write_bytes(finished[cut][:-100])
    content = bytearray(finished[changed])
    place = content.rindex(np.array([1.0, 1.0]).tobytes())
    content[place] ^= 1  # the least bit of a number: the file stays a good NetCDF file
    changed.write_bytes(content)
    assert open_results(changed).value[0] == 1.0 + 2**-52
    assert not is_whole(changed)
    rough.tasks()
    code, error = rough.run("--resume", "--workers", "2", plan="7=raise")
    assert code == 1
    assert "2 finished tasks are computed again" in error
    assert "00000.nc, 00001.nc" in error
    assert rough.tasks() == [0, 1, 5, 6, 7]
    for file in sorted(finished)[2:]:
        assert file.read_bytes() == finished[file]
    code, text = rough.status()
    assert code == 1
    assert "7 done, 0 running, 1 failed, 0 missing" in text
    assert "failed: k=7: ValueError: out of luck" in text

    # a part that is damaged and whose record went is never merged either
    (rough.parts / "00003.json").unlink()
    assert rough.run("--resume")[0] == 0
    assert rough.tasks() == [3, 7]
    assert open_results(rough.out).value.values[:, 0].tolist() == [float(k) for k in range(8)]
    assert not rough.parts.exists()
    assert rough.status() == (0, "rough: 8 tasks, 8 done, 0 running, 0 failed, 0 missing\n")


@pytest.mark.slow
def test_what_tasks_can_do_wrong_stays_theirs(rough):
    plan = "0=hang 1=segfault 2=shape 3=nan 4=hang-in-a-child 7=full"
    code, error = rough.run("--workers", "2", "--time-limit", "2", plan=plan)
    assert code == 1, error
    # each once: what failed is not tried again unasked
    assert sorted(k for k, _ in rough.begun()) == list(range(8))
    messages = rough.messages()
    assert messages[0] == messages[4] == "time limit of 2 s"
    assert "was ended by SIGSEGV" in messages[1]
    assert "has 'value' as numbers over ('time', 'coordinate')" in messages[2]
    # HDF5 itself may crash where a file cannot grow; no half of a file is taken for a whole one
    assert re.search("^ResultsError: cannot write|was ended by SIGSEGV", messages[7])
    assert messages[3] == messages[5] == messages[6] == ""
    dataset = open_results(rough.out)
    assert np.isnan(dataset.value.sel(k=3)).all()
    assert dataset.value.sel(k=5).squeeze().values.tolist() == [5.0, 1.0]
    assert 2 <= dataset.task_seconds[0] < 4
    assert not any(is_alive(pid) for _, pid in rough.begun())
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert ["import time; time.sleep(600)"] not in [command[-1:] for command in commands]
    assert not list(rough.parts.glob("*.running"))
    assert not list(rough.parts.glob("*.new.nc"))
    rough.tasks()
    assert rough.run("--resume")[0] == 0
    assert rough.tasks() == [0, 1, 2, 4, 7]


@pytest.mark.slow
def test_a_lost_worker_is_retried_where_asked(rough):
    plan = "1=segfault-once 2=segfault 3=raise"
    code, _ = rough.run("--workers", "1", "--retries", "1", plan=plan)
    assert code == 1
    begun = rough.begun()
    assert sorted(k for k, _ in begun) == [0, 1, 1, 2, 2, 3, 4, 5, 6, 7]
    # each time by a new worker; one that raised keeps its own
    assert len({pid for k, pid in begun if k in (1, 2)}) == 3
    assert len({pid for k, pid in begun if k > 2}) == 1
    messages = rough.messages()
    assert messages[1] == ""
    assert messages[2].endswith("crashed), the last of 2 times")
    assert messages[3] == "ValueError: out of luck"


def test_a_worker_killed_while_idle_costs_no_task(rough, monkeypatch):
    monkeypatch.setenv("LOG", str(rough.log))
    monkeypatch.delenv("PLAN", raising=False)
    calls = [
        TaskCall(k, {"k": k}, None, str(rough.out.with_name(f"{k}.nc")), str(rough.file), "rough")
        for k in range(3)
    ]
    outcomes = in_processes(1, 1)(calls)
    statuses = []
    for call, outcome in outcomes:
        statuses.append(outcome.status)
        if call.number < 2:
            # it waits for its next task
            worker = rough.begun()[-1][1]
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: not is_alive(worker))
    assert statuses == ["ok"] * 3
    assert [k for k, _ in rough.begun()] == [0, 1, 2]


def test_a_part_damaged_during_the_run_is_not_merged(tmp_path):
    study = Study("inside", {"k": [0, 1]})
    out = tmp_path / "a.nc"

    def value(k):
        import xarray as xr

        attrs = {"long_name": "value", "units": "1"}
        return xr.Dataset({"value": xr.Variable((), float(k), attrs)})

    @study.task
    def task(k):
        if k == 1:
            part = tmp_path / "a.parts" / "00000.nc"
            part.write_bytes(part.read_bytes().replace(b"value", b"eulav"))
        return value(k)

    dataset = study.run(out, progress=False)
    assert dataset.task_status.values.tolist() == ["failed", "ok"]
    assert "00000.nc is damaged" in dataset.task_message.values[0]
    assert np.isnan(dataset.value[0])
    assert read_status(out).failed.keys() == {"k=0"}
    assert not (tmp_path / "a.parts" / "00000.nc").exists()


def test_one_run_at_a_time(rough):
    with hold(rough.parts), pytest.raises(ResultsError, match=f"process {os.getpid()} on .*since"):
        load_study(rough.file).run(rough.out, progress=False)
    # a folder that has nothing but the lock is nobody's
    assert [file.name for file in rough.parts.iterdir()] == ["run.lock"]
    with hold(rough.parts):
        pass


@pytest.mark.slow
def test_a_change_of_the_study_is_put_to_the_user(rough, monkeypatch):
    monkeypatch.setenv("LOG", str(rough.log))
    monkeypatch.setenv("PLAN", "7=raise")
    assert rough.run(plan="7=raise")[0] == 1
    rough.tasks()
    text = rough.file.read_text()
    rough.file.write_text(text.replace("out of luck", "bad luck"))
    code, error = rough.run("--resume")
    assert code == 2
    assert "its code changed (fingerprint " in error
    assert "the 7 finished tasks away with --fresh, or keep them with --resume --accept" in error
    assert rough.tasks() == []

    # on a terminal it is asked
    def ask(answer):
        monkeypatch.setattr("subriem.study.console._can_ask", lambda: True)
        words = ["run", str(rough.file), "--out", str(rough.out), "--resume", "--quiet"]
        return CliRunner().invoke(main, words, input=answer)

    assert ask("stop\n").exit_code == 2
    assert rough.tasks() == []
    assert ask("keep\n").exit_code == 1
    assert rough.tasks() == [7]
    assert "bad luck" in rough.messages()[7]
    earlier = open_results(rough.out).attrs["study_manifest"]["earlier_versions"]
    manifest = json.loads((rough.parts / "manifest.json").read_text())
    assert earlier == manifest["earlier_versions"]
    assert len(earlier) == 1
    assert earlier[0]["code"] != manifest["code"]

    # another grid cannot be accepted: its tasks are other points
    study = load_study(rough.file)
    with pytest.raises(ResultsError, match=r"grid changed \(k\); k was .* and is \[0, 9\]") as no:
        study.run(rough.out, grid={"k": [0, 9]}, resume=True, accept_changes=True, progress=False)
    assert "--accept-changes" not in str(no.value)
    # accepted once, it is the version of the folder; the result still says what it is made of
    monkeypatch.setenv("PLAN", "")
    dataset = study.run(rough.out, resume=True, progress=False)
    assert rough.tasks() == [7]
    assert dataset.attrs["study_manifest"]["earlier_versions"] == earlier


def test_a_run_killed_while_it_removes_its_folder_is_complete(rough):
    rough.parts.mkdir()
    assert rough.run()[0] == 0
    rough.tasks()
    rough.parts.mkdir()
    (rough.parts / "run.lock").touch()
    (rough.parts / "00003.nc").write_text("a rest")
    code, error = rough.run("--resume")
    assert code == 0
    assert "nothing is left to do" in error
    assert rough.tasks() == []


def test_status_says_what_it_cannot_read(tmp_path):
    def status(path):
        done = CliRunner().invoke(main, ["status", str(path)])
        return done.exit_code, done.stderr

    assert status(tmp_path / "a.nc")[0] == 2
    assert "no run folder" in status(tmp_path / "a.nc")[1]
    (tmp_path / "b.parts").mkdir()
    assert "holds no manifest" in status(tmp_path / "b.parts")[1]
    (tmp_path / "b.parts" / "manifest.json").write_text("{")
    assert "cannot read" in status(tmp_path / "b.nc")[1]


def test_limits_that_cannot_be_right(tmp_path):
    study = Study("inside", {"k": [0]})
    study.task(lambda k: None)
    for limit in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="time_limit: expected a positive"):
            study.run(tmp_path / "a.nc", time_limit=limit)
    with pytest.raises(InputTypeError, match="time_limit"):
        study.run(tmp_path / "a.nc", time_limit="2")
    with pytest.raises(InputError, match="expected resume"):
        study.run(tmp_path / "a.nc", accept_changes=True)
    with pytest.raises(InputError, match="retries: expected at least 0"):
        study.run(tmp_path / "a.nc", retries=-1)
    with pytest.raises(InputError, match="tasks run in this process: expected no time limit"):
        study.run(tmp_path / "a.nc", time_limit=2)
