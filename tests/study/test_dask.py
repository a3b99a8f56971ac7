"""Runs on Dask clusters: the same numbers, and what happens where a part of one dies."""

import itertools
import json
import logging
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("distributed")

from distributed import Client, LocalCluster

from subriem.errors import InputError, InputTypeError, ResultsError
from subriem.results import open_results
from subriem.study import Study, load_study
from subriem.study.dask_client import choose_cluster
from subriem.study.dask_executor import on_cluster
from subriem.study.status import read_status
from subriem.study.worker import TaskCall

#: Each task leaves two lines in LOG, when it begins and when it ends, and does what LOG.plan says.
STUDY = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
import xarray as xr
from subriem.study import Study

study = Study("far", {"log": [""], "k": list(range(8))}, seed=3)
greedy = Study("greedy", {"log": [""], "k": list(range(6))}, resources={"GPU": 1})


def note(log, *words):
    with open(log, "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")


@study.task
@greedy.task
def task(log, k, seed):
    note(log, "begin", k, os.getpid(), os.getppid(), time.time())
    plan = Path(log + ".plan")
    plan = dict(item.split("=") for item in plan.read_text().split()) if plan.exists() else {}
    generator = np.random.default_rng(seed)
    value = np.array([float(k), 1.0])
    once = Path(f"{log}.once-{k}")
    what = plan.get(str(k), "")
    if what.endswith("-once"):
        what = "" if once.exists() else what.removesuffix("-once")
        once.touch()
    match what:
        case "hang":
            time.sleep(600)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "kill-worker":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        case "eat":
            time.sleep(0.2)
            eaten = np.ones(2**30 // 8)
            time.sleep(600)
        case "raise":
            raise ValueError("out of luck")
        case "nan":
            value[:] = np.nan
        case "shape":
            value = value.reshape(1, 2)
        case "large":
            value = generator.random(300_000)
        case "slow":
            time.sleep(0.3)
    matrix = generator.standard_normal((150, 150))
    attrs = {"long_name": "value", "units": "1"}
    dims = ("time", "coordinate")[-value.ndim :]
    axes = {d: xr.Variable(d, np.arange(float(n)), attrs) for d, n in zip(dims, value.shape)}
    trace = xr.Variable((), np.linalg.inv(matrix @ matrix.T).sum(), attrs)
    threads = xr.Variable((), int(os.environ["OMP_NUM_THREADS"]), attrs)
    data = {"value": xr.Variable(dims, value, attrs), "trace": trace, "threads": threads}
    note(log, "end", k, os.getpid(), os.getppid(), time.time())
    return xr.Dataset(data, axes)


if __name__ == "__main__":
    study.main()
"""


class Far:
    """A study, its run folder, and what its tasks noted."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "client"
        self.home.mkdir()
        self.file = self.home / "far.py"
        self.file.write_text(STUDY)
        self.out = self.home / "far.nc"
        self.parts = self.home / "far.parts"
        self.log = folder / "log"
        self.clients: list[subprocess.Popen] = []

    def plan(self, text: str) -> None:
        Path(f"{self.log}.plan").write_text(text)

    def run(self, name: str = "far", k=range(8), **options):
        grid = {"log": [str(self.log)], "k": list(k)}
        study = load_study(self.file, name)
        return study.run(self.out, grid=grid, progress=False, **options).isel(log=0)

    def start(self, *arguments: str) -> subprocess.Popen:
        code = (
            "import sys; from subriem.study import load_study; from subriem.study.console import"
            " study_command; study = load_study(sys.argv[1], 'far');"
            " study._grid['log'] = [sys.argv[2]]; study_command(study).main(sys.argv[3:])"
        )
        words = [sys.executable, "-c", code, str(self.file), str(self.log)]
        client = subprocess.Popen(
            [*words, "--out", str(self.out), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.kill()
            client.communicate()

    def lines(self, word: str) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1:] for line in lines if line.startswith(word + " ")]

    def begun(self) -> list[int]:
        """Tasks that began since the log was removed."""
        return sorted(int(k) for k, *_ in self.lines("begin"))

    def alive(self) -> list[int]:
        return [pid for _, pid, *_ in self.lines("begin") if is_alive(int(pid))]

    def numbers(self):
        """What must be the same in two runs."""
        dataset = open_results(self.out).drop_vars(["task_seconds", "task_created_at"])
        dataset.attrs.pop("created_at")
        return dataset


@pytest.fixture
def far(tmp_path):
    far = Far(tmp_path)
    yield far
    far.close()


_QUIET = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit="800MiB", **_QUIET
    ) as cluster:
        yield cluster


@contextmanager
def processes_of(folder, *, slots=1, hide=None):
    """A scheduler and a worker that are programs of their own; yields its process and address."""
    file = folder / "scheduler.json"
    started = []

    def start(*words):
        started.append(
            subprocess.Popen(
                [*words, "--no-dashboard"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return started[-1]

    try:
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
        start(*scheduler, "--host", "127.0.0.1", "--scheduler-file", str(file))
        # the scheduler writes it in place: its last character comes last
        wait_until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        worker += [
            "--no-nanny",
            "--nthreads",
            str(slots),
            "--local-directory",
            str(folder / "scratch"),
        ]
        if hide is not None:
            # another machine: a namespace in which the folder of the client is empty
            shell = f"mount -t tmpfs none {hide} && exec {' '.join(worker)} --no-dashboard"
            worker = ["unshare", "--mount", "--map-root-user", "sh", "-c", shell, "sh"]
        start(*worker)
        yield started[0], address
    finally:
        for process in started:
            with_children = [process]
            if process.poll() is None:
                with_children += psutil.Process(process.pid).children(recursive=True)
            for one in with_children:
                if is_alive(one.pid):
                    one.kill()
            process.wait()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def messages(dataset):
    return dataset.task_message.values.tolist()


@pytest.mark.slow
def test_numbers_are_those_of_processes_in_any_order_on_any_workers(far, cluster):
    far.run(workers=1)
    first = far.numbers()
    assert (first.threads == 1).all()
    with Client(cluster, set_as_default=False) as client:
        dask = [{"scheduler": "local", "workers": 1}, {"client": client}]
        for options in [{"workers": 2}, *dask]:
            far.out.unlink()
            far.run(**options)
            assert far.numbers().identical(first)
        # the client of another is as it was
        assert client.status == "running"
        assert client.submit(len, "abc").result(timeout=10) == 3
    assert not far.parts.exists()

    study = load_study(far.file, "far")
    point = {"log": str(far.log)}
    order = random.Random(0).sample(range(8), 8)
    calls = [
        TaskCall(k, {**point, "k": k}, None, str(far.home / f"{k}.nc"), str(far.file), "far")
        for k in order
    ]
    executor = on_cluster(study, choose_cluster(cluster.scheduler_address, None, 1, None))
    assert all(outcome.status == "ok" for _, outcome in executor(calls))
    for k in range(8):
        assert open_results(far.home / f"{k}.nc").trace.item() == first.trace.values[0, k]


@pytest.mark.slow
def test_what_tasks_can_do_wrong_stays_theirs(far, cluster):
    far.plan("0=hang 1=segfault 2=shape 3=nan 4=raise 5=eat")
    dataset = far.run(scheduler=cluster.scheduler_address, time_limit=3)
    # each once: what failed is not tried again unasked
    assert far.begun() == list(range(8))
    found = messages(dataset)
    assert found[0] == "time limit of 3 s"
    assert "was ended by SIGSEGV" in found[1]
    assert "has 'value' as numbers over ('time', 'coordinate')" in found[2]
    assert found[4] == "ValueError: out of luck"
    assert found[3] == found[6] == found[7] == ""
    assert np.isnan(dataset.value.sel(k=3)).all()
    assert far.alive() == []
    assert not list(far.parts.glob("*.running"))
    assert not list(far.parts.glob(".*"))
    # the workers of the cluster did not suffer
    assert len({parent for _, _, parent, _ in far.lines("begin")}) == 2
    far.log.unlink()
    far.plan("")
    assert (far.run(workers=1, resume=True).task_status == "ok").all()
    assert far.begun() == [0, 1, 2, 4, 5]


def test_memory_is_limited(far, cluster):
    far.plan("0=eat")
    [message] = messages(far.run(k=[0], scheduler=cluster.scheduler_address, time_limit=60))
    assert re.fullmatch("memory limit of 800 MiB: the task took [0-9]+ MiB", message), message
    assert far.alive() == []


@pytest.mark.slow
def test_a_lost_worker_costs_only_the_task_that_it_had_begun(far, cluster):
    far.plan("2=kill-worker 3=raise 5=segfault-once")
    dataset = far.run(scheduler=cluster.scheduler_address, retries=1)
    assert far.begun() == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7]
    found = messages(dataset)
    assert re.fullmatch(r"the Dask worker tcp://\S+ was lost .*, the last of 2 times", found[2])
    assert found[3] == "ValueError: out of luck"
    assert [found[k] for k in (0, 1, 4, 5, 6, 7)] == [""] * 6
    # each loss was another worker of the nannies
    lost = [parent for k, _, parent, _ in far.lines("begin") if k == "2"]
    assert len(set(lost)) == 2
    assert far.alive() == []


@pytest.mark.slow
def test_a_killed_client_and_a_killed_scheduler_lose_and_repeat_nothing(far, tmp_path):
    far.plan("6=hang 7=hang")
    with processes_of(tmp_path, slots=2) as (scheduler, address):
        client = far.start("--scheduler", address)
        wait_until(lambda: len(list(far.parts.glob("0000?.nc"))) == 6 and len(far.begun()) == 8)
        # another process sees how far it is
        status = read_status(far.out)
        assert status.done == 6
        assert status.running.keys() == {f"log={far.log}, k={k}" for k in (6, 7)}
        client.kill()
        client.communicate()
        # nobody waits for them any more
        wait_until(lambda: far.alive() == [])
        assert read_status(far.out).interrupted

        far.log.unlink()
        far.plan("7=hang")
        client = far.start("--scheduler", address, "--resume")
        wait_until(lambda: (far.parts / "00006.nc").exists() and far.begun() == [6, 7])
        scheduler.kill()
        _, error = client.communicate(timeout=20)
        assert client.returncode == 2, error
        assert "connection to the scheduler of the Dask cluster is lost" in error
        assert "7 of 8 tasks are kept" in error
        assert "--resume" in error
        assert len(error.splitlines()) == 1, error
        wait_until(lambda: far.alive() == [])
    far.log.unlink()
    far.plan("")
    assert (far.run(resume=True, workers=1).task_status == "ok").all()
    assert far.begun() == [7]
    with pytest.raises(ResultsError, match=f"no Dask scheduler answers at {address}"):
        choose_cluster(address, None, 1, None)().__enter__()


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(far):
    far.plan("6=hang 7=hang")
    client = far.start("--scheduler", "local", "--workers", "2")
    wait_until(lambda: len(list(far.parts.glob("0000?.nc"))) == 6 and len(far.begun()) == 8)
    family = psutil.Process(client.pid).children(recursive=True)
    client.send_signal(signal.SIGINT)
    _, error = client.communicate(timeout=20)
    assert client.returncode == 130
    assert "6 of 8 tasks are kept" in error
    assert len(error.splitlines()) == 1, error
    wait_until(lambda: not any(is_alive(process.pid) for process in family))


@pytest.mark.slow
def test_a_worker_that_does_not_see_the_folder_gets_and_sends_all_it_needs(far, tmp_path):
    can = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", str(far.home)]
    if shutil.which("unshare") is None or subprocess.run(can, capture_output=True).returncode:
        pytest.skip("no mount namespaces here: a second machine cannot be played")
    far.plan("1=large 2=raise 3=hang")
    exchange = tmp_path / "exchange"
    with processes_of(tmp_path, hide=far.home) as (_, address):
        client = far.start("--scheduler", address, "--exchange", f"file://{exchange}")
        wait_until(lambda: far.begun() == [0, 1, 2, 3])
        wait_until(lambda: read_status(far.out).running)
        assert read_status(far.out).running.keys() == {f"log={far.log}, k=3"}
        assert sorted(far.parts.glob("0000?.nc")) == [
            far.parts / "00000.nc",
            far.parts / "00001.nc",
        ]
        assert [file.name for file in (tmp_path / "scratch").rglob("*.nc")] == []
        client.send_signal(signal.SIGINT)
        _, error = client.communicate(timeout=20)
        assert "3 of 8 tasks are kept" in error
        assert list(exchange.iterdir()) == []
        far.plan("1=large 4=large")
        far.log.unlink()
        dataset = far.run(resume=True, scheduler=address)
        assert far.begun() == list(range(2, 8))
        assert (dataset.task_status == "ok").all()
        # whether as data or through the exchange, whatever the size
        assert dataset.coordinate_length.values.tolist() == [2, 300_000, 2, 2, 300_000, 2, 2, 2]
        first = far.numbers()

        # what a text alone cannot do is said
        broken = far.home / "broken.py"
        broken.write_text("import beside\n" + STUDY.replace('"far"', '"broken"'))
        (far.home / "beside.py").write_text("")
        study = load_study(broken, "broken")
        grid = {"log": [str(far.log)], "k": [0]}
        out = far.home / "broken.nc"
        dataset = study.run(out, grid=grid, scheduler=address, progress=False)
        message = dataset.task_message.item()
        assert "No module named 'beside'" in message
        assert f"does not see {broken} as it is here, so that its text alone was sent" in message
    far.run(fresh=True, workers=1)
    assert far.numbers().identical(first)


def test_one_task_a_gpu(far):
    far.plan(" ".join(f"{k}=slow" for k in range(4)))
    options = {"n_workers": 1, "threads_per_worker": 3, "processes": False}
    with LocalCluster(**options, resources={"GPU": 1}, **_QUIET) as cluster:
        far.run("greedy", k=range(4), scheduler=cluster.scheduler_address)
    spans = sorted(
        (float(begun[3]), float(ended[3]))
        for begun, ended in zip(sorted(far.lines("begin")), sorted(far.lines("end")), strict=True)
    )
    assert len(spans) == 4
    assert all(end <= begun for (_, end), (begun, _) in itertools.pairwise(spans))


def test_neither_client_nor_scheduler_holds_the_grid(far, cluster):
    study = load_study(far.file, "far")
    calls = [
        TaskCall(
            k, {"log": str(far.log), "k": k}, None, str(far.home / f"{k}.nc"), str(far.file), "far"
        )
        for k in range(60)
    ]
    executor = on_cluster(study, choose_cluster(cluster.scheduler_address, None, 1, None))
    held = [len(cluster.scheduler.tasks) for _ in executor(calls)]
    assert len(held) == 60
    # four are given at once; others have ended and are about to be forgotten
    assert max(held) <= 15
    assert far.begun() == list(range(60))


def test_what_cannot_be_right_is_refused(tmp_path, far):
    study = load_study(far.file, "far")

    def refuse(match, kind=InputError, of=study, **options):
        with pytest.raises(kind, match=match):
            of.run(tmp_path / "a.nc", progress=False, **options)

    refuse("exclude each other", scheduler="local", client=object())
    refuse("expected a distributed.Client", InputTypeError, client=object())
    refuse("expected none beside the address", scheduler="tcp://127.0.0.1:1", workers=2)
    refuse("expected scheduler 'local'", scheduler="tcp://127.0.0.1:1", memory_limit="1GB")
    refuse("of a Dask cluster: expected a scheduler", memory_limit="1GB")
    refuse("memory_limit: expected more than 0", scheduler="local", memory_limit="-1")
    refuse("Protocol not known", scheduler="local", exchange="none://a")
    refuse("scheduler 'nonsense://a'", scheduler="nonsense://a")
    inside = Study("inside", {"k": [0]})
    inside.task(lambda k: None)
    refuse("no other process can load it", of=inside, scheduler="local")
    with pytest.raises(InputTypeError, match="expected a number"):
        Study("x", {"k": [0]}, resources={"GPU": "1"})
    assert not (tmp_path / "a.nc").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install subriem\[dask\]"):
        choose_cluster("local", None, 1, None)
