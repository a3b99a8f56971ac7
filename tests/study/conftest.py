import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from subriem.errors import ResultsError
from subriem.study import load_study

#: A study whose tasks leave a line each in the file LOG, and misbehave where PLAN says so.
STUDY = """
import os, signal, sys, time
import numpy as np
from subriem.results import build_dataset
from subriem.study import Study

study = Study("walks", {"kind": ["short", "long"], "width": [3, 4]}, question="How far?", seed=5)


@study.variant("full", help="more widths")
def full():
    return {"kind": ["short", "long"], "width": [3, 4, 5]}


@study.task
def task(kind, width, seed, variant):
    with open(os.environ["LOG"], "a") as log:
        log.write(f"{kind}-{width}\\n")
    plan = dict(item.split("=") for item in os.environ.get("PLAN", "").split())
    match plan.get(f"{kind}-{width}"):
        case "raise":
            raise ValueError("out of luck")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit("gone")
        case "wait":
            time.sleep(60)
        case "shape":
            return build_dataset({"position": ((), 1.0, "position", "m")}, function="walk")
        case "text":
            return "no dataset"
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((150, 150))
    steps = width + (kind == "long")
    return build_dataset(
        {
            "position": ("time", generator.random(steps), "position", "m"),
            "trace": ((), np.linalg.inv(matrix @ matrix.T).sum(), "of an inverse", "1"),
            "threads": ((), int(os.environ["OMP_NUM_THREADS"]), "threads", "1"),
        },
        {"time": ("time", np.sort(generator.random(steps)), "time", "s")},
        function="walk",
        seed=seed,
        attributes={"chosen": variant},
    )


@study.after
def show(dataset, out):
    print("table of", dataset.sizes["kind"], "kinds in", out.name)


if __name__ == "__main__":
    study.main()
"""


class Place:
    """A folder with a study in it, and what ran there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "walks.py"
        self.file.write_text(STUDY)
        self.log = folder / "log"
        self.out = folder / "walks.nc"
        self.parts = folder / "walks.parts"

    def calls(self) -> list[str]:
        """The tasks that were called since the last time, in order of names."""
        lines = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(lines)

    def environment(self, plan: str) -> dict[str, str]:
        return {**os.environ, "LOG": str(self.log), "PLAN": plan}

    def start(self, *arguments: str, plan: str = "") -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(self.file), "--out", str(self.out), *arguments],
            env=self.environment(plan),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def script(self, *arguments: str, plan: str = "") -> subprocess.CompletedProcess:
        with self.start(*arguments, plan=plan) as process:
            out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def refusal(self, **options) -> str:
        """Why a run is refused, in this process since nothing is to run."""
        with pytest.raises(ResultsError) as caught:
            load_study(self.file).run(self.out, progress=False, **options)
        return str(caught.value)

    def python(self, code: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=self.environment(""),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)
