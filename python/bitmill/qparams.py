# SPDX-License-Identifier: MIT
"""Static parameters: a scheme with the scales that observers found for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array, dtype, name_of
from bitmill._results import AffineParams, Range, each_param
from bitmill._sizes import zero_point_dtype
from bitmill._threads import resolve
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, from_dict

_UNEQUAL = Range(np.zeros(1, np.float32), np.ones(1, np.float32))
"""Tells `encode` that no group is constant: an offset that was fixed before is no group's own."""


@dataclass(frozen=True, eq=False)
class QParams:
    """Parameters for values that are yet to come, as `bitmill.calibrate` returns them.

    `scale`, in the dtype `scheme.scales`, and `zero_point` or `offset`, where the scheme has one,
    broadcast against the values: shape (1,), or one entry for each channel along `scheme.axis`.
    `health` counts channels as that of a QTensor does ("underflowed", "unclipped").

    Raises TypeError for a scheme that is not affine, ValueError for arrays that do not fit it, and
    for values that no group has: scales of 0, NaN, infinity, zero-points that are no code.
    """

    scheme: Affine
    scale: Array
    zero_point: Array | None = None
    offset: Array | None = None
    health: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        static_scheme(self.scheme)
        wanted = _dtypes(self.scheme)
        for name in ("zero_point", "offset"):
            if (getattr(self, name) is not None) != (name in wanted):
                raise ValueError(f"{name} {'is missing' if name in wanted else 'is one too many'}")
        for name, of in wanted.items():
            _check.held(getattr(self, name), name, of, self.scale.shape)
        self._check_values()

    def _check_values(self) -> None:
        # By the bits: the caller may have set DAZ.
        magnitudes = self.scale.view(f"uint{8 * self.scale.itemsize}") << 1
        if not ((magnitudes > 0) & np.isfinite(self.scale)).all():
            raise ValueError("scale has values that are 0 or not finite")
        if self.offset is not None and not np.isfinite(self.offset).all():
            raise ValueError("offset has values that are not finite")
        if self.zero_point is not None and (self.zero_point > self.scheme.grid.qmax).any():
            raise ValueError(f"zero_point has values beyond the last code, {self.scheme.grid.qmax}")

    def quantize(self, x: Any, *, num_threads: int | None = None) -> QTensor:
        """`x` by these parameters; values beyond the codes get the last one.

        `x` is anything that `bitmill.quantize` takes. Raises ValueError for NaN and infinity, and
        if it has not as many channels as there are scales.

        >>> import bitmill as bm, numpy as np
        >>> params = bm.calibrate([np.array([-1.27, 0.5], np.float32)], bm.Affine(8, axis=None))
        >>> params.quantize(np.array([[0.254, 5.0]], np.float32)).codes
        array([[ 25, 127]], dtype=int8)
        """
        threads = resolve(num_threads)
        values = _check.array(x)
        count = math.prod(self.scheme.view(values.shape).params)
        if count != self.scale.size:
            raise ValueError(
                f"x has {count} channels along axis={self.scheme.axis}; there are scales for "
                f"{self.scale.size}"
            )
        self.scheme.scan(values, num_threads=threads)  # raises for NaN and infinity
        own = each_param(np.copy, (self.scale, self.zero_point, self.offset))
        arrays = self.scheme.encode(values, AffineParams(*own, 0, 0), _UNEQUAL, num_threads=threads)
        return QTensor(self.scheme, values.shape, name_of(values.dtype), arrays)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it, with floats as hexadecimal strings, which lose nothing."""
        arrays = {name: _listed(getattr(self, name)) for name in _dtypes(self.scheme)}
        shape = {"shape": list(self.scale.shape), "health": dict(self.health)}
        return {"scheme": self.scheme.to_dict()} | arrays | shape

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> QParams:
        """What `to_dict` described; ValueError if it describes none.

        >>> import bitmill as bm, numpy as np
        >>> params = bm.calibrate([np.ones(3, np.float32)], bm.Affine(8, axis=None))
        >>> QParams.from_dict(params.to_dict()).scale == params.scale
        array([ True])
        """
        try:
            scheme = static_scheme(from_dict(given["scheme"]))
            arrays = {
                name: _array(given[name], of).reshape(given["shape"])
                for name, of in _dtypes(scheme).items()
            }
            return cls(scheme, **arrays, health=dict(given["health"]))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"these are no QParams: {error!r}") from None

    def __repr__(self) -> str:
        count = self.scale.size
        return f"QParams({self.scheme.describe()}, {count} scale{'s' if count != 1 else ''})"


def static_scheme(scheme: Any) -> Affine:
    """`scheme`, if its parameters can be known before the values are.

    Raises TypeError unless it is affine, ValueError if it has one scale per row or group.
    """
    _check.scheme(scheme)
    if not isinstance(scheme, Affine):
        raise TypeError(f"scheme is a {type(scheme).__name__}; static parameters take a bm.Affine")
    if scheme.axis == "row":
        cut = "row" if scheme.group_size is None else f"group of {scheme.group_size}"
        raise ValueError(
            f"scheme has a scale for each {cut}, and rows that are yet to come have none: "
            "use axis=None (one scale), or axis=-1 (one for each channel of the last axis)"
        )
    return scheme


def _dtypes(scheme: Affine) -> dict[str, str]:
    """The arrays that parameters for `scheme` have, and their dtypes."""
    wanted = {"scale": scheme.grid.scales}
    if scheme.offset:
        wanted["offset"] = scheme.grid.scales
    elif not scheme.symmetric:
        wanted["zero_point"] = zero_point_dtype(scheme.grid.qmax).name
    return wanted


def _listed(array: Array) -> list[Any]:
    flat = array.reshape(-1)
    return flat.tolist() if flat.dtype.kind == "u" else [float(v).hex() for v in flat]


def _array(given: list[Any], of: str) -> Array:
    if of.startswith("u"):
        return np.array([index(v) for v in given], of)
    with np.errstate(over="ignore"):  # infinity, which is refused
        return np.array([float.fromhex(v) for v in given], dtype(of))
