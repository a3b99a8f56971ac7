import functools

import pytest

import subriem as sr
from subriem.errors import InputError, InputTypeError
from subriem.testing import models_of

FILE = """
from subriem.structure import Structure, Truth

TRUTHS = (
    Truth((0, 0), (1, 2), arguments={"power": 1}),
    Truth((1, 0), (2,), arguments={"power": 1}),
    Truth((0, 0), (1, 1, 2), arguments={"power": 2}),
)
plane = Structure.define("plane", "x y", lambda q: [(1, 0), (0, 1)])


def steps(power: int) -> Structure:
    return Structure.define("steps", "x y", lambda q: [(1, 0), (0, q.x**power)])


def line() -> Structure:
    return Structure.define("line", "x", lambda q: [(1,)])


def unannotated():
    return line()


def number() -> float:
    raise RuntimeError("not to be called")


def with_argument(n):
    raise RuntimeError("not to be called")


def _private() -> Structure:
    raise RuntimeError("not to be called")
"""


def shown(models):
    return [(model.name, len(model.truths)) for model in models]


def test_truths_of_a_family_are_grouped_by_arguments():
    assert shown(models_of("martinet")) == [("martinet()", 3), ("martinet(perturbation=1)", 1)]
    assert shown(models_of(sr.models.unicycle)) == [("unicycle()", 2)]
    assert models_of("car")[1].structure.parameters == {"length": 2.0}


def test_a_file_gives_its_structures_and_functions(tmp_path):
    (tmp_path / "steps.py").write_text(FILE)
    found = models_of(str(tmp_path / "steps.py"))
    assert shown(found) == [
        ("plane", 0),
        ("steps(power=1)", 2),
        ("steps(power=2)", 1),
        ("line()", 0),
        ("unannotated()", 0),
    ]
    assert found[2].structure.name == "steps"


def test_truths_belong_to_the_only_model_of_a_file_of_another_name(tmp_path):
    text = FILE[: FILE.index("def line")].replace("plane = ", "_plane = ")
    (tmp_path / "other.py").write_text(text)
    assert shown(models_of(str(tmp_path / "other.py"))) == [
        ("steps(power=1)", 2),
        ("steps(power=2)", 1),
    ]


def test_truths_that_could_be_of_several_functions_are_of_none(tmp_path):
    (tmp_path / "other2.py").write_text(FILE)
    names = shown(models_of(str(tmp_path / "other2.py")))
    assert names == [("plane", 0), ("line()", 0), ("unannotated()", 0)]


def test_a_function_of_a_module_and_a_partial_are_named_by_their_call():
    assert shown(models_of("subriem.models.trailers:trailers"))[0] == ("trailers(n=1)", 1)
    (model,) = models_of(functools.partial(sr.models.trailers, n=4))
    assert (model.name, model.structure.dimension) == ("trailers(n=4)", 7)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("trailer", "there is no model 'trailer'; did you mean trailers"),
        ("multilayer_perceptron", "makes no Structure"),
        ("no/such.py", "there is no file no/such.py"),
        ("no_module:f", "'no_module' does not import: ModuleNotFoundError"),
        ("subriem.models.car:bus", "has no 'bus'"),
        ("subriem.models.car:TRUTHS", "expected a function or a Structure, got tuple"),
        (sr.models.multilayer_perceptron, "multilayer_perceptron needs widths"),
    ],
)
def test_a_mistake_is_explained(target, message):
    with pytest.raises(InputError, match=message):
        models_of(target)


def test_files_without_models_or_that_fail_are_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(InputError, match="found none"):
        models_of(str(tmp_path / "empty.py"))
    (tmp_path / "broken_model.py").write_text("import casadi\n1 / 0\n")
    with pytest.raises(InputError, match="does not run: ZeroDivisionError"):
        models_of(str(tmp_path / "broken_model.py"))
    (tmp_path / "odd.py").write_text("TRUTHS = (1,)\ndef odd():\n    pass\n")
    with pytest.raises(InputTypeError, match="TRUTHS of odd: expected Truth, got int"):
        models_of(str(tmp_path / "odd.py"))
