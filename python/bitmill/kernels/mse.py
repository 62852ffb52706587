# SPDX-License-Identifier: MIT
"""Parameters of least squared error."""

from __future__ import annotations

from bitmill import _arguments, _core
from bitmill._arguments import RULES
from bitmill._dtypes import Array, carrier, code, name_of
from bitmill._results import AffineParams, each_param
from bitmill._threads import resolve
from bitmill.kernels.affine import affine_params
from bitmill.kernels.ranges import minmax


def mse_params(
    x: Array,
    importance: Array | None = None,
    *,
    qmin: int,
    qmax: int,
    rule: str,
    scales: str = "float32",
    group_size: int | None = None,
    exact: bool = False,
    num_threads: int | None = None,
) -> AffineParams:
    """`bitmill.reference.mse_params`, fast: what provably is no optimum is not tried."""
    x, importance, size = _arguments.mse_params(x, importance, qmin, qmax, rule, scales, group_size)
    threads = resolve(num_threads)
    lo, hi = minmax(x, size, num_threads=threads)
    base = affine_params(lo, hi, qmin=qmin, qmax=qmax, rule=rule, scales=scales)
    if x.size == 0:
        return base
    rows, length = x.shape
    by_row = importance is not None and importance.shape[0] == rows
    overflowed, underflowed = _core.mse_params(
        (qmin, qmax, RULES.index(rule), code(scales), 0), carrier(x), code(name_of(x.dtype)), rows,
        length, min(size or length, length), importance, by_row, lo, hi, exact,
        *each_param(carrier, base[:3]), threads,
    )  # fmt: skip
    return AffineParams(*base[:3], overflowed, underflowed)
