# SPDX-License-Identifier: MIT
"""Activations of integer layers: codes of 8 bits with one scale, known before the values are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitmill import _check
from bitmill._dtypes import Array
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine

ACTIVATIONS = ("none", "relu", "relu6")
"""What is fused into a layer: limits of its output."""


@dataclass(frozen=True)
class Static:
    """One scale, one zero-point (0 for int8), and the limits of the codes."""

    params: QParams
    scale: float
    zero_point: int
    qmin: int
    qmax: int

    @property
    def dtype(self) -> str:
        """Of the codes."""
        return "uint8" if self.params.zero_point is not None else "int8"

    def limits(self, activation: str) -> tuple[int, int]:
        """Least and greatest code behind an activation."""
        _check.choice(activation, "activation", ACTIVATIONS)
        if activation == "none":
            return self.qmin, self.qmax
        six = self.qmax if activation == "relu" else self.zero_point + round(6 / self.scale)
        return max(self.qmin, self.zero_point), min(self.qmax, six)

    def check(self, x: Any, name: str) -> Array:
        """The codes of a QTensor with these parameters."""
        if not self._are_of(x):
            given = static_tensor(x, name)
            raise ValueError(
                f"{name} has scale {given.scale:g} and zero-point {given.zero_point}; wanted "
                f"{self.scale:g} and {self.zero_point}: quantize it by the layer's own parameters"
            )
        codes: Array = x.codes
        return codes

    def _are_of(self, x: Any) -> bool:
        """Whether `x` is a QTensor with these parameters: quicker than to say which ones it has,
        which for one token took a tenth of the time of its product."""
        if not isinstance(x, QTensor) or not isinstance(x.scheme, Affine):
            return False
        if x.scheme.bits != 8 or x.scheme.axis is not None or x.scheme.offset:
            return False
        zero_point = x.arrays.get("zero_point")
        if (zero_point is None) != (self.params.zero_point is None):
            return False
        found = float(x.arrays["scale"].item()), 0 if zero_point is None else zero_point.item()
        return found == (self.scale, self.zero_point)

    def tensor(self, codes: Array) -> QTensor:
        """Codes with these parameters."""
        ones = (1,) * codes.ndim
        arrays = {"codes": codes, "scale": self.params.scale.reshape(ones)}
        if self.params.zero_point is not None:
            arrays["zero_point"] = self.params.zero_point.reshape(ones)
        return QTensor(self.params.scheme, codes.shape, "float32", arrays)


def static(params: Any, name: str) -> Static:
    """`params`, if they are QParams of 8 bits with one scale, above 0, and no real offset."""
    if not isinstance(params, QParams):
        raise TypeError(f"{name} is a {type(params).__name__}; wanted QParams: bm.calibrate")
    if params.scheme.bits != 8 or params.scale.size != 1 or params.offset is not None:
        raise ValueError(
            f"{name} has the scheme {params.scheme!r}; "
            "wanted bm.Affine(8, axis=None) without offset"
        )
    scale = float(params.scale.reshape(-1)[0])
    if scale < 0:
        raise ValueError(f"{name} has the scale {scale:g}; wanted one above 0")
    zero_point = 0 if params.zero_point is None else int(params.zero_point.reshape(-1)[0])
    return Static(params, scale, zero_point, *params.scheme.code_range)


def static_tensor(x: Any, name: str) -> Static:
    """What a QTensor with one scale has."""
    if not isinstance(x, QTensor):
        raise TypeError(
            f"{name} is a {type(x).__name__}; wanted a QTensor: params.quantize({name})"
        )
    if not isinstance(x.scheme, Affine) or x.scheme.axis is not None or x.scale is None:
        raise ValueError(f"{name} has the scheme {x.scheme!r}; wanted bm.Affine(8, axis=None)")
    return static(QParams(x.scheme, x.scale, x.zero_point, x.offset), name)
