"""Growth vectors, side by side with SymPy on the same machine in one run.

    python benchmarks/growth_vectors.py

SymPy has no Lie flag; the peer is what one writes with it: right-normed brackets of `Matrix`
fields by `jacobian`, turned into a NumPy function by `lambdify`, ranks by `numpy.linalg`. It gets
the same points and has to return the same growth vectors; where it does not finish within its
budget, that is said. Times are from the definition of the model to the answer, each in a fresh
process, one after the other, medians of the repetitions.
"""

from __future__ import annotations

import itertools
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BUDGET = 120.0
REPEATS = 3
SINGULAR = [0.0, 0.0] + [-k * np.pi / 2 for k in range(6)]


def map_points() -> np.ndarray:
    """10,000 configurations of two trailers, every seventh at a right angle."""
    generator = np.random.default_rng(0)
    points = np.zeros((10_000, 5))
    points[:, 3:] = generator.uniform(-3, 3, (10_000, 2))
    points[::7, 3] = np.pi / 2
    return points


# ------------------------------------------------------------------ ours


def ours(case: str) -> dict:
    """Time subriem, imports excluded."""
    import subriem as sr

    # lazy names are imported before the clock starts
    _ = sr.lie_flag, sr.certified_flag, sr.models.trailers
    start = time.perf_counter()
    if case == "5 trailers at right angles":
        flag = sr.lie_flag(sr.models.trailers(5), SINGULAR)
        answer = flag.growth_vector.values.tolist()
    elif case == "4 trailers at right angles, proved":
        at = [0, 0, *(f"-{k}*pi/2" for k in range(5))]
        flag = sr.certified_flag(sr.models.trailers(4), at)
        answer = list(flag.growth_vector or ())
    else:
        flag = sr.lie_flag(sr.models.trailers(2), map_points())
        answer = sorted(np.unique(flag.degree_of_nonholonomy, return_counts=True)[1].tolist())
    return {"seconds": time.perf_counter() - start, "answer": answer}


# ------------------------------------------------------------------ the peer


def sympy_fields(trailers: int):
    """Fields of a tractor with trailers in SymPy."""
    import sympy

    q = sympy.symbols(f"x y th0:{trailers + 1}")
    heading = q[2:]
    drive, speed = [sympy.cos(heading[0]), sympy.sin(heading[0]), 0], 1
    for before, after in itertools.pairwise(heading):
        drive.append(speed * sympy.sin(before - after))
        speed *= sympy.cos(before - after)
    return q, [sympy.Matrix(drive), sympy.Matrix([0, 0, 1] + [0] * trailers)]


def peer(case: str) -> dict:
    """Time SymPy, imports excluded."""
    import sympy

    start = time.perf_counter()
    two = case.startswith("10,000")
    q, fields = sympy_fields(2 if two else 5)
    points = map_points() if two else np.array([SINGULAR])
    n = len(q)
    level, words, ranks = list(fields), list(fields), []
    while True:
        function = sympy.lambdify(q, sympy.Matrix.hstack(*words), cse=True)
        values = np.array([function(*point) for point in points])
        ranks.append(np.linalg.matrix_rank(values, tol=1e-9))
        if (ranks[-1] == n).all():
            break
        spent = time.perf_counter() - start
        print(json.dumps({"step": len(ranks), "seconds": spent}), file=sys.stderr, flush=True)
        level = [
            word.jacobian(q) * field - field.jacobian(q) * word
            for field in fields
            for word in level
        ]
        level = [word for word in level if any(word)]
        words += level
    table = np.array(ranks)
    if two:
        answer = sorted(np.unique((table < n).sum(axis=0), return_counts=True)[1].tolist())
    else:
        answer = table[:, 0].tolist()
    return {"seconds": time.perf_counter() - start, "answer": answer}


# ------------------------------------------------------------------ the run


def measure(who: str, case: str) -> dict:
    """Run one side of one case in a process of its own."""
    command = [sys.executable, __file__, who, case]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUDGET, check=True)
    except subprocess.TimeoutExpired as late:
        steps = (late.stderr or b"").decode().splitlines()
        reached = json.loads(steps[-1])["step"] if steps else 0
        return {"seconds": None, "reached": reached}
    return json.loads(done.stdout)


def main() -> None:
    """Run all cases and write the table."""
    cases = {
        "5 trailers at right angles": True,
        "4 trailers at right angles, proved": False,
        "10,000 configurations of 2 trailers": True,
    }
    lines = [
        "# Growth vectors",
        "",
        "Made by `python benchmarks/growth_vectors.py`. "
        f"Python {platform.python_version()}, {platform.machine()}, one process at a time; "
        f"median (smallest to largest) of {REPEATS}.",
        "",
        "| case | subriem | SymPy `Matrix` brackets | ratio | answers |",
        "|---|---|---|---|---|",
    ]
    for case, has_peer in cases.items():
        own = [measure("ours", case) for _ in range(REPEATS)]
        times = [run["seconds"] for run in own]
        row = f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"
        theirs, ratio, agree = "none: floats only", "", "proved"
        if has_peer:
            other = measure("peer", case)
            if other["seconds"] is None:
                theirs = f"not finished in {BUDGET:.0f} s, at step {other['reached']}"
                ratio, agree = f"> {BUDGET / statistics.median(times):.0f}", "no second answer"
            else:
                more = [other["seconds"]] + [
                    measure("peer", case)["seconds"] for _ in range(REPEATS - 1)
                ]
                theirs = f"{statistics.median(more):.2f} s ({min(more):.2f} to {max(more):.2f})"
                ratio = f"{statistics.median(more) / statistics.median(times):.1f}"
                agree = "equal" if other["answer"] == own[0]["answer"] else "DIFFERENT"
        if "right angles" in case:
            agree += f", degree {len(own[0]['answer'])}"
        lines.append(f"| {case} | {row} | {theirs} | {ratio} | {agree} |")
        print(lines[-1], flush=True)
    (HERE / "growth_vectors.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"ours": ours, "peer": peer}[sys.argv[1]](sys.argv[2])))
    else:
        main()
