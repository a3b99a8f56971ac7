"""Models that other packages add by the entry-point group ``subriem.models``."""

import subprocess
import sys

import pytest

ENTRY_POINTS = """\
[subriem.models]
hovercraft = fleet:hovercraft
engel = fleet:hovercraft
wreck = fleet:no_such_model
"""

FLEET = '''\
import subriem as sr


def hovercraft(drag=0.0):
    """Hovercraft with two fans.

    More about it.
    """
    return sr.Structure.define("hovercraft", "x y", lambda q: [(1, 0), (0, 1)])
'''


@pytest.fixture
def fleet(tmp_path):
    """A distribution as an installer would leave it, in a folder of its own."""
    metadata = tmp_path / "fleet-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fleet\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "fleet.py").write_text(FLEET)
    return tmp_path


def run(fleet, code):
    """In a process of its own: what is found once stays an attribute of the package."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(fleet)!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_models_of_other_packages_are_listed_and_called(fleet):
    out, _ = run(
        fleet,
        "import subriem as sr\n"
        "lines = sr.models.available()\n"
        "print(lines['hovercraft'])\n"
        "print(lines['wreck'])\n"
        "print(list(lines) == sorted(lines), 'trailers' in lines)\n"
        "print(sr.models.hovercraft())\n",
    )
    assert out[0] == "Hovercraft with two fans."
    assert out[1].startswith("Does not load: AttributeError: ")
    assert "no_such_model" in out[1]
    assert out[2:] == ["True True", "Structure hovercraft: 2 coordinates (x, y), 2 fields"]


@pytest.mark.parametrize("use", ["sr.models.available()", "sr.models.engel"])
def test_of_two_models_with_one_name_ours_is_kept_with_a_warning(fleet, use):
    out, errors = run(fleet, f"import subriem as sr\n{use}\nprint(sr.models.engel())\n")
    assert out == ["Structure engel: 4 coordinates (x, y, z, w), 2 fields"]
    assert "UserWarning: the model 'engel' of fleet is not used: subriem has one" in errors


def test_unknown_names_list_the_models_of_other_packages_too(fleet):
    out, _ = run(
        fleet,
        "import subriem as sr\n"
        "try:\n    sr.models.boat\n"
        "except AttributeError as error:\n    print(error)\n",
    )
    assert out[0].startswith("no model 'boat'; there are [")
    assert "'hovercraft'" in out[0]


def test_a_model_that_does_not_load_says_so_when_it_is_used(fleet):
    out, _ = run(
        fleet,
        "import subriem as sr\n"
        "try:\n    sr.models.wreck\n"
        "except AttributeError as error:\n    print(error)\n",
    )
    assert "no_such_model" in out[0]
