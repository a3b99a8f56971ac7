"""Geodesics and distances, side by side with named peers on one core.

    python benchmarks/geodesics.py [PYTHON ...]

Each PYTHON is the interpreter of an environment that has peers: ``pip install heyoka jax diffrax``
in one, ``pip install geomstats "numpy<2" autograd`` in another (geomstats 2.8 needs the older
NumPy). A peer runs in the first environment that can import it; one that none can is reported as
missing. The three parts:

1. 20,000 geodesics of SE(2) from the origin to T = 1. Every method gets the same covectors and the
   loosest of its tolerances with which the largest error, over all geodesics and all of (q, p), is
   at most 1e-9. The reference is SciPy's DOP853 at 1e-13, compared with heyoka's at 1e-16.
2. 50 distances on SE(2), beside direct collocation written by hand with CasADi's `Opti` and IPOPT.
3. Globally searched distances a second, on further structures.

Every measurement is in a process of its own, pinned to one core.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geodesic_peers import (
    COUNT,
    TOLERANCES,
    Method,
    Run,
    covectors,
    diffrax,
    geomstats,
    heyoka,
    opti,
    points,
    scipy,
)

HERE = Path(__file__).parent
TARGET = 1e-9
ROUNDS, REPEATS, BUDGET = 2, 5, 100


# ------------------------------------------------------------------ geodesics: ours


def flow_map(engine: str) -> Method:
    """Ends of geodesics, without checks."""
    from subriem.models import unicycle

    from subriem.geodesics.flow_map import flow_map

    structure, p = unicycle(), covectors()

    def make(tolerance: float) -> Run:
        def run(first: int = COUNT) -> np.ndarray:
            flow = flow_map(
                structure, [0, 0, 0], p[:first], [1.0], tolerance, jacobian=False, engine=engine
            )
            return np.concatenate([flow.state[:, 0], flow.covector[:, 0]], axis=1)

        run(1)
        return run

    return TOLERANCES, make


def exponential() -> Method:
    """The labelled dataset with controls, lengths and what checks them."""
    import subriem as sr

    structure, p = sr.models.unicycle(), covectors()

    def make(tolerance: float) -> Run:
        def run(first: int = COUNT) -> np.ndarray:
            fan = sr.exponential(structure, [0, 0, 0], p[:first], 1.0, rtol=tolerance)
            return np.concatenate([fan.state.values[:, 1], fan.covector.values[:, 1]], axis=1)

        run(1)
        return run

    return TOLERANCES, make


METHODS: dict[str, tuple[str, Callable[[], Method]]] = {
    "subriem `flow_map`, compiled": ("subriem", lambda: flow_map("compiled")),
    "subriem `exponential`, dataset": ("subriem", exponential),
    "subriem `flow_map`, Torch (no compiler)": ("subriem", lambda: flow_map("batch")),
    "heyoka, batch Taylor": ("heyoka", heyoka),
    "diffrax Dopri8": ("diffrax", lambda: diffrax("Dopri8")),
    "diffrax Tsit5": ("diffrax", lambda: diffrax("Tsit5")),
    "SciPy DOP853": ("scipy", scipy),
    "geomstats": ("geomstats", geomstats),
}
OURS = next(iter(METHODS))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result, and the processor's seconds that it took: all methods have one thread."""
    start = time.process_time()
    done = work()
    return done, time.process_time() - start


def tuned(name: str, folder: str) -> dict[str, Any]:
    """The fastest setting of the loosest tolerance that reaches the target, else the last."""
    settings, make = METHODS[name][1]()
    reference = np.load(Path(folder) / "reference.npy")
    fitting: list[tuple[float, Any]] = []
    for setting in settings:
        tolerance = setting[1] if isinstance(setting, tuple) else setting
        if fitting and (not isinstance(setting, tuple) or tolerance != fitting[0][1][1]):
            break
        run = make(setting)
        if np.abs(run() - reference).max() <= TARGET:
            fitting.append((min(timed(run)[1] for _ in range(3)), setting))
    return {"setting": min(fitting)[1] if fitting else settings[-1]}


def ensemble(name: str, folder: str, chosen: str) -> dict[str, Any]:
    """Time a method in one setting."""
    from importlib.metadata import version

    module, build = METHODS[name]
    _, make = build()
    reference = np.load(Path(folder) / "reference.npy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = sum(os.times()[:4])  # with the compiler's processes
    run = make(json.loads(chosen))
    prepared = sum(os.times()[:4]) - start
    run()
    runs = [timed(run) for _ in range(REPEATS)]
    return {
        "version": f"{module} {version(module)}",
        "prepared": prepared,
        "seconds": [seconds for _, seconds in runs],
        "error": float(np.abs(runs[0][0] - reference).max()),
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def floor() -> dict[str, float]:
    """Operations of a Taylor step, steps of a geodesic, and this core's rate in a product."""
    import subriem as sr
    from subriem.arithmetic.taylor_method import taylor_order
    from subriem.geodesics.flow_map import taylor_method

    structure = sr.models.unicycle()
    recurrences = taylor_method(structure).recurrences
    order, sums = taylor_order(TARGET), len(recurrences.sums(False))
    moving = sum(node.moving for node in recurrences.nodes)
    # sums of l - 1 products at order l, about three operations a node, and the series' value
    flops = sums * (order - 1) * (order - 2) + 3 * moving * order
    flops += 2 * order * len(recurrences.moving_states)
    fan = sr.exponential(structure, [0, 0, 0], covectors(), 1.0, rtol=TARGET)
    a = np.ones((1500, 1500))
    rate = max(2 * 1500**3 / timed(lambda: a @ a)[1] for _ in range(5))
    return {"flops": flops, "steps": float(fan.steps.mean()), "rate": rate, "order": order}


def reference(folder: str) -> dict[str, float]:
    """The reference by DOP853."""
    _, make = scipy()
    np.save(Path(folder) / "reference.npy", make(1e-13)())
    return {}


def second_reference(folder: str) -> dict[str, float]:
    """How far heyoka at 1e-16 is from it, and what heyoka's loop of calls takes by itself."""
    import heyoka as hy

    _, make = heyoka()
    gap = np.abs(make((8, 1e-16))() - np.load(Path(folder) / "reference.npy")).max()
    x = hy.make_vars("x")
    still = hy.taylor_adaptive_batch([(x, 0.0 * x)], np.zeros((1, 16)), tol=1e-8)
    row = np.zeros(16)

    def calls() -> None:
        for _ in range(COUNT // 16):
            still.set_time(1.0)
            still.state[0] = row
            still.propagate_until(1.0)

    spent = statistics.median(timed(calls)[1] for _ in range(5))
    return {"gap": float(gap), "calls": spent / COUNT}


# ------------------------------------------------------------------ distances


def structure_of(name: str) -> Any:
    """A structure by its row's name."""
    import subriem as sr

    return sr.models.trailers(2) if name == "trailers(2)" else getattr(sr.models, name)()


def distances(name: str, count: int) -> dict[str, Any]:
    """Our distances from the origin; the first call is the preparation."""
    import subriem as sr

    structure, ends = structure_of(name), points(name, count)
    start = sum(os.times()[:4])
    sr.distance(structure, np.zeros(structure.dimension), ends[:1])
    prepared = sum(os.times()[:4]) - start
    print(json.dumps({"prepared": prepared}), file=sys.stderr, flush=True)
    found, seconds = timed(lambda: sr.distance(structure, np.zeros(structure.dimension), ends))
    return {
        "seconds": seconds,
        "prepared": prepared,
        "lengths": found.values.tolist(),
        "found": int((found.status == "shortest found").sum()),
        "agreeing": found.agreeing.values.tolist(),
        "seeds": found.seeds.values.tolist(),
    }


def known() -> dict[str, float]:
    """The largest relative error of ours against the exact distances of the tests."""
    import subriem as sr

    exact = json.loads((HERE.parent / "tests/data/distances.json").read_text())
    out: dict[str, float] = {}
    for name, sets in (("heisenberg", ["heisenberg"]), ("unicycle", ["se2", "se2_cover"])):
        cases = [case for key in sets for case in exact[key]]
        ends = np.array([[np.pi if x == "pi" else float(x) for x in case["q"]] for case in cases])
        lengths = np.array([np.pi if case["d"] == "pi" else float(case["d"]) for case in cases])
        found = sr.distance(structure_of(name), [0, 0, 0], ends).values
        out[name] = float(np.abs(found / lengths - 1).max())
        out[f"{name} cases"] = len(cases)
    return out


# ------------------------------------------------------------------ the run


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "tuned": tuned,
    "ensemble": ensemble,
    "reference": reference,
    "second": second_reference,
    "floor": floor,
    "distances": lambda name, count: distances(name, int(count)),
    "known": known,
    "opti": lambda intervals: opti(int(intervals)),
}


def measure(interpreter: str, core: int, *words: str) -> dict[str, Any]:
    """One job in a process of its own, on one core with one thread."""
    cores = sorted(os.sched_getaffinity(0))
    pin = ["taskset", "-c", str(cores[core % len(cores)])]
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [*pin, interpreter, __file__, "job", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **threads},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (BUDGET, BUDGET)),
    )
    if done.returncode < 0:
        return {"late": BUDGET, "said": done.stderr}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def interpreter_with(module: str, interpreters: list[str]) -> str | None:
    """The first interpreter that imports a module, in the backend that is used here."""
    environment = {**os.environ, "GEOMSTATS_BACKEND": "autograd"}
    for interpreter in interpreters:
        command = [interpreter, "-c", f"import {module}"]
        try:
            done = subprocess.run(command, capture_output=True, env=environment, cwd=HERE.parent)
        except OSError:
            continue
        if done.returncode == 0:
            return interpreter
    return None


def machine() -> str:
    """The processor's name and the load."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"


def first_part(interpreters: list[str]) -> list[str]:
    """20,000 geodesics."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "tuning")
        measure(sys.executable, 0, "reference", folder)
        places = {name: interpreter_with(METHODS[name][0], interpreters) for name in METHODS}
        found = {
            name: measure(place, 0, "tuned", name, folder)
            for name, place in places.items()
            if place
        }
        for turn in range(ROUNDS):
            for name, tune in found.items():
                chosen = json.dumps(tune.get("setting"))
                # ours and heyoka keep compiled code there: in the first round there is none
                os.environ["XDG_CACHE_HOME"] = str(Path(folder) / name.replace("/", " "))
                run = measure(places[name], turn, "ensemble", name, folder, chosen)
                runs[name].append(run)
                print(name, tune, run, file=sys.stderr, flush=True)
        del os.environ["XDG_CACHE_HOME"]
        place = places["heyoka, batch Taylor"]
        gap = measure(place, 0, "second", folder) if place else {}
    lines = [
        f"## {COUNT:,} geodesics of SE(2) to T = 1, one thread on one core",
        "",
        f"Largest error over all geodesics at most {TARGET:g}, where the method reaches it. "
        "Microseconds of the processor a geodesic (the machine is shared, so that the clock on "
        f"the wall says less): median (least to largest) of {ROUNDS} processes with {REPEATS} "
        "runs each. Preparation: from the equations to a method that runs, the compilation "
        "included; where nothing is cached, and in later processes. Memory: what preparing and "
        "running added to the process.",
        "",
        "| method | microseconds a geodesic | to the first row | largest error | setting "
        "| preparation | memory | version |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own = [1e6 * t / COUNT for run in runs[OURS] for t in run["seconds"]]
    base = statistics.median(own)
    for name, done in runs.items():
        if not done or not all("seconds" in run for run in done):
            why = done[0] if done else "not installed"
            lines.append(f"| {name} | {why} | | | | | | |")
            continue
        times = [1e6 * t / COUNT for run in done for t in run["seconds"]]
        middle = statistics.median(times)
        later = statistics.median(run["prepared"] for run in done[1:])
        setting = found[name]["setting"]
        shown = f"{setting} steps" if isinstance(setting, int) else f"{setting}"
        if isinstance(setting, list):
            shown = (
                f"{setting[1]:.1e}, {f'blocks of {setting[0]}' if setting[0] else 'all at once'}"
            )
        elif isinstance(setting, float):
            shown = f"{setting:.1e}"
        lines.append(
            f"| {name} | {middle:.2f} ({min(times):.2f} to {max(times):.2f}) "
            f"| {middle / base:.1f} | {done[0]['error']:.1e} | {shown} "
            f"| {done[0]['prepared']:.2f} s, {later:.2f} s | {done[-1]['megabytes']:.0f} MB "
            f"| {done[0]['version']} |"
        )
    calls = 1e6 * gap.get("calls", float("nan"))
    seconds = [t for run in runs["heyoka, batch Taylor"] for t in run.get("seconds", ())]
    peer = 1e6 * statistics.median(seconds) / COUNT if seconds else float("nan")
    about = measure(sys.executable, 0, "floor")
    least = about["flops"] * about["steps"] / about["rate"] * 1e6
    lines += [
        "",
        f"The reference, SciPy's DOP853 at 1e-13, differs from heyoka at 1e-16 by at most "
        f"{gap.get('gap', float('nan')):.1e}. Floor: a step of order {about['order']:.0f} takes "
        f"{about['flops']:.0f} operations, a geodesic {about['steps']:.2f} steps; at the "
        f"{about['rate'] / 1e9:.0f} Gflop/s that this core reaches in a matrix product, that is "
        f"{least:.3f} microseconds, and the first row is {base / least:.1f} times that. The sums "
        "of a step are short, and each waits for those of the order before it.",
        "",
        "heyoka is called from Python, a batch at a time; calls that integrate nothing take "
        f"{calls:.2f} microseconds a geodesic (16 lanes). Without them its time is "
        f"{(peer - calls) / base:.1f} times that of the first row. An engine on heyoka would pay "
        "where that is well below 1; there is none. geomstats has no structure on SE(2), but "
        "takes any frame; its symplectic Euler stays above the target at any practical cost.",
    ]
    return lines


def second_part() -> list[str]:
    """50 distances beside collocation."""
    ours = [measure(sys.executable, k, "distances", "unicycle", "50") for k in range(ROUNDS)]
    own = np.array(ours[0]["lengths"])
    for intervals in (6, 8, 12, 16, 24):
        tried = measure(sys.executable, 0, "opti", str(intervals))
        best = np.nanmin(tried["lengths"], axis=1)
        right = np.abs(best / own - 1) < 1e-4
        if np.abs(best / own - 1)[right].max() <= TARGET:
            break
    theirs = [measure(sys.executable, k, "opti", str(intervals)) for k in range(ROUNDS)]
    lengths = np.array(theirs[0]["lengths"])
    shortest = np.fmin(own, np.nanmin(lengths, axis=1))
    exact = measure(sys.executable, 0, "known")

    def row(name: str, found: np.ndarray, seconds: list[float], prepared: list[float]) -> str:
        gap = found / shortest - 1
        # a path that is longer by this much is another one, not an error
        longer = int((gap > 1e-4).sum())
        failed = int(np.isnan(found).sum())
        error = np.nanmax(np.where(gap > 1e-4, np.nan, np.abs(found / own - 1)))
        shown = f"{error:.1e}" if found is not own else "reference"
        return (
            f"| {name} | {1e3 * statistics.median(seconds) / 50:.1f} ms "
            f"({1e3 * min(seconds) / 50:.1f} to {1e3 * max(seconds) / 50:.1f}) "
            f"| {statistics.median(prepared):.2f} s | {shown} | {longer} | {failed} |"
        )

    rows = [
        row("subriem `distance`", own, *([run[k] for run in ours] for k in ("seconds", "prepared")))
    ]
    guesses = {
        "1 guess: straight line": [0],
        "1 guess: turn, drive, turn": [1],
        "4 guesses": [1, 2, 3, 4],
    }
    for name, columns in guesses.items():
        spent = [sum(run["seconds"][k] for k in columns) for run in theirs]
        found = np.fmin.reduce(lengths[:, columns], axis=1)
        name = f"CasADi Opti, {intervals} intervals, {name}"
        rows.append(row(name, found, spent, [run["prepared"] for run in theirs]))
    return [
        "## 50 distances on SE(2)",
        "",
        "Ends x, y in [-2, 2], angle in [-pi, pi]. Processor's time a distance; relative error "
        "against ours where the path is the same one; how many were longer than the shortest that "
        "either side found (a wrong local minimum), and how many were not solved.",
        "",
        "| method | time a distance | preparation | largest relative error | too long | failed |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Against exact distances, ours is right to {exact['unicycle']:.0e} relative on "
        f"{exact['unicycle cases']} cases of SE(2) and to {exact['heisenberg']:.0e} on "
        f"{exact['heisenberg cases']} of the Heisenberg group. Opti's guesses other than the "
        "straight line are made for this system, by one who knows its shortest paths; `distance` "
        "is given the frame only, and shoots from as many seeds as its third part below says.",
    ]


def third_part() -> list[str]:
    """Distances a second."""
    lines = [
        "## Globally searched distances a second, one thread on one core",
        "",
        "Preparation is a first distance, with all that is compiled and computed once for a "
        "structure. Agreeing: how many of the seeds shot led to the length reported (least, "
        "median).",
        "",
        "| structure | points | distances a second | preparation | found | agreeing | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    cases = {"heisenberg": 200, "unicycle": 200, "cartan": 5, "trailers(2)": 3, "ball_plate": 3}
    for name, count in cases.items():
        runs = [measure(sys.executable, 0, "distances", name, str(count))]
        if "seconds" not in runs[0]:
            why = runs[0].get("failed") or f"not finished in {BUDGET} s of the processor"
            first = runs[0].get("said", "").strip()
            told = f"{json.loads(first)['prepared']:.1f} s" if first else "not finished"
            lines.append(f"| {name} | {count} | {why} | {told} | | | |")
            continue
        runs.append(measure(sys.executable, 1, "distances", name, str(count)))
        rates = [count / run["seconds"] for run in runs]
        first = runs[0]
        lines.append(
            f"| {name} | {count} | {statistics.median(rates):.3g} "
            f"({min(rates):.3g} to {max(rates):.3g}) "
            f"| {statistics.median(run['prepared'] for run in runs):.2f} s "
            f"| {first['found']} of {count} "
            f"| {min(first['agreeing'])}, {statistics.median(first['agreeing']):.0f} "
            f"| {min(first['seeds'])} to {max(first['seeds'])} |"
        )
    return lines


def main(interpreters: list[str]) -> None:
    """Run all parts and write the report."""
    before = os.getloadavg()[0]
    parts = [first_part([sys.executable, *interpreters]), second_part(), third_part()]
    lines = [
        "# Geodesics and distances",
        "",
        f"Made by `python benchmarks/geodesics.py`. {machine()}; load {before:.1f} at the start, "
        f"{os.getloadavg()[0]:.1f} at the end, processes of the benchmark one after the other.",
    ]
    for part in parts:
        lines += ["", *part]
    (HERE / "geodesics.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["job"]:
        print(json.dumps(JOBS[sys.argv[2]](*sys.argv[3:])))
    else:
        main(sys.argv[1:])
