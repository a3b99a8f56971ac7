"""A full disk is an error and no crash: HDF5 itself may end the process on one."""

import errno
import io
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr

from subriem.errors import ResultsError
from subriem.results import netcdf, open_results, save
from subriem.results.guarded_file import GuardedFile


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize("largest_image", [0, 1 << 26])
def test_a_full_disk_leaves_the_older_file(tmp_path, monkeypatch, name, largest_image):
    monkeypatch.setattr(netcdf, "LARGEST_IMAGE", largest_image)
    noise = np.random.default_rng(0).random(200_000)
    with small_disk(tmp_path / "disk", "1m") as disk:
        path = save(xr.Dataset({"v": 1.0}), disk / name)
        with pytest.raises(ResultsError, match=r"cannot write .*No space left.*check the space"):
            save(xr.Dataset({"v": ("x", noise)}), path)
        assert [file.name for file in disk.iterdir()] == [name]
        assert open_results(path).v == 1
        # what was taken for the try is free again
        save(xr.Dataset({"v": ("x", noise[:50_000])}), path)
        assert open_results(path).v.size == 50_000


def test_a_process_that_met_a_full_disk_ends_in_order(tmp_path):
    code = """
import sys, numpy as np, xarray as xr
from subriem.results import netcdf, save
netcdf.LARGEST_IMAGE = 0
try:
    save(xr.Dataset({"v": ("x", np.random.default_rng(0).random(500_000))}), sys.argv[1])
except OSError as error:
    print("no" in str(error).lower())
"""
    with small_disk(tmp_path / "disk", "1m") as disk:
        done = subprocess.run(
            [sys.executable, "-c", code, str(disk / "a.nc")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


class Failing(io.BytesIO):
    """A disk that is full after so many writes, or takes half of the last one."""

    def __init__(self, writes, half):
        super().__init__()
        self.left, self.half = writes, half

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.left == 0 and self.half:
            return super().write(data[: len(data) // 2])
        return super().write(data)


@pytest.mark.parametrize("half", [False, True])
def test_hdf5_does_not_notice_at_which_write_the_disk_is_full(half):
    values = np.random.default_rng(0).random((40, 1000))
    writes = 0
    for allowed in range(1000):
        guarded = GuardedFile(Failing(allowed, half))
        with netcdf.create_guarded(guarded) as file:
            forms = netcdf.encode_forms(xr.Dataset({"v": (("x", "y"), values)}))
            writer = netcdf.Hdf5Writer(file, {"v": values.shape}, forms, set())
            writer.add("v", compress=True)
            for row in range(len(values)):
                writer.put("v", values[row : row + 1], (row, 0))
            writer.finish({"a": 1})
        try:
            guarded.check()
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017
            writes += 1
        else:
            break
    # it was full at each of several writes, and then large enough
    assert writes >= 5
    assert allowed == writes


def test_a_guarded_file_is_read_as_it_was_written():
    generator = np.random.default_rng(0)
    for allowed in (0, 3, 7, 100):
        guarded, plain = GuardedFile(Failing(allowed, False)), io.BytesIO()
        for _ in range(60):
            place = int(generator.integers(0, 200))
            data = generator.bytes(int(generator.integers(0, 50)))
            for file in (guarded, plain):
                file.seek(place)
                file.write(data)
            place, count = map(int, generator.integers(0, 250, 2))
            guarded.seek(place)
            plain.seek(place)
            assert guarded.read(count) == plain.read(count)
        assert guarded.seek(0, io.SEEK_END) == len(plain.getvalue())
