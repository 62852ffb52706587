# SPDX-License-Identifier: MIT
"""Activations that come as floats: what makes codes of 8 bits of them, a row a token."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill.qparams import QParams

DYNAMIC = {
    "dynamic": "activations are quantized to int8, a scale for each token, when they come",
    "dynamic_asymmetric": "activations are quantized to uint8, a scale and a zero-point for each "
    "token, when they come",
}
"""By what they themselves are, and what that means."""

Activations = str | QParams | None
"""One of `DYNAMIC`, parameters found before, or None: they stay as they are."""


class Tokens(NamedTuple):
    """Codes [M, K] of one byte, float32 scales [M, 1], and zero-points [M, 1] of uint8 codes."""

    codes: Array
    scale: Array
    zero_point: Array | None


def chosen(given: Any) -> Activations:
    """`given`, if a layer knows what to do with it."""
    if isinstance(given, QParams):
        if given.scheme.bits != 8 or given.offset is not None or given.scale.size != 1:
            raise ValueError(f"activations={given!r}; wanted QParams of 8 bits with one scale")
        return given
    if given is None or (isinstance(given, str) and given in DYNAMIC):
        return given
    names = ", ".join(map(repr, DYNAMIC))
    raise ValueError(f"activations={given!r}; wanted {names}, QParams or None")


def tokens(x: Array, activations: str | QParams, *, num_threads: int | None = None) -> Tokens:
    """`x` [M, K], quantized. Raises ValueError for NaN, infinity and ranges that overflow."""
    if isinstance(activations, QParams):
        return _encoded(x, activations, num_threads)
    made = kernels.token_quantize(x, symmetric=activations == "dynamic", num_threads=num_threads)
    if made.nonfinite:
        raise _check.nonfinite_error(x)
    if made.overflowed:
        raise ValueError(
            f"x has {made.overflowed} token{'s' if made.overflowed != 1 else ''} whose range "
            "overflows float32: scale or clip x"
        )
    return Tokens(made.codes, made.scale, made.zero_point)


def _encoded(x: Array, params: QParams, num_threads: int | None) -> Tokens:
    """`x` by parameters that all tokens share: the codes of `params.quantize(x)`."""
    if not np.isfinite(kernels.absmax(x, num_threads=num_threads)).all():
        raise _check.nonfinite_error(x)
    scale = np.full((len(x), 1), params.scale.reshape(-1)[0], np.float32)
    zero_point = None
    if params.zero_point is not None:
        zero_point = np.full((len(x), 1), params.zero_point.reshape(-1)[0], np.uint8)
    codes = kernels.token_encode(x, scale, zero_point, num_threads=num_threads).codes
    if params.scheme.narrow_range:
        np.maximum(codes, params.scheme.code_range.qmin, out=codes)
    return Tokens(codes, scale, zero_point)
