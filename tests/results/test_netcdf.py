import os
import subprocess
import sys

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subriem.errors import InputError, InputTypeError, ResultsError
from subriem.results import decode_results, encode_results, netcdf, open_results, save

NATIVE = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=10)
    | st.sampled_from(["", "null", "[1, 2]", '{"__complex__": [1, 2]}', "x" * 100_000])
)
JSON = st.none() | st.booleans() | st.complex_numbers(allow_nan=False)
ATTRIBUTES = st.dictionaries(
    st.text(max_size=6) | st.sampled_from(["units", "dtype", "coordinates", "_FillValue", "NAME"]),
    NATIVE
    | JSON
    | st.lists(NATIVE | JSON, max_size=3)
    | st.dictionaries(st.text(max_size=3), NATIVE | JSON, max_size=3),
    max_size=4,
)
NUMBERS = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS += ["float16", "float32", "float64", "complex64", "complex128"]
TIMES = [f"{kind}64[{unit}]" for kind in ("datetime", "timedelta") for unit in ("s", "ms", "ns")]
DTYPES = st.sampled_from(NUMBERS + TIMES)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)) | hnp.arrays(
    "U5", SHAPES, elements=TEXT
)


@st.composite
def datasets(draw):
    dataset = xr.Dataset(attrs=draw(ATTRIBUTES))
    for name in draw(st.lists(st.sampled_from("abcé"), unique=True)):
        array = draw(ARRAYS)
        attrs = draw(ATTRIBUTES)
        dims = [f"{name}_{axis}" for axis in range(array.ndim)]
        dataset[name] = xr.Variable(dims, array, attrs)
        if draw(st.booleans()):
            dataset = dataset.set_coords(name)
    return dataset


def typed(value):
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value), repr(value)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@given(dataset=datasets(), lazy=st.booleans())
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_dataset_comes_back_as_it_was(tmp_path, name, dataset, lazy):
    path = save(dataset, tmp_path / name)
    with open_results(path, lazy=lazy) as back:
        assert_back(back, dataset)
    assert_back(decode_results(encode_results(dataset)), dataset)


def assert_back(back, dataset):
    assert set(back.variables) == set(dataset.variables)
    assert set(back.coords) == set(dataset.coords)
    assert typed(back.attrs) == typed(dataset.attrs)
    for name, variable in dataset.variables.items():
        assert back[name].dims == variable.dims
        assert typed(back[name].attrs) == typed(variable.attrs)
        assert back[name].dtype == variable.dtype
        np.testing.assert_array_equal(back[name].values, variable.values, strict=False)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_floats_come_back_to_the_bit(tmp_path, name):
    values = np.array([np.nan, -0.0, np.inf, 5e-324, 0.1])
    both = values + 0j
    both.imag = values[::-1]
    dataset = xr.Dataset({"f": ("x", values), "c": ("x", both), "s": ("x", values.astype("f4"))})
    back = open_results(save(dataset, tmp_path / name))
    for variable in dataset:
        assert back[variable].values.tobytes() == dataset[variable].values.tobytes()


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_numpy_attributes_come_back(tmp_path, name):
    attrs = {
        "vector": np.array([1.0, np.nan]),
        "one": np.array([3]),
        "none": np.zeros(0),
        "matrix": np.eye(2, dtype=np.float32),
        "text": np.array(["a", "bc"]),
        "small": np.float32(0.1),
        "truth": np.bool_(True),
        "number": np.int64(3),
        "pair": (1, "a"),
        "long": np.arange(100_000.0),
    }
    back = open_results(save(xr.Dataset(attrs=attrs), tmp_path / name)).attrs
    for key in ("vector", "one", "none", "matrix", "text", "long"):
        np.testing.assert_array_equal(back[key], attrs[key], strict=True)
    assert type(back["small"]) is np.float32
    assert back["small"] == np.float32(0.1)
    assert back["truth"] is True
    assert type(back["number"]) is int
    assert back["pair"] == [1, "a"]


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_index_coordinates_of_text_and_time_come_back(tmp_path, name):
    days = np.array(["2020-01-01", "2021-02-03"], "datetime64[ns]")
    dataset = xr.Dataset(coords={"kind": ["tanh", "relu"], "day": days})
    assert open_results(save(dataset, tmp_path / name)).identical(dataset)


def test_many_and_long_attributes_come_back(tmp_path):
    long = {f"a{k}": np.arange(256.0) + k for k in range(100)} | {"text": "x" * 200_000}
    dataset = xr.Dataset({f"v{k}": ("x", [1.0], long) for k in range(2)}, attrs=long)
    assert open_results(save(dataset, tmp_path / "a.nc")).identical(dataset)


def test_a_coordinate_of_two_dimensions_may_have_the_name_of_one(tmp_path):
    dataset = xr.Dataset({"x": (("x", "y"), np.ones((2, 3))), "v": ("x", [1.0, 2.0])})
    path = save(dataset, tmp_path / "a.nc")
    assert open_results(path).identical(dataset)
    assert xr.load_dataset(path, engine="h5netcdf").equals(dataset.set_coords("x"))


def test_other_tools_read_the_file(tmp_path):
    dataset = xr.Dataset(
        {
            "loss": ("time", [1.0, 2.0], {"units": "1"}),
            "good": ("time", [True, False]),
            "when": ("time", np.array(["2020-01-01", "NaT"], "datetime64[ns]")),
        },
        attrs={"plain": "[1, 2]", "strict": True},
    )
    plain = xr.load_dataset(save(dataset, tmp_path / "a.nc"), engine="h5netcdf")
    assert plain.loss.identical(dataset.loss)
    assert plain.good.values.tolist() == [True, False]
    np.testing.assert_array_equal(plain.when.values, dataset.when.values)
    assert (plain.attrs["plain"], plain.attrs["strict"]) == ("[1, 2]", "true")


def test_xarray_reads_a_zarr_store(tmp_path):
    dataset = xr.Dataset(
        {"loss": ("time", [1.0, -0.0]), "good": ("time", [True, False])},
        {"time": [0.5, 1.5], "kind": ((), "adapted")},
    )
    path = save(dataset, tmp_path / "a.zarr")
    plain = xr.open_zarr(path, consolidated=False, chunks=None).load()
    assert set(plain.coords) == {"time", "kind"}
    assert plain.loss.values.tobytes() == dataset.loss.values.tobytes()
    assert plain.good.values.tolist() == [True, False]
    assert plain.kind.item() == "adapted"
    foreign = xr.Dataset({"t": ("x", [1.0, 2.0])})
    foreign.to_zarr(tmp_path / "b.zarr", consolidated=False)
    assert open_results(tmp_path / "b.zarr").t.values.tolist() == [1.0, 2.0]


def test_a_zarr_store_is_replaced_whole_and_no_other_folder_is(tmp_path, monkeypatch):
    path = save(xr.Dataset({"v": 1.0, "old": 2.0}), tmp_path / "a.zarr")
    save(xr.Dataset({"v": 3.0}), path)
    assert set(open_results(path).variables) == {"v"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr"]
    (path / "v" / "zarr.json").unlink()
    with pytest.raises(ResultsError, match="a part of it is missing"):
        open_results(path)
    other = tmp_path / "mine.zarr"
    other.mkdir()
    (other / "notes.txt").write_text("keep")
    with pytest.raises(ResultsError, match="is no Zarr store; move it away"):
        save(xr.Dataset({"v": 1.0}), other)
    assert (other / "notes.txt").read_text() == "keep"
    with pytest.raises(ResultsError, match="there is no Zarr store"):
        open_results(tmp_path / "none.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ResultsError, match=r"pip install 'subriem\[zarr\]'"):
        save(xr.Dataset(), tmp_path / "b.zarr")


def test_the_bytes_of_a_dataset_are_a_netcdf_file(tmp_path):
    """Its attributes are in one text, which other tools do not know; all else they read."""
    dataset = xr.Dataset(
        {"v": (("time", "y"), np.eye(3)), "good": ("time", [True, False, True], {"units": "1"})},
        {"time": [0.0, 1.0, 2.0], "label": ("time", ["a", "", "é"])},
        {"single": np.float32(0.1), "vector": np.arange(3), "nothing": None, "nan": np.nan},
    )
    path = tmp_path / "a.nc"
    path.write_bytes(encode_results(dataset))
    plain = xr.load_dataset(path, engine="h5netcdf")
    assert plain.v.dims == ("time", "y")
    np.testing.assert_array_equal(plain.v, dataset.v)
    np.testing.assert_array_equal(plain.time, dataset.time)
    assert plain.label.values.tolist() == ["a", "", "é"]
    assert open_results(path).identical(dataset)
    with open_results(path, lazy=True) as lazy:
        assert lazy.identical(dataset)
    with pytest.raises(ResultsError, match=r"no NetCDF4 file, or cut off"):
        decode_results(path.read_bytes()[:-500])


def test_files_of_an_earlier_version_are_read(tmp_path):
    """Written by xarray, with the same marks and without the width of text."""
    mark = '{"json": ["radius"]}'
    old = xr.Dataset(
        {"text": ("x", ["a", "bcd"]), "z": (("x", "complex_part"), [[1.0, 2.0], [3.0, 4.0]])},
        {"good": ("x", [True, False])},
        {"radius": "null", "_subriem": mark},
    )
    old["z"].attrs["_subriem"] = '{"dtype": "<c16"}'
    old.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for back in (open_results(tmp_path / "a.nc"), decode_results((tmp_path / "a.nc").read_bytes())):
        assert back.attrs == {"radius": None}
        assert back.z.values.tolist() == [1 + 2j, 3 + 4j]
        assert back.text.values.tolist() == ["a", "bcd"]
        assert back.good.dtype == bool
        assert set(back.coords) == {"good"}


def test_files_of_other_tools_are_read_as_xarray_reads_them(tmp_path):
    dataset = xr.Dataset({"t": ("x", [1.0, np.nan])})
    encoding = {"t": {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}}
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding=encoding)
    assert open_results(tmp_path / "a.nc").t.identical(dataset.t)


def test_large_arrays_are_compressed_and_small_ones_not(tmp_path):
    dataset = xr.Dataset({"large": ("x", np.zeros(100_000)), "small": ("y", np.zeros(3))})
    path = save(dataset, tmp_path / "a.nc")
    assert path.stat().st_size < 100_000
    stored = xr.load_dataset(path, engine="h5netcdf")
    assert stored.large.encoding["zlib"]
    assert not stored.small.encoding.get("zlib")


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    for variable, error, message in [
        (xr.Variable("x", np.array([1, "a", None], object)), InputTypeError, "'v': it holds obj"),
        (xr.Variable("x", np.array(["a\0b"])), InputError, "'v'.*NUL"),
        (xr.Variable("x", np.array(["\ud800"])), InputError, "'v'.*surrogate"),
        (xr.Variable("x", np.zeros(2, np.longdouble)), InputTypeError, "'v' of type"),
        (xr.Variable("x", [1], {"a": object()}), InputTypeError, "'a' of variable 'v'.*got object"),
        (xr.Variable("complex_part", [1]), InputError, "complex_part"),
        (xr.Variable("x/y", [1]), InputError, "'x/y'"),
    ]:
        with pytest.raises(error, match=message):
            save(xr.Dataset({"v": variable}), tmp_path / "a.nc")
    with pytest.raises(InputTypeError, match="got DataArray"):
        save(xr.DataArray([1]), tmp_path / "a.nc")
    with pytest.raises(InputTypeError, match="attribute 3 of the dataset"):
        save(xr.Dataset(attrs={3: 1}), tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_older_file(tmp_path, monkeypatch):
    path = save(xr.Dataset({"v": 1}), tmp_path / "a.nc")

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(netcdf.os, "fsync", full)
    with pytest.raises(ResultsError, match=r"No space left.*check the space"):
        save(xr.Dataset({"v": 2}), path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nc"]
    assert open_results(path).v == 1


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path):
    with pytest.raises(ResultsError, match="there is no file"):
        open_results(tmp_path / "none.nc")
    text = tmp_path / "text.nc"
    text.write_text("no NetCDF")
    with pytest.raises(ResultsError, match=r"text\.nc.*compute it again"):
        open_results(text)
    whole = save(xr.Dataset({"v": ("x", np.arange(10_000))}), tmp_path / "a.nc")
    for size in (0, 10, whole.stat().st_size // 2, whole.stat().st_size - 1):
        cut = tmp_path / "cut.nc"
        cut.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ResultsError, match="cut off"):
            open_results(cut)
    with pytest.raises(ResultsError, match="does not exist"):
        save(xr.Dataset(), tmp_path / "no" / "a.nc")


def test_the_file_is_closed_and_can_be_replaced(tmp_path):
    path = save(xr.Dataset({"v": 1}), tmp_path / "a.nc")
    dataset = open_results(path)
    before = len(os.listdir("/proc/self/fd"))
    save(dataset.assign(v=2), path)
    assert open_results(path).v == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = save(xr.Dataset({"v": ("x", np.zeros(200_000))}), tmp_path / "a.nc")
    code = (
        "import sys, numpy as np, xarray as xr; from subriem.results import save\n"
        "for k in range(20): save(xr.Dataset({'v': ('x', np.full(200_000, k))}), sys.argv[1])"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    while writer.poll() is None:
        values = open_results(path).v.values
        assert len(values) == 200_000
        assert (values == values[0]).all()
    assert writer.returncode == 0
