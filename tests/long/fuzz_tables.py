# SPDX-License-Identifier: MIT
"""Rounds of fuzz_kernels.py: floats of few bits, and tables of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from fuzz_rounds import Round, same

from bitmill import kernels, reference
from bitmill._dtypes import STORAGES, Array
from bitmill._minifloats import MINIFLOATS
from bitmill._sizes import group_count, word_count

FEW_GROUPS = 300
"""The twins of tables go from group to group."""


def scale_of(r: Round, shape: tuple[int, ...], storage: str) -> Array:
    """Of all magnitudes and both signs, subnormal ones and 0 among them."""
    x = r.values(shape, storage, finite=True)
    x[r.rng.random(shape) < r.one_of([0, 0.05])] = 0
    return x


def floats(r: Round) -> None:
    format = r.one_of(list(MINIFLOATS))
    bits, options = MINIFLOATS[format].bits, {"format": format, "group_size": r.group}
    x = r.values((r.rows, r.cols), r.type, finite=True)
    scale = scale_of(r, (r.rows, group_count(r.cols, r.group)), "float32")
    scale[scale == 0] = 1
    words: dict[str, Any] = {"packed": bits < 8 and r.chance(0.5)}
    codes = reference.float_encode(x, scale, **options, **words)
    call = {**options, **words, **r.threads}
    r.into(codes, lambda out: kernels.float_encode(x, scale, **call, out=out))
    codes, stored = any_codes(r, bits if words["packed"] else None), {"dtype_name": r.to}
    if words["packed"]:
        stored |= {"length": r.cols}
    values = reference.float_decode(codes, scale, **options, **stored)
    call = {**options, **stored, **r.threads}
    r.into(values, lambda out: kernels.float_decode(codes, scale, **call, out=out))


def any_codes(r: Round, bits: int | None) -> Array:
    """Codes of one byte, or packed ones, with anything behind their ends."""
    if bits is None:
        return r.placed(r.rng.integers(0, 256, (r.rows, r.cols), np.uint8))
    return r.placed(r.rng.integers(0, 1 << 32, (r.rows, word_count(r.cols, bits)), np.uint32))


def tables(r: Round) -> None:
    r = few_groups(r)
    count = r.number(2, r.one_of([5, 17, 18, 40, 257]))
    bits = r.number((count - 1).bit_length(), 9) if r.chance(0.5) else None
    table, shape = table_of(r, (count,)), (r.rows, group_count(r.cols, r.group))
    options: dict[str, Any] = {"group_size": r.group, "bits": bits}
    if table.any():
        quantize_by(r, table, options)
    per_table = r.one_of([None, None, 1, 2])
    if per_table:
        table = table_of(r, (-(-r.rows // per_table), count))
    options |= {"rows_per_table": per_table}
    x = r.values((r.rows, r.cols), r.type, finite=True)
    scale = scale_of(r, shape, r.one_of(STORAGES)) if r.chance(0.8) else None
    codes = reference.table_encode(x, table, scale, **options)
    call = options | r.threads
    r.into(codes, lambda out: kernels.table_encode(x, table, scale, **call, out=out))
    words, stored = any_codes(r, bits), {"dtype_name": r.to}
    if bits is not None:
        stored |= {"length": r.cols}
    values = reference.table_decode(words, table, scale, **options, **stored)
    call |= stored
    r.into(values, lambda out: kernels.table_decode(words, table, scale, **call, out=out))


def few_groups(r: Round) -> Round:
    many = r.rows * group_count(r.cols, r.group) > FEW_GROUPS
    return r.but(group=None, rows=min(r.rows, 20)) if many else r


def table_of(r: Round, shape: tuple[int, ...]) -> Array:
    """Finite values in any order, some of them twice."""
    if r.chance(0.3):
        return r.rng.integers(-9, 10, shape).astype(np.float32)
    return r.values(shape, "float32", finite=True)


def quantize_by(r: Round, table: Array, options: dict[str, Any]) -> None:
    """Scales by a rule, and codes."""
    x = r.values((r.rows, r.cols), r.type)
    rule = {"rule": r.one_of(["absmax", "signed_max"]), "scales": r.scales}
    made = kernels.table_quantize(x, table, **options, **rule, **r.threads)
    wanted = reference.table_quantize(x, table, **options, **rule)
    same(made[2:], wanted[2:])
    if not wanted.nonfinite and not wanted.overflowed:
        same(made[:2], wanted[:2])
        call = {**options, **rule, **r.threads}
        r.into(wanted.codes, lambda out: kernels.table_quantize(x, table, **call, out=out))


def table_errors(r: Round) -> None:
    """For scales near those of a rule, and others."""
    r = few_groups(r.but(rows=min(r.rows, 4), cols=min(r.cols, 700)))
    x = r.values((r.rows, r.cols), r.type, finite=True)
    table, importance = table_of(r, (r.number(2, r.one_of([17, 257])),)), r.importance(x.shape)
    shape = (r.rows, group_count(r.cols, r.group), r.number(1, 6))
    scales = scale_of(r, shape, "float32")
    if r.chance(0.7) and table.any():
        made = reference.table_quantize(x, table, group_size=r.group)
        with np.errstate(over="ignore"):
            scales = made.scale[..., np.newaxis] * r.rng.uniform(-1.5, 1.5, shape[2:])
        scales = scales.astype(np.float32)
        scales[~np.isfinite(scales)] = 1
    given = x, table, r.placed(scales), importance
    made, wanted = (
        kernels.table_sums(*given, group_size=r.group, **r.threads),
        reference.table_sums(*given, group_size=r.group),
    )
    same(tuple(made), tuple(wanted))
