"""A run whose disk is full: nothing finished is lost, and it goes on when there is space."""

import subprocess

import numpy as np
import pytest
import xarray as xr

from subriem.errors import ResultsError
from subriem.results import open_results
from subriem.study import Study, runner

COUNT = 12


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def noisy(calls):
    """A study whose parts are 100 kB that do not compress."""
    study = Study("noisy", {"k": list(range(COUNT))})
    attrs = {"long_name": "noise", "units": "1"}

    @study.task
    def task(k, seed):
        calls.append(k)
        noise = np.random.default_rng(seed).random(12_000)
        axis = xr.Variable("point", np.arange(12_000), {"long_name": "point", "units": "1"})
        return xr.Dataset({"v": xr.Variable("point", noise, attrs)}, {"point": axis})

    return study


def fill(disk, leave):
    """Fill the disk up to so many bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 4096, 500_000])
def test_parts_that_find_no_space(disk, leave):
    calls = []
    study = noisy(calls)
    ballast = fill(disk, leave)
    with pytest.raises(ResultsError, match=r"cannot write .*No space left"):
        study.run(disk / "a.nc", progress=False)
    finished = {file: file.read_bytes() for file in disk.glob("a.parts/0????.nc")}
    assert len(finished) < COUNT
    assert bool(finished) == (leave == 500_000)
    assert not list(disk.glob("a.parts/*.new.nc"))
    assert not (disk / "a.nc").exists()
    ballast.unlink()
    # parts take 200 kB each, all of them and the result do not fit beside each other
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    calls.clear()
    dataset = study.run(disk / "a.nc", progress=False, resume=(disk / "a.parts").exists())
    assert (dataset.task_status == "ok").all()
    assert len(calls) == COUNT - len(finished)
    assert open_results(disk / "a.nc").identical(dataset)
    assert not (disk / "a.parts").exists()


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("largest", [0, 1 << 28])
def test_a_result_that_finds_no_space(disk, monkeypatch, name, largest):
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    monkeypatch.setattr("subriem.study.merge.LARGEST_IN_MEMORY", largest)
    calls = []
    study = noisy(calls)
    merge_parts = runner.merge_parts

    def merge_on_a_full_disk(*arguments):
        fill(disk, 100_000)
        return merge_parts(*arguments)

    monkeypatch.setattr(runner, "merge_parts", merge_on_a_full_disk)
    with pytest.raises(ResultsError, match=rf"cannot write .*{name}.*No space left"):
        study.run(disk / name, progress=False)
    assert sorted(calls) == list(range(COUNT))
    assert sorted(file.name for file in disk.iterdir()) == ["a.parts", "ballast"]
    (disk / "ballast").unlink()
    monkeypatch.setattr(runner, "merge_parts", merge_parts)
    dataset = study.run(disk / name, progress=False, resume=True)
    assert (dataset.task_status == "ok").all()
    assert len(calls) == COUNT
    assert [file.name for file in disk.iterdir()] == [name]
    with open_results(disk / name, lazy=True) as lazy:
        assert lazy.identical(dataset)
    dataset.close()
