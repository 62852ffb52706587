# SPDX-License-Identifier: MIT
"""Scales and offsets as few bits each."""

from __future__ import annotations

import numpy as np

from bitmill import _arguments, _core
from bitmill._dtypes import Array, carrier, code, dtype, name_of
from bitmill._results import TwoLevelParams
from bitmill._threads import resolve


def two_level_params(
    x: Array,
    scale: Array,
    zero_point: Array | None = None,
    offset: Array | None = None,
    importance: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    bits: int,
    signed: bool,
    super_groups: int,
    scales: str = "float16",
    group_size: int | None = None,
    num_threads: int | None = None,
) -> TwoLevelParams:
    """`bitmill.reference.two_level_params`, fast."""
    x, given, importance, size = _arguments.two_level_params(
        x, (scale, zero_point, offset), importance, (qmin, qmax), (bits, signed, super_groups),
        scales, group_size,
    )  # fmt: skip
    threads = resolve(num_threads)
    rows, length = x.shape
    shape = given[0].shape
    codes = np.zeros(shape, np.int8 if signed else np.uint8)
    steps = np.ones((rows, -(-shape[1] // super_groups)), dtype(scales))
    of_offset = None if offset is None else np.zeros(shape, np.uint8)
    offset_steps = None if offset is None else steps.copy()
    made = TwoLevelParams(codes, steps, of_offset, offset_steps, 0, 0)
    if x.size == 0:
        return made
    by_row = importance is not None and importance.shape[0] == rows
    out = tuple(None if a is None else carrier(a) for a in made[:4])
    overflowed, underflowed = _core.two_level_params(
        (qmin, qmax, 0, code(scales), 0), carrier(x), code(name_of(x.dtype)), rows, length,
        min(size or length, length), importance, by_row, given, out, bits, signed, super_groups,
        threads,
    )  # fmt: skip
    return made._replace(overflowed=overflowed, underflowed=underflowed)
