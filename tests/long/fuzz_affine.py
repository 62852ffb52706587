# SPDX-License-Identifier: MIT
"""Rounds of fuzz_kernels.py: ranges, affine codes, packing, conversions and statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_rounds import Round, same

from bitmill import kernels, reference
from bitmill._sizes import group_count


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
