# SPDX-License-Identifier: MIT
"""The README's table is made of the files that the benches leave."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import bitmill as bm

BENCH = Path(__file__).parent.parent / "bench"
TABLE = BENCH / "table.py"


def printed(folder: Path, benches: list[dict[str, object]], *options: str) -> str:
    """What the command prints of a file with these benches."""
    file = folder / "benches.json"
    file.write_text(json.dumps({"benchmarks": benches}))
    command = [sys.executable, str(TABLE), "--aims", *options, "--from", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_table_takes_shares_from_one_bench_and_ratios_from_the_others(tmp_path):
    def bench(name: str, share: float, **ratios: float) -> dict[str, object]:
        info = {"Gweights/s": 3.0, "GB/s": 13.5, "% of the ceiling": share}
        return {"name": name, "extra_info": info | {f"x {peer}": r for peer, r in ratios.items()}}

    benches = [
        bench(f"bench_quantize[{bm.isa()}-int4 sym g128-f32]", 71.0),
        bench("bench_int4_sym[g128-numpy]", 50.0, numpy=16.0),
        bench("bench_int4_sym[g128-fbgemm]", 50.0, fbgemm=1.5),
        bench("bench_int4_sym[g128-fbgemm]", 50.0, fbgemm=1.25),  # its better setting
    ]
    told = printed(tmp_path, benches)
    assert "| int4, g128, f32 → words | 3.00 | 13.5 | 71 % | 16.0 | 1.2 fbgemm |" in told
    assert "1.25 × fbgemm, not 2" in told


def test_products_have_shares_of_the_peak_or_none(tmp_path):
    def bench(name: str, **facts: float) -> dict[str, object]:
        return {"name": name, "extra_info": {"Gweights/s": 3.5, "GB/s": 3.5} | facts}

    benches = [
        bench(f"bench_w8a8[{bm.isa()}-sym-128]", **{"x dot peak": 0.5}),
        bench("bench_w8a8_peers[128-torch onednn]", **{"x torch onednn": 1.0}),
        bench("bench_w8a8_threads[128]", **{"x 1 thread": 1.5}),
    ]
    told = printed(tmp_path, benches, "--products")
    assert "| W8A8, M = 128 | 3.50 | 3.5 | 50 % | – | 1.0 torch onednn |" in told
    assert "| W8A8, M = 128, two threads | 3.50 | 3.5 | – | – | 1.5 1 thread |" in told
    assert "1.50 × 1 thread, not 1.7" in told


@pytest.mark.parametrize("rows", ["ROWS", "PRODUCTS"])
def test_every_row_has_benches(monkeypatch, rows):
    pytest.importorskip("pytest_benchmark")
    monkeypatch.syspath_prepend(BENCH)
    listed = getattr(importlib.import_module("aims"), rows)
    names = {name for row in listed for name in row.names(bm.isa())}
    files = sorted({str(BENCH / file) for row in listed for file in row.files})
    found = subprocess.run(
        [sys.executable, "-m", "pytest", *files, "--collect-only", "-q"]
        + [f"--named={name}" for name in names],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    benches = [line.partition("::")[2] for line in found if "::" in line]
    assert benches
    assert all(bench.startswith(tuple(names)) for bench in benches)
    assert not [name for name in names if not any(bench.startswith(name) for bench in benches)]
