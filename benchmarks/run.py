"""All comparisons, side by side in one process tree; `make bench` runs this.

    .venv-bench/bin/python benchmarks/run.py [--only training,gram] [--repeats 3] [--limit 120]
                                             [--jobs 1] [--quick]

Every measurement is a process of its own, with one thread on one core. Writes `results.md` and
`results.nc` beside this file; sections that were not run keep what they had. With `--quick`, which
is for trying the machinery, they are written to `--out`, or nowhere.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import growth_of_cost
import numpy as np
from environment import FOLDER, Peer, installed
from gram import CASES as GRAMS
from gram import QUICK, gram
from gram import table as gram_table
from measure import HERE, ONE_THREAD, Figure, machine, run_child, significant
from training import CASES as TRAININGS
from training import table as training_table
from training import training

#: Section: its title.
TITLES = {
    "training": "Training to machine zero",
    "gram": "Gram matrix D D'",
    "growth": "Growth of cost",
    "geodesics": "Geodesics and distances",
    "laws": "Conservation laws",
    "vectors": "Growth vectors",
    "study": "Overhead of a study",
}
#: Comparisons that write their own tables: script, the file that it writes ("": it prints).
SCRIPTS = {
    "geodesics": ("geodesics.py", "geodesics.md"),
    "laws": ("conservation_laws.py", "conservation_laws.md"),
    "vectors": ("growth_vectors.py", "growth_vectors.md"),
    "study": ("study_overhead.py", ""),
}
COLUMNS = {
    "median": ("wall time of the second call, median (of the first where there is no second)", "s"),
    "least": ("wall time of the second call, least", "s"),
    "greatest": ("wall time of the second call, greatest", "s"),
    "cpu": ("processor time of the second call, median", "s"),
    "cold": ("wall time of the first call in a process, median", "s"),
    "cold_cpu": ("processor time of the first call, median", "s"),
    "runs": ("runs behind the median", "1"),
    "ratio": (
        "median over that of subriem: second calls, or first calls where there are no second",
        "1",
    ),
    "error": ("achieved error, of the kind that error_of says", "1"),
    "memory": ("largest resident memory of the process", "MiB"),
    "floor": ("least time by the counted operations at the measured rates", "s"),
}
TEXTS = {
    "section": "comparison",
    "case": "case",
    "method": "method",
    "quantity": "what is timed: a level of the relative loss, a matrix, a size",
    "error_of": "kind of the error",
    "floor_of": "what the floor counts",
    "version": "package and version",
    "note": "what else is to be said",
}


def interpreters(known: dict[str, Peer]) -> dict[str, str]:
    """Interpreter by package, of what is installed."""
    found = {name: peer.python for name, peer in known.items() if not peer.failed}
    # what this interpreter has anyway
    for name in ("subriem", "torch", "scipy"):
        found[name] = sys.executable
    if not known:
        for name in ("optimistix", "nlls-gram", "torch-levenberg-marquardt", "nngeometry"):
            try:
                version(name)
            except PackageNotFoundError:
                continue
            found[name] = sys.executable
    return found


def script(name: str, pythons: dict[str, str], quick: bool, limit: float) -> list[str]:
    """Run one of the scripts that write their own tables; its text, a heading deeper."""
    file, written = SCRIPTS[name]
    words = [sys.executable, str(HERE / file)]
    if name == "geodesics":
        words += sorted({pythons[p] for p in ("heyoka", "geomstats") if p in pythons})
    elif name == "study":
        words += ["--tasks", "30", "--repeats", "1"] if quick else ["--tasks", "100", "1000"]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, cwd=HERE.parent
    )
    if done.returncode:
        return [f"`{file}` failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}", ""]
    text = (HERE / written).read_text(encoding="utf-8") if written else done.stdout
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    return [re.sub("^#", "##", line) for line in lines] + [""]


def numbers(figure: Figure, own: Figure | None) -> dict[str, float]:
    """The figure's columns."""
    times, nan = figure.times(), float("nan")
    cpus = figure.warm_cpu or figure.cold_cpu

    def median(values: list[float]) -> float:
        return float(np.median(values)) if values else nan

    return {
        "median": median(times),
        "least": min(times, default=nan),
        "greatest": max(times, default=nan),
        "cpu": median(cpus),
        "cold": median(figure.cold_wall),
        "cold_cpu": median(figure.cold_cpu),
        "runs": float(len(times)),
        "ratio": figure.ratio(own),
        "error": float(figure.error),
        "memory": float(figure.memory),
        "floor": float(figure.floor),
    }


def own_figures(found: list[Figure]) -> dict[tuple[str, str, str], Figure]:
    """Ours by section, case and quantity."""
    return {(f.section, f.case, f.quantity): f for f in found if f.ours}


def to_dataset(found: list[Figure], attributes: dict[str, Any]) -> Any:
    """The figures as a dataset of subriem, one entry a figure."""
    from subriem.results import build_dataset

    own = own_figures(found)
    rows = [numbers(f, own.get((f.section, f.case, f.quantity))) for f in found]
    variables: dict[str, Any] = {
        name: ("figure", [row[name] for row in rows], told, unit)
        for name, (told, unit) in COLUMNS.items()
    }
    for name, told in TEXTS.items():
        variables[name] = ("figure", [str(getattr(f, name)) for f in found], told, "1")
    return build_dataset(
        variables,
        {"figure": ("figure", np.arange(len(found)), "figure", "1")},
        function="benchmarks/run.py",
        attributes=attributes,
    )


def merged(new: Any, old: Path, sections: list[str]) -> Any:
    """The new dataset, with the figures of other sections from an older file."""
    import xarray as xr

    from subriem.results import open_results

    if not old.exists():
        return new
    before = open_results(old)
    kept = before.isel(figure=~np.isin(before.section.values, sections))
    joined = xr.concat([kept, new], "figure", combine_attrs="override")
    joined["figure"] = ("figure", np.arange(joined.sizes["figure"]), new.figure.attrs)
    joined.attrs = new.attrs
    return joined


def all_figures(found: list[Figure]) -> list[str]:
    """Every figure with everything measured, one line each."""
    own = own_figures(found)
    lines = [
        "| case | method | quantity | median | least to greatest | CPU | cold | cold CPU | to ours "
        "| error | peak MiB | floor | version | note |",
        "|---" * 14 + "|",
    ]
    for f in found:
        row = numbers(f, own.get((f.section, f.case, f.quantity)))
        shown = {name: significant(value) for name, value in row.items()}
        error = f"{f.error:.1e} ({f.error_of})" if f.error == f.error else ""
        between = f"{shown['least']} to {shown['greatest']}" if row["runs"] > 1 else ""
        lines.append(
            f"| {f.case} | {f.method} | {f.quantity} | {shown['median']} | {between} "
            f"| {shown['cpu']} | {shown['cold']} | {shown['cold_cpu']} | {shown['ratio']} "
            f"| {error} | {shown['memory']} | {shown['floor']} | {f.version} | {f.note} |"
        )
    return [*lines, ""]


def sections_of(text: str) -> dict[str, list[str]]:
    """The sections of an older report, by title."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0]: part.splitlines()[1:] for part in parts}


def report(
    path: Path, new: dict[str, list[str]], known: dict[str, Peer], about: dict[str, Any]
) -> None:
    """Write the report; sections that are not new stay."""
    old = sections_of(path.read_text(encoding="utf-8")) if path.exists() else {}
    lines = [
        "# Measurements",
        "",
        "Made by `make bench`. Every measurement is a process of its own with one thread on one "
        "core. Seconds on the wall: median (least to greatest); *cold* is the first call in a "
        "process, with all that is traced or compiled, *warm* the second; imports are outside "
        "both. *To ours*: the median over that of subriem, warm over warm, or cold over cold where "
        "one of the two has no second call. Memory is the largest of the process, "
        "imports included. Where runs took long there are fewer of them, and no second call.",
        "",
    ]
    for name, title in TITLES.items():
        body = new.get(name) or old.get(title)
        if body:
            lines += [f"## {title}", *([""] if body[0] else []), *body]
    # not drawn from an older report: it says what is installed now
    lines += ["## Peers", "", "| package | |", "|---|---|"]
    for peer in known.values():
        said = f"did not install: {peer.failed}" if peer.failed else peer.version
        lines.append(f"| {peer.package} | {said} |")
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"
    path.write_text(text, encoding="utf-8")


def main() -> None:
    """Run the sections asked for and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(TITLES), help="sections, by comma")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--limit", type=float, help="seconds of one run of a training method")
    parser.add_argument("--jobs", type=int, default=1, help="measurements at a time")
    parser.add_argument("--cases", help="training cases, by comma")
    parser.add_argument("--methods", help="methods of training and gram, by comma-and-pipe: |")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="folder of results.md and results.nc")
    options = parser.parse_args()
    sections = [name for name in options.only.split(",") if name]
    unknown = set(sections) - set(TITLES)
    if unknown:
        parser.error(f"no sections {sorted(unknown)}; there are {list(TITLES)}")
    repeats = options.repeats or (1 if options.quick else 3)
    limit = options.limit or (20.0 if options.quick else 120.0)
    folder = options.out or (None if options.quick else HERE)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    known = installed() if Path(sys.prefix).resolve() == FOLDER else {}
    pythons = interpreters(known)
    rates = run_child(["measure.py"], limit=30)
    about = {**machine(), **rates, "load_before": round(os.getloadavg()[0], 2)}
    only = options.methods.split("|") if options.methods else None
    start = time.perf_counter()
    found: list[Figure] = []
    bodies: dict[str, list[str]] = {}
    for name in sections:
        began, load = time.perf_counter(), os.getloadavg()[0]
        mine: list[Figure] = []
        if name == "training":
            mine = training(
                cases=options.cases.split(",") if options.cases else list(TRAININGS),
                repeats=repeats,
                limit=limit,
                pythons=pythons,
                rate=rates["gemm"],
                jobs=options.jobs,
                only=only,
            )
            body = training_table(mine)
        elif name == "gram":
            mine = gram(
                cases=QUICK if options.quick else GRAMS,
                repeats=repeats,
                limit=limit,
                pythons=pythons,
                rates=rates,
                jobs=options.jobs,
                only=only,
            )
            body = gram_table(mine)
        elif name == "growth":
            mine = growth_of_cost.growth_of_cost(
                repeats=repeats, limit=limit / 2, python=sys.executable, quick=options.quick
            )
            body = growth_of_cost.table(mine)
        else:
            body = script(name, pythons, options.quick, limit)
        if mine:
            body += ["<details><summary>All figures</summary>", "", *all_figures(mine)]
            body += ["</details>", ""]
        took = time.perf_counter() - began
        bodies[name] = [
            f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, "
            f"Python {about['python']}; {rates['gemm'] / 1e9:.0f} Gflop/s in a matrix product, "
            f"{rates['copy'] / 1e9:.0f} GB/s in a copy; load {load:.1f} before, {options.jobs} "
            f"measurement(s) at a time, {took / 60:.1f} minutes.",
            "",
            *body,
        ]
        found += mine
        if folder is None:
            print("\n".join(bodies[name]), flush=True)
        else:
            # after every section: a long run that ends early leaves what it had
            from subriem.results import save

            versions = {package: peer.version or peer.failed for package, peer in known.items()}
            attributes = {**about, "peers": versions, "seconds": time.perf_counter() - start}
            if found:
                ran = sorted({f.section for f in found})
                new = to_dataset(found, attributes)
                save(merged(new, folder / "results.nc", ran), folder / "results.nc")
            report(folder / "results.md", bodies, known, about)


if __name__ == "__main__":
    main()
