# SPDX-License-Identifier: MIT
"""What the checks of several families share."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import STORAGES, Array, name_of
from bitmill._results import Params
from bitmill._sizes import (
    code_dtype,
    word_count,
)

RULES = ("absmax", "full_range", "signed_max", "asymmetric", "offset")
"""How a range becomes a scale, in the order of `csrc/table.hpp`."""


def ranges(x: Any, group_size: Any) -> tuple[Array, int | None]:
    """For absmax and minmax: x, group size."""
    return _check.matrix(x, "x"), _check.group_size(group_size)


def check_rule(rule: Any, qmin: Any, qmax: Any) -> None:
    """Raise unless `rule` is one of RULES, and goes with codes qmin..qmax."""
    _check.choice(rule, "rule", RULES)
    check_code_range(qmin, qmax)
    if (qmin == 0) != (rule in ("asymmetric", "offset")):
        raise ValueError(
            f"rule={rule!r} does not go with codes {qmin}..{qmax}: 'asymmetric' and 'offset' take "
            "codes from 0, the others codes around 0"
        )


def check_code_range(qmin: Any, qmax: Any) -> None:
    """Raise unless qmin..qmax is 0..2^b−1, or lies around 0, and is at most 16 bits wide."""
    _check.integer(qmin, "qmin", low=-32768, high=0)
    _check.integer(qmax, "qmax", low=1, high=65535)
    if qmax - qmin > 65535:
        raise ValueError(f"codes {qmin}..{qmax} are more than 65536; wanted at most 16 bits")


def field_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """The least and the greatest code that a field of `bits` bits holds."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def codes_for(
    x: Array, qmin: int, qmax: int, bits: Any, out: Any, params: tuple[Array | None, ...]
) -> Array:
    """`out`, or a new array, for the codes of x, or for the words they are packed into."""
    if bits is None:
        return _check.output(out, x.shape, code_dtype(qmin, qmax), x, *params)
    bits = _check.integer(bits, "bits", low=1, high=8)
    low, high = field_range(bits, signed=qmin < 0)
    if qmin < low or qmax > high:
        raise ValueError(f"codes {qmin}..{qmax} do not fit {bits} bits ({low}..{high})")
    shape = (x.shape[0], word_count(x.shape[1], bits))
    return _check.output(out, shape, np.dtype(np.uint32), x, *params)


def group_params(
    params: tuple[Any, Any, Any], shape: tuple[int, ...], zero_points: np.dtype[Any]
) -> Params:
    """Parameters, all of this shape; at most one of the last two."""
    scale, zero_point, offset = params
    if zero_point is not None and offset is not None:
        raise ValueError("zero_point and offset exclude each other; pass one")
    scale = _check.shaped(scale, "scale", shape, STORAGES)
    if zero_point is not None:
        zero_point = _check.shaped(zero_point, "zero_point", shape, (zero_points.name,))
    if offset is not None:
        offset = _check.shaped(offset, "offset", shape, (name_of(scale.dtype),))
    return scale, zero_point, offset


def stored_codes(codes: Any, bits: Any, length: Any, signed: Any) -> tuple[Array, int]:
    """Codes [R, C], or words with their `bits`, `length` and `signed`; and the row length."""
    if bits is None:
        if length is not None or signed is not None:
            raise ValueError("length and signed go with bits (packed words); codes carry both")
        codes = _check.matrix(codes, "codes", ("int8", "uint8", "int16", "uint16"))
        return codes, codes.shape[1]
    bits = _check.integer(bits, "bits", low=1, high=8)
    if length is None or signed is None:
        raise ValueError("packed words (bits=) need length and signed")
    _check.flag(signed, "signed")
    codes = _check.matrix(codes, "codes", ("uint32",))
    return codes, packed_length(codes, bits, length)


def row_importance(given: Any, x: Array, name: str = "importance") -> Array | None:
    """[R or 1, C], if there is one."""
    if given is None:
        return None
    importance: Array = _check.matrix(np.atleast_2d(given), name, ("float32",))
    if importance.shape not in ((1, x.shape[1]), x.shape):
        raise ValueError(
            f"{name} has the shape {importance.shape}; wanted {x.shape[1:]} or {x.shape}"
        )
    if not ((importance == 0) | (importance >= 2.0**-40) & (importance <= 1)).all():
        raise ValueError(f"{name} is not 0 or from 2^-40 to 1 everywhere: divide it by its maximum")
    return importance


def packed_length(packed: Array, bits: int, length: object) -> int:
    """`length`, if rows of that many codes take just the words that `packed` has."""
    count = _check.integer(length, "length", low=0, high=sys.maxsize)
    words = word_count(count, bits)
    if packed.shape[-1] != words:
        raise ValueError(
            f"packed has {packed.shape[-1]} words per row; length={count} at bits={bits} "
            f"takes {words}"
        )
    return count


def code_error(codes: Array, bits: int) -> ValueError:
    """The error for codes of which some do not fit fields of `bits`."""
    low, high = field_range(bits, signed=codes.dtype == np.int8)
    flat = codes.reshape(-1)
    bad = np.flatnonzero((flat < low) | (flat > high))
    return ValueError(
        f"codes has {bad.size} value{'s' if bad.size != 1 else ''} outside {low}..{high}, the "
        f"range of {bits} bits; the first, codes.flat[{bad[0]}], is {flat[bad[0]]}: clip codes or "
        "use more bits"
    )
