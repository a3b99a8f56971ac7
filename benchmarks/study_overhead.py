"""What a study costs beside its task: seconds of the machinery, for tasks that take nearly none.

    python benchmarks/study_overhead.py [--tasks 100 1000 10000] [--repeats 3] [--merge]

The task makes an orbit of 50 steps in seven variables, as a dataset of subriem, in less than a
millisecond. The bare function is called in a loop; then the same function runs as the task of a
study: one after the other in this process, in 1 and 2 worker processes, and, where distributed is
installed, on a Dask cluster of 2 workers on this machine. Each run is a process of its own, whose
largest memory is reported. The time of the bare function (half of it where two run) and the
start-up, that of a run of one task a worker, are taken off; the merge is timed inside the run. CPU
is that of all processes, the bare function included: it tells how busy the machine was besides.
`--merge` measures the merge of 10,000 parts of 130 kB instead, which needs 3 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STUDY = """
import numpy as np
from subriem.results import build_dataset
from subriem.study import Study

study = Study("overhead", {"k": [0]})
STEPS = 50


@study.task
def task(k):
    times = np.linspace(0.0, 1.0, STEPS + k % 2)
    return build_dataset(
        {
            "loss": ("time", np.exp(-times), "loss", "1"),
            "rank": ("time", np.arange(len(times)), "rank", "1"),
            "state": (("time", "coordinate"), np.zeros((len(times), 3)), "state", "1"),
            "length": ((), 1.0, "length", "1"),
            "regime": ((), "full rank", "regime", "1"),
        },
        {
            "time": ("time", times, "time of the flow", "1"),
            "coordinate": ("coordinate", ["x", "y", "z"], "coordinate", "1"),
        },
        function="flow",
        arguments={"k": k},
        attributes={"status": "reached", "stopping_time": 0.5},
    )
"""
CASES = {"serial": 1, "1 process": 1, "2 processes": 2, "Dask, 2 workers": 2}


def one(case: str, count: int, folder: Path) -> dict[str, float]:
    """Run one case in this process."""
    from subriem.study import Study, load_study, runner

    study = load_study(folder / "overhead.py")
    if case == "bare":
        task: Any = study.task_function
        start = time.perf_counter()
        for k in range(count):
            task(k)
        return {"seconds": time.perf_counter() - start}
    if case == "serial":
        # a study that no file defines runs in this process
        inside = Study("overhead", {"k": [0]})
        inside.task(study.task_function)  # type: ignore[type-var]
        study = inside
    merging = 0.0
    merge_parts = runner.merge_parts

    def timed(*arguments: Any) -> Any:
        nonlocal merging
        start = time.perf_counter()
        try:
            return merge_parts(*arguments)
        finally:
            merging = time.perf_counter() - start

    runner.merge_parts = timed
    options: dict[str, Any] = {"scheduler": "local"} if case.startswith("Dask") else {}
    start = time.perf_counter()
    dataset = study.run(
        folder / f"{case}.nc",
        grid={"k": list(range(count))},
        workers=CASES[case],
        progress=False,
        fresh=True,
        **options,
    )
    seconds = time.perf_counter() - start
    assert (dataset.task_status == "ok").all()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "merge": merging, "peak": usage.ru_maxrss / 1024}


def in_a_process(case: str, count: int, folder: Path) -> dict[str, float]:
    """Run one case in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, __file__, "--one", case, str(count), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout.splitlines()[-1]), "cpu": cpu}


def disk_floor(folder: Path) -> dict[str, float]:
    """Milliseconds of what cannot be avoided: a file, its sync, and a round trip to a process."""
    floor: dict[str, float] = {}
    content = bytes(16_000)
    for name, sync in (("write a file", False), ("write and sync a file", True)):
        start = time.perf_counter()
        for k in range(100):
            with open(folder / f"{name}{k}", "wb") as file:
                file.write(content)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
        floor[name] = 10 * (time.perf_counter() - start)
    code = "import os\nwhile text := os.read(0, 99): os.write(1, text)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        echo.stdin.write(b"a\n")
        echo.stdout.readline()
        start = time.perf_counter()
        for _ in range(1000):
            echo.stdin.write(b"a\n")
            echo.stdout.readline()
        floor["round trip to a process"] = time.perf_counter() - start
        echo.stdin.close()
    return floor


def spread(values: list[float], digits: int = 2) -> str:
    """Median, smallest and largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def overhead(counts: list[int], repeats: int, folder: Path) -> None:
    """Print the table."""
    cases = dict(CASES)
    try:
        import distributed  # noqa: F401
    except ImportError:
        del cases["Dask, 2 workers"]
        print("distributed is not installed: no Dask")
    for name, milliseconds in disk_floor(folder).items():
        print(f"floor: {name}: {milliseconds:.3f} ms")
    bare = [1e3 * in_a_process("bare", 1000, folder)["seconds"] / 1000 for _ in range(repeats)]
    print(f"bare function: {spread(bare)} ms a task")
    print(
        "\n| tasks | where | over the bare function, ms a task | of which merge | CPU, ms a task ",
        end="",
    )
    print("| start-up, s | peak memory of the client, MiB |\n|---|---|---|---|---|---|---|")
    for case, workers in cases.items():
        empty = [in_a_process(case, workers, folder) for _ in range(repeats)]
        start_up = statistics.median(run["seconds"] for run in empty)
        idle_cpu = statistics.median(run["cpu"] for run in empty)
        for count in counts:
            runs = [in_a_process(case, count, folder) for _ in range(repeats)]
            own = statistics.median(bare) / workers
            cost = [1e3 * (run["seconds"] - start_up) / count - own for run in runs]
            merge = [1e3 * run["merge"] / count for run in runs]
            cpu = [1e3 * (run["cpu"] - idle_cpu) / count for run in runs]
            print(
                f"| {count:,} | {case} | {spread(cost)} | {spread(merge)} | {spread(cpu)} | "
                f"{start_up:.1f} | {max(run['peak'] for run in runs):.0f} |",
                flush=True,
            )


def large_parts(name: str, count: int, folder: Path) -> dict[str, float]:
    """Write parts of 129 kB each, or merge them into the file of that name."""
    from subriem.results import build_dataset
    from subriem.study import Study
    from subriem.study.folder import RunFolder, make_manifest
    from subriem.study.merge import merge_parts
    from subriem.study.parts import write_part
    from subriem.study.worker import OUTCOME, Outcome

    study = Study("large", {"k": list(range(count))})
    parts = RunFolder(folder / "large.parts", count)
    if name != "parts":
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        manifest = make_manifest(study, study.grid(), None)
        dataset, failed = merge_parts(study, parts, study.grid(), manifest, folder / name)
        seconds = time.perf_counter() - start
        assert failed == 0
        size = dataset.nbytes
        dataset.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"seconds": seconds, "peak": peak, "before": before, "gigabytes": size / 1e9}
    parts.path.mkdir()
    generator = np.random.default_rng(0)
    for k in range(count):
        steps = 3000 + k % 7
        dataset = build_dataset(
            {
                "state": (("time", "coordinate"), generator.random((steps, 3)), "state", "1"),
                "rank": ("time", np.arange(steps), "rank", "1"),
            },
            {"time": ("time", np.sort(generator.random(steps)), "time", "1")},
            function="flow",
        )
        write_part(dataset.assign_attrs({OUTCOME: vars(Outcome("ok"))}), parts.part(k))
    return {"kilobytes": parts.part(0).stat().st_size / 1e3}


def merge_of_large_parts(count: int, folder: Path) -> None:
    """Print time and memory of the merge."""
    print(f"{count:,} parts of {in_a_process('parts', count, folder)['kilobytes']:.0f} kB")
    for name in ("large.nc", "large.zarr"):
        run = in_a_process(name, count, folder)
        print(
            f"merged into {name}: {run['gigabytes']:.2f} GB, {run['seconds']:.0f} s "
            f"({run['cpu']:.0f} s of CPU), peak memory {run['peak']:.0f} MiB "
            f"({run['before']:.0f} MiB before)",
            flush=True,
        )


def processor() -> str:
    """Model of the processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Print the tables, or one measurement for the process that asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, count, folder = options.one
        large = case == "parts" or case.startswith("large")
        measure = large_parts if large else one
        print(json.dumps(measure(case, int(count), Path(folder))))
        return
    # beside the results, on the disk that a study would write to
    folder = Path(tempfile.mkdtemp(prefix=".overhead-", dir="."))
    try:
        (folder / "overhead.py").write_text(STUDY)
        print(f"Python {platform.python_version()}, {processor()}, {os.cpu_count()} cores")
        if options.merge:
            merge_of_large_parts(max(options.tasks), folder)
        else:
            overhead(options.tasks, options.repeats, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
