import os
import time

import psutil
import pytest

from subriem.results import open_results
from subriem.study.executors import in_processes
from subriem.study.worker import TaskCall


@pytest.mark.slow
def test_only_the_task_of_a_dying_worker_fails_and_its_end_is_named(place, monkeypatch):
    monkeypatch.setenv("LOG", str(place.log))
    monkeypatch.setenv("PLAN", "short-3=die long-4=die")
    points = [{"kind": k, "width": w} for k in ("short", "long") for w in (3, 4)]
    calls = [
        TaskCall(number, point, None, str(place.folder / f"{number}.nc"), str(place.file), "walks")
        for number, point in enumerate(points)
    ]
    outcomes = {call.number: outcome for call, outcome in in_processes(2, 1)(calls)}
    assert [outcomes[number].status for number in range(4)] == ["failed", "ok", "ok", "failed"]
    assert "was ended by SIGKILL" in outcomes[0].message
    assert "was ended by SIGKILL" in outcomes[3].message


def test_threads_are_set_for_the_worker_and_not_for_this_process(place, monkeypatch):
    monkeypatch.setenv("LOG", str(place.log))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    part = place.folder / "a.nc"
    call = TaskCall(0, {"kind": "long", "width": 3}, None, str(part), str(place.file), "walks")
    [(_, outcome)] = in_processes(1, 2)([call])
    assert outcome.status == "ok", outcome.traceback
    assert open_results(part).threads == 2
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_closing_stops_what_runs(place, monkeypatch):
    monkeypatch.setenv("LOG", str(place.log))
    monkeypatch.setenv("PLAN", "long-3=wait")
    calls = [
        TaskCall(
            k,
            {"kind": kind, "width": 3},
            None,
            str(place.folder / f"{k}.nc"),
            str(place.file),
            "walks",
        )
        for k, kind in enumerate(["short", "long"])
    ]
    before = psutil.Process().children()
    running = in_processes(1, 1)(calls)
    assert next(running)[0].number == 0
    start = time.monotonic()
    running.close()
    assert time.monotonic() - start < 10
    assert psutil.Process().children() == before
