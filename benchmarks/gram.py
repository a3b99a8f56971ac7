"""The Gram matrix D D' of a network, beside named peers.

    python benchmarks/gram.py [--quick] [--methods "subriem gram"]

An MLP 64-256-256-10 (tanh) on 200 and 500 digits, and a small network of convolutions (1 to 8
channels, 3 x 3; tanh; 8 to 16 channels, 3 x 3; tanh; linear to 10) on 200, in float64. The error is
the largest entry of the difference over the largest of the reference, which is the product of a
dense Jacobian with itself (`torch.func`, float64). The floor counts the products of the layer-wise
formula, symmetric halves only, at the GEMM rate, and one pass that writes the result at the copy
rate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from gram_methods import CHANNELS, KERNEL, METHODS
from measure import Figure, run_child, significant, spread

OURS = "subriem gram"
CASES = {"MLP, N = 200": ("mlp", 200), "MLP, N = 500": ("mlp", 500), "CNN, N = 200": ("cnn", 200)}
QUICK = {"MLP, N = 40": ("mlp", 40), "CNN, N = 40": ("cnn", 40)}


def make_problem(kind: str, samples: int, path: str) -> None:
    """Write weights, inputs and the reference."""
    import torch
    from gram_methods import torch_network
    from sklearn.datasets import load_digits
    from torch.func import functional_call, jacrev, vmap

    torch.manual_seed(0)
    module = torch_network(kind)
    inputs = load_digits().data[:samples].astype(float)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def one(named: Any, sample: Any) -> Any:
        return functional_call(module, named, (sample[None],))[0]

    reference = torch.zeros(10 * samples, 10 * samples, dtype=torch.float64)
    for name in parameters:
        # a parameter at a time, for the memory
        rest = {k: v for k, v in parameters.items() if k != name}
        jacobian = vmap(jacrev(lambda p, x, n=name, r=rest: one({**r, n: p}, x)), (None, 0))
        flat = jacobian(parameters[name], torch.as_tensor(inputs)).reshape(10 * samples, -1)
        reference.addmm_(flat, flat.mT)
    arrays = {f"w{k}": p.detach().numpy() for k, p in enumerate(module.parameters())}
    np.savez(
        path, kind=kind, inputs=inputs, arrays=len(arrays), reference=reference.numpy(), **arrays
    )


def floor(kind: str, samples: int, rates: dict[str, float]) -> float:
    """Seconds that the formula takes at the rates measured."""
    rows = 10 * samples
    if kind == "mlp":
        fans = [(64, 256), (256, 256), (256, 10)]
        flops = sum(rows**2 * out + samples**2 * fan_in for fan_in, out in fans)
    else:
        # of two ways the cheaper one: columns of D of the convolutions, then one product of them
        flops, fan_in, side = 0, 1, 8
        for channels in CHANNELS:
            side -= KERNEL - 1
            patch, positions = fan_in * KERNEL**2, side**2
            columns = 2 * rows * positions * patch * channels + rows**2 * (patch + 1) * channels
            pairs = positions**2 * (rows**2 * channels + samples**2 * patch)
            flops += min(columns, pairs)
            fan_in = channels
        flops += rows**2 * 10 + samples**2 * fan_in * side**2
    return flops / rates["gemm"] + 8 * rows**2 / rates["copy"]


def gram(
    *,
    cases: dict[str, tuple[str, int]],
    repeats: int,
    limit: float,
    pythons: dict[str, str],
    rates: dict[str, float],
    jobs: int = 1,
    only: Iterable[str] | None = None,
) -> list[Figure]:
    """Measure all methods on some cases; the arguments are those of `training.training`."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        for case, (kind, samples) in cases.items():
            path = str(Path(folder) / f"{kind}{samples}.npz")
            words = ["gram.py", "--problem", kind, str(samples), path]
            made = run_child(words, python=pythons["subriem"], limit=120)
            if "failed" in made:
                raise RuntimeError(made["failed"])
            least = floor(kind, samples, rates)

            def measure(name: str, path: str = path) -> list[dict[str, Any]]:
                python, answers = pythons[METHODS[name][0]], []
                for _ in range(repeats):
                    words = ["gram_methods.py", name, path, str(limit)]
                    answers.append(run_child(words, python=python, limit=limit))
                    if answers[-1].get("cold", [limit])[0] > limit / 10:
                        break
                return answers

            names = [
                name
                for name, (package, _) in METHODS.items()
                if package in pythons and (not only or name in only)
            ]
            for name, answers in zip(names, pool.map(measure, names), strict=True):
                figure = Figure("gram", case, name, "D D'", ours=name == OURS)
                figure.floor, figure.floor_of = least, "flops at GEMM rate + one write"
                figure.error_of = "largest difference, relative"
                for answer in answers:
                    if "cold" in answer:
                        figure.cold_wall.append(answer["cold"][0])
                        figure.cold_cpu.append(answer["cold"][1])
                        figure.memory = np.fmax(figure.memory, answer["memory"])
                        figure.error = np.fmax(figure.error, answer["error"])
                        figure.version = answer["version"]
                    if "warm" in answer:
                        figure.warm_wall.append(answer["warm"][0])
                        figure.warm_cpu.append(answer["warm"][1])
                    if name.startswith("torch.func"):
                        figure.note = "the reference itself"
                    if "failed" in answer:
                        figure.note = answer["failed"]
                    elif "late" in answer:
                        figure.note = f"killed at {limit + 30:.0f} s"
                found.append(figure)
                times = spread(figure.times()) or figure.note
                print(f"{case}, {name}: {times}, error {figure.error:.1e}", file=sys.stderr)
    return found


def table(found: list[Figure]) -> list[str]:
    """One table."""
    lines = [
        "| case | method | warm | CPU | cold | to ours | to the floor | error | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    own = {figure.case: figure for figure in found if figure.ours}
    for f in found:
        ratio = f.ratio(own.get(f.case))
        note = f"; {f.note}" if f.note else ""
        error = f"{f.error:.1e}" if f.error == f.error else ""
        lines.append(
            f"| {f.case} | {f.method} | {spread(f.warm_wall)}{note} | {spread(f.warm_cpu)} "
            f"| {spread(f.cold_wall)} | {'1' if f.ours else significant(ratio)} "
            f"| {significant(f.median() / f.floor)} | {error} | {significant(f.memory)} |"
        )
    floors = {f.case: significant(f.floor) for f in found}
    lines += ["", "Floors: " + ", ".join(f"{case}: {least} s" for case, least in floors.items())]
    return [*lines, ""]


def main() -> None:
    """Measure in this interpreter's environment and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--problem", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.problem:
        kind, samples, path = options.problem
        make_problem(kind, int(samples), path)
        return
    found = gram(
        cases=QUICK if options.quick else CASES,
        repeats=1 if options.quick else options.repeats,
        limit=20.0 if options.quick else 120.0,
        pythons=dict.fromkeys((package for package, _ in METHODS.values()), sys.executable),
        rates=run_child(["measure.py"], limit=30),
        only=options.methods,
    )
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
