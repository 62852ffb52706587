# SPDX-License-Identifier: MIT
"""Rounds of fuzz_kernels.py: k-means, the counts it takes, and the codes it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_rounds import Round, both, same

from bitmill import kernels, reference
from bitmill._sizes import group_count


def clusters(r: Round) -> None:
    """Of rows that have few values, many alike, or none."""
    rows, cols = min(r.rows, 3), r.number(1, 60) if r.chance(0.8) else r.number(100, 700)
    x = np.sort(r.values((rows, cols), "float32", finite=True).astype(np.float64), axis=1)
    weights = None if r.chance(0.3) else r.rng.random(x.shape) ** r.number(0, 9)
    if weights is not None:
        weights[r.rng.random(x.shape) < r.one_of([0, 0.2, 0.95, 1])] = 0
        weights = np.ldexp(weights, r.one_of([0, 64, -900]))
    k, options = r.number(1, r.one_of([5, 20, cols + 3])), {"pin_zero": r.chance(0.3)}
    made, wanted = (f(x, weights, k, **options, **r.threads) for f in both("kmeans_edges"))
    same(tuple(made), tuple(wanted))


def counts(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.one_of(["float16", "bfloat16"]))
    importance = r.importance(x.shape)
    made, wanted = (f(x, importance, **r.threads) for f in both("value_counts"))
    same(tuple(made), tuple(wanted))
    x = r.values((r.rows, r.cols), "float32")
    made, wanted = (f(x, importance, **r.threads) for f in both("distinct_values"))
    same(made, wanted)


def buckets(r: Round) -> None:
    x, shift = r.values((r.rows, r.cols), "float32"), r.number(0, 17)
    tops = np.unique(x.reshape(-1).view(np.uint32) >> 16)
    chosen = tops[r.rng.random(tops.size) < r.one_of([0.1, 1])][: max(1, 40 << shift >> 8)]
    slots = np.full(65536, -1, np.int32)
    slots[chosen] = r.rng.permutation(chosen.size) * (65536 >> shift)
    importance = r.importance(x.shape)
    made, wanted = (f(x, slots, shift, importance, **r.threads) for f in both("bucket_sums"))
    same(tuple(made), tuple(wanted))


def assign(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type)
    count, per_table = r.number(0, r.one_of([20, 256, 5000])), r.one_of([None, 1, 3])
    tables = group_count(r.rows, per_table or max(1, r.rows))
    limits = r.values((tables, count), "float32", finite=True)
    limits.reshape(-1)[: min(r.number(0, 30), x.size, limits.size)] = np.inf
    options: dict[str, Any] = {"rows_per_table": per_table}
    if count < 256 and r.chance(0.5):
        options["bits"] = r.number(max(1, count.bit_length()), 9)
    given = (x, np.sort(limits, axis=1))
    codes = reference.assign_codes(*given, **options)
    r.into(codes, lambda out: kernels.assign_codes(*given, **options, out=out, **r.threads))
