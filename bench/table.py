# SPDX-License-Identifier: MIT
"""Run the benches of the README's table and print it, in Markdown, with the machine under it.

    python bench/table.py                    # all of it: about ten minutes
    python bench/table.py --products         # of integer products, and what goes with them
    python bench/table.py --aims             # and what falls short of the aims
    python bench/table.py --from *.json      # from files of `pytest bench --benchmark-json=...`

Peers in torch run twice, with THP_MEM_ALLOC_ENABLE 1 and 0, and the setting counts in which they
are faster. BITMILL_ISA chooses another instruction set than the best.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import environment  # noqa: F401  (first: NumPy reads it)

# isort: split
import machine
from aims import PRODUCTS, ROWS, Row
from bitmill import _core

BENCH = Path(__file__).parent
TORCH = "torch or fbgemm or hqq or bitsandbytes"  # peers that torch allocates for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--from", dest="files", nargs="+", type=Path, help="files to read instead")
    parser.add_argument("--shape", default="4096x14336", help="ROWSxCOLS of the weight")
    parser.add_argument("--aims", action="store_true", help="say what falls short")
    parser.add_argument("--products", action="store_true", help="rows of integer products")
    options = parser.parse_args()
    rows = PRODUCTS if options.products else ROWS
    if options.files:
        benches = read(options.files)
    else:
        with tempfile.TemporaryDirectory() as folder:
            benches = read(run(Path(folder), options.shape, rows))
    print(table(benches, options.shape, rows))
    print(f"\n<sub>{machine.describe()}.</sub>")
    if options.aims:
        print("\n".join(["", *misses(benches, rows)]))


def run(folder: Path, shape: str, rows: list[Row]) -> list[Path]:
    """Run the benches; the files with their results."""
    targets = sorted({str(BENCH / file) for row in rows for file in row.files})
    names = [f"--named={name}" for row in rows for name in row.names(_core.isa())]
    files = []
    for huge_pages, which in [("1", []), ("0", ["-k", TORCH])]:
        files.append(folder / f"{huge_pages}.json")
        command = [sys.executable, "-m", "pytest", *targets, f"--shape={shape}", *names, *which]
        print("running:", *command[2:], file=sys.stderr)
        subprocess.run(
            [*command, "-q", "--benchmark-columns=median", f"--benchmark-json={files[-1]}"],
            env=os.environ | {"THP_MEM_ALLOC_ENABLE": huge_pages},
            stdout=sys.stderr,
            check=True,
        )
    return files


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Name and facts of every bench in the files."""
    return [
        {"name": bench["name"], **bench["extra_info"]}
        for file in files
        for bench in json.loads(file.read_text())["benchmarks"]
    ]


def facts_of(row: Row, benches: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates and the share, each the median over the races, and the ratio to each peer in its better
    setting; empty if nothing ran.
    """
    alone = starting(row.alone, benches)
    if not alone:
        return {}
    facts: dict[str, Any] = {
        key: median(bench[key] for bench in alone) for key in ("Gweights/s", "GB/s")
    }
    shares = [share for share in map(share_of, alone) if share is not None]
    facts["share"] = median(shares) if shares else None
    ratios: dict[str, float] = {}
    for bench in starting(row.beside, benches) if row.beside else []:
        for key, ratio in bench.items():
            if key.startswith("x "):
                ratios[key[2:]] = min(ratio, ratios.get(key[2:], ratio))
    return facts | {"ratios": ratios}


def share_of(bench: dict[str, Any]) -> float | None:
    """Per cent of what memory gives, or of what registers do without any."""
    if "x dot peak" in bench:
        return 100 * bench["x dot peak"]
    return bench.get("% of the ceiling")


def starting(prefix: str, benches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The benches whose names start so."""
    prefix = prefix.replace("ISA", _core.isa())
    return [bench for bench in benches if bench["name"].startswith(prefix)]


def table(benches: list[dict[str, Any]], shape: str, rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = [
        f"| one thread, {shape.replace('x', ' × ')} | Gweights/s | GB/s | of the ceiling "
        "| × NumPy | × others |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        facts = facts_of(row, benches)
        if not facts:
            continue
        ratios = facts["ratios"]
        share = "–" if facts["share"] is None else f"{facts['share']:.0f} %"
        numpy = f"{ratios['numpy']:.1f}" if "numpy" in ratios else "–"
        others = sorted((ratio, peer) for peer, ratio in ratios.items() if peer != "numpy")
        named = ", ".join(
            f"{ratio:.1f} {peer.replace('torch_', 'torch.')}" for ratio, peer in others
        )
        lines.append(
            f"| {row.label} | {facts['Gweights/s']:.2f} | {facts['GB/s']:.1f} "
            f"| {share} | {numpy} | {named or '–'} |"
        )
    return "\n".join(lines)


def misses(benches: list[dict[str, Any]], rows: list[Row]) -> list[str]:
    """A line for each row that falls short of its aims."""
    lines = []
    for row in rows:
        facts = facts_of(row, benches)
        short = facts and row.misses(_core.isa(), facts["share"], facts["ratios"])
        if short:
            lines.append(f"{row.label}: {'; '.join(short)}")
    return lines or ["All aims are reached."]


if __name__ == "__main__":
    main()
