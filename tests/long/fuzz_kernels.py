# SPDX-License-Identifier: MIT
"""Every kernel against its twin on random shapes, values, parameters, addresses and settings.

    python tests/long/fuzz_kernels.py [--seed 0] [--minutes 10] [--only products tables]

Rounds draw the ISA, threads, whether output passes the caches, dtypes, codes and groups; values are
normal, ties, subnormals, any bits, sparse, of all magnitudes, of one sign; scales are any that the
contract allows, far from what a range would give. Values start anywhere in a cache line; so do
outputs, which lie between canaries. A difference ends the run and names the round, which `--seed`
and the same `--only` repeat.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable

import fuzz_affine
import fuzz_clusters
import fuzz_products
import fuzz_tables
import numpy as np
from fuzz_rounds import Round

import bitmill as bm
from bitmill import _core

FAMILIES: dict[str, list[Callable[[Round], None]]] = {
    "affine": [
        fuzz_affine.quantize,
        fuzz_affine.fit,
        fuzz_affine.code_and_decode,
        fuzz_affine.columns,
    ],
    "searches": [fuzz_affine.fit_errors, fuzz_affine.two_level],
    "statistics": [
        fuzz_affine.ranges,
        fuzz_affine.errors,
        fuzz_affine.histogram,
        fuzz_affine.order,
    ],
    "storage": [fuzz_affine.pack, fuzz_affine.convert],
    "clusters": [
        fuzz_clusters.clusters,
        fuzz_clusters.counts,
        fuzz_clusters.buckets,
        fuzz_clusters.assign,
    ],
    "tables": [fuzz_tables.floats, fuzz_tables.tables, fuzz_tables.table_errors],
    "tokens": [fuzz_products.tokens, fuzz_products.rotated, fuzz_products.requantized],
    "products": [fuzz_products.products, fuzz_products.products4],
}


def play(seed: int, families: Iterable[str] = tuple(FAMILIES)) -> None:
    """One round."""
    r = Round(seed)
    _core.use_isa(r.isa)
    stream = _core.stream_from(0 if r.chance(0.6) else 1 << 62)
    share = _core.share_from(0 if r.chance(0.3) else 1 << 62)
    try:
        with np.errstate(all="ignore"):
            for kernel in (kernel for family in families for kernel in FAMILIES[family]):
                try:
                    kernel(r)
                except Exception as error:
                    raise AssertionError(f"--seed {seed}, {kernel.__name__}: {vars(r)}") from error
    finally:
        _core.stream_from(stream), _core.share_from(share)


def main() -> None:
    """As long as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="the first round's")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=[*FAMILIES])
    given = parser.parse_args()
    end, seed = time.monotonic() + 60 * given.minutes, given.seed
    while time.monotonic() < end:
        play(seed, given.only)
        seed += 1
    told = f"{seed - given.seed:,} rounds of {', '.join(given.only)} on {', '.join(bm.isas())}"
    print(f"{told}: no difference")


if __name__ == "__main__":
    main()
