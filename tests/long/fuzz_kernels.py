# SPDX-License-Identifier: MIT
"""Every kernel against its twin on random shapes, values, parameters, addresses and settings.

    python tests/long/fuzz_kernels.py [--seed 0] [--minutes 10]

Rounds draw the ISA, threads, whether output passes the caches, dtypes, codes and groups; values are
normal, ties, subnormals, any bits, sparse, of all magnitudes, of one sign; scales are any that the
contract allows, far from what a range would give. Outputs start anywhere in a cache line and lie
between canaries. A difference ends the run and names the round, which `--seed` repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import bitmill as bm
from bitmill import _core, kernels, reference
from bitmill._dtypes import FLOATS, STORAGES, dtype
from bitmill._sizes import group_count

GROUPS = [None, 1, 15, 16, 17, 31, 32, 33, 48, 64, 96, 100, 128, 256, 300, 384, 896, 1024]
GROUPS += [2047, 2048, 2049, 2176]
WIDTHS = [2, 3, 4, 5, 6, 7, 8, 16]
EXPONENTS = [-140, -91, -90, -89, -20, -3, 0, 3, 89, 90, 91, 120]
CANARY, AROUND = 0xA5, 256


class Round:
    """The draws of one round, and what its kernels are called with."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.isa = self.one_of(bm.isas())
        self.threads = {"num_threads": self.number(1, 4)}
        self.type, self.to = self.one_of(FLOATS), self.one_of(FLOATS)
        self.rows = self.number(0, 10)
        self.cols = self.number(*self.one_of([(0, 70), (100, 700), (2000, 5000)]))
        if self.chance(0.04):  # several pieces, which threads share; of a row, or of rows
            self.rows, self.cols = self.one_of([(1, 300_000), (2, 270_001), (150, 2999)])
        self.group = self.one_of(GROUPS)
        if self.group and self.rows * self.cols / self.group > 10_000:
            self.group = None
        self.draw_codes()

    def draw_codes(self) -> None:
        bits, symmetric = self.one_of(WIDTHS), self.chance(0.5)
        rules = ["absmax", "full_range", "signed_max"] if symmetric else ["asymmetric", "offset"]
        self.rule, self.scales = self.one_of(rules), self.one_of(STORAGES)
        low = -(1 << bits - 1) if symmetric else 0
        high = low + (1 << bits) - 1
        if symmetric and self.rule != "signed_max" and self.chance(0.3):
            low += 1
        self.range = {"qmin": low, "qmax": high}
        self.packed = bits if bits <= 8 and self.chance(0.6) else None

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, choices: Any) -> Any:
        return choices[self.number(0, len(choices))]

    def values(self, shape: tuple[int, ...], of: str, finite: bool = False) -> np.ndarray:
        rng, normal = self.rng, self.rng.standard_normal(shape).astype(np.float32)
        kinds: list[Callable[[], np.ndarray]] = [
            lambda: normal,
            lambda: rng.integers(-255, 256, shape) / 2,
            lambda: rng.integers(-300, 301, shape) * 2.0**-149,
            lambda: rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32),
            lambda: np.where(rng.random(shape) < 0.9, 0, normal),
            lambda: np.ldexp(normal, rng.integers(-130, 120, shape)),
            lambda: -np.abs(normal) - 1,
            lambda: np.abs(normal) + 1,
        ]
        x = self.one_of(kinds)().astype(np.float32).astype(dtype(of))
        if finite:
            x[~np.isfinite(x.astype(np.float32))] = 1
        elif x.size and self.chance(0.2):
            x.flat[self.number(0, x.size)] = self.one_of([np.nan, -np.nan, np.inf, -np.inf])
        return x

    def parameters(self, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """A scale of any size and sign, and a zero-point or an offset where the rule has one."""
        low, high = (min(EXPONENTS), max(EXPONENTS)) if self.chance(0.1) else (-12, 3)
        exponents = self.rng.integers(low, high, shape)
        if self.chance(0.4):
            exponents = self.rng.choice(EXPONENTS, shape)
        scale = np.ldexp(self.rng.uniform(1, 2, shape), exponents)
        scale = (scale * self.rng.choice([1, -1], shape)).astype(np.float32)
        scale = scale.astype(dtype(self.scales))
        wide = scale.astype(np.float32)
        scale[~np.isfinite(wide) | (wide == 0)] = 1
        if self.rule == "asymmetric":
            high = self.range["qmax"]
            of = np.uint16 if high > 255 else np.uint8
            return scale, self.rng.integers(0, high + 1, shape).astype(of), None
        if self.rule == "offset":
            return scale, None, self.values(shape, self.scales, finite=True)
        return scale, None, None

    def offset(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """float32, where the rule has one."""
        return self.values(shape, "float32", finite=True) if self.rule == "offset" else None

    def importance(self, shape: tuple[int, int]) -> np.ndarray | None:
        """None, or what kernels take: float32, 0 or from 2^-40 to 1."""
        weights = self.rng.random(self.one_of([shape[1:], shape]), np.float32) ** self.number(0, 9)
        weights[self.rng.random(weights.shape) < self.one_of([0, 0.2, 0.95])] = 0
        weights[weights < 2.0**-40] = 0
        return weights if self.chance(0.5) else None

    def into(self, like: np.ndarray, call: Callable[[np.ndarray], Any]) -> None:
        """call(out) with an `out` at any address of its dtype must make it `like`, and no more."""
        size, step = like.nbytes, like.itemsize
        raw = np.full(size + 2 * AROUND, CANARY, np.uint8)
        start = -raw.ctypes.data % 64 + self.number(0, 64) // step * step + 64
        out = raw[start : start + size].view(like.dtype).reshape(like.shape)
        call(out)
        same(out, like)
        raw[start : start + size] = CANARY
        assert (raw == CANARY).all(), "written outside of out"


def same(a: Any, b: Any) -> None:
    """Equal bits, or NaN in the same places."""
    if isinstance(b, tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif isinstance(b, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.tobytes() != b.tobytes():
            assert b.dtype.kind not in "iu", "codes differ"
            nan = np.isnan(b.astype(np.float64))
            assert (np.isnan(a.astype(np.float64)) == nan).all(), "NaNs differ"
            assert a[~nan].tobytes() == b[~nan].tobytes(), "values differ"
    else:
        assert a == b


def quantize(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type)
    options = r.range | {"rule": r.rule, "scales": r.scales, "group_size": r.group}
    options["bits"] = r.packed
    made = kernels.affine_quantize(x, **options, **r.threads)
    wanted = reference.affine_quantize(x, **options)
    same(made[4:], wanted[4:])
    if wanted.nonfinite or wanted.overflowed:  # codes are unspecified then
        return
    same(made[:4], wanted[:4])
    r.into(wanted.codes, lambda out: kernels.affine_quantize(x, **options, out=out, **r.threads))


def fit(r: Round) -> None:
    shape = (r.rows, r.number(1, 50))
    lo, hi = (r.values(shape, "float32", finite=True) for _ in range(2))
    options = r.range | {"rule": r.rule, "scales": r.scales}
    lo, hi = np.minimum(lo, hi), np.maximum(lo, hi)
    same(
        tuple(kernels.affine_params(lo, hi, **options)),
        tuple(reference.affine_params(lo, hi, **options)),
    )


def fit_errors(r: Round) -> None:
    """If exact, few codes and small groups: there the twin tries every breakpoint."""
    exact = r.chance(0.5)
    rows, cols = min(r.rows, 4), r.number(1, 60) if exact else min(r.cols, 2000)
    if not rows or not cols:
        return
    group = r.one_of([None, 1, 7, 15, 16, 17, 32, 33]) if exact else r.group
    if group and rows * cols / group > 200:
        group = None
    low, high = r.range.values()
    down = max(0, (high - low).bit_length() - (r.number(2, 5) if exact else 8))
    options = {"qmin": low >> down, "qmax": high >> down, "rule": r.rule, "scales": r.scales}
    options |= {"group_size": group, "exact": exact}
    x = r.values((rows, cols), r.type, finite=True)
    importance = r.importance(x.shape)
    same(
        tuple(kernels.mse_params(x, importance, **options, **r.threads)),
        tuple(reference.mse_params(x, importance, **options)),
    )


def two_level(r: Round) -> None:
    rows, cols, group = min(r.rows, 4), min(r.cols, 700), r.group or 700
    if not rows or not cols:
        return
    x, shape = r.values((rows, cols), r.type, finite=True), (rows, group_count(cols, group))
    if r.chance(0.8):
        low, high = r.range.values()
        down = max(0, (high - low).bit_length() - 8)
        options = {"qmin": low >> down, "qmax": high >> down}
        grid = options | {"rule": r.rule, "group_size": group, "scales": "float32"}
        given = reference.mse_params(x, **grid)[:3]
    else:
        options, given = r.range, r.parameters(shape)
        given = (given[0].astype(np.float32), given[1], r.offset(shape))
    signed = r.rule == "signed_max"
    if not all(p is None or np.isfinite(p).all() for p in given):
        return
    given = (given[0] if signed else np.abs(given[0]), *given[1:])
    importance = r.importance(x.shape)
    options = options | {"bits": r.number(2, 9), "signed": signed, "super_groups": r.number(1, 9)}
    options |= {"scales": r.scales, "group_size": group}
    same(
        tuple(kernels.two_level_params(x, *given, importance, **options, **r.threads)),
        tuple(reference.two_level_params(x, *given, importance, **options)),
    )


def code_and_decode(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type, finite=True)
    given = r.parameters((r.rows, group_count(r.cols, r.group)))
    options = r.range | {"group_size": r.group, "bits": r.packed}
    codes = reference.affine_encode(x, *given, **options)
    r.into(codes, lambda out: kernels.affine_encode(x, *given, **options, out=out, **r.threads))
    del options["bits"]
    with np.errstate(over="ignore", invalid="ignore"):
        lost = reference.affine_error(x, *given, **options)
    same(kernels.affine_error(x, *given, **options, **r.threads), lost)
    stored: dict[str, Any] = {"group_size": r.group, "dtype_name": r.to}
    if r.packed:
        stored |= {"bits": r.packed, "length": r.cols, "signed": r.range["qmin"] < 0}
    values = reference.affine_decode(codes, *given, **stored)
    r.into(values, lambda out: kernels.affine_decode(codes, *given, **stored, out=out, **r.threads))


def columns(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type, finite=True)
    given = r.parameters((r.cols,))
    codes = reference.column_encode(x, *given, **r.range)
    r.into(codes, lambda out: kernels.column_encode(x, *given, **r.range, out=out, **r.threads))
    stored = {"dtype_name": r.to}
    values = reference.column_decode(codes, *given, **stored)
    r.into(values, lambda out: kernels.column_decode(codes, *given, **stored, out=out, **r.threads))


def ranges(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type)
    same(kernels.absmax(x, r.group, **r.threads), reference.absmax(x, r.group))
    if r.rows:
        same(kernels.column_absmax(x, **r.threads), reference.column_absmax(x))
    finite = r.values((r.rows, r.cols), r.type, finite=True)
    if r.cols:
        made, wanted = (
            kernels.minmax(finite, r.group, **r.threads),
            reference.minmax(finite, r.group),
        )
        same(tuple(made), tuple(wanted))
    if r.rows:
        made, wanted = kernels.column_minmax(finite, **r.threads), reference.column_minmax(finite)
        same(tuple(made), tuple(wanted))


def pack(r: Round) -> None:
    bits, signed = r.number(1, 9), r.chance(0.5)
    fields = r.rng.integers(0, 1 << bits, (r.rows, r.cols), np.uint8)
    codes = (fields - np.uint8(1 << bits - 1)).view(np.int8) if signed else fields
    words = reference.pack(codes, bits)
    r.into(words, lambda out: kernels.pack(codes, bits, out=out, **r.threads))
    options = {"signed": signed, **r.threads}
    r.into(codes, lambda out: kernels.unpack(words, bits, r.cols, out=out, **options))


def convert(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type)
    wide = reference.to_float32(x)
    r.into(wide, lambda out: kernels.to_float32(x, out=out, **r.threads))
    narrow = reference.from_float32(wide, r.to)
    r.into(narrow, lambda out: kernels.from_float32(wide, r.to, out=out, **r.threads))


def errors(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type, finite=True)
    y = r.values((r.rows, r.cols), "float32", finite=True)
    same(kernels.error_sums(x, y, **r.threads), reference.error_sums(x, y))
    w = abs(r.values((1, r.cols), "float32", finite=True))
    w = np.where(w < 2.0**-40, 0, np.minimum(w, 1)).astype(np.float32)
    same(kernels.weighed_error(x, y, w, **r.threads), reference.weighed_error(x, y, w))


def order(r: Round) -> None:
    if r.cols:
        x = r.values((r.rows, r.cols), r.type)
        asked = (x, r.number(0, r.cols))
        options = {"magnitude": r.chance(0.5)}
        made = kernels.order_statistics(*asked, **options, **r.threads)
        same(made, reference.order_statistics(*asked, **options))


def histogram(r: Round) -> None:
    x = r.values((r.rows, r.cols), r.type)
    bins = r.number(1, 3000)
    window = (
        r.rng.integers(-149, 129, r.rows, np.int32),
        r.rng.integers(-(1 << 24), (1 << 24) + 1, r.rows, np.int32) >> r.number(0, 25),
    )
    same(
        kernels.histogram(x, *window, bins=bins, **r.threads),
        reference.histogram(x, *window, bins=bins),
    )


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


def both(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A kernel and its twin."""
    return getattr(kernels, name), getattr(reference, name)


def play(seed: int) -> None:
    r = Round(seed)
    _core.use_isa(r.isa)
    stream = _core.stream_from(0 if r.chance(0.6) else 1 << 62)
    share = _core.share_from(0 if r.chance(0.3) else 1 << 62)
    try:
        for kernel in (
            quantize,
            fit,
            fit_errors,
            two_level,
            code_and_decode,
            columns,
            ranges,
            pack,
            convert,
            errors,
            histogram,
            order,
            clusters,
            counts,
            buckets,
            assign,
        ):
            try:
                kernel(r)
            except Exception as error:
                raise AssertionError(f"--seed {seed}, {kernel.__name__}: {vars(r)}") from error
    finally:
        _core.stream_from(stream), _core.share_from(share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="the first round's")
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    end, seed = time.monotonic() + 60 * given.minutes, given.seed
    with np.errstate(all="ignore"):
        while time.monotonic() < end:
            play(seed)
            seed += 1
    print(f"{seed - given.seed:,} rounds on {', '.join(bm.isas())}: no difference")


if __name__ == "__main__":
    main()
