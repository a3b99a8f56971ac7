"""Make the environments of the benchmarks: `.venv-bench`, with subriem and the peers.

    python3 benchmarks/environment.py [--only PACKAGE ...]

Each peer of `peers.txt` is installed by itself: one that does not install or import is recorded
with the reason, and the others go on. `.venv-bench/peers.json` says which interpreter has what.
Needs the standard library only; a second call installs only what is new or failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FOLDER = ROOT / ".venv-bench"
RECORD = FOLDER / "peers.json"
#: Seconds that one installation may take.
LIMIT = 900


@dataclass
class Peer:
    """A line of `peers.txt`, and what became of it."""

    package: str
    environment: str
    module: str
    arguments: list[str]
    python: str = ""
    version: str = ""
    failed: str = ""


def read_peers(text: str) -> list[Peer]:
    """The peers of a text in the form of `peers.txt`."""
    peers = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            package, environment, module, arguments = (part.strip() for part in line.split("|"))
            calls = [call.strip() for call in arguments.split(";")]
            peers.append(Peer(package, environment, module, calls))
    return peers


def interpreter(environment: str) -> Path:
    """The interpreter of an environment, which is made where there is none."""
    folder = FOLDER if environment == "main" else FOLDER / environment
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip(python, "--upgrade pip setuptools")
    return python


def pip(python: Path, arguments: str, constrained: bool = False) -> str:
    """Install; an empty text, or the reason why not."""
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments.split()]
    if constrained:
        command += ["--constraint", str(ROOT / "constraints.txt")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return f"not finished in {LIMIT} s"
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return (errors or done.stderr.strip().splitlines() or ["pip failed"])[-1][:300]


def install(peer: Peer) -> Peer:
    """Install a peer, import it, and note its version or what failed."""
    python = interpreter(peer.environment)
    peer.python, peer.failed = str(python), ""
    for call in peer.arguments:
        # --no-deps draws nothing that a constraint could stop
        constrained = peer.environment == "main" and "--no-deps" not in call
        peer.failed = pip(python, call, constrained)
        if peer.failed:
            return peer
    code = f"import importlib.metadata as m, {peer.module}\nprint()\n"
    code += f"print(m.version({peer.package!r}))"
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GEOMSTATS_BACKEND": "autograd"}
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, env={**os.environ, **quiet}
    )
    if done.returncode:
        peer.failed = "does not import: " + done.stderr.strip().splitlines()[-1][:300]
    else:
        peer.version = done.stdout.split()[-1]
    return peer


def installed() -> dict[str, Peer]:
    """What the record says, by package."""
    if not RECORD.exists():
        return {}
    return {row["package"]: Peer(**row) for row in json.loads(RECORD.read_text(encoding="utf-8"))}


def main() -> None:
    """Install subriem, then the peers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+")
    only = parser.parse_args().only
    python = interpreter("main")
    stamp = FOLDER / ".subriem"
    newest = max((ROOT / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    if not stamp.exists() or stamp.stat().st_mtime < newest:
        failed = pip(python, "--editable .[bench]", constrained=True)
        if failed:
            raise SystemExit(f"subriem did not install: {failed}")
        stamp.touch()
    known = installed()
    for peer in read_peers((HERE / "peers.txt").read_text(encoding="utf-8")):
        old = known.get(peer.package)
        done = old and old.arguments == peer.arguments and not old.failed
        if done or (only and peer.package not in only):
            continue
        known[peer.package] = install(peer)
        text = peer.failed and f"did not install: {peer.failed}"
        print(f"{peer.package} {text or peer.version}", flush=True)
        rows = [asdict(row) for row in known.values()]
        RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
