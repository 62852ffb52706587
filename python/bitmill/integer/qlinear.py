# SPDX-License-Identifier: MIT
"""A linear layer in integers alone, from 8-bit codes to 8-bit codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._arguments import ROUNDINGS
from bitmill._dtypes import Array
from bitmill.integer.bias import bias_scale, quantize_bias
from bitmill.integer.factors import quantize_multiplier
from bitmill.integer.packed import bytes_of, prepack
from bitmill.integer.static import static
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.quantize import quantize
from bitmill.schemes import Affine

WEIGHTS = Affine(8, narrow_range=True)


class QLinear:
    """y = activation(x·wᵀ + bias) with int8 weights, int32 sums, and no float in between.

        codes of y = requantize(Σ_k (x − x_zero_point)·w + rint(bias / (x_scale·w_scale)))

    `w` is a QTensor [N, K] of int8 codes without zero-points, with a scale for each row or one in
    all; `bias` float [N] or None. `x` and `y` are the QParams of activations, 8 bits with one
    scale: what `bitmill.calibrate` returns. `activation` ("none", "relu", "relu6") limits the codes
    of the output; `rounding` is that of `requantize`. Called with a QTensor [..., K] that has the
    parameters `x`, the layer gives one [..., N] with the parameters `y`.

    Raises TypeError and ValueError for arguments that are none of these, and, naming the channel,
    for a bias that does not fit int32 (`from_floats` raises such a channel's scale).

    >>> import bitmill as bm, numpy as np
    >>> x, w = np.float32([[1, -2, 3]]), np.float32([[0.5, 1, -1], [1, 1, 1]])
    >>> signs = bm.Affine(8, axis=None)
    >>> given, to = bm.calibrate([x], signs), bm.calibrate([x @ w.T], signs)
    >>> layer = bm.integer.QLinear.from_floats(w, None, x=given, y=to)
    >>> np.asarray(layer(given.quantize(x))).round(1)
    array([[-4.5,  2. ]], dtype=float32)
    """

    def __init__(
        self,
        w: QTensor,
        bias: Any = None,
        *,
        x: QParams,
        y: QParams,
        activation: str = "none",
        rounding: str = "single",
    ) -> None:
        codes, scale, zero_points = bytes_of(w, "w")
        if codes.ndim != 2 or zero_points is not None:
            raise ValueError(f"w is {w!r}; wanted 2 dimensions, and codes without zero-points")
        self.x, self.y = static(x, "x"), static(y, "y")
        self.shape = codes.shape
        rows, length = codes.shape
        w_scale = np.float64(scale[:, 0])
        wanted = np.zeros(rows) if bias is None else bias
        _check_bias(wanted, rows)
        self.bias = quantize_bias(wanted, self.x.scale, w_scale, length=length)
        self.factor = quantize_multiplier(self.x.scale * w_scale / self.y.scale)
        self.limits = self.y.limits(activation)
        _check.choice(rounding, "rounding", ROUNDINGS)
        self.rounding, self.weights = rounding, prepack(w)
        # What this takes beyond 32 bits, sums of products take back.
        zero_point = self.x.zero_point - (128 if self.x.dtype == "uint8" else 0)
        sums = self.weights.arrays["sum"][:, 0].astype(np.int64)
        self._added = (self.bias - zero_point * sums).astype(np.int32)

    @classmethod
    def from_floats(cls, weight: Any, bias: Any = None, *, x: QParams, **options: Any) -> QLinear:
        """A layer of float weights [N, K]: quantized by rows, to −127 … 127.

        Rows whose scale is too small for their bias, because their weights are next to nothing, get
        the scale that `bias_scale` finds.
        """
        q = quantize(weight, WEIGHTS)
        if bias is None:
            return cls(q, x=x, **options)
        _check_bias(bias, q.shape[0])
        assert q.scale is not None
        length, given = q.shape[1], static(x, "x").scale
        with np.errstate(over="ignore"):  # which is refused
            scale = bias_scale(bias, given, q.scale[:, 0], length=length).astype(np.float32)
        if not np.isfinite(scale).all():
            at = int(np.flatnonzero(~np.isfinite(scale))[0])
            raise ValueError(
                f"bias has the value {np.asarray(bias)[at]:g} in channel {at}; with x in steps of "
                f"{given:g}, no float32 is a scale of weights that makes an int32 of it"
            )
        values = np.ascontiguousarray(weight, np.float32)
        codes = kernels.affine_encode(values, scale[:, np.newaxis], qmin=-127, qmax=127)
        raised = {"codes": codes, "scale": scale[:, np.newaxis]}
        return cls(QTensor(WEIGHTS, q.shape, q.dtype, raised), bias, x=x, **options)

    def __call__(self, x: QTensor, *, num_threads: int | None = None) -> QTensor:
        """The outputs for a QTensor of inputs."""
        codes = self.x.check(x, "x")
        rows, length = self.shape
        if codes.shape[-1] != length:
            raise ValueError(f"x has shape {x.shape}; wanted rows of {length}")
        held = self.weights.arrays
        made: Array = kernels.matmul_requantized(
            codes.reshape(math.prod(codes.shape[:-1]), length), held["codes"], held["zero_point"],
            self._added, *self.factor, self.y.zero_point, qmin=self.limits[0], qmax=self.limits[1],
            rounding=self.rounding, dtype_name=self.y.dtype, num_threads=num_threads,
        )  # fmt: skip
        return self.y.tensor(made.reshape(*codes.shape[:-1], rows))

    def __repr__(self) -> str:
        rows, length = self.shape
        return f"QLinear({length} to {rows}, {self.x.dtype} to {self.y.dtype})"


def _check_bias(bias: Any, rows: int) -> None:
    """Raise unless it is a number for each row."""
    if np.shape(bias) != (rows,):
        raise ValueError(f"bias has shape {np.shape(bias)}; wanted {(rows,)}")
