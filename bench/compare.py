# SPDX-License-Identifier: MIT
"""Compare the speed of two commits, and name what became slower by more than 15 %.

    python bench/compare.py main~5                 # main~5 against HEAD: half an hour
    python bench/compare.py A B -k "bench_quantize and avx2 and int4" --repeat 5

Both commits are built into virtual environments of their own (kept under build/compare, by commit)
and timed by the benches of this checkout, A B, B A, A B, ...; a ratio is the median over these
pairs. What seems slower is timed once more before it is believed. Exit code 1 if anything is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from pytest_benchmark.stats import Stats

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "compare"
LIMIT = 1.15
FILES = ["affine", "columns", "ranges", "pack", "convert", "errors", "calls"]

Results = dict[str, dict[str, Any]]
"""Benches of one run, by name."""

Runs = list[list[Results]]
"""The runs of each of the two commits."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", metavar="COMMIT_A")
    parser.add_argument("new", metavar="COMMIT_B", nargs="?", default="HEAD")
    parser.add_argument("-k", default="not scalar and not widths", help="benches, as for pytest")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each commit (3)")
    parser.add_argument("--shape", default="4096x14336", help="ROWSxCOLS of the weight")
    options = parser.parse_args()
    pythons = [build(commit) for commit in (options.old, options.new)]
    runs = alternate(pythons, options.repeat, options.shape, ["-k", options.k])
    slower = regressions(runs)
    if slower:
        print(f"timing {len(slower)} again", file=sys.stderr)
        again = alternate(pythons, 2 * options.repeat, options.shape, list(slower.values()))
        runs = merged(runs, again)
        slower = regressions(runs)
    show(runs)
    for name in slower:
        print(f"slower: {name}: {ratio_of(name, runs):.2f} times as long")
    return 1 if slower else 0


def build(commit: str) -> Path:
    """The Python of an environment with bitmill of this commit."""
    sha = git("rev-parse", "--verify", f"{commit}^{{commit}}")
    folder = KEPT / sha[:12]
    python = folder / "venv" / "bin" / "python"
    if (folder / "built").exists():
        return python
    print(f"building {commit} ({sha[:12]})", file=sys.stderr)
    source = folder / "source"
    git("worktree", "add", "--force", "--detach", str(source), sha)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder / "venv"], check=True)
        pins = [f"{name}=={version(name)}" for name in ("numpy", "ml_dtypes", "pytest-benchmark")]
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, str(source), *pins], check=True, stdout=sys.stderr)
    finally:
        git("worktree", "remove", "--force", str(source))
    (folder / "built").touch()
    return python


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def alternate(pythons: list[Path], repeat: int, shape: str, which: list[str]) -> Runs:
    """Results of each commit, run after run; who goes first changes each time."""
    runs: list[list[Results]] = [[], []]
    for turn in range(repeat):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            print(f"run {turn + 1} of {repeat}, commit {'AB'[side]}", file=sys.stderr)
            runs[side].append(bench(pythons[side], shape, which))
    return runs


def bench(python: Path, shape: str, which: list[str]) -> Results:
    """Time bitmill alone with the benches of this checkout."""
    file = KEPT / f"run-{os.getpid()}.json"
    targets = [] if which and "::" in which[0] else [f"bench/bench_{name}.py" for name in FILES]
    command = [python, "-m", "pytest", *targets, *which, "--alone", f"--shape={shape}", "-q"]
    options = [f"--benchmark-json={file}", "--benchmark-save-data", "-p", "no:cacheprovider"]
    # A kernel that one of the commits has not is a failure of its bench, and left out.
    done = subprocess.run(
        [*command, *options],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not file.exists():
        sys.exit(f"no bench ran:\n{done.stdout}")
    benches = json.loads(file.read_text())["benchmarks"]
    file.unlink()
    return {one["fullname"]: one for one in benches}


def merged(runs: Runs, again: Runs) -> Runs:
    """The runs, where those that were timed again replace the first."""
    kept = []
    for first, second in zip(runs, again, strict=True):
        names = set().union(*second)
        left = [{name: one for name, one in run.items() if name not in names} for run in first]
        kept.append([*left, *second])
    return kept


def pairs(name: str, runs: Runs) -> list[tuple[float, float]]:
    """Median times of both commits in the runs that stood side by side."""
    return [
        (old[name]["stats"]["median"], new[name]["stats"]["median"])
        for old, new in zip(*runs, strict=True)
        if name in old and name in new
    ]


def ratio_of(name: str, runs: Runs) -> float:
    return median(new / old for old, new in pairs(name, runs))


def regressions(runs: Runs) -> dict[str, str]:
    """Names of the benches that became slower, each with its node id for pytest."""
    names = dict.fromkeys(name for run in runs[0] for name in run)
    timed = [name for name in names if pairs(name, runs)]
    return {name: name for name in timed if ratio_of(name, runs) > LIMIT}


def show(runs: Runs) -> None:
    """Both commits side by side, all their rounds pooled, as pytest-benchmark prints them."""
    files = [pooled(side, KEPT / f"{name}.json") for side, name in zip(runs, "AB", strict=True)]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)]
    subprocess.run([*command, "--group-by=fullname", "--columns=median,iqr,rounds"], check=True)


def pooled(side: list[Results], file: Path) -> Path:
    """One file for pytest-benchmark with the rounds of all runs."""
    benches: dict[str, dict[str, Any]] = {}
    for run in side:
        for name, one in run.items():
            data = benches.setdefault(name, one | {"rounds": []})["rounds"]
            data.extend(one["stats"]["data"])
    for one in benches.values():
        stats = Stats()
        for seconds in one.pop("rounds"):
            stats.update(seconds)
        one["stats"] = {key: getattr(stats, key) for key in stats.fields} | {"iterations": 1}
    file.write_text(json.dumps({"benchmarks": list(benches.values()), "machine_info": {}}))
    return file


if __name__ == "__main__":
    sys.exit(main())
