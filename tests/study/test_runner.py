import json
import os
import signal
import time

import numpy as np
import pytest
import xarray as xr

from subriem.errors import InputError, ResultsError
from subriem.results import open_results, select_task, validate
from subriem.study import Study

NAMES = ["long-3", "long-4", "short-3", "short-4"]
CHANGING = ["task_seconds", "task_created_at"]


def numbers(path):
    """What must be the same in two runs."""
    dataset = open_results(path).drop_vars(CHANGING)
    dataset.attrs.pop("created_at")
    return dataset


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_gives_one_file_and_the_same_numbers_on_any_workers(place):
    done = place.script()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "table of 2 kinds in walks.nc\n"
    assert done.stderr.startswith("walks: 4 of 4 tasks ok")
    assert len(done.stderr.splitlines()) == 1
    assert place.calls() == NAMES
    assert not place.parts.exists()
    dataset = open_results(place.out)
    validate(dataset)
    assert dataset.position.dims == ("kind", "width", "time_index")
    assert dataset.time_length.values.tolist() == [[3, 4], [4, 5]]
    assert (dataset.task_status == "ok").all()
    assert (dataset.threads == 1).all()
    assert dataset.attrs["question"] == "How far?"
    assert dataset.attrs["seed"] == 5
    one = select_task(dataset, kind="long", width=4)
    assert one.sizes == {"time": 5}
    assert one.attrs["chosen"] is None

    # the numbers do not depend on the workers
    first = numbers(place.out)
    assert place.script("--workers", "2", "--quiet").returncode == 0
    assert numbers(place.out).identical(first)


def test_a_variant_has_its_grid_and_is_told_to_the_task(place):
    assert place.script("--full").returncode == 0
    dataset = open_results(place.out)
    assert dataset.width.values.tolist() == [3, 4, 5]
    assert dataset.attrs["chosen"] == "full"
    # the same point has the same numbers
    assert place.script().returncode == 0
    small = select_task(open_results(place.out), kind="long", width=4)
    np.testing.assert_array_equal(select_task(dataset, kind="long", width=4).trace, small.trace)


@pytest.mark.slow
def test_failures_are_data_and_resume_runs_only_them(place):
    plan = "short-3=raise short-4=die long-3=shape long-4=exit"
    done = place.script("--workers", "2", plan=plan)
    assert done.returncode == 1
    assert place.calls() == NAMES
    dataset = open_results(place.out)
    messages = dict(zip(NAMES, dataset.task_message.values[::-1].ravel(), strict=True))
    assert messages["short-3"] == "ValueError: out of luck"
    assert messages["short-4"].startswith("the worker process was ended by SIGKILL")
    assert messages["long-4"] == "SystemExit: gone"
    assert "kind=short, width=3: ValueError: out of luck" in done.stderr
    part = open_results(place.parts / "00000.failed.nc")
    assert 'raise ValueError("out of luck")' in part.attrs["task_outcome"]["traceback"]

    assert "--resume goes on with it, --fresh throws it away" in place.refusal()

    # what was alone and so right is now the odd one among three
    assert place.script("--resume", plan="long-4=text").returncode == 1
    assert place.calls() == ["long-4", "short-3", "short-4"]
    dataset = open_results(place.out)
    status = dict(zip(NAMES, dataset.task_status.values[::-1].ravel(), strict=True))
    assert status == {"long-3": "failed", "long-4": "failed", "short-3": "ok", "short-4": "ok"}
    message = dataset.task_message.sel(kind="long", width=3).item()
    assert "has 'position' as numbers over (), the others as numbers over ('time',)" in message
    assert "expected an xarray.Dataset, got str" in dataset.task_message.values[1, 1]

    assert place.script("--resume").returncode == 0
    assert place.calls() == ["long-3", "long-4"]
    assert not place.parts.exists()


def test_all_tasks_may_fail(place):
    plan = " ".join(f"{name}=raise" for name in NAMES)
    done = place.script(plan=plan)
    assert done.returncode == 1
    assert done.stdout == ""
    validate(open_results(place.out))


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_and_computes_nothing_twice(place):
    assert place.script().returncode == 0
    whole = numbers(place.out)
    place.out.unlink()
    place.calls()
    process = place.start("--workers", "2", plan="short-4=wait long-4=wait")
    done = ["00000.nc", "00002.nc"]
    wait_until(lambda: all((place.parts / name).exists() for name in done))
    wait_until(lambda: len(place.log.read_text().split()) == 4)
    workers = children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert place.calls() == NAMES
    assert not place.out.exists()
    # the workers go with it
    wait_until(lambda: not any(is_alive(worker) for worker in workers))

    assert place.script("--resume").returncode == 0
    assert place.calls() == ["long-4", "short-4"]
    assert numbers(place.out).identical(whole)
    assert not place.parts.exists()
    # complete: nothing is computed, nothing is lost
    again = place.script("--resume")
    assert "nothing is left to do" in again.stderr
    assert place.calls() == []


def test_ctrl_c_keeps_what_is_finished(place):
    process = place.start(plan="long-4=wait")
    wait_until(lambda: place.log.exists() and "long-4" in place.log.read_text())
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "3 of 4 tasks are kept" in error
    assert "go on with --resume" in error
    assert "Traceback" not in error
    wait_until(lambda: not any(is_alive(worker) for worker in workers), seconds=5)
    place.calls()
    assert place.script("--resume").returncode == 0
    assert place.calls() == ["long-4"]


def test_a_worker_killed_from_outside_fails_its_task_only(place):
    process = place.start("--workers", "2", plan="short-3=wait")
    wait_until(lambda: (place.parts / "00003.nc").exists())
    for worker in children(process.pid):
        if any("serve_on" in word for word in command_line(worker)):
            os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == 1
    status = open_results(place.out).task_status.values.ravel().tolist()
    assert status == ["failed", "ok", "ok", "ok"]


@pytest.mark.slow
def test_another_version_of_the_study_is_noticed(place):
    place.script(plan="short-3=raise")
    manifest = json.loads((place.parts / "manifest.json").read_text())
    assert manifest["grid"] == {"kind": ["short", "long"], "width": [3, 4]}
    assert {"study", "started", "code", "seed", "subriem_version", "variant"} <= set(manifest)
    text = place.file.read_text()
    # a comment, or another picture, changes no number
    place.file.write_text(text.replace('print("table', '# a comment\n    print("another table'))
    assert place.script("--resume", plan="short-3=raise").returncode == 1
    place.calls()

    place.file.write_text(text.replace("(150, 150)", "(15, 15)"))
    changed = place.refusal(resume=True)
    assert "another version of the study: its code changed" in changed
    place.file.write_text(text)
    other = place.refusal(resume=True, variant="full")
    assert "variant was None and is 'full'" in other
    assert "its grid changed (width)" in other
    assert place.calls() == []
    assert place.script("--fresh").returncode == 0
    assert place.calls() == NAMES


def test_a_cut_part_is_computed_again(place):
    place.script(plan="short-3=raise")
    place.calls()
    part = place.parts / "00002.nc"
    part.write_bytes(part.read_bytes()[:1000])
    assert place.script("--resume").returncode == 0
    assert place.calls() == ["long-3", "short-3"]


def test_a_folder_of_other_files_is_left_alone(place):
    place.parts.mkdir()
    (place.parts / "mine.txt").write_text("keep")
    for options in ({}, {"resume": True}, {"fresh": True}):
        assert "no manifest of a run" in place.refusal(**options)
    assert (place.parts / "mine.txt").read_text() == "keep"


def test_an_unguarded_main_runs_once(place):
    text = place.file.read_text().replace(
        'if __name__ == "__main__":\n    study.main()', "study.main()"
    )
    place.file.write_text(text)
    assert place.script().returncode == 0
    assert place.calls() == NAMES


def test_a_study_can_be_run_from_python_with_another_grid(place):
    done = place.python(
        f"""
        from subriem.study import load_study
        if __name__ == "__main__":
            study = load_study({str(place.file)!r})
            out = {str(place.out)!r}
            dataset = study.run(out, grid={{"width": [7]}}, workers=2, progress=False)
            print(dict(dataset.sizes))
        """
    )
    assert done.stderr == ""
    assert "'kind': 2, 'width': 1" in done.stdout
    assert place.calls() == ["long-7", "short-7"]


def interactive(fail=False):
    study = Study("inside", {"power": [2, 3]})

    @study.task
    def task(power):
        if fail and power == 3:
            raise ValueError("no")
        value = xr.Variable((), 2.0**power, {"long_name": "power of two", "units": "1"})
        return xr.Dataset({"value": value})

    return study


def test_a_study_that_no_file_defines_runs_in_this_process(tmp_path, capsys):
    study = interactive()
    assert study.file is None
    dataset = study.run(tmp_path / "new" / "a.nc", workers=2)
    assert dataset.value.values.tolist() == [4.0, 8.0]
    assert dataset.attrs["task_function"] == "inside.task"
    assert "not a global of a Python file" in capsys.readouterr().err
    assert interactive(fail=True).run(
        tmp_path / "b.nc", progress=False
    ).task_status.values.tolist() == ["ok", "failed"]
    assert capsys.readouterr().err == ""


def test_what_cannot_be_right_is_refused(tmp_path):
    study = interactive()
    with pytest.raises(InputError, match="exclude each other"):
        study.run(tmp_path / "a.nc", resume=True, fresh=True)
    with pytest.raises(InputError, match="workers: expected at least 1"):
        study.run(tmp_path / "a.nc", workers=0)
    with pytest.raises(InputError, match="has no task"):
        Study("empty", {"k": [1]}).run(tmp_path / "a.nc")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="cannot write the run folder"):
        study.run(tmp_path / "file" / "a.nc")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_dataset_without_units_fails_its_task(tmp_path):
    study = Study("bare", {"k": [1]})
    study.task(lambda k: xr.Dataset({"v": 1.0}))
    dataset = study.run(tmp_path / "a.nc", progress=False)
    assert (
        dataset.task_message.item()
        == "InputError: variable 'v' has no 'long_name': expected a text"
    )


def children(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def command_line(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().split("\0")


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
