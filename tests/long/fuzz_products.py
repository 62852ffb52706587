# SPDX-License-Identifier: MIT
"""Rounds of fuzz_kernels.py: activations, products of integers, rotations."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_rounds import Round, both, same

from bitmill import kernels, reference
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._sizes import group_count
from bitmill.layouts import Integers, Nibbles, Tiles

EXTREMES = np.int8([-128, 127, -127, 0, 1, -1])
LONGEST_INT8, LONGEST, LONGEST_ANY_ZERO = 131_071, 65_793, 33_025


def tokens(r: Round) -> None:
    symmetric = r.chance(0.5)
    grid = {"rule": "absmax", "range": {"qmin": -128, "qmax": 127}}
    if not symmetric:
        grid = {"rule": "asymmetric", "range": {"qmin": 0, "qmax": 255}}
    x, options = r.values((r.rows, r.cols), r.type), {"symmetric": symmetric}
    made = kernels.token_quantize(x, **options, **r.threads)
    wanted = reference.token_quantize(x, **options)
    same(made[4:], wanted[4:])
    if not wanted.nonfinite and not wanted.overflowed:
        same(made[:4], wanted[:4])
        codes = wanted.codes
        r.into(codes, lambda out: kernels.token_quantize(x, **options, out=out, **r.threads))
    x = r.values((r.rows, r.cols), r.type, finite=True)
    given = r.but(scales="float32", **grid).parameters((r.rows, 1))[:2]
    made, wanted = kernels.token_encode(x, *given, **r.threads), reference.token_encode(x, *given)
    same(tuple(made), tuple(wanted))
    codes = wanted.codes
    r.into(codes, lambda out: kernels.token_encode(x, *given, out=out, **r.threads))


def sizes(r: Round, longest: int) -> tuple[int, int, int]:
    """Rows of x, rows of w, and how long both are."""
    if r.chance(0.02):
        return r.number(1, 10), r.number(1, 20), longest - r.number(0, 70)
    if r.chance(0.04):  # several patches, which threads share
        return r.number(100, 300), r.number(40, 200), r.number(0, 150)
    most = r.one_of([3, 20, 70])
    return r.number(0, most), r.number(0, most), r.number(*r.one_of([(0, 70), (100, 3000)]))


def some_bytes(r: Round, shape: tuple[int, ...], of: Any) -> Array:
    """Codes of all values, of the extreme ones alone, or one of these everywhere."""
    kind = r.number(0, 3)
    if kind == 0:
        made = r.rng.integers(0, 256, shape, np.uint8)
    else:
        picked = r.rng.choice(EXTREMES, shape if kind == 1 else 1).view(np.uint8)
        made = np.broadcast_to(picked, shape).copy()
    return r.placed(made.view(of))


def scales_of(r: Round, shape: tuple[int, ...]) -> Array:
    """Usual ones, or any that there are: products overflow then, and underflow."""
    if r.chance(0.7):
        usual = r.rng.standard_normal(shape) * 10.0 ** r.number(-10, 5)
        return r.placed(usual.astype(np.float32))
    return r.values(shape, "float32")


def activations(r: Round, rows: int, depth: int) -> tuple[Array, Array, Array | None]:
    """Codes, their scales, and perhaps their zero-points."""
    of = np.dtype(r.one_of([np.int8, np.uint8]))
    zero = some_bytes(r, (rows, 1), of) if r.chance(0.5) else None
    return some_bytes(r, (rows, depth), of), scales_of(r, (rows, 1)), zero


def products(r: Round) -> None:
    """Of bytes."""
    rows, cols, depth = sizes(r, LONGEST_INT8)
    x, w = (some_bytes(r, (n, depth), np.int8) for n in (rows, cols))
    wanted = reference.matmul_int8(x, w)
    r.into(wanted, lambda out: kernels.matmul_int8(x, w, out=out, **r.threads))
    whole_numbers(r, *sizes(r, LONGEST))
    rows, cols, depth = sizes(r, LONGEST)
    codes, zero = some_bytes(r, (cols, depth), np.uint8), some_bytes(r, (cols, 1), np.uint8)
    sums = (codes.astype(np.int32) - zero).sum(axis=1, keepdims=True, dtype=np.int32)
    tiles = r.placed(Tiles(16, inner=Integers("uint8")).pack(codes))
    bias = scales_of(r, (cols,)) if r.chance(0.5) else None
    given = (*activations(r, rows, depth), tiles, scales_of(r, (cols, 1)), zero, sums, bias)
    multiply(r, "matmul_w8a8", *given)


def whole_numbers(r: Round, rows: int, cols: int, depth: int) -> None:
    """Of prepacked bytes: sums, and codes of them."""
    x = some_bytes(r, (rows, depth), r.one_of([np.int8, np.uint8]))
    tiles = Tiles(16, inner=Integers("uint8")).pack(some_bytes(r, (cols, depth), np.uint8))
    bias = r.rng.integers(-(2**31), 2**31, cols, np.int64).astype(np.int32)
    given = x, r.placed(tiles), some_bytes(r, (cols, 1), np.uint8), bias if r.chance(0.5) else None
    sums = reference.matmul_sums(*given)
    r.into(sums, lambda out: kernels.matmul_sums(*given, out=out, **r.threads))
    more, options = factors(r, cols)
    codes = reference.matmul_requantized(*given, *more, **options)
    call = options | r.threads
    r.into(codes, lambda out: kernels.matmul_requantized(*given, *more, **call, out=out))


def products4(r: Round) -> None:
    """Of 4 bits with bytes, and with floats."""
    rows, cols, depth = sizes(r, LONGEST)
    weights, options = nibbles(r, cols, depth, np.int8)
    multiply(r, "matmul_w4a8", *activations(r, rows, depth), *weights, **options)
    rows, cols, depth = sizes(r, LONGEST)
    depth = min(depth, 5000)  # of which the twin makes a loop
    weights, options = nibbles(r, cols, depth, np.float32)
    multiply(r, "matmul_w4a16", r.values((rows, depth), "float32"), *weights, **options)


def nibbles(
    r: Round, cols: int, depth: int, value_dtype: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Weights [cols, depth] with scales and zero-points or values, and options."""
    size = None if r.chance(0.2) else 8 * r.number(1, r.one_of([3, 20, 600]))
    shape = -(-cols // 16), group_count(depth, size or max(depth, 1)), 16
    with np.errstate(over="ignore"):
        scale = r.placed(scales_of(r, shape).astype(dtype(r.one_of(STORAGES))))
    zero = values = None
    if r.chance(0.3):
        zero = some_bytes(r, shape, np.uint8)
        if depth > LONGEST_ANY_ZERO or r.chance(0.7):
            zero &= 15
    elif r.chance(0.5):
        floats = value_dtype is np.float32
        values = (
            r.values((16,), "float32", finite=True) if floats else some_bytes(r, (16,), np.int8)
        )
    bias = scales_of(r, (cols,)) if r.chance(0.5) else None
    layout = Tiles(16, inner=Nibbles(8, signed=False, pad=r.number(0, 16)))
    tiles = r.placed(layout.pack(some_bytes(r, (cols, depth), np.uint8) & 15))
    return (tiles, scale, zero, values, bias), {"rows": cols, "group_size": size}


def multiply(r: Round, name: str, *given: Any, **options: Any) -> None:
    """One product, as any dtype."""
    kernel, twin = both(name)
    options |= {"dtype_name": r.one_of(STORAGES)}
    wanted = twin(*given, **options)
    r.into(wanted, lambda out: kernel(*given, **options, out=out, **r.threads))


def requantized(r: Round) -> None:
    rows, cols, rng = r.rows, min(r.cols, 20_000), r.rng
    acc = rng.integers(-(2**31), 2**31, (rows, cols)).astype(np.int32) >> rng.integers(
        0, 32, (rows, 1), np.int32
    )
    ends = np.int32([-(2**31), -(2**31) + 1, -1, 0, 1, 2**30, 2**31 - 1])
    some = rng.random(acc.shape) < r.one_of([0, 0.1, 1])
    acc[some] = rng.choice(ends, some.sum())
    given, options = factors(r, cols)
    placed = r.placed(acc), *given
    wanted = reference.requantize(*placed, **options)
    r.into(wanted, lambda out: kernels.requantize(*placed, **options, out=out, **r.threads))


def factors(r: Round, cols: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Multipliers, shifts and a zero-point, and the options of `requantize`."""
    multiplier = r.rng.integers(1 << 30, 1 << 31, cols, np.int64).astype(np.int32)
    some = r.rng.random(cols) < r.one_of([0, 0.2, 1])
    multiplier[some] = r.rng.choice(np.int32([0, 1 << 30, 2**31 - 1, 3 << 29]), some.sum())
    low, high = r.one_of([(-31, 31), (-12, 2), (0, 31), (-31, -29), (30, 31)])
    shift = r.rng.integers(low, high, cols, np.int32)
    of = r.one_of([np.iinfo(np.int8), np.iinfo(np.uint8)])
    qmin, qmax = of.min, of.max
    if r.chance(0.4):
        qmin, qmax = sorted(r.number(of.min, of.max + 1) for _ in range(2))
    options = {"qmin": qmin, "qmax": qmax, "rounding": r.one_of(["single", "double"])}
    options |= {"dtype_name": of.dtype.name}
    return (r.placed(multiplier), r.placed(shift), r.number(of.min, of.max + 1)), options


def rotated(r: Round) -> None:
    length = r.one_of([1, 12, 20]) << r.number(0, 10)
    x = r.values((r.one_of([r.rows, r.number(0, 200)]), length), r.type)
    sign = r.rng.choice(np.int8([-1, 1]), length) if r.chance(0.5) else None
    wanted = reference.hadamard(x, sign=sign)
    r.into(wanted, lambda out: kernels.hadamard(x, sign=sign, out=out, **r.threads))
