# SPDX-License-Identifier: MIT
"""What quantization shifted: moments of weights put back, and the mean output of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array, dtype
from bitmill.clip.moments import mean_square, means, tree_sum
from bitmill.grid import rows_of, view
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine

_VALUES = 1 << 16  # that are looked at in double at a time
_COLUMNS = 64  # of activations that are copied at a time


def correct_bias(x: Any, q: QTensor, *, moments: str = "paper") -> QTensor:
    """`q`, a quantized `x`, with the mean and norm of every output channel put back.

    With ξ = ‖w − E w‖ / ‖ŵ − E ŵ‖ over the channel (1 where either norm is 0):

    ===============  ==================  ====================================
    moments          ŵ becomes           and has the norm ‖w − E w‖, the mean
    ===============  ==================  ====================================
    "paper"          ξ·(ŵ + E w − E ŵ)   ξ·E w
    "exact"          ξ·(ŵ − E ŵ) + E w   E w
    without offsets  ξ·ŵ                 ξ·E ŵ
    ===============  ==================  ====================================

    The first is that of Banner et al., arXiv:1810.05723, in their order. All is folded into scales
    and offsets; the codes stay. A scheme without offsets takes "paper" alone, and cannot put means
    back: `bias_shift` gives what the bias of the layer takes instead. Channels are what has scales
    of its own: rows, with all their groups, or the indices along an int `axis`. Sums are in double
    in a fixed order. Scales and offsets are rounded to float32, then to their storage dtype: in
    float16 and bfloat16 moments are put back to about 2^-11 and 2^-8.

    The squared error of the weights does not fall by this, as a rule it rises: each code was the
    nearest one before.

    Raises TypeError for a `q` of another scheme than Affine; ValueError for shapes that differ, NaN
    and infinity, axis=None, "exact" without an offset, and for what overflows its storage dtype.

    >>> import bitmill as bm, numpy as np
    >>> x = np.array([[0.1, 0.2, 0.35, 0.9, 0.4]], np.float32)
    >>> q = bm.quantize(x, bm.Affine(2, symmetric=False, offset=True))
    >>> float(np.asarray(q).mean()), float(x.mean())
    (0.36666667461395264, 0.38999998569488525)
    >>> float(np.asarray(bm.correct_bias(x, q, moments="exact")).mean())
    0.38999998569488525
    """
    scheme = _scheme(q)
    _check.choice(moments, "moments", ("paper", "exact"))
    if moments == "exact" and not scheme.offset:
        raise ValueError("moments='exact' needs a scheme with symmetric=False and offset=True")
    values, restored = _same_shape(x, q, "x"), q.dequantize()
    channels = view(q.shape, scheme.axis, None)
    mean, own_mean = means(values, channels), means(restored, channels)
    gain = _gain(mean_square(values, channels, mean), mean_square(restored, channels, own_mean))
    arrays = {"scale": gain * scheme.params(q.arrays, q.shape)[0].astype(np.float64)}
    if q.offset is not None:
        offset = q.offset.astype(np.float64)
        if moments == "paper":
            arrays["offset"] = gain * (offset + (mean - own_mean))
        else:
            arrays["offset"] = gain * (offset - own_mean) + mean
    stored = {name: _stored(array, scheme.grid.scales, name) for name, array in arrays.items()}
    return QTensor(scheme, q.shape, q.dtype, q.arrays | stored, dict(q.health))


def bias_shift(w: Any, q: QTensor, x_mean: Any) -> Array:
    """E[(W − Ŵ)·x] = (W − Ŵ)·E x: what to add to the bias of a layer that has Ŵ for W; float64 [R].

    `w` is [R, C] and `q` its quantized form. `x_mean` is the mean of each input channel [C], or
    activations [..., C] of which it is taken. With it the mean output of the layer over those
    activations is what it was (Nagel et al., arXiv:1906.04721). Sums are in double in a fixed
    order.

    Raises TypeError for other dtypes and for a `q` that is no QTensor, ValueError for shapes that
    do not fit, NaN and infinity.

    >>> import bitmill as bm, numpy as np
    >>> w = np.array([[0.4, 7.0], [0.0, 7.0]], np.float32)
    >>> x = np.array([[1.0, 5.0], [3.0, -5.0]], np.float32)
    >>> bm.bias_shift(w, bm.quantize(w, bm.Affine(4)), x).round(6)
    array([0.8, 0. ])
    """
    if not isinstance(q, QTensor):
        raise TypeError(f"q is a {type(q).__name__}; bias_shift takes a QTensor")
    values = _same_shape(w, q, "w")
    if values.ndim != 2:
        raise ValueError(f"w has shape {values.shape}; wanted 2-D: [output, input] channels")
    rows, length = values.shape
    mean = _input_means(x_mean, length)
    restored = q.dequantize()
    shift = np.zeros(rows)
    step = max(1, _VALUES // max(1, length))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        lost = values[part].astype(np.float32).astype(np.float64) - restored[part]
        shift[part] = tree_sum(lost * mean)
    return shift


def _scheme(q: Any) -> Affine:
    if not isinstance(q, QTensor):
        raise TypeError(f"q is a {type(q).__name__}; correct_bias takes a QTensor")
    if not isinstance(q.scheme, Affine):
        raise TypeError(f"q has a scheme {type(q.scheme).__name__}; correct_bias takes Affine")
    if q.scheme.axis is None:
        raise ValueError(
            "q has axis=None: one scale for the tensor cannot correct each channel; use axis='row'"
        )
    if not isinstance(q.scheme.scales, str):
        raise ValueError(
            f"q has {q.scheme.scales!r}, which cannot take other values; use scales='float16'"
        )
    return q.scheme


def _same_shape(x: Any, q: QTensor, name: str) -> Array:
    values = _finite(x, name)
    _check.same_shape(values, q, f"{name} and q")
    return values


def _finite(x: Any, name: str) -> Array:
    """`x` as an array without NaN and infinity."""
    values = _check.array(x, name)
    if values.size and not np.isfinite(kernels.absmax(values.reshape(1, -1), _VALUES)).all():
        raise _check.nonfinite_error(values, name)
    return values


def _gain(wanted: Array, own: Array) -> Array:
    """ξ by both mean squared deviations."""
    known = (wanted > 0) & (own > 0)
    ratio = np.divide(wanted, own, out=np.ones_like(own), where=known)
    return np.sqrt(ratio)


def _stored(values: Array, scales: str, name: str) -> Array:
    """Rounded to float32, then to the storage dtype; scales do not underflow to 0 (N4)."""
    with np.errstate(over="ignore", under="ignore"):
        stored = kernels.from_float32(values.astype(np.float32), scales)
    found = stored.astype(np.float32)
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        group = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"q: the corrected {name} of group {group}, {values[group]:.9g}, overflows {scales}: "
            "quantize with wider scales"
        )
    if name == "scale":
        to = dtype(scales)
        smallest = np.array(1, f"uint{8 * to.itemsize}").view(to)
        stored = np.where(found == 0, np.copysign(smallest, values).astype(to), stored)
    return stored


def _input_means(x_mean: Any, length: int) -> Array:
    """The mean of every input channel, float64."""
    given = _finite(x_mean, "x_mean")
    if given.shape[-1] != length:
        raise ValueError(
            f"x_mean has shape {given.shape}; wanted {length} input channels along its last axis"
        )
    if given.ndim == 1 or length == 0:
        return given.reshape(-1).astype(np.float64)
    samples = rows_of(given)
    if len(samples) == 0:
        raise ValueError(f"x_mean has shape {given.shape}: no activations to take the mean of")
    parts = (samples[:, at : at + _COLUMNS].copy() for at in range(0, length, _COLUMNS))
    return np.concatenate([means(p, view(p.shape, -1, None)).reshape(-1) for p in parts])
