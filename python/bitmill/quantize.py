# SPDX-License-Identifier: MIT
"""quantize, dequantize, fake_quantize: arrays of any rank, strides and float dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array, name_of
from bitmill._floats import default_floats
from bitmill._importance import importance_for
from bitmill._threads import resolve
from bitmill.qtensor import QTensor
from bitmill.schemes import Scheme


@default_floats()
def quantize(
    x: Any, scheme: Scheme, *, importance: Any = None, num_threads: int | None = None
) -> QTensor:
    """Quantize `x` by `scheme`.

    `x` is anything that `np.asarray` turns into float32, float16, float64 or bfloat16 (of
    ml_dtypes), of any rank from 1 and any strides; CPU tensors of torch too. float64 is rounded to
    float32 first. `x` is not modified, and the result does not depend on `num_threads` or on the
    instruction set.

    `importance`, for schemes whose clip weighs errors (`clip="mse"`), holds numbers from 0 on, one
    per element of the last axis (Σx² of the inputs: a diagonal Hessian, an imatrix) or of `x`. Only
    their ratios within a group count.

    Raises TypeError for another dtype; ValueError for 0 dimensions, for NaN and infinities (naming
    the first and their number), for a scale that overflows its storage dtype, and for an importance
    of another shape, below 0 or not finite, or for a scheme that does not take one.

    >>> import bitmill as bm, numpy as np
    >>> q = bm.quantize(np.array([[0.5, -1.0, 2.0, 7.0]], np.float32), bm.Affine(4))
    >>> q
    QTensor(int4 sym row, shape=(1, 4), dtype=float32, 16 bits per weight, 8 bytes)
    >>> q.codes, q.scale
    (array([[ 0, -1,  2,  7]], dtype=int8), array([[1.]], dtype=float32))
    """
    _check.scheme(scheme)
    num_threads = resolve(num_threads)
    values = _check.array(x)
    weights = None if importance is None else importance_for(importance, values.shape)
    made = scheme.quantize(values, importance=weights, num_threads=num_threads)
    told, dtype = made.scheme or scheme, name_of(values.dtype)
    return QTensor(told, values.shape, dtype, made.arrays, made.health)


def dequantize(
    q: QTensor,
    *,
    dtype: str = "float32",
    out: Array | None = None,
    num_threads: int | None = None,
) -> Array:
    """The values of `q`, computed in float32 and rounded once to `dtype`, to nearest even.

    `out`, if given, must be a C-contiguous writeable array of that dtype and the shape of `q` that
    shares no memory with it; ValueError says what does not fit.

    >>> import bitmill as bm, numpy as np
    >>> q = bm.quantize(np.array([0.5, -1.0, 2.0, 7.0], np.float32), bm.Affine(4))
    >>> bm.dequantize(q)
    array([ 0., -1.,  2.,  7.], dtype=float32)
    """
    if not isinstance(q, QTensor):
        raise TypeError(f"q is a {type(q).__name__}; dequantize takes a QTensor")
    return q.dequantize(dtype=dtype, out=out, num_threads=num_threads)


def fake_quantize(
    x: Any, scheme: Scheme, *, out: Array | None = None, num_threads: int | None = None
) -> Array:
    """`x` as quantization leaves it, in its own dtype: `dequantize(quantize(x))`.

    `out`, if given, must be a C-contiguous writeable array of the dtype and shape of `x` that
    shares no memory with it.

    >>> import bitmill as bm, numpy as np
    >>> bm.fake_quantize(np.array([0.4, -1.0, 7.0], np.float32), bm.Affine(4))
    array([ 0., -1.,  7.], dtype=float32)
    """
    values = _check.array(x)
    if out is not None:
        _check.output(out, values.shape, values.dtype, x if isinstance(x, np.ndarray) else values)
    q = quantize(values, scheme, num_threads=num_threads)
    return q.dequantize(dtype=q.dtype, out=out, num_threads=num_threads)
