"""How the cost grows with the size: exponents by least squares of log time on log size.

    python benchmarks/growth_of_cost.py [--quick]

Each size runs in a process of its own, twice; the second call counts. The error beside each time is
that of the answer: the loss relative to the initial one, an action of D D' against the matrix, the
drift of the Hamiltonian, wrong dimensions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import Figure, peak_memory, run_child, tell, timed

Work = Callable[[], float]


def digits_map(samples: int, widths: list[int]) -> Any:
    """The map of a tanh network on digits, and one-hot targets."""
    import torch
    from sklearn.datasets import load_digits

    import subriem as sr

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[Any] = []
    for pair in pairwise(widths):
        layers += [torch.nn.Linear(*pair), torch.nn.Tanh()]
    digits = load_digits()
    outputs = sr.OutputMap(torch.nn.Sequential(*layers[:-1]).double(), digits.data[:samples])
    return outputs, np.eye(10)[digits.target[:samples]]


def train(samples: int) -> Work:
    """`train` to 1e-8 of the initial loss, 64-64-10."""
    import subriem as sr

    outputs, targets = digits_map(samples, [64, 64, 10])
    loss = sr.SquaredLoss(targets)
    value = outputs(outputs.parameters).numpy().reshape(targets.shape)
    initial = float(np.sum((value - targets) ** 2)) / (2 * samples)

    def work() -> float:
        found = sr.train(outputs, loss, tolerance=1e-8 * initial, progress=False)
        return float(found.loss[-1]) / initial

    return work


def gram_of(outputs: Any) -> Work:
    """`gram`, held against an action of D D'."""
    import torch

    def work() -> float:
        matrix = outputs.gram()
        probe = torch.ones(len(matrix), dtype=matrix.dtype)
        exact = outputs.linearize(outputs.parameters).gram_action(probe)
        return float((matrix @ probe - exact).norm() / exact.norm())

    return work


def gram_samples(samples: int) -> Work:
    """`gram` of 64-256-256-10."""
    return gram_of(digits_map(samples, [64, 256, 256, 10])[0])


def gram_width(width: int) -> Work:
    """`gram` of 100 digits, two hidden layers of a width."""
    return gram_of(digits_map(100, [64, width, width, 10])[0])


def flag(trailers: int) -> Work:
    """`lie_flag` of trailers at a point off the right angles, where n + 3 is reached."""
    import subriem as sr

    def work() -> float:
        # anew every time: brackets are kept with the structure
        structure = sr.models.trailers(trailers)
        point = np.linspace(0.1, 0.7, structure.dimension)
        vector = sr.lie_flag(structure, point).growth_vector.values
        return float(abs(vector.max() - structure.dimension))

    return work


def batch(geodesics: int) -> Work:
    """`exponential` of SE(2) at 1e-10."""
    import subriem as sr

    structure = sr.models.unicycle()
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, geodesics)
    covectors = np.stack([np.cos(angle), np.linspace(-5, 5, geodesics), np.sin(angle)], axis=1)

    def work() -> float:
        fan = sr.exponential(structure, [0, 0, 0], covectors, 1.0, rtol=1e-10)
        return float(np.abs(fan.hamiltonian_drift).max())

    return work


def orbit(depth: int) -> Work:
    """`orbit_dimension` of linear networks of width 6, against the count known from theory."""
    from conservation_laws import known

    import subriem as sr

    widths = [6] * (depth + 1)
    expected = 36 * depth - known("linear", widths)

    def work() -> float:
        found = sr.orbit_dimension(sr.models.linear_network(widths))
        return float(abs(int(found["dimension"]) - expected)) + (not bool(found["certified"]))

    return work


def study(case: str) -> Callable[[int], Work]:
    """A study of so many tasks that take nearly nothing, from `study_overhead.py`."""

    def make(tasks: int) -> Work:
        import study_overhead

        def work() -> float:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "overhead.py"
                path.write_text(study_overhead.STUDY, encoding="utf-8")
                study_overhead.one(case, tasks, Path(folder))  # asserts that all tasks are done
            return 0.0

        return work

    return make


#: Name: (what makes the work, sizes, quick sizes, kind of error, why that exponent).
CASES: dict[str, tuple[Callable[[int], Work], list[int], list[int], str, str]] = {
    "train, N samples": (
        train,
        [50, 100, 200, 400],
        [20, 40, 80],
        "relative loss",
        "up to NQ = 1,000 a factorization (cubic) and the Gram matrix (quadratic) a step; past it "
        "iterations that cost N each, and more of them as the samples crowd",
    ),
    "Gram matrix, N samples": (
        gram_samples,
        [50, 100, 200, 400],
        [20, 40, 80],
        "action of D D', relative",
        "(NQ)^2 entries, each a scalar product of signals: 2; below it what does not grow",
    ),
    "Gram matrix, width": (
        gram_width,
        [64, 128, 256, 512, 1024],
        [32, 64, 128],
        "action of D D', relative",
        "a scalar product of signals is as long as the layer is wide: 1 (though K grows as the "
        "square), below it the passes over the matrix",
    ),
    "lie_flag, trailers n": (
        flag,
        [1, 2, 3, 4, 5],
        [1, 2, 3],
        "dimensions missing",
        "no power: the step, and with it the number of brackets, grows with n",
    ),
    "exponential, geodesics": (
        batch,
        [300, 1000, 3000, 10_000, 30_000],
        [100, 300, 1000],
        "drift of the Hamiltonian",
        "every geodesic is integrated by itself: 1; the compiled method is shared",
    ),
    "orbit_dimension, depth": (
        orbit,
        [2, 3, 4, 5, 6],
        [2, 3],
        "wrong dimensions",
        "K parameters grow with the depth, and the linear algebra modulo a prime is cubic in K",
    ),
    "study, tasks, 1 worker": (
        study("1 process"),
        [30, 100, 300, 1000],
        [10, 30],
        "tasks failed",
        "a task costs the same whatever their number: 1, below it the start of the worker",
    ),
    "study, tasks, 2 workers": (
        study("2 processes"),
        [30, 100, 300, 1000],
        [10, 30],
        "tasks failed",
        "as with one; both processes share one core here, so that the ratio of the two rows is "
        "the cost of a second worker, not its gain",
    ),
}


def fit(sizes: list[int], seconds: list[float]) -> tuple[float, float]:
    """Exponent and its standard error (NaN for fewer than three sizes)."""
    x, y = np.log(sizes), np.log(seconds)
    if len(x) < 2:
        return float("nan"), float("nan")
    spread_x = np.sum((x - x.mean()) ** 2)
    slope = float(np.sum((x - x.mean()) * y) / spread_x)
    if len(x) < 3:
        return slope, float("nan")
    left = y - y.mean() - slope * (x - x.mean())
    return slope, float(np.sqrt(np.sum(left**2) / (len(x) - 2) / spread_x))


def growth_of_cost(*, repeats: int, limit: float, python: str, quick: bool = False) -> list[Figure]:
    """Measure every case at every size."""
    found = []
    for case, (_, sizes, few, kind, _) in CASES.items():
        for size in few if quick else sizes:
            figure = Figure("growth", case, "subriem", str(size), error_of=kind, ours=True)
            for _ in range(repeats):
                words = ["growth_of_cost.py", "--one", case, str(size)]
                answer = run_child(words, python=python, limit=limit)
                if "cold" not in answer:
                    figure.note = answer.get("failed", f"not within {limit:g} s")
                    break
                figure.cold_wall.append(answer["cold"][0])
                figure.cold_cpu.append(answer["cold"][1])
                figure.warm_wall.append(answer["warm"][0])
                figure.warm_cpu.append(answer["warm"][1])
                figure.error = float(np.fmax(figure.error, answer["error"]))
                figure.memory = float(np.fmax(figure.memory, answer["memory"]))
            found.append(figure)
            shown = figure.note or f"{figure.median():.3g} s"
            print(f"{case} {size}: {shown}", file=sys.stderr, flush=True)
            if figure.note:
                break
    return found


def table(found: list[Figure]) -> list[str]:
    """A line a case."""
    lines = [
        "| cost of | sizes | seconds (second call) | exponent | largest error | why |",
        "|---|---|---|---|---|---|",
    ]
    for case, (*_, kind, why) in CASES.items():
        rows = [f for f in found if f.case == case and f.times()]
        if not rows:
            continue
        slope, error = fit([int(f.quantity) for f in rows], [f.median() for f in rows])
        sizes = ", ".join(f.quantity for f in rows)
        seconds = ", ".join(f"{f.median():.3g}" for f in rows)
        worst = max(f.error for f in rows)
        lines.append(
            f"| {case} | {sizes} | {seconds} | {slope:.2f} ± {error:.2f} | {worst:.1e} ({kind}) "
            f"| {why} |"
        )
    notes = [f"{f.case} {f.quantity}: {f.note}" for f in found if f.note]
    return [*lines, "", *notes, ""] if notes else [*lines, ""]


def main() -> None:
    """Measure in this interpreter's environment and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, size = options.one
        work = CASES[case][0](int(size))
        _, *cold = timed(work)
        error, *warm = timed(work)
        tell({"cold": cold, "warm": warm, "error": error, "memory": peak_memory()})
        return
    repeats = 1 if options.quick else options.repeats
    found = growth_of_cost(repeats=repeats, limit=60.0, python=sys.executable, quick=options.quick)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
