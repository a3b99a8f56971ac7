import numpy as np
import pytest
import xarray as xr

from subriem.errors import InputError, InputTypeError
from subriem.results import build_dataset, validate

LOSS = ("time", [1.0, 0.5], "loss", "1")


def build(**changes):
    arguments = {"variables": {"loss": LOSS}, "function": "flow"}
    return build_dataset(**{**arguments, **changes})


def test_a_dimension_without_coordinate_gets_its_index():
    dataset = build(variables={"s": (("time", "singular_value"), np.ones((2, 3)), "s", "1")})
    assert dataset.singular_value.values.tolist() == [0, 1, 2]
    assert "largest first" in dataset.singular_value.attrs["long_name"]
    validate(dataset)


def test_given_coordinates_and_attributes_are_kept():
    dataset = build(
        coordinates={"time": ("time", [0.0, 2.0], "time of the flow", "1")},
        attributes={"status": "reached"},
        seed=4,
    )
    assert dataset.time.values.tolist() == [0.0, 2.0]
    assert (dataset.attrs["status"], dataset.attrs["seed"]) == ("reached", 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": {"loss": (("time",), 1.0, "loss", "1")}}, "'loss': dimensions .* shape"),
        ({"variables": {"loss": ("time", [1.0], "", "1")}}, "'loss' has no 'long_name'"),
        ({"variables": {"loss": ("time", [1.0], "loss", "")}}, "'loss' has no 'units'.*'1' where"),
        ({"variables": {"a b": ("time", [1.0], "loss", "1")}}, "variable 'a b'"),
        ({"coordinates": {"loss": LOSS}}, "'loss' is given both"),
        ({"coordinates": {"time": ("time", [0.0], "t", "1")}}, "do not fit together"),
        (
            {"variables": {"loss": LOSS, "time": (("time", "x"), [[0], [1]], "t", "1")}},
            "'time' over",
        ),
        ({"attributes": {"created_at": "yesterday"}}, "'created_at': expected UTC"),
        ({"attributes": {"created_at": "2020-01-01T00:00:00+02:00"}}, "expected UTC"),
        ({"attributes": {"function": None}}, "attribute 'function'"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    "spec",
    [
        [1.0, 2.0],
        ("time", [1.0]),
        ("time", [object()], "thing", "1"),
        ("time", [1, "a", None], "m", "1"),
    ],
)
def test_a_variable_of_the_wrong_kind_is_named(spec):
    with pytest.raises(InputTypeError, match="'loss'"):
        build(variables={"loss": spec})


def test_validate_wants_a_dataset_with_coordinates():
    with pytest.raises(InputTypeError, match="got dict"):
        validate({})
    with pytest.raises(InputError, match="dimension 'time' has no coordinate"):
        validate(xr.Dataset({"loss": ("time", [1.0])}))
    with pytest.raises(InputError, match=r"'time' over .* name of a dimension"):
        validate(xr.Dataset({"time": (("time", "x"), np.ones((2, 2)))}))
    dataset = build()
    del dataset.time.attrs["units"]
    with pytest.raises(InputError, match="'time' has no 'units'"):
        validate(dataset)
