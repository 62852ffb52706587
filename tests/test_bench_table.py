# SPDX-License-Identifier: MIT
"""The README's table is made of the files that the benches leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bitmill as bm

TABLE = Path(__file__).parent.parent / "bench" / "table.py"


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
    file = tmp_path / "benches.json"
    file.write_text(json.dumps({"benchmarks": benches}))
    command = [sys.executable, str(TABLE), "--aims", "--from", str(file)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "| int4, g128, f32 → words | 3.00 | 13.5 | 71 % | 16.0 | 1.2 fbgemm |" in told
    assert "1.25 × fbgemm, not 2" in told
