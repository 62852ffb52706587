# SPDX-License-Identifier: MIT
"""Granularities that take two passes: a scale per column, and one for the whole tensor.

The columns race with rows of the same width: a scale per column costs at most 1.67 times as much.
"""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, nbytes, same_bits, top
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass, two_passes

DTYPES = ("f32", "bf16", "f16", "f64")
COLUMN = {
    "int8 sym": {"qmin": -128, "qmax": 127, "rule": "absmax"},
    "int8 asym": {"qmin": 0, "qmax": 255, "rule": "asymmetric"},
}


def columns_of(x, options):
    """Parameters of every column, [C]."""
    lo, hi = kernels.column_minmax(x, num_threads=1)
    made = kernels.affine_params(lo[np.newaxis], hi[np.newaxis], **options)
    return [part if part is None else part[0] for part in made[:3]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLUMN)
def bench_column_encode(race, weights, isa, name, dtype):
    x, options = weights[dtype], COLUMN[name]
    params = columns_of(x, options)
    options = {key: options[key] for key in ("qmin", "qmax")}
    out = kernels.column_encode(x, *params, **options, num_threads=1)
    same_bits(top(out), reference.column_encode(x[CHECKED], *params, **options))
    race(
        lambda: kernels.column_encode(x, *params, **options, out=out, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, out),
        ceiling=one_pass(x, out.nbytes),
    )


@pytest.mark.parametrize("to", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("name", COLUMN)
def bench_column_decode(race, weights, isa, name, to):
    x, options = weights["f32"], COLUMN[name]
    params = columns_of(x, options)
    codes = kernels.column_encode(x, *params, qmin=options["qmin"], qmax=options["qmax"])
    out = empty(x.shape, weights[to].dtype)
    stored = {"dtype_name": out.dtype.name, "out": out, "num_threads": 1}
    kernels.column_decode(codes, *params, **stored)
    wanted = reference.column_decode(codes[CHECKED], *params, dtype_name=out.dtype.name)
    same_bits(top(out), wanted)
    race(
        lambda: kernels.column_decode(codes, *params, **stored),
        size=x.size,
        nbytes=nbytes(codes, out),
        ceiling=one_pass(codes, out.nbytes),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLUMN)
def bench_quantize_columns(race, weights, isa, name, dtype):
    quantize(race, weights[dtype], 1, name == "int8 sym")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COLUMN)
def bench_quantize_tensor(race, weights, isa, name, dtype):
    quantize(race, weights[dtype], None, name == "int8 sym")


def quantize(race, x, axis, symmetric):
    """Race `bm.quantize` along an axis with the same along rows."""
    scheme, by_row = bm.Affine(8, symmetric=symmetric, axis=axis), bm.Affine(8, symmetric=symmetric)
    q = bm.quantize(x, scheme, num_threads=1)
    least, most = (end(x, axis=0 if axis else None, keepdims=True) for end in (np.min, np.max))
    lo, hi = (end.astype(np.float32) for end in (least, most))
    params = reference.affine_params(lo, hi, **COLUMN["int8 sym" if symmetric else "int8 asym"])
    same_bits(q.scale, params.scale)
    spread = [
        p if p is None else np.repeat(p.reshape(-1), x.shape[1] // p.size) for p in params[:3]
    ]
    codes = scheme.code_range
    same_bits(top(q.codes), reference.column_encode(x[CHECKED], *spread, **codes._asdict()))
    race(
        lambda: bm.quantize(x, scheme, num_threads=1),
        size=x.size,
        nbytes=2 * x.nbytes + q.nbytes,
        ceiling=two_passes(x, q.nbytes),
        rivals={"by row": lambda: bm.quantize(x, by_row, num_threads=1)},
    )
