"""The folder models/ is subriem.models, in a wheel and in an editable install alike."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = (
    "import subriem, subriem.models as m; print(subriem.__file__); print(m.__file__); "
    "print(sorted(m.available())); print(m.multilayer_perceptron([2, 1]))"
)


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def models_on_disk() -> list[str]:
    return sorted(file.stem for file in (ROOT / "models").glob("*.py") if file.stem != "__init__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # From a copy: setuptools leaves a build folder in the tree that it builds from.
    source = tmp_path_factory.mktemp("source")
    for folder in ("subriem", "models"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", str(out), str(source), cwd=out)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_every_module_and_the_type_marker(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = ("*.py*", "*.c", "*.css", "*.j2", "*.js")
    for file in (file for kind in kinds for file in (ROOT / "subriem").rglob(kind)):
        if "__pycache__" not in file.parts:
            assert f"subriem/{file.relative_to(ROOT / 'subriem').as_posix()}" in names
    for name in models_on_disk():
        assert f"subriem/models/{name}.py" in names
    assert "subriem/py.typed" in names
    assert not any(name.startswith(("models/", "tests/", "studies/")) for name in names)


@pytest.mark.slow
def test_wheel_imports_its_own_models(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    # -S would also hide the dependencies; the wheel's folder goes first instead.
    out = run(sys.executable, "-c", ASK, cwd=tmp_path, PYTHONPATH=str(site)).splitlines()
    assert out[0].startswith(str(site))
    assert out[1].startswith(str(site / "subriem" / "models"))
    assert out[2] == str(models_on_disk())


def test_editable_install_maps_the_folder(tmp_path):
    out = run(sys.executable, "-c", ASK, cwd=tmp_path, PYTHONPATH="").splitlines()
    assert Path(out[0]) == ROOT / "subriem" / "__init__.py"
    assert Path(out[1]) == ROOT / "models" / "__init__.py"
    assert out[2] == str(models_on_disk())


def test_import_is_light(tmp_path):
    code = (
        "import sys, subriem; print([m for m in ('torch', 'casadi', 'xarray') if m in sys.modules])"
    )
    assert run(sys.executable, "-c", code, cwd=tmp_path).strip() == "[]"
