# SPDX-License-Identifier: MIT
"""Ranges: absmax and min/max of rows, groups and columns."""

from __future__ import annotations

import pytest

from agree import CHECKED, nbytes, same_bits, top
from bitmill import kernels, reference
from ceilings import one_pass

DTYPES = ("f32", "bf16", "f16", "f64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("group_size", [None, 128, 32], ids=["row", "g128", "g32"])
@pytest.mark.parametrize("name", ["absmax", "minmax"])
def bench_ranges(race, weights, isa, name, group_size, dtype):
    x, kernel = weights[dtype], getattr(kernels, name)
    made = kernel(x, group_size, num_threads=1)
    wanted = getattr(reference, name)(x[CHECKED], group_size)
    same_bits(top(made), wanted if name == "absmax" else tuple(wanted))
    race(
        lambda: kernel(x, group_size, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, 0),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["column_absmax", "column_minmax"])
def bench_column_ranges(race, weights, isa, name, dtype):
    x, kernel = weights[dtype], getattr(kernels, name)
    same_bits(kernel(x[CHECKED]), getattr(reference, name)(x[CHECKED]))
    race(
        lambda: kernel(x, num_threads=1),
        size=x.size,
        nbytes=x.nbytes,
        ceiling=one_pass(x, 0),
    )
