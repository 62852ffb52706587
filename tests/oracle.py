# SPDX-License-Identifier: MIT
"""What bitmill.quantize and dequantize must return, by the NumPy twins alone, for any array.

Channels are brought to the front and flattened, where the package itself never transposes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import bitmill as bm
from bitmill import reference as ref
from bitmill._dtypes import Array
from conftest import same_bits


def plain(x: Array) -> Array:
    """A C-contiguous, aligned, native copy of `x`, of class ndarray."""
    copy = np.empty(x.shape, x.dtype.newbyteorder("="))
    copy[...] = x
    return copy


def quantized(x: Array, scheme: bm.Affine) -> dict[str, Array]:
    """The arrays of `bm.quantize(x, scheme)`; OverflowError where that must refuse a scale."""
    x = plain(x)
    qmin, qmax = scheme.code_range
    made = ref.affine_quantize(
        _groups_in_rows(x, scheme),
        qmin=qmin,
        qmax=qmax,
        rule=scheme.grid.rule,
        scales=scheme.scales,
        group_size=scheme.group_size,
    )
    if made.overflowed:
        raise OverflowError(f"{made.overflowed} scales or offsets")
    codes = _back(made.codes, x.shape, scheme)
    fields = {field.name: field for field in scheme.layout(x.shape)}
    arrays = {"scale": made.scale, "zero_point": made.zero_point, "offset": made.offset}
    arrays = {name: a.reshape(fields[name].shape) for name, a in arrays.items() if a is not None}
    if scheme.bits < 8:
        words = ref.pack(_rows(codes), scheme.bits)
        return {"packed": words.reshape(fields["packed"].shape)} | arrays
    return {"codes": codes} | arrays


def dequantized(q: bm.QTensor, dtype_name: str = "float32") -> Array:
    """The values of `bm.dequantize(q, dtype=dtype_name)`."""
    codes = q.packed
    if q.scheme.bits < 8:
        signed = q.scheme.symmetric
        codes = ref.unpack(_rows(codes), q.scheme.bits, q.shape[-1], signed=signed)
    matrix = _groups_in_rows(codes.reshape(q.shape), q.scheme)
    groups = -(-matrix.shape[1] // q.scheme.group_size) if q.scheme.group_size else 1
    params = (q.scale, q.zero_point, q.offset)
    values = ref.affine_decode(
        matrix,
        *(p if p is None else p.reshape(matrix.shape[0], groups) for p in params),
        group_size=q.scheme.group_size,
        dtype_name=dtype_name,
    )
    return _back(values, q.shape, q.scheme)


def agree(q: bm.QTensor, x: Array, what: Any = "") -> None:
    """Fail unless `q` holds, byte for byte, what the twins make of `x`."""
    wanted = quantized(x, q.scheme)
    assert list(q.arrays) == [field.name for field in q.scheme.layout(q.shape)], what
    assert q.shape == x.shape, what
    for name, array in q.arrays.items():
        assert type(array) is np.ndarray, what
        same_bits(array, wanted[name], (what, q.scheme, name))


def same_results(got: Any, wanted: Any, what: Any = "") -> None:
    """Fail unless a kernel and its twin returned the same bits, unless they are unspecified."""
    if getattr(wanted, "overflowed", 0):
        assert got.overflowed == wanted.overflowed, what
        return
    several = isinstance(wanted, tuple)
    for a, b in zip(got, wanted, strict=True) if several else [(got, wanted)]:
        if isinstance(b, int):
            assert a == b, what
        else:
            same_bits(a, b, what)


def check(x: Any, scheme: bm.Affine, what: Any = "", **options: Any) -> bm.QTensor:
    """Quantize `x`; fail unless the result is that of the twins and `x` is as it was."""
    before = x.tobytes()
    q = bm.quantize(x, scheme, **options)
    assert x.tobytes() == before, (what, scheme, "the input was modified")
    agree(q, x, what)
    return q


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _groups_in_rows(x: Array, scheme: bm.Affine) -> Array:
    """A matrix whose rows are those of `x`, or all of `x`, or its channels."""
    if scheme.axis == "row":
        return _rows(x)
    if scheme.axis is None:
        return x.reshape(1, x.size)
    first = np.moveaxis(x, scheme.axis, 0)
    return first.reshape(first.shape[0], math.prod(first.shape[1:])).copy()


def _back(matrix: Array, shape: tuple[int, ...], scheme: bm.Affine) -> Array:
    """The reverse of `_groups_in_rows`, contiguous."""
    if scheme.axis in ("row", None):
        return matrix.reshape(shape)
    first = (shape[scheme.axis], *np.delete(shape, scheme.axis))
    return np.ascontiguousarray(np.moveaxis(matrix.reshape(first), 0, scheme.axis))
