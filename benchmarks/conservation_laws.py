"""Conservation laws of the published list of 100 networks, counted and proved.

    python benchmarks/conservation_laws.py

The list and the figures of the peer are those of S. Marcotte, R. Gribonval, G. Peyre, *Abide by
the law and follow the flow* (NeurIPS 2023, arXiv 2307.00144): 50 linear and 50 ReLU networks,
41.26 s and 135.84 s a network on 64 cores, in SageMath. That code takes the rank of brackets at a
random point in floating point. Here every count is proved on both sides, and must equal the number
known from theory.

Each list runs in one process; with two cores, in two processes that take every second network.
Times are from the list to the certified counts, imports excluded; wall time and processor time.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
REPEATS = 3
PUBLISHED = {"linear": 41.26, "relu": 135.84}
# Networks on which the published code was run on two cores, and its seconds.
SINGLE = [
    ("linear", (5, 3, 2), False, "0.69"),
    ("linear", (5, 5, 4, 4, 5), False, "12.2"),
    ("linear", (3, 4, 2, 4), False, "8.0"),
    ("linear", (2, 2, 2), False, "0.32"),
    ("linear", (4, 2, 5), False, "1.7"),
    ("linear", (3, 2, 3, 3), False, "0.83"),
    ("relu", (9, 7, 2), False, "3.0"),
    ("relu", (8, 6, 8), False, "10.2"),
    ("relu", (4, 6, 7), False, "4.2"),
    ("relu", (7, 3, 4, 5), True, "13.4"),
    ("relu", (7, 2, 6), True, "2.2"),
    ("relu", (8, 5, 8, 5, 5), False, "not finished in 230"),
    ("linear", (20,) * 9, False, "not run"),
    ("relu", (20,) * 9, True, "not run"),
]


def published_list(kind: str, evaluated: bool) -> Iterator[tuple[list[int], bool]]:
    """Dimensions of 50 networks as the notebook draws them, and whether they have biases.

    The notebook draws its points of evaluation from the same generator in between: with
    ``evaluated`` these draws are made too (two points a linear network, one a ReLU network; a
    second try of the peer, which would draw one more, is not foreseen).
    """
    draw = np.random.RandomState(0)
    for _ in range(50):
        depth = draw.randint(2, 5)
        dims = [int(draw.randint(2, 6 if kind == "linear" else 10)) for _ in range(depth + 1)]
        bias = kind == "relu" and bool(draw.random_sample() < 0.5)
        yield dims, bias
        if evaluated:
            parameters = sum(before * after for before, after in pairwise(dims))
            parameters += sum(dims[1:-1]) if bias else 0
            draw.random_sample(2 * parameters if kind == "linear" else parameters)


def known(kind: str, dims: list[int]) -> int:
    """The number of independent laws by theory.

    ReLU: one for each hidden unit. Linear: the rank, at a random point, of the gradients of all
    entries of U_i' U_i - U_{i+1} U_{i+1}', by floating point.
    """
    if kind == "relu":
        return sum(dims[1:-1])
    generator = np.random.default_rng(0)
    matrices = [generator.normal(size=shape) for shape in pairwise(dims)]
    rows = []
    for layer in range(len(matrices) - 1):
        before, after = matrices[layer : layer + 2]
        for i in range(dims[layer + 1]):
            for j in range(i, dims[layer + 1]):
                slopes = [np.zeros_like(matrix) for matrix in matrices]
                slopes[layer][:, i] += before[:, j]
                slopes[layer][:, j] += before[:, i]
                slopes[layer + 1][i] -= after[j]
                slopes[layer + 1][j] -= after[i]
                rows.append(np.concatenate([slope.ravel() for slope in slopes]))
    return int(np.linalg.matrix_rank(np.array(rows)))


def count(kind: str, dims: list[int], bias: bool) -> tuple[int, int]:
    """Parameters and dimension of the orbit, certified and as known."""
    import subriem as sr

    if kind == "relu":
        structure = sr.models.relu_network(dims, bias)
    else:
        structure = sr.models.linear_network(dims)
    orbit = sr.orbit_dimension(structure)
    assert bool(orbit["certified"]), (kind, dims, bias)
    return structure.dimension, int(orbit["dimension"])


def job(kind: str, networks: list[tuple[list[int], bool]]) -> dict:
    """Count the laws of some networks in this process, then hold them against theory."""
    import subriem as sr

    # lazy names are imported, and the arithmetic warmed, before the clock starts
    sr.orbit_dimension(sr.models.linear_network([2, 1, 1]))
    _ = sr.models.relu_network
    wall, processor = time.perf_counter(), time.process_time()
    found = [count(kind, dims, bias) for dims, bias in networks]
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    for (dims, _), (parameters, dimension) in zip(networks, found, strict=True):
        assert parameters - dimension == known(kind, dims), (kind, dims, parameters, dimension)
    return {"wall": wall, "processor": processor, "found": found}


def measure(kind: str, networks: list[tuple[list[int], bool]], processes: int) -> dict:
    """Run the networks in fresh processes at once; the slowest one's wall time."""
    command = [sys.executable, __file__, "job", kind]
    running = [
        subprocess.Popen(
            [*command, json.dumps(networks[part::processes])], stdout=subprocess.PIPE, text=True
        )
        for part in range(processes)
    ]
    answers = []
    for process in running:
        text = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{kind}: a process failed")
        answers.append(json.loads(text))
    return {
        "wall": max(answer["wall"] for answer in answers),
        "processor": sum(answer["processor"] for answer in answers),
        "found": answers[0]["found"],
    }


def spread(values: list[float]) -> str:
    """Median, least and greatest."""
    return f"{statistics.median(values):.3g} s ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    """Run all, write the tables."""
    lines = [
        "# Conservation laws of networks",
        "",
        "Made by `python benchmarks/conservation_laws.py`. "
        f"Python {platform.python_version()}, {platform.machine()}, one thread a process; median "
        f"(smallest to largest) of {REPEATS} runs in fresh processes, on a machine that did other "
        "work at the same time: processor time is the steadier figure.",
        "",
        "Peer: the SageMath notebooks of arXiv 2307.00144. Their published times are on 64 cores. "
        "SageMath (`passagemath-standard`) did not finish installing here within five minutes, so "
        "the seconds in the second table are of an earlier run of that code on two cores; "
        "they are no side-by-side measurement.",
        "",
        "All counts below are certified (the rank modulo a prime from below, verified laws from "
        "above) and equal the number known from theory. The peer's are ranks in floating point, "
        "stopped at the known number.",
        "",
        "## The list of 100 networks",
        "",
        "The notebooks draw dimensions and their points of evaluation from one generator with "
        "seed 0. *as run*: with the draws of the points made in between, which is the list that "
        "the notebooks meet, as long as their first try succeeds; *dimensions only*: without.",
        "",
        "| list | cores | wall | processor | a network | published, 64 cores | wall ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    totals: dict[int, float] = {1: 0.0, 2: 0.0}
    for kind, evaluated, cores in product(PUBLISHED, (True, False), (1, 2)):
        networks = list(published_list(kind, evaluated))
        runs = [measure(kind, networks, cores) for _ in range(REPEATS)]
        walls = [run["wall"] for run in runs]
        each = statistics.median(walls) / len(networks)
        totals[cores] += evaluated * statistics.median(walls)
        how = "as run" if evaluated else "dimensions only"
        lines.append(
            f"| 50 {kind}, {how} | {cores} | {spread(walls)} "
            f"| {spread([run['processor'] for run in runs])} | {1000 * each:.3g} ms "
            f"| {PUBLISHED[kind]} s a network | {PUBLISHED[kind] / each:.0f} |"
        )
        print(lines[-1], flush=True)
    published = 50 * sum(PUBLISHED.values())
    for cores, total in totals.items():
        lines.append(
            f"| all 100, as run | {cores} | {total:.3g} s | | {10 * total:.3g} ms "
            f"| {published:.0f} s in all | {published / total:.0f} |"
        )
    lines += [
        "",
        "## Single networks, one core",
        "",
        "| network | K | dim Lie | laws | wall | processor | published code, 2 cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, dims, bias, theirs in SINGLE:
        runs = [measure(kind, [(list(dims), bias)], 1) for _ in range(REPEATS)]
        ((parameters, dimension),) = runs[0]["found"]
        shown = "depth 8, width 20" if len(dims) == 9 else str(dims).replace(" ", "")
        lines.append(
            f"| {kind}{' with bias' if bias else ''} {shown} | {parameters} | {dimension} "
            f"| {parameters - dimension} | {spread([run['wall'] for run in runs])} "
            f"| {spread([run['processor'] for run in runs])} "
            f"| {theirs}{'' if theirs == 'not run' else ' s'} |"
        )
        print(lines[-1], flush=True)
        (HERE / "conservation_laws.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(job(sys.argv[2], json.loads(sys.argv[3]))))
    else:
        main()
