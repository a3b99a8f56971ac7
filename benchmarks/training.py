"""Time to zero loss, beside named peers.

    python benchmarks/training.py [--quick] [--cases regression] [--methods "subriem train"]
    python benchmarks/training.py --tune [--cases "digits 200"] [--limit 60]

Four problems, float64, one-hot targets and the squared loss for the digits; torch's default
initialisation, one seed a repeat, the same initial parameters for every method. The pixels of the
digits are taken as they come, 0 to 16, not scaled. A level of the loss relative to the initial one
is reached when a method's own loss says so; the parameters at that moment are checked by a forward
pass in NumPy. The limit is seconds of one run. `make bench` runs this in its environment.

Adam is tuned outside the clock on the first seed, for the regression and digits 200: rates 1e-3,
3e-3, 1e-2, cosine or exponential decay, 1,000 to 16,000 steps of at most 10 s; for 1e-8, which none
of these reached, three settings of 64,000 steps, the one with the least loss. The larger cases take
the settings of digits 200, and their rows say so; `--tune` finds their own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import Figure, run_child, significant, spread
from training_methods import LEVELS, METHODS

OURS = "subriem train"
#: Widths of the layers and number of samples (None: the regression).
CASES: dict[str, tuple[list[int], int | None]] = {
    "regression": ([1, 64, 64, 1], None),
    "digits 200": ([64, 64, 10], 200),
    "digits 500": ([64, 256, 10], 500),
    "digits 1797": ([64, 512, 10], 1797),
}
#: Flops of one step of methods that factorize, from NQ and K: those that cannot take one step
#: within the limit at the measured rate are not run.
STEP_FLOPS = {
    "torch-levenberg-marquardt": lambda size, k: 2 * size**2 * k + size**3 / 3,
    "nlls-gram, Cholesky": lambda size, k: size**2 * k + size**3 / 3,
    # QR of the damped Jacobian, (NQ + K) x K
    "Optimistix LM, dense": lambda size, k: 2 * k**2 * (size + k - k / 3),
    # a singular value decomposition of the NQ x K Jacobian, at least a QR of it
    "SciPy least_squares": lambda size, k: 2 * size**2 * (k - size / 3),
    # a dense Jacobian of 2 GB or more is not taken for affordable
    "SciPy least_squares, LSMR": lambda size, k: 0.0 if 8 * size * k < 2e9 else np.inf,
    "subriem flow, adapted": lambda size, k: 0.0 if size <= 2000 else np.inf,
}
#: Adam's settings by case and level, found by `--tune` outside the clock.
#: The peers' conjugate gradients, the best of those tried on the first seed, for the regression and
#: for digits 200 (taken for the larger ones too): nlls-gram rtol 1e-1, 1e-2, 1e-4; Optimistix those
#: (atol 0), and on digits 200 seven more of rtol, atol 0 to 1e-6 and at most 30 to 300 iterations.
ITERATIVE: dict[str, dict[bool, dict[str, Any]]] = {
    "nlls-gram, CG": {True: {"rtol": 1e-2}, False: {"rtol": 1e-1}},
    "Optimistix LM, CG": {
        True: {"rtol": 1e-1, "atol": 0.0, "max_steps": None},
        False: {"rtol": 1e-2, "atol": 1e-8, "max_steps": 300},
    },
}
SETTINGS = Path(__file__).with_name("adam.json")
GRID = {
    "rate": (1e-3, 3e-3, 1e-2),
    "decay": ("cosine", "exponential"),
    "steps": (1000, 4000, 16_000, 64_000),
}


def make_problem(case: str, seed: int, path: str) -> None:
    """Write a problem: data and initial parameters."""
    import torch

    widths, samples = CASES[case]
    if samples is None:
        inputs = np.linspace(-1, 1, 64)[:, None]
        targets = np.sin(3 * inputs) + 0.3 * np.cos(9 * inputs)
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        inputs = digits.data[:samples].astype(float)
        targets = np.eye(10)[digits.target[:samples]]
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(*pair) for pair in pairwise(widths)]
    weights = [p.detach().double().numpy() for layer in layers for p in layer.parameters()]
    arrays = {f"w{k}": w for k, w in enumerate(weights)}
    np.savez(path, inputs=inputs, targets=targets, name=case, arrays=len(arrays), **arrays)


def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """Adam's settings by case and level."""
    return json.loads(SETTINGS.read_text(encoding="utf-8")) if SETTINGS.exists() else {}


def runs_of(case: str) -> dict[str, dict[str, Any]]:
    """Methods of a case and their options; Adam once for each level that it is tuned for."""
    found: dict[str, dict[str, Any]] = {}
    for name in METHODS:
        if name != "Adam":
            found[name] = ITERATIVE.get(name, {}).get(CASES[case][1] is None, {})
            continue
        # a case that nothing was tuned for takes the settings of the one most like it
        tuned = settings().get(case) or settings().get("digits 200", {})
        for level, setting in tuned.items():
            found[f"Adam for {level}"] = {**setting, "last": float(level)}
    return found


def measure_method(
    name: str,
    paths: list[str],
    limit: float,
    options: dict[str, Any],
    python: str,
) -> list[dict[str, Any]]:
    """Runs of a method in fresh processes, one a seed; no more once they took long."""
    answers = []
    spent = 0.0
    for path in paths:
        words = ["training_methods.py", name, path, str(limit), json.dumps(options)]
        # cold, then warm for at most the limit again
        answer = run_child(words, python=python, limit=limit / 3 + limit + limit / 2)
        answers.append(answer)
        if "cold" not in answer:
            break
        spent += sum(
            max((times[0] for times in answer.get(kind, {}).get("levels", {}).values()), default=0)
            for kind in ("cold", "warm")
        )
        if answer["cold"]["why"] != "reached" or spent > limit / 2:
            break
    return answers


def figures(
    case: str, name: str, answers: list[dict[str, Any]], rate: float, limit: float
) -> list[Figure]:
    """The report's lines of one method."""
    found = []
    for level in LEVELS:
        if " for " in name and f"{level:g}" not in name:
            continue
        figure = Figure("training", case, name, f"{level:g}", error_of="relative loss by NumPy")
        figure.ours = name == OURS
        errors = []
        for answer in answers:
            for kind, walls, cpus in (
                ("cold", figure.cold_wall, figure.cold_cpu),
                ("warm", figure.warm_wall, figure.warm_cpu),
            ):
                times = answer.get(kind, {}).get("levels", {}).get(f"{level:g}")
                if times:
                    walls.append(times[0])
                    cpus.append(times[1])
                    errors.append(times[2])
        last = answers[-1] if answers else {}
        figure.version = next((a["version"] for a in answers if "version" in a), "")
        figure.memory = max((a.get("memory", np.nan) for a in answers), default=np.nan)
        if errors:
            figure.error = max(errors)
            if figure.error > 1.001 * level:
                figure.note = "WRONG: its own loss is below the one by NumPy"
        runs = [a[kind] for a in answers for kind in ("cold", "warm") if kind in a]
        short = [run for run in runs if f"{level:g}" not in run["levels"]]
        if "failed" in last or ("late" in last and not runs):
            figure.note = last.get("failed") or f"not a step within {limit:g} s"
        elif short:
            worst = max(short, key=lambda run: run["best"])
            figure.note = f"{worst['why']}, reached {worst['best']:.1e}"
            if len(short) < len(runs):
                figure.note += f" ({len(short)} of {len(runs)} runs)"
            elif not errors:
                figure.error = worst["final"]
        flops = [run["flops"] for run in runs if "flops" in run]
        if flops and level == LEVELS[-1] and rate:
            figure.floor = float(np.median(flops)) / rate
            figure.floor_of = "flops of its steps at the GEMM rate"
        if name.startswith("Adam") and case not in settings():
            figure.note = "; ".join(filter(None, [figure.note, "settings of digits 200"]))
        found.append(figure)
    return found


def training(
    *,
    cases: Iterable[str],
    repeats: int,
    limit: float,
    pythons: dict[str, str],
    rate: float,
    jobs: int = 1,
    only: Iterable[str] | None = None,
) -> list[Figure]:
    """Measure all methods on some cases.

    Parameters
    ----------
    cases
        Names in `CASES`.
    repeats
        Seeds, each in a process of its own.
    limit
        Seconds of a run.
    pythons
        Interpreter by package; methods of packages that are missing are left to the caller.
    rate
        Flops a second in a matrix product.
    jobs
        Processes at a time, each on a core of its own.
    only
        Methods; all by default.
    """
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for case in cases:
            paths = [str(Path(folder) / f"{seed}.npz") for seed in range(repeats)]
            for seed, path in enumerate(paths):
                words = ["training.py", "--problem", case, str(seed), path]
                made = run_child(words, python=pythons["subriem"], limit=60)
                if "failed" in made:
                    raise RuntimeError(made["failed"])
            widths, samples = CASES[case]
            size = (samples or 64) * widths[-1]
            k = sum((a + 1) * b for a, b in pairwise(widths))
            waiting = []
            for name, options in runs_of(case).items():
                package = METHODS[name.partition(" for ")[0]][0]
                if (only and name not in only) or package not in pythons:
                    continue
                flops = STEP_FLOPS[name](size, k) if name in STEP_FLOPS else 0.0
                if rate and flops > limit * rate:
                    why = "not run: for the small cases only"
                    if np.isfinite(flops):
                        why = f"not run: a step of {flops:.1e} flops, {flops / rate:.0f} s or more"
                    late = Figure("training", case, name, "", note=why)
                    found.append(late)
                    continue
                work = pool.submit(measure_method, name, paths, limit, options, pythons[package])
                waiting.append((name, work))
            for name, work in waiting:
                lines = figures(case, name, work.result(), rate, limit)
                found += lines
                shown = ", ".join(
                    f"{line.quantity}: {spread(line.times()) or line.note}" for line in lines
                )
                print(f"{case}, {name}: {shown}", file=sys.stderr, flush=True)
    return found


def table(found: list[Figure]) -> list[str]:
    """A table a case: seconds to each level, and how many times ours."""
    lines: list[str] = []
    for case in dict.fromkeys(figure.case for figure in found):
        own = {f.quantity: f for f in found if f.case == case and f.ours}
        header = " | ".join(f"{level:g}, warm | cold | to ours" for level in LEVELS)
        lines += [f"### {case}", "", f"| method | {header} | checked loss | peak MiB |"]
        lines += ["|---" * (3 * len(LEVELS) + 3) + "|"]
        for name in dict.fromkeys(f.method for f in found if f.case == case):
            rows = {f.quantity: f for f in found if f.case == case and f.method == name}
            cells = []
            for level in LEVELS:
                row = rows.get(f"{level:g}")
                if row is None or not row.times():
                    why = rows[""].note if "" in rows else (row.note if row else "")
                    cells += [why, "", ""]
                    continue
                ratio = row.ratio(own.get(row.quantity))
                note = f"; {row.note}" if row.note else ""
                cells += [spread(row.warm_wall) + note, spread(row.cold_wall)]
                cells += ["1" if row.ours else significant(ratio)]
            errors = [f.error for f in rows.values() if f.error == f.error]
            memory = max((f.memory for f in rows.values()), default=float("nan"))
            last = f"{min(errors):.1e}" if errors else ""
            cells += [last, significant(memory)]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def tune(cases: Iterable[str], limit: float, python: str, jobs: int) -> None:
    """Find Adam's settings on the first seed, and write them beside this file."""
    kept = settings()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for case in cases:
            path = str(Path(folder) / "problem.npz")
            run_child(["training.py", "--problem", case, "0", path], python=python, limit=60)
            grid = [
                {"rate": rate, "decay": decay, "steps": steps}
                for steps in GRID["steps"]
                for decay in GRID["decay"]
                for rate in GRID["rate"]
            ]
            words = [["training_methods.py", "Adam", path, str(limit), json.dumps(s)] for s in grid]
            answers = list(
                pool.map(lambda w: run_child(w, python=python, limit=2.5 * limit), words)
            )
            kept[case] = {}
            for level in LEVELS:
                times = [
                    answer.get("cold", {}).get("levels", {}).get(f"{level:g}", [np.inf])[0]
                    for answer in answers
                ]
                if np.isfinite(min(times)):
                    kept[case][f"{level:g}"] = grid[int(np.argmin(times))]
            if not kept[case]:
                best = [answer.get("cold", {}).get("best", np.inf) for answer in answers]
                kept[case][f"{LEVELS[0]:g}"] = grid[int(np.argmin(best))]
            print(case, kept[case], flush=True)
            SETTINGS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure in this interpreter's environment and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--problem", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.problem:
        case, seed, path = options.problem
        make_problem(case, int(seed), path)
        return
    limit = options.limit or (20.0 if options.quick else 120.0)
    if options.tune:
        tune(options.cases, limit, sys.executable, options.jobs)
        return
    rate = run_child(["measure.py"], limit=30)["gemm"]
    found = training(
        cases=options.cases,
        repeats=1 if options.quick else options.repeats,
        limit=limit,
        pythons=dict.fromkeys((package for package, _, _ in METHODS.values()), sys.executable),
        rate=rate,
        jobs=options.jobs,
        only=options.methods,
    )
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
