# SPDX-License-Identifier: MIT
"""A linear layer of quantized weights, for activations that are floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._arguments import MOST_W8A8
from bitmill._dtypes import STORAGES, Array
from bitmill._dtypes import dtype as dtype_of
from bitmill.integer.activations import DYNAMIC, Activations, Tokens, chosen, tokens
from bitmill.integer.packed import Prepacked, prepack
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor


class Linear:
    """y = layer(x): x·wᵀ + bias of quantized weights [N, K], for x [..., K], giving [..., N].

    Parameters
    ----------
    q
        The weights, quantized: whatever `bitmill.integer.prepack` takes, or what it returned.
    bias
        Values [N], as float32.
    activations
        "dynamic": x becomes int8, with a scale for each token, when it comes.
        "dynamic_asymmetric": uint8, with a zero-point for each token too, which is finer where
        values lie on one side of zero. `bm.QParams` of 8 bits with one scale: by these parameters,
        found before. None: x stays as it is.

    Which kernel the layer takes, and why, says `explain()`: integer products wherever both
    activations and weights are whole numbers but for a scale, else floats times values. Tables
    whose values are no whole numbers (NF4, FP4) are such a case: x stays as it is although it is
    dynamic.

    Raises what `prepack` does; ValueError for a bias of another shape, for activations that are
    none of these, for activations that stay as they are with weights of 8 bits, and for QParams
    with a table whose values are no whole numbers.

    >>> import bitmill as bm, numpy as np
    >>> w = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    >>> layer = bm.integer.Linear(bm.quantize(w, bm.Affine(4, group_size=32)), [0.5, -0.5])
    >>> layer(np.ones((1, 32), np.float32)).round(2)
    array([[-15.79,  15.79]], dtype=float32)
    >>> layer.explain()
    'matmul_w4a8: activations are quantized to int8, a scale for each token, when they come'
    >>> bm.integer.Linear(layer.weights, activations="dynamic_asymmetric").explain().split(", ")[0]
    'matmul_w4a8: activations are quantized to uint8'
    """

    def __init__(
        self,
        q: QTensor | Prepacked,
        bias: Any = None,
        *,
        activations: Activations = "dynamic",
    ) -> None:
        self.weights = q if isinstance(q, Prepacked) else prepack(q)
        rows = self.weights.shape[0]
        self.bias = None if bias is None else _bias(bias, rows)
        self.activations = chosen(activations)
        if self.activations is None and self.weights.layout == "w8a8":
            raise ValueError("activations=None goes with weights of at most 4 bits")
        if isinstance(self.activations, QParams) and not self.weights.is_whole:
            raise ValueError(
                f"activations={self.activations!r} make whole numbers of x, and the values of q's "
                "table are none: with activations=None x stays as it is"
            )
        if self.kernel == "matmul_w4a8" and self.weights.shape[1] > MOST_W8A8:
            raise ValueError(
                f"q has rows of {self.weights.shape[1]:,}; beyond {MOST_W8A8:,} a sum of products "
                "may not fit 32 bits: activations=None takes them"
            )

    @property
    def kernel(self) -> str:
        """Name of the kernel that the layer takes."""
        if self.weights.layout == "w8a8":
            return "matmul_w8a8"
        whole = self.activations is not None and self.weights.is_whole
        return "matmul_w4a8" if whole else "matmul_w4a16"

    def explain(self) -> str:
        """The kernel, and why it is this one."""
        if self.activations is None:
            why = "activations stay as they are"
        elif not self.weights.is_whole:
            why = "activations stay as they are, as the values of the table are no whole numbers"
        elif isinstance(self.activations, QParams):
            why = f"activations are quantized by {self.activations!r}"
        else:
            why = DYNAMIC[self.activations]
        return f"{self.kernel}: {why}"

    def __call__(
        self,
        x: Any,
        *,
        dtype: str = "float32",
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """x·wᵀ + bias, rounded to `dtype`: float32, float16 or bfloat16.

        `x` is what `bm.quantize` takes. The docstrings of the kernels in `bitmill.reference` say
        what is rounded, and when. Raises ValueError if x has not K columns, or, where it is
        quantized, NaN, infinity, or a token whose range overflows float32.
        """
        values = _check.array(x)
        rows, length = self.weights.shape
        if values.shape[-1] != length:
            raise ValueError(f"x has shape {values.shape}; wanted rows of {length}")
        name = _check.choice(dtype, "dtype", STORAGES)
        out = _check.output(out, (*values.shape[:-1], rows), dtype_of(name), values)
        count = math.prod(values.shape[:-1])
        matrix = np.ascontiguousarray(values).reshape(count, length)
        options: dict[str, Any] = {
            "dtype_name": name, "out": out.reshape(count, rows), "num_threads": num_threads,
        }  # fmt: skip
        if self.kernel != "matmul_w8a8":
            options |= {"rows": rows, "group_size": self.weights.group_size}
        if self.activations is None or self.kernel == "matmul_w4a16":
            self._multiply(kernels.to_float32(matrix, num_threads=num_threads), options)
        else:
            codes = tokens(matrix, self.activations, num_threads=num_threads)
            self._multiply_codes(codes, options)
        return out

    def _multiply(self, x: Array, options: dict[str, Any]) -> None:
        held = self.weights.arrays
        kernels.matmul_w4a16(
            x, held["codes"], held["scale"], held.get("zero_point"), held.get("values"),
            self.bias, **options,
        )  # fmt: skip

    def _multiply_codes(self, x: Tokens, options: dict[str, Any]) -> None:
        held = self.weights.arrays
        if self.kernel == "matmul_w4a8":
            if "parts" in held:
                x = x._replace(scale=x.scale / held["parts"])
            kernels.matmul_w4a8(
                *x, held["codes"], held["scale"], held.get("zero_point"), held.get("whole"),
                self.bias, **options,
            )  # fmt: skip
        else:
            kernels.matmul_w8a8(
                *x, held["codes"], held["scale"], held["zero_point"], held["sum"], self.bias,
                **options,
            )  # fmt: skip


def _bias(given: Any, rows: int) -> Array:
    """`given` as float32, if it is finite numbers, one a row."""
    bias = np.array(kernels.to_float32(np.ascontiguousarray(_check.array(given, "bias"))))
    if bias.shape != (rows,):
        raise ValueError(f"bias has shape {bias.shape}; wanted {(rows,)}")
    if not np.isfinite(bias).all():
        raise ValueError("bias has values that are not finite, or not in float32")
    return bias
