# SPDX-License-Identifier: MIT
"""Calls on which every kernel is compared with its twin: one function a kernel, one entry a call.

A case is (name, arguments, keyword arguments). Sizes cover every tail from 0 to 33 and the powers
of two with their neighbours; values cover ties, zeros, subnormals, constants, outliers and all
magnitudes. A bug fix starts as a case here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

from bitmill import reference as ref
from bitmill._dtypes import FLOATS, STORAGES, Array, dtype
from bitmill._minifloats import MINIFLOATS
from bitmill.grid import code_range
from bitmill.integer import quantize_multiplier
from bitmill.layouts import Integers, Nibbles, Tiles

Case = tuple[str, tuple[Any, ...], dict[str, Any]]

TAILS = [*range(34), 63, 64, 65, 127, 128, 129, 255, 257]
LENGTHS = [*TAILS, 511, 513, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 9001]
GROUPS = [None, 1, 2, 3, 16, 32, 63, 64, 65, 128, 4096]
RULES = ["absmax", "full_range", "signed_max", "asymmetric", "offset"]
WIDTHS = [2, 3, 4, 5, 6, 7, 8, 16]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights as they usually are, with a few outliers."""
    x = rng.standard_normal(shape, np.float32)
    x[rng.random(shape) < 0.01] *= 100
    return x


def ties(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Multiples of a half: many quotients lie exactly between two codes."""
    return (rng.integers(-255, 256, shape) / 2).astype(np.float32)


def subnormal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Float32 subnormals and the smallest normal numbers."""
    return (rng.integers(-300, 301, shape) * 2.0**-149).astype(np.float32)


def any_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Every magnitude there is, finite."""
    x = rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)
    return np.where(np.isfinite(x), x, np.float32(-0.0))


def constant(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One value everywhere, too fine for half precision."""
    return np.full(shape, 1001.0625, np.float32)


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Zeros of both signs."""
    return np.where(rng.random(shape) < 0.5, np.float32(-0.0), np.float32(0))


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """All above zero: an asymmetric range must be extended to it."""
    return np.abs(rng.standard_normal(shape, np.float32)) + 1


VALUES: list[Callable[[np.random.Generator, tuple[int, ...]], Array]] = [
    normal, ties, subnormal, any_bits, constant, zeros, positive,
]  # fmt: skip


def matrices(rng: np.random.Generator, lengths: list[int]) -> Iterator[tuple[str, Array]]:
    """Matrices of 3 rows in every float dtype, of every kind of values, cycling through lengths."""
    for i, length in enumerate(lengths):
        for j, name in enumerate(FLOATS):
            kind = VALUES[(i + 2 * j) % len(VALUES)]
            with np.errstate(all="ignore"):
                x = kind(rng, (3, length)).astype(dtype(name))
            x[~np.isfinite(x)] = 1
            yield f"{kind.__name__} {name} 3x{length}", x


def quantizers(rng: np.random.Generator) -> dict[str, Any]:
    """Bits, rule, storage and packing, drawn independently."""
    bits, rule = int(rng.choice(WIDTHS)), str(rng.choice(RULES))
    symmetric = rule not in ("asymmetric", "offset")
    narrow = symmetric and rule != "signed_max" and rng.random() < 0.3
    low, high = code_range(bits, symmetric=symmetric, narrow=narrow)
    packed = bits if bits <= 8 and rng.random() < 0.7 else None
    scales = str(rng.choice(STORAGES))
    return {"qmin": low, "qmax": high, "rule": rule, "scales": scales, "bits": packed}


def groups(rng: np.random.Generator, length: int) -> int | None:
    """A group size; small ones of long rows cost the twin much and show nothing new."""
    return GROUPS[rng.integers(0 if length < 300 else 4, len(GROUPS))]


def affine_quantize(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, 3 * LENGTHS):
        yield name, (x,), quantizers(rng) | {"group_size": groups(rng, x.shape[1])}


def _encoded(rng: np.random.Generator) -> Iterator[tuple[str, Array, Any, dict[str, Any]]]:
    for name, (x,), options in affine_quantize(rng):
        made = ref.affine_quantize(x, **options)
        if not made.overflowed:
            yield name, x, made, options


def affine_encode(rng: np.random.Generator) -> Iterator[Case]:
    for name, x, made, options in _encoded(rng):
        keep = {k: options[k] for k in ("qmin", "qmax", "group_size", "bits")}
        yield name, (x, made.scale, made.zero_point, made.offset), keep


def affine_decode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x, made, options) in enumerate(_encoded(rng)):
        keep = {"group_size": options["group_size"], "dtype_name": FLOATS[i % 4]}
        if options["bits"] is not None:
            signed = options["qmin"] < 0
            keep |= {"bits": options["bits"], "length": x.shape[1], "signed": signed}
        yield name, (made.codes, made.scale, made.zero_point, made.offset), keep


def affine_params(rng: np.random.Generator) -> Iterator[Case]:
    for i in range(8 * 5 * 3 * 3):
        kind = VALUES[i % len(VALUES)]
        lo, hi = np.sort(np.stack([kind(rng, (2, 37)), kind(rng, (2, 37))]), axis=0) + np.float32(0)
        options = quantizers(rng)
        del options["bits"]
        if options["rule"] in ("absmax", "full_range"):
            lo = -np.abs(hi)
        yield f"{kind.__name__} {options}", (lo, hi), options


def token_quantize(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, 3 * LENGTHS)):
        yield name, (x,), {"symmetric": i % 2 == 0}


def token_encode(rng: np.random.Generator) -> Iterator[Case]:
    for name, (x,), options in token_quantize(rng):
        made = ref.token_quantize(x, **options)
        if not made.overflowed:
            factor = np.float32(rng.choice([1, 0.3, 2]))  # clipped, and with codes to spare
            yield name, (x, made.scale * factor, made.zero_point), {}


def _columns(rng: np.random.Generator) -> Iterator[tuple[str, Array, Any, dict[str, int]]]:
    for name, x in matrices(rng, 3 * TAILS):
        options = quantizers(rng)
        del options["bits"]
        lo, hi = (r[np.newaxis] for r in ref.column_minmax(x))
        made = ref.affine_params(lo, hi, **options)
        if not made.overflowed:
            params = tuple(None if p is None else p[0] for p in made[:3])
            yield name, x, params, {"qmin": options["qmin"], "qmax": options["qmax"]}


def column_encode(rng: np.random.Generator) -> Iterator[Case]:
    for name, x, params, keep in _columns(rng):
        yield name, (x, *params), keep


def column_decode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x, params, keep) in enumerate(_columns(rng)):
        codes = ref.column_encode(x, *params, **keep)
        yield name, (codes, *params), {"dtype_name": FLOATS[i % 4]}


def absmax(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, LENGTHS):
        yield name, (x, groups(rng, x.shape[1])), {}


minmax = absmax


def column_absmax(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, TAILS):
        yield name, (x,), {}
    yield "no rows", (np.zeros((0, 5), np.float32),), {}


column_minmax = column_absmax


def pack(rng: np.random.Generator) -> Iterator[Case]:
    for bits in range(1, 9):
        for length in TAILS:
            unsigned = rng.integers(0, 1 << bits, (3, length)).astype(np.uint8)
            signed = (unsigned.astype(int) - (1 << bits - 1)).astype(np.int8)
            yield f"uint8 {bits} bits 3x{length}", (unsigned, bits), {}
            yield f"int8 {bits} bits 3x{length}", (signed, bits), {}


def unpack(rng: np.random.Generator) -> Iterator[Case]:
    for name, (codes, bits), _ in pack(rng):
        signed = codes.dtype == np.int8
        yield name, (ref.pack(codes, bits), bits, codes.shape[1]), {"signed": signed}


def to_float32(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, TAILS):
        yield name, (x,), {}
    every = np.arange(65536, dtype=np.uint16)
    yield "every float16", (every.view(np.float16),), {}
    yield "every bfloat16", (every.view(ml_dtypes.bfloat16),), {}


def from_float32(rng: np.random.Generator) -> Iterator[Case]:
    raw = rng.integers(0, 2**32, 100_003, dtype=np.uint32)
    near = (rng.integers(0, 1 << 16, 50_000, dtype=np.uint32) << 16) + rng.integers(
        0x7FFE, 0x8003, 50_000, dtype=np.uint32
    )
    for name in FLOATS:
        yield f"any bits to {name}", (raw.view(np.float32), name), {}
        yield f"around half-way to {name}", (near.view(np.float32), name), {}
        for length in TAILS:
            yield f"{length} to {name}", (normal(rng, (length,)), name), {}


ROTATED = [m << k for m in (1, 12, 20) for k in range(12)]
"""Lengths that have a Hadamard matrix."""


def hadamard(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, ROTATED)):
        sign = rng.choice(np.array([-1, 1], np.int8), x.shape[1]) if i % 3 else None
        yield name, (x,), {"sign": sign}
    yield "no rows", (np.zeros((0, 12), np.float32),), {}


def error_sums(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, LENGTHS):
        y = ref.to_float32(x)
        yield name, (x, y + y * np.float32(2**-9)), {}


def affine_error(rng: np.random.Generator) -> Iterator[Case]:
    """Also scales that limit many codes, and infinite ones, whose codes are 0."""
    for i, (name, x, made, options) in enumerate(_encoded(rng)):
        scale = made.scale if i % 2 else (made.scale * 0.3).astype(made.scale.dtype)
        scale[:, i % 5 :: 5] = np.inf
        keep = {k: options[k] for k in ("qmin", "qmax", "group_size")}
        yield name, (x, scale, made.zero_point, made.offset), keep


def weighed_error(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, LENGTHS)):
        y = ref.to_float32(x)
        w = rng.random((x.shape[0] if i % 2 else 1, x.shape[1]), np.float32) ** 9
        w[w < 2.0**-40] = 0
        yield name, (x, y + y * np.float32(2**-9), w), {}


def mse_params(rng: np.random.Generator) -> Iterator[Case]:
    """The twin tries everything for an exact optimum: only few codes of short groups there."""
    for i, (name, x) in enumerate(matrices(rng, [n for n in TAILS if n] + [300, 2061])):
        options = quantizers(rng) | {"group_size": groups(rng, x.shape[1])}
        del options["bits"]
        if options["qmax"] - options["qmin"] > 255:
            options |= {"qmin": options["qmin"] >> 9, "qmax": options["qmax"] >> 9}
        few = 7 if options["rule"] == "asymmetric" else 15
        short = min(x.shape[1], options["group_size"] or 4096) <= 130
        options["exact"] = short and options["qmax"] - options["qmin"] <= few and i % 3 > 0
        importance = _importance(rng, x, i)
        yield f"{name} {options}", (x, importance), options
    one_bit = {"qmin": 0, "qmax": 1, "rule": "asymmetric", "scales": "float32", "exact": True}
    weights = [0.41492018, 0.81538916, 0.9912778, 0.762701, 0.7888352, 0.84927714, 0.07394586]
    x = np.array([[2, 3, 3, 0, 3, 2, 0]], np.float32)
    yield "a guess below 0", (x, np.array(weights, np.float32)), one_bit

    tiny = np.full((1, 5), -1e-30, np.float32)
    for exact in (False, True):
        options = {"qmin": 0, "qmax": 3, "rule": "asymmetric", "scales": "float16", "exact": exact}
        yield f"zero-points far from the best {exact}", (tiny, None), options


def _importance(rng: np.random.Generator, x: Array, i: int) -> Array | None:
    if i % 2:
        return None
    shape = x.shape if i % 4 else x.shape[1:]
    weights = rng.random(shape, np.float32) ** 3
    weights[(rng.random(shape) < 0.2) | (weights < 2.0**-40)] = 0
    return weights * np.float32(i % 8 != 2)


def histogram(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, 2 * LENGTHS):
        bins = int(rng.choice([1, 2, 7, 64, 2048, 32767]))
        middle = np.median(np.abs(ref.to_float32(x)), axis=1) if x.size else np.ones(3)
        wide = np.frexp(middle)[1] - int(np.log2(bins)) + rng.integers(-3, 4, 3)
        exponent = np.clip(wide, -149, 128).astype(np.int32)
        first = rng.integers(-bins, 1, 3).astype(np.int32)
        yield f"{name} {bins} bins", (x, exponent, first), {"bins": bins}
    tiny = np.float32([[2.0**-149, -(2.0**-149), 0.0, -0.0, 1e38, -1e38, np.nan, np.inf, -np.inf]])
    for exponent in (-149, -127, -1, 0, 1, 127, 128):
        for first in (-(1 << 24), -1, 0, 1 << 24):
            window = np.int32([exponent]), np.int32([first])
            yield f"extremes {exponent} {first}", (tiny, *window), {"bins": 3}


def _ranks(rng: np.random.Generator, length: int) -> set[int]:
    """Both ends, what percentiles of 99.9 and 50 ask for, and one more."""
    ends = {0, length - 1, length * 999 // 1000, length // 2, int(rng.integers(length))}
    return {min(rank, length - 1) for rank in ends}


def order_statistics(rng: np.random.Generator) -> Iterator[Case]:
    for name, x in matrices(rng, [n for n in LENGTHS if n]):
        if rng.random() < 0.2:
            x[rng.integers(3), rng.integers(x.shape[1])] = rng.choice([np.nan, -np.nan, np.inf])
        for rank in _ranks(rng, x.shape[1]):
            yield f"{name} rank {rank}", (x, rank), {"magnitude": bool(rng.random() < 0.5)}
    yield "no rows", (np.zeros((0, 5), np.float32), 3), {}


def two_level_params(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, [n for n in TAILS if n] + [300, 2061])):
        options = quantizers(rng) | {"group_size": groups(rng, x.shape[1]), "scales": "float32"}
        del options["bits"]
        group_size = options.pop("group_size")
        lo, hi = ref.minmax(x, group_size)
        made = ref.affine_params(lo, hi, **options)
        if made.overflowed:
            continue
        scale = np.where(lo == hi, np.float32(0), made.scale)
        if i % 3 == 0 and options["qmin"] < 0:
            scale *= rng.choice([-1, 1], scale.shape).astype(np.float32)
        keep = {
            "qmin": options["qmin"],
            "qmax": options["qmax"],
            "bits": int(rng.integers(4, 9)),
            "signed": bool((scale < 0).any()),
            "super_groups": int(rng.integers(1, 20)),
            "scales": str(rng.choice(STORAGES)),
            "group_size": group_size,
        }
        params = (scale, made.zero_point, made.offset, _importance(rng, x, i))
        yield f"{name} {keep}", (x, *params), keep


def _sorted_rows(rng: np.random.Generator, i: int, length: int) -> tuple[Array, Array | None]:
    """Values in ascending order, many of them equal, and weights, some of them 0."""
    kinds = [
        rng.standard_normal((2, length)),
        rng.integers(-9, 10, (2, length)).astype(np.float64),
        VALUES[i % len(VALUES)](rng, (2, length)).astype(np.float64),
        1e6 + np.rint(rng.standard_normal((2, length)) * 64) / 64,
    ]
    values = np.sort(kinds[i % 4], axis=1)
    if i % 3 == 0:
        return values, None
    weights = rng.random((2, length)) ** 3 if i % 3 == 1 else rng.integers(0, 4, (2, length)) * 1.0
    weights[rng.random((2, length)) < 0.2] = 0
    return values, weights


def kmeans_edges(rng: np.random.Generator) -> Iterator[Case]:
    for i in range(180):
        length = int(rng.choice([1, 2, 3, 7, 8, 9, 16, 17, 40, 100, 300]))
        values, weights = _sorted_rows(rng, i, length)
        k = int(rng.choice([1, 2, 3, 4, 5, 8, 16, 33, 64, length, length + 1]))
        yield f"{i} {length} values, {k} clusters", (values, weights, k), {"pin_zero": i % 5 == 0}
    values = np.sort(rng.standard_normal((1, 2500)), axis=1)
    for k in (2, 4, 5, 33, 400, 1900):
        yield f"2500 values, {k} clusters", (values, None, k), {}
    levels = np.repeat(np.arange(60.0), 3)[np.newaxis] + np.tile([-0.01, 0, 0.01], 60)
    for k in (9, 33, 60, 61, 90, 170):  # the cost falls by steps: no penalty makes most of these k
        yield f"clumps, {k} clusters", (levels, None, k), {}


def value_counts(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, LENGTHS)):
        if x.dtype.itemsize == 2:
            yield name, (x, _importance(rng, x, i // 2)), {}
    every = np.arange(65536, dtype=np.uint16).reshape(4, -1)
    yield "every bfloat16", (every.view(ml_dtypes.bfloat16),), {}


def distinct_values(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, LENGTHS)):
        if x.dtype == np.float32:
            yield name, (x, _importance(rng, x, i // 4)), {}
    every = rng.permutation(1 << 16).astype(np.float32).reshape(4, -1)
    for zeros in ([0.0, -0.0, 0.0, -0.0], [0.0, 0.5, 1, 2], [np.nan, 1, np.inf, -np.inf]):
        x = np.concatenate([every, np.float32(zeros).reshape(4, 1)], axis=1)
        yield f"65536 values and {zeros}", (x,), {}
    # Multiples of the inverse of what the kernel multiplies bits by: all would lie in one place.
    step = pow(0x9E3779B1, -1, 1 << 32)
    mixed = np.arange(1 << 14, dtype=np.uint64) * np.uint64(step) & np.uint64(0xFFFFFFFF)
    alike = (mixed ^ mixed >> np.uint64(15) ^ mixed >> np.uint64(30)).astype(np.uint32)
    yield "values of one place", (alike.view(np.float32).reshape(4, -1),), {}


def bucket_sums(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, LENGTHS)):
        if x.dtype == np.float32:
            shift = int(rng.choice([0, 3, 8, 16]))
            most = max(1, min(40, 1 << shift))  # together 65,536 slots, or few more
            some = np.unique(x.reshape(-1).view(np.uint32) >> 16)[:most]
            slots = np.full(65536, -1, np.int32)
            slots[some] = np.arange(len(some)) * (65536 >> shift)
            yield f"{name} {shift}", (x, slots, shift, _importance(rng, x, i // 4)), {}


def assign_codes(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, 2 * LENGTHS)):
        count = int(rng.choice([0, 1, 2, 3, 7, 14, 15, 16, 31, 100, 255, 256, 300, 4095]))
        per_table = [None, 1, 2][i % 3]
        tables = 1 if per_table is None else -(-3 // per_table)
        pool = np.append(ref.to_float32(x).reshape(-1), [np.float32(0), np.inf, -np.inf])
        thresholds = np.sort(rng.choice(pool, (tables, count)), axis=1).astype(np.float32)
        bits = int(rng.integers(count.bit_length() or 1, 9)) if count < 256 and i % 2 else None
        options = {"rows_per_table": per_table, "bits": bits}
        yield f"{name} {count} thresholds {options}", (x, thresholds), options


EXTREMES = np.int8([-128, 127, -127, 0, 1, -1])


def _bytes(rng: np.random.Generator, i: int, shape: tuple[int, int], of: Any) -> Array:
    """Codes of all values, or of the extreme ones alone, or one of these everywhere."""
    if i % 3 == 0:
        return rng.integers(0, 256, shape, np.uint8).view(of)
    picked = rng.choice(EXTREMES, shape if i % 3 == 1 else (1, 1))
    return np.broadcast_to(picked, shape).copy().view(np.uint8).view(of)


def _products(rng: np.random.Generator) -> Iterator[tuple[int, int, int, int]]:
    """A number, rows of x, rows of w, and how long both are: all tails of each."""
    for i, length in enumerate(2 * LENGTHS):
        most = 1 if length > 2100 else 3
        rows = int(rng.choice([0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31]))
        columns = int(rng.choice([0, 1, 2, 15, 16, 17, 33, 47, 48, 49, 64, 97, 100]))
        yield i, min(rows, 13 * most), min(columns, 33 * most), length
    yield -1, 259, 5, 9


def matmul_int8(rng: np.random.Generator) -> Iterator[Case]:
    for i, rows, columns, length in _products(rng):
        x, w = (
            _bytes(rng, i, (rows, length), np.int8),
            _bytes(rng, i + 1, (columns, length), np.int8),
        )
        yield f"{i} {rows}x{columns}x{length}", (x, w), {}


def _scales(rng: np.random.Generator, rows: int) -> Array:
    return (rng.standard_normal((rows, 1)) * 10.0 ** rng.integers(-30, 5)).astype(np.float32)


def matmul_w8a8(rng: np.random.Generator) -> Iterator[Case]:
    for i, rows, columns, length in _products(rng):
        of = np.dtype([np.int8, np.uint8][i % 2])
        x, codes = (
            _bytes(rng, i, (rows, length), of),
            _bytes(rng, i // 2, (columns, length), np.uint8),
        )
        x_zero = None if i % 3 == 0 else _bytes(rng, i + 1, (rows, 1), of)
        w_zero = _bytes(rng, i, (columns, 1), np.uint8)
        w_sum = (codes.astype(np.int32) - w_zero).sum(axis=1, keepdims=True, dtype=np.int32)
        bias = None if i % 4 == 0 else _scales(rng, columns)[:, 0]
        tiles = Tiles(16, inner=Integers("uint8")).pack(codes)
        weights = tiles, _scales(rng, columns), w_zero, w_sum, bias
        options = {"dtype_name": STORAGES[i % 3]}
        yield f"{i} {rows}x{columns}x{length}", (x, _scales(rng, rows), x_zero, *weights), options


def matmul_sums(rng: np.random.Generator) -> Iterator[Case]:
    for i, rows, columns, length in _products(rng):
        x = _bytes(rng, i, (rows, length), np.dtype([np.int8, np.uint8][i % 2]))
        w = Tiles(16, inner=Integers("uint8")).pack(
            _bytes(rng, i // 2, (columns, length), np.uint8)
        )
        w_zero = _bytes(rng, i, (columns, 1), np.uint8)
        if i % 4 == 1:
            w_zero[...] = 128
        bias = rng.integers(-(2**31), 2**31, columns, np.int64).astype(np.int32)
        yield f"{i} {rows}x{columns}x{length}", (x, w, w_zero, None if i % 5 == 0 else bias), {}


def matmul_requantized(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, given, _) in enumerate(matmul_sums(rng)):
        acc = ref.matmul_sums(*given)
        factors, options = _factors(rng, i, acc.shape[1])
        if i % 3 == 0:  # so that most results are codes
            most = np.abs(acc.astype(np.float64)).max(axis=0, initial=64)
            factors = *quantize_multiplier(100 / most), factors[2]
        yield name, (*given, *factors), options


def requantize(rng: np.random.Generator) -> Iterator[Case]:
    extremes = np.int32(
        [0, 1, -1, 2, -2, 3, -3, -(2**31), -(2**31) + 1, 2**31 - 1, 2**30, -(2**30)]
    )
    for i, columns in enumerate([*LENGTHS, 4098, 8300] * 2):
        rows = int(rng.choice([0, 1, 3, 4, 5, 9, 37]))
        magnitudes = 2.0 ** rng.uniform(0, 31, (rows, columns)) * rng.choice(
            [-1, 1], (rows, columns)
        )
        acc = magnitudes.astype(np.int32)
        some = rng.random(acc.shape) < 0.1
        acc[some] = rng.choice(extremes, some.sum())
        factors, options = _factors(rng, i, columns)
        yield f"{rows}x{columns} {i}", (acc, *factors), options


def _factors(rng: np.random.Generator, i: int, columns: int) -> tuple[tuple[Any, ...], Any]:
    """Multipliers, shifts and a zero-point, and the options of `requantize`."""
    multiplier = rng.integers(1 << 30, 1 << 31, columns, np.int64).astype(np.int32)
    some = rng.random(columns) < 0.2
    multiplier[some] = rng.choice(np.int32([0, 1 << 30, 2**31 - 1, 3 << 29]), some.sum())
    shift = rng.integers(*[(-31, 31), (-12, 2), (0, 31), (-31, 1)][i % 4], columns).astype(np.int32)
    if i % 8 >= 4:  # as they are in layers: nothing goes to the left, and nothing far to the right
        multiplier[multiplier == 0] = 1 << 30
        shift = rng.integers(-21, -1, columns, np.int32)
    of, low, high = [("int8", -128, 127), ("uint8", 0, 255)][i % 2]
    zero_point = int(rng.integers(low, high + 1))
    qmin, qmax = sorted(int(v) for v in rng.integers(low, high + 1, 2))
    if rng.random() < 0.7:
        qmin, qmax = low, high
    options = {"qmin": qmin, "qmax": qmax, "rounding": ["single", "double"][i // 2 % 2]}
    return (multiplier, shift, zero_point), options | {"dtype_name": of}


def _nibbles(
    rng: np.random.Generator, i: int, columns: int, length: int, value_dtype: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Weights of 4 bits [columns, length] with scales and zero-points or values, and options."""
    codes = _bytes(rng, i, (columns, length), np.uint8) & 15
    size = [None, 8, 32, 40, 128, 4096][int(rng.integers(0 if length < 2100 else 2, 6))]
    shape = -(-columns // 16), -(-length // (size or max(length, 1))), 16
    with np.errstate(over="ignore"):
        scale = (rng.standard_normal(shape) * 10.0 ** rng.integers(-30, 5)).astype(np.float32)
        scale = scale.astype(dtype(STORAGES[i % 3]))
    scale[~np.isfinite(scale)] = 1
    zero = rng.integers(0, 16, shape, np.uint8) if i % 4 == 1 else None
    values = None
    if i % 4 == 2:
        values = _bytes(rng, i + 1, (16, 1), np.int8)[:, 0].astype(value_dtype)
        values = values / value_dtype(3) if value_dtype is np.float32 else values
    bias = None if i % 5 == 0 else _scales(rng, columns)[:, 0]
    tiles = Tiles(16, inner=Nibbles(8, signed=False, pad=int(rng.integers(16)))).pack(codes)
    options = {"rows": columns, "group_size": size, "dtype_name": STORAGES[i // 2 % 3]}
    return (tiles, scale, zero, values, bias), options


def matmul_w4a8(rng: np.random.Generator) -> Iterator[Case]:
    for i, rows, columns, length in _products(rng):
        of = np.dtype([np.int8, np.uint8][i // 3 % 2])
        x, x_scale = _bytes(rng, i, (rows, length), of), _scales(rng, rows)
        x_zero = None if i % 3 == 0 else _bytes(rng, i + 1, (rows, 1), of)
        weights, options = _nibbles(rng, i, columns, length, np.int8)
        yield f"{i} {rows}x{columns}x{length} {options}", (x, x_scale, x_zero, *weights), options


def matmul_w4a16(rng: np.random.Generator) -> Iterator[Case]:
    for i, rows, columns, length in _products(rng):
        x = VALUES[i % len(VALUES)](rng, (rows, length))
        x = np.clip(x, np.float32(-(2.0**80)), np.float32(2.0**80))  # infinities would meet
        weights, options = _nibbles(rng, i, columns, length, np.float32)
        yield f"{i} {rows}x{columns}x{length} {options}", (x, *weights), options


def _float_groups(rng: np.random.Generator, x: Array, format: str) -> dict[str, Any]:
    packed = MINIFLOATS[format].bits < 8 and bool(rng.random() < 0.5)
    return {"format": format, "group_size": groups(rng, x.shape[1]), "packed": packed}


def float_encode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x) in enumerate(matrices(rng, LENGTHS)):
        format = list(MINIFLOATS)[i % len(MINIFLOATS)]
        options = _float_groups(rng, x, format)
        scale = ref.absmax(x, options["group_size"]) / np.float32(MINIFLOATS[format].max)
        scale = scale * rng.choice(np.float32([1, 1, 0.7, -1, 2.0**-9]), scale.shape)
        scale[scale == 0] = rng.choice(np.float32([1, 2.0**-149, np.inf]))
        yield f"{name} {options}", (x, scale), options
    one = np.ones((1, 1), np.float32)
    for format in MINIFLOATS:
        yield f"neighbours {format}", (neighbours(format), one), {"format": format}
        yield f"every bfloat16 {format}", (every_bfloat16().reshape(1, -1), one), {"format": format}


def every_bfloat16() -> Array:
    """All finite numbers."""
    bits = np.arange(65536, dtype=np.uint16)
    return bits[bits & 0x7F80 != 0x7F80].view(ml_dtypes.bfloat16)


def neighbours(format: str) -> Array:
    """Every value, every midpoint between two, and the float32 numbers beside them."""
    f = MINIFLOATS[format]
    sizes = np.arange(f.top + 1, dtype=np.uint8).reshape(1, -1)
    values = ref.float_decode(sizes, np.ones((1, 1), np.float32), format=format)[0]
    between = np.append((values[1:] + values[:-1]) / 2, [f.max * 1.0625, 3e38])
    points = np.concatenate([values, between]).astype(np.float32)
    beside = [np.nextafter(points, np.float32(end)) for end in (-np.inf, np.inf)]
    every = np.concatenate([points, *beside])
    return np.concatenate([every, -every]).reshape(1, -1)


def float_decode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, (x, scale), options) in enumerate(float_encode(rng)):
        codes = ref.float_encode(x, scale, **options)
        keep = {k: options[k] for k in ("format", "group_size") if k in options}
        if options.get("packed"):
            keep["length"] = x.shape[1]
        elif rng.random() < 0.5:
            codes = rng.integers(0, 256, codes.shape, np.uint8)
        yield name, (codes, scale), keep | {"dtype_name": FLOATS[i % 4]}


def tables(rng: np.random.Generator, count: int) -> Array:
    """Values in any order, of both signs; whole numbers in small tables, so that many tie."""
    if count % 2:
        return rng.permutation(np.arange(count) - count // 3).astype(np.float32)
    return rng.standard_normal(count, np.float32)


def _table_calls(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, dict[str, Any]]]:
    """Values, a table, a group size, and perhaps a width that its codes fit."""
    for name, x in matrices(rng, 2 * TAILS + LENGTHS):
        count = int(rng.choice([2, 3, 8, 13, 16, 17, 31, 255, 256]))
        least = (count - 1).bit_length()
        bits = int(rng.integers(least, 9)) if rng.random() < 0.6 else None
        keep = {"group_size": groups(rng, x.shape[1]), "bits": bits}
        yield f"{name} {count} values", x, tables(rng, count), keep


def table_quantize(rng: np.random.Generator) -> Iterator[Case]:
    for name, x, values, keep in _table_calls(rng):
        rule, scales = str(rng.choice(["absmax", "signed_max"])), str(rng.choice(STORAGES))
        yield name, (x, values), keep | {"rule": rule, "scales": scales}


def table_encode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x, values, keep) in enumerate(_table_calls(rng)):
        if i % 4 == 0:
            several = np.stack([tables(rng, len(values)) for _ in range(2)])
            yield f"{name} twice", (x, several), keep | {"rows_per_table": 2}
            continue
        made = ref.table_quantize(x, values, rule="signed_max", group_size=keep["group_size"])
        scale: Array = made.scale
        if i % 4 == 1:  # none, and some too small for a reciprocal
            kinds = np.array([0.0, 2.0**-140, -(2.0**-149), 2.0**127, -1.5], np.float32)
            scale = rng.choice(kinds, scale.shape)
        elif i % 4 == 2:
            with np.errstate(all="ignore"):
                scale = scale.astype(np.float16)
        yield name, (x, values, np.where(np.isfinite(scale), scale, scale.dtype.type(1))), keep


def table_decode(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, (x, *given), keep) in enumerate(table_encode(rng)):
        codes, words = ref.table_encode(x, *given, **keep), {}
        if keep["bits"] is not None:
            words = {"length": x.shape[1]}
        yield name, (codes, *given), keep | words | {"dtype_name": FLOATS[i % 4]}
    beyond = np.arange(256, dtype=np.uint8).reshape(4, 64)
    for count in (2, 15, 16, 17, 256):
        yield f"codes beyond {count} values", (beyond, tables(rng, count)), {}


def table_sums(rng: np.random.Generator) -> Iterator[Case]:
    for i, (name, x, values, keep) in enumerate(_table_calls(rng)):
        made = ref.table_quantize(x, values, group_size=keep["group_size"])
        scale = np.where(np.isfinite(made.scale), made.scale, np.float32(1))[..., np.newaxis]
        factors = rng.uniform(-1.5, 1.5, int(rng.integers(1, 6))).astype(np.float32)
        factors[rng.random(len(factors)) < 0.1] = 0
        keep = {"group_size": keep["group_size"]}
        with np.errstate(all="ignore"):
            yield name, (x, values, scale * factors, _importance(rng, x, i)), keep
