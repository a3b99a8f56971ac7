"""Combining block by block into a file gives what combining in memory gives, bit for bit."""

import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subriem.results import Survey, combine_tasks, hdf5, netcdf, open_results, save, save_blocks
from subriem.results.hdf5 import chunk_shape

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
DTYPES = ["float64", "float32", "int64", "uint8", "bool", "complex128", "datetime64[ns]", "<U4"]


def arrays(dtype, shape):
    elements = TEXT if dtype.startswith("<U") else None
    return hnp.arrays(dtype, shape, elements=elements)


@st.composite
def tasks(draw):
    """Datasets of one kind on a grid, of lengths of their own; some are missing."""
    grid = {
        "kind": ["a", "b", "c"][: draw(st.integers(1, 3))],
        "seed": [*range(draw(st.integers(1, 4)))],
    }
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    shared = draw(st.booleans())
    made = []
    for number in range(math.prod(map(len, grid.values()))):
        if draw(st.integers(0, 5)) == 0:
            made.append(None)
            continue
        steps = draw(st.integers(0, 6))
        axis = np.arange(steps) if shared else draw(arrays("int64", steps))
        data = {"scalar": ((), float(number)), "pair": (("time", "side"), np.ones((steps, 2)))}
        for place, dtype in enumerate(dtypes):
            data[f"v{place}"] = ("time", draw(arrays(dtype, steps)), {"units": "1"})
        if draw(st.integers(0, 3)) == 0:
            del data["pair"]
        label = ("time", np.array([f"step {k}" for k in range(steps)], str))
        attrs = {"same": 1, "number": number % 3, "text": draw(TEXT)}
        made.append(xr.Dataset(data, {"time": axis, "label": label}, attrs))
    return grid, made


def assert_same_bits(found, expected):
    assert found.identical(expected)
    assert set(found.coords) == set(expected.coords)
    for name, variable in expected.variables.items():
        values, wanted = found[name].values, variable.values
        if wanted.dtype.kind == "O":
            values, wanted = values.astype(str), wanted.astype(str)
        assert values.dtype == wanted.dtype, name
        assert values.tobytes() == wanted.tobytes(), name


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@given(case=tasks(), chunk_bytes=st.sampled_from([8, 40, 200, 1 << 20]))
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_blocks_give_what_memory_gives(tmp_path, name, case, chunk_bytes):
    grid, made = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "CHUNK_BYTES", chunk_bytes)
        expected = combine_tasks(made, grid, {"study": "x"})
        survey = Survey(grid)
        for number, dataset in enumerate(made):
            if dataset is not None:
                survey.add(number, dataset)
        skeleton = survey.skeleton({"study": "x"})
        blocks = survey.blocks(made.__getitem__)
        save_blocks(skeleton, tmp_path / name, blocks, survey.streamed)
        assert_same_bits(open_results(tmp_path / name), expected)
        with open_results(tmp_path / name, lazy=True) as lazy:
            assert_same_bits(lazy, expected)


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    axes=st.integers(1, 4),
    chunk_bytes=st.integers(1, 2000),
)
@settings(deadline=None, max_examples=60)
def test_blocks_cover_each_value_once_along_the_chunks(shape, axes, chunk_bytes):
    axes = min(axes, len(shape))
    grid = {f"g{axis}": list(range(n)) for axis, n in enumerate(shape[:axes])}
    dims = [f"d{axis}" for axis in range(axes, len(shape))]
    whole = np.arange(math.prod(shape), dtype=float).reshape(shape)
    cells = whole.reshape(-1, *shape[axes:])
    made = [xr.Dataset({"v": (dims, cell)}) for cell in cells]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "CHUNK_BYTES", chunk_bytes)
        survey = Survey(grid)
        for number, dataset in enumerate(made):
            survey.add(number, dataset)
        survey.skeleton({})
        chunk = chunk_shape(tuple(shape), 8)
        seen = np.zeros(shape, int)
        for _, corner, block in survey.blocks(made.__getitem__):
            place = tuple(slice(i, i + n) for i, n in zip(corner, block.shape, strict=True))
            np.testing.assert_array_equal(whole[place], block)
            seen[place] += 1
            # a block begins where chunks do, so that no chunk is written twice
            assert all(i % n == 0 for i, n in zip(corner, chunk, strict=True))
        assert (seen == 1).all()


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_a_large_dataset_is_written_in_pieces_and_read_in_pieces(tmp_path, monkeypatch, name):
    monkeypatch.setattr(netcdf, "LARGEST_IMAGE", 1 << 16)
    monkeypatch.setattr(netcdf, "_BLOCK", 1 << 17)
    generator = np.random.default_rng(0)
    values = generator.standard_normal((50, 300, 7))
    dataset = xr.Dataset(
        {
            "real": (("a", "b", "c"), values),
            "complex": (("a", "b", "c"), values + 1j * values[::-1]),
            "flag": (("a", "b"), values[..., 0] > 0),
            "text": (("a", "b"), np.array([["ab", "é", ""] * 100] * 50)),
            "when": (("a", "b"), values[..., 1].astype("datetime64[s]")),
        },
        {"a": np.arange(50.0), "kind": ("b", ["x", "yz"] * 150)},
    )
    path = save(dataset, tmp_path / name)
    assert_same_bits(open_results(path), dataset)
    with open_results(path, lazy=True) as lazy:
        for part in (
            {"a": 3},
            {"a": slice(None, None, -7), "b": [5, 299, 5]},
            {"b": slice(10, 4), "c": -1},
            {"a": [1, 2], "b": [3, 4], "c": slice(1, 6, 2)},
        ):
            assert_same_bits(lazy.isel(part), dataset.isel(part))
        # nothing is kept: what is not asked for takes no memory
        assert "array" not in type(lazy["real"].variable._data).__name__.lower().replace(
            "lazilyindexedarray", ""
        )


def test_a_lazy_dataset_is_closed_and_pickles(tmp_path):
    import os
    import pickle

    path = save(xr.Dataset({"v": ("x", np.arange(100_000.0))}), tmp_path / "a.nc")
    before = len(os.listdir("/proc/self/fd"))
    with open_results(path, lazy=True) as lazy:
        again = pickle.loads(pickle.dumps(lazy))
        assert again.v[5] == lazy.v[5] == 5
        again.close()
    assert len(os.listdir("/proc/self/fd")) == before
