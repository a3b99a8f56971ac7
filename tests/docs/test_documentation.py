"""The pages, the examples and the check of the built site."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from public_names import INNER, public_objects

from subriem.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "_build" not in path.parts]
# What runs is `python`; the others are what a shell takes, prints, or a file holds.
LANGUAGES = {"python", "console", "text", "toml"}
CONCEPTS = ["certificates", "flags", "flows", "geodesics", "structures"]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_block_runs_or_says_what_it_is(page):
    fences = re.findall(r"^```(.*)$", page.read_text(), flags=re.M)
    opened = [fence for fence in fences[::2] if fence and not fence.startswith("{")]
    assert set(opened) <= LANGUAGES
    assert not any(fences[1::2])


def test_every_public_name_has_its_page():
    listed = set()
    for page in (DOCS / "api").glob("*.md"):
        module = ""
        for line in page.read_text().splitlines():
            if found := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.fullmatch(r"   ([\w.]+)", line):
                listed.add(f"{module}.{found[1]}")
    assert not set(public_objects()) - listed - INNER, (
        "run docs/list_rooms.py, or add them to docs/api/index.md"
    )
    errors = {name for name in listed if name.startswith("subriem.errors.")}
    assert not listed - errors - set(public_objects()), "these are not public, or are gone"


@pytest.mark.parametrize("name", CONCEPTS)
def test_a_concept_has_one_picture_with_its_script(name):
    text = (DOCS / "concepts" / f"{name}.md").read_text()
    pictures = re.findall(r"!\[(.+?)\]\((\S+)\)", text)
    assert [target for _, target in pictures] == [f"../pictures/{name}.png"]
    assert (DOCS / "pictures" / f"{name}.py").exists()


def test_every_study_is_in_the_gallery():
    studies = {path.stem for path in (ROOT / "studies").glob("*.py")}
    assert studies == {path.stem for path in (DOCS / "gallery").glob("*.md")} - {"index"}


def test_the_example_of_a_model_passes_all_checks():
    result = CliRunner().invoke(main, ["check", str(EXAMPLES / "rolling_coin.py")])
    assert result.exit_code == 0, result.output
    assert "14 checks of 1 model: all passed" in result.output


def test_the_example_of_tests_notices_a_coin_that_slips(tmp_path):
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text().replace("(cos(q.theta), sin(q.theta), 0, 1)", "(1, 0, 0, 1)")
        (tmp_path / path.name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "slip or place",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "2 failed" in result.stdout


# ---------------------------------------------------------------------- the built site


@pytest.fixture(scope="module")
def problems():
    spec = importlib.util.spec_from_file_location("check_site", DOCS / "check_site.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.problems


GOOD = """<html><head><link rel="stylesheet" href="a%20b.css"><link rel="canonical" href="https://x.org">
</head><body><h1 id="top">A</h1><a href="#top">up</a> <a href="b/index.html#part">b</a>
<a href="https://arxiv.org">elsewhere</a> <img src="p.png" alt="a picture"></body></html>"""


def write_site(folder, first):
    (folder / "b").mkdir()
    (folder / "index.html").write_text(first)
    (folder / "b" / "index.html").write_text('<p id="part">B</p><a href="../index.html">a</a>')
    (folder / "a b.css").touch()
    (folder / "p.png").touch()


def test_a_good_site_has_no_problems(tmp_path, problems):
    write_site(tmp_path, GOOD)
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("#top", "#gone", "#gone has no such anchor"),
        ("#part", "#gone", "b/index.html#gone has no such anchor"),
        ("b/index.html", "c.html", "c.html#part leads nowhere"),
        ("p.png", "https://x.org/p.png", "loads https://x.org/p.png from a network"),
        ("a%20b.css", "//cdn.org/a.css", "loads //cdn.org/a.css from a network"),
        (' alt="a picture"', "", "1 pictures without a description"),
    ],
)
def test_a_bad_site_is_noticed(tmp_path, problems, old, new, complaint):
    write_site(tmp_path, GOOD.replace(old, new))
    assert [text.removeprefix("index.html: ") for text in problems(tmp_path)] == [complaint]


def test_citation_says_what_the_project_says():
    import tomllib

    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    assert citation["abstract"] == project["description"]
    assert "arXiv:2311.15487" in citation["references"][0]["identifiers"][0]["value"]
