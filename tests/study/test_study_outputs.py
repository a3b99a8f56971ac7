"""What a run returns and writes: in memory or from the file, NetCDF or Zarr."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from subriem.cli import main
from subriem.errors import ResultsError
from subriem.results import open_results, select_task
from subriem.study import Study
from subriem.study.parts import is_whole
from subriem.study.syncing import sync_later


def ragged(calls=None):
    study = Study("ragged", {"kind": ["a", "b"], "k": list(range(6))})

    @study.task
    def task(kind, k, seed):
        if calls is not None:
            calls.append((kind, k))
        steps = 20_000 + 10 * k
        attrs = {"long_name": "value", "units": "1"}
        values = np.random.default_rng(seed).random(steps)
        variables = {
            "v": xr.Variable("time", values, attrs),
            "kind_of": xr.Variable((), f"{kind} of {k}", attrs),
        }
        axis = xr.Variable("time", np.sort(values), attrs)
        return xr.Dataset(variables, {"time": axis}, {"steps": steps})

    return study


def without_times(dataset):
    kept = dataset.drop_vars(["task_seconds", "task_created_at"]).load()
    kept.attrs.pop("created_at")
    return kept


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_a_large_result_is_the_small_one_read_from_the_file(tmp_path, monkeypatch, name):
    small = ragged().run(tmp_path / "small.nc", progress=False)
    monkeypatch.setattr("subriem.study.merge.LARGEST_IN_MEMORY", 1000)
    calls = []
    large = ragged(calls).run(tmp_path / name, progress=False)
    assert len(calls) == 12
    assert isinstance(small.v.variable._data, np.ndarray)
    assert not isinstance(large.v.variable._data, np.ndarray)
    one = select_task(large, kind="b", k=3)
    assert one.identical(select_task(small, kind="b", k=3).assign_attrs(one.attrs))
    assert one.sizes == {"time": 20_030}
    # complete: read from the file as well
    again = ragged(calls).run(tmp_path / name, progress=False, resume=True)
    assert len(calls) == 12
    assert not isinstance(again.v.variable._data, np.ndarray)
    again.close()
    assert without_times(large).identical(without_times(small))
    large.close()
    assert [file.name for file in tmp_path.iterdir() if file.name != "small.nc"] == [name]


def test_the_command_line_writes_and_reads_zarr(place):
    place.out = place.folder / "walks.zarr"
    done = place.script("--quiet", plan="long-3=raise")
    assert done.returncode == 1
    assert place.script("--quiet", "--resume").returncode == 0
    assert not place.parts.exists()
    invoke = CliRunner().invoke
    status = invoke(main, ["status", str(place.out)])
    assert status.output == "walks: 4 tasks, 4 done, 0 running, 0 failed, 0 missing\n"
    shown = invoke(main, ["show", str(place.out)])
    assert shown.exit_code == 0
    assert "position" in shown.output
    assert open_results(place.out).sizes["width"] == 2


def test_a_name_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path, monkeypatch
):
    calls = []
    with pytest.raises(ResultsError, match=r"it is a folder; name a file that ends in \.nc"):
        ragged(calls).run(tmp_path, progress=False)
    (tmp_path / "mine.zarr").mkdir()
    with pytest.raises(ResultsError, match="is no Zarr store; move it away"):
        ragged(calls).run(tmp_path / "mine.zarr", progress=False)
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    with pytest.raises(ResultsError, match="needs the package zarr"):
        ragged(calls).run(tmp_path / "a.zarr", progress=False)
    assert calls == []


def test_a_part_damaged_between_the_two_readings_is_not_merged(tmp_path, monkeypatch):
    from subriem.study import merge

    monkeypatch.setattr(merge, "LARGEST_IN_MEMORY", 1000)
    save_blocks = merge.save_blocks

    def damage(dataset, out, blocks, streamed):
        part = tmp_path / "a.parts" / "00005.nc"
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
        save_blocks(dataset, out, blocks, streamed)

    monkeypatch.setattr(merge, "save_blocks", damage)
    calls = []
    with pytest.raises(ResultsError, match=r"00005\.nc is damaged"):
        ragged(calls).run(tmp_path / "a.nc", progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parts"]
    assert not is_whole(tmp_path / "a.parts" / "00005.nc")
    monkeypatch.undo()
    calls.clear()
    dataset = ragged(calls).run(tmp_path / "a.nc", progress=False, resume=True)
    assert calls == [("a", 5)]
    assert (dataset.task_status == "ok").all()


def test_syncing_keeps_up_or_leaves_files_to_the_system(tmp_path):
    # many at once, and some that are gone by then: nothing is raised, and nothing waits for ever
    for k in range(200):
        file = tmp_path / str(k)
        file.write_bytes(b"x")
        sync_later(file, tmp_path / "none")
        if k % 2:
            file.unlink()
