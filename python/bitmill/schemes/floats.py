# SPDX-License-Identifier: MIT
"""Floats of 8, 6 and 4 bits: FP8, the OCP's microscaling formats, NVFP4."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property
from operator import index
from typing import Any, NamedTuple

import numpy as np

from bitmill import _check, kernels, layouts
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._minifloats import MINIFLOATS, Minifloat
from bitmill._results import Grid, Params, Range
from bitmill._sizes import word_count
from bitmill.clip import finite_ranges
from bitmill.grid import Axis, View, rows_of
from bitmill.grid import view as view_of
from bitmill.schemes.base import Cut, Encoded, Field, register
from bitmill.schemes.float_scales import RULES, FloatScales, PowersOfTwo, Stored, TwoLevel
from bitmill.schemes.options import check_groups
from bitmill.schemes.overflow import overflow_error

_CHUNK = 1 << 20  # values that are looked at together


class _Kind(NamedTuple):
    """The format of the elements; the size of blocks, where they are fixed."""

    element: str
    block: int | None = None


KINDS = {
    "fp8_e4m3": _Kind("float8_e4m3fn"),
    "fp8_e5m2": _Kind("float8_e5m2"),
    "mxfp4": _Kind("float4_e2m1fn", 32),
    "mxfp6_e2m3": _Kind("float6_e2m3fn", 32),
    "mxfp6_e3m2": _Kind("float6_e3m2fn", 32),
    "mxfp8_e4m3": _Kind("float8_e4m3fn", 32),
    "mxfp8_e5m2": _Kind("float8_e5m2", 32),
    "nvfp4": _Kind("float4_e2m1fn", 16),
}
"""By their names in `Float`."""


@register
@dataclass(frozen=True)
class Float:
    """Floats of few bits over a scale: x̂ = value(code) · scale.

    A code is that of the float nearest to x / scale, the float32 quotient by the scale as it is
    stored: half to even, and the largest value for all beyond it. It is sign | exponent | mantissa.
    The sign is kept where a value rounds to zero; −0.0 becomes 0.

    ==============  =========  ======  ==========================================================
    kind            elements   max     scale
    ==============  =========  ======  ==========================================================
    "fp8_e4m3"      E4M3 (fn)  448     absmax / max, of `scales`; per row, tensor or group
    "fp8_e5m2"      E5M2       57344   the same
    "mxfp4"         E2M1       6       of 32 values, a power of two: 2^(exponent of absmax − that
    "mxfp6_e2m3"    E2M3       7.5     of max), as one byte (E8M0)
    "mxfp6_e3m2"    E3M2       28
    "mxfp8_e4m3"    E4M3 (fn)  448
    "mxfp8_e5m2"    E5M2       57344
    "nvfp4"         E2M1       6       of 16 values, E4M3(g·absmax / 6) / g with one float32 g =
                                       2688 / absmax for the tensor
    ==============  =========  ======  ==========================================================

    Parameters
    ----------
    kind
        One of these.
    axis, group_size, scales
        For fp8, as in `bitmill.Affine`: one scale for each row ("row"), for the tensor (None), or
        for every so many values of a row; stored as "float32", "float16" or "bfloat16".
    rule
        For mxfp, how the exponent of absmax is taken: "compressed-tensors" (the default) rounds it
        up where absmax is nearer to the next power of two than to the largest value. These are the
        bytes that llm-compressor writes for mxfp4 and mxfp8_e4m3, and of the two the smaller
        errors; runtimes read either. "floor" leaves it: the rule of the OCP's specification and of
        ggml, under which what lies beyond the largest value is cut off.

    A group of zeros has scale 1 (fp8), the byte 0 (mxfp), 0.125 (nvfp4). What underflows is raised
    to the least scale there is (to 0.125 in nvfp4, as compressed-tensors has it), and counted in
    `QTensor.health`; an fp8 scale that overflows is a ValueError.

    Of mxfp6_e3m2 and mxfp8_e5m2, which compressed-tensors lacks, the rule is the like one. It finds
    g of bfloat16 weights in bfloat16, bitmill in float32: files of both are valid, and may differ.

    Raises ValueError for values out of range and for options that exclude each other, TypeError for
    values of a wrong type.

    >>> import bitmill as bm, numpy as np
    >>> q = bm.quantize(np.array([[0.4, -2.4, 100.0, 6.0]], np.float32), bm.Float("mxfp4"))
    >>> q
    QTensor(mxfp4, shape=(1, 4), dtype=float32, 10 bits per weight, 5 bytes)
    >>> q.scale, np.asarray(q)
    (array([[16.]], dtype=float32), array([[ 0., -0., 96.,  8.]], dtype=float32))
    """

    kind: str
    _: KW_ONLY
    axis: Axis = "row"
    group_size: int | None = None
    scales: str = "float32"
    rule: str | None = None

    def __post_init__(self) -> None:
        _check.choice(self.kind, "kind", tuple(KINDS))
        self._settle("group_size", _check.group_size(self.group_size))
        if self.axis is not None and self.axis != "row":
            raise ValueError(f"axis={self.axis!r} is not 'row' or None")
        _check.choice(self.scales, "scales", STORAGES)
        if self.rule is not None:
            _check.choice(self.rule, "rule", RULES)
        block = KINDS[self.kind].block
        if block is not None:
            self._check_block(block)
        if self.kind.startswith("mx"):
            self._settle("rule", self.rule or RULES[0])
        elif self.rule is not None:
            raise ValueError(f"rule={self.rule!r} goes with scales that are powers of two: mxfp")
        check_groups(self.group_size, self.axis)

    def _check_block(self, block: int) -> None:
        if self.group_size not in (None, block) or self.axis != "row":
            raise ValueError(f"{self.kind} has blocks of {block}: leave out group_size and axis")
        if self.scales != "float32":
            raise ValueError(f"scales={self.scales!r} goes with fp8: {self.kind} has its own")
        self._settle("group_size", block)

    def _settle(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    # What the options mean

    @cached_property
    def element(self) -> Minifloat:
        """The format of the codes."""
        return MINIFLOATS[self.format]

    @property
    def format(self) -> str:
        """Its name in ml_dtypes."""
        return KINDS[self.kind].element

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.element.bits

    @property
    def grid(self) -> Grid:
        """What makes the same scales, of fp8."""
        return Stored(self.element, self.scales).grid

    @property
    def scale_name(self) -> str:
        """What an error calls the scales."""
        return f"{self.kind} scale"

    @cached_property
    def _scales(self) -> FloatScales:
        if self.kind == "nvfp4":
            return TwoLevel(self.element)
        if self.rule is not None:
            return PowersOfTwo(self.element, self.rule)
        return Stored(self.element, self.scales)

    @property
    def _is_packed(self) -> bool:
        return self.bits < 8

    def view(self, shape: tuple[int, ...]) -> View:
        """How a tensor of this shape is cut into groups."""
        return view_of(tuple(map(index, shape)), self.axis, self.group_size)

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes.

        >>> for field in Float("nvfp4").layout((8, 64)):
        ...     print(*field)
        packed uint32 (8, 8)
        scale uint8 (8, 4)
        global_scale float32 (1,)
        """
        shape = tuple(map(index, shape))
        codes = Field("codes", "uint8", shape)
        if self._is_packed:
            codes = Field("packed", "uint32", (*shape[:-1], word_count(shape[-1], self.bits)))
        return [codes, *self._scales.fields(self.view(shape).params)]

    @property
    def takes_importance(self) -> bool:
        """False: scales go by absmax."""
        return False

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays."""
        return 40 * math.prod(self.view(shape).params)

    def with_scales(self, scales: str) -> Float:
        """The same scheme with fp8 scales stored in another dtype; others have their own.

        >>> Float("fp8_e4m3").with_scales("bfloat16")
        Float('fp8_e4m3', scales='bfloat16')
        """
        return self if KINDS[self.kind].block else replace(self, scales=scales)

    def describe(self) -> str:
        """A few words for tables: kind, and granularity where it is not fixed.

        >>> Float("fp8_e4m3").describe(), Float("mxfp4").describe()
        ('fp8_e4m3 row', 'mxfp4')
        """
        if KINDS[self.kind].block is not None:
            return self.kind + (" floor" if self.rule == "floor" else "")
        cut = f"g{self.group_size}" if self.group_size else self.axis or "tensor"
        return f"{self.kind} {cut}"

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from the defaults, under the scheme's name.

        >>> Float("mxfp4").to_dict()
        {'scheme': 'Float', 'kind': 'mxfp4'}
        """
        return {"scheme": "Float", "kind": self.kind} | self._given()

    def _given(self) -> dict[str, Any]:
        if KINDS[self.kind].block is not None:
            return {} if self.rule in (None, RULES[0]) else {"rule": self.rule}
        default = Float(self.kind)
        values = {name: getattr(self, name) for name in ("axis", "group_size", "scales")}
        return {name: value for name, value in values.items() if value != getattr(default, name)}

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # nothing that is derived

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._given().items())
        return f"Float({self.kind!r}{options})"

    # What the scheme does

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Between rows; nvfp4 and fp8 per tensor need the absmax of the whole first.

        >>> Float("mxfp4").cut((64, 32)), Float("nvfp4").cut((64, 32))
        (Cut(axis=0, shared=False), Cut(axis=0, shared=True))
        """
        if len(shape) == 1:
            return Cut(None)
        return Cut(len(shape) - 2, self._is_shared)

    @property
    def _is_shared(self) -> bool:
        return self.kind == "nvfp4" or self.axis is None

    def scan(self, x: Array, *, num_threads: int | None = None) -> Array:
        """The absmax of all values, float32 [1]. Raises ValueError for NaN and infinity."""
        whole = view_of(x.shape, None, None)
        return finite_ranges(x, whole, magnitude=True, num_threads=num_threads).max.reshape(1)

    def merge(self, seen: Array | None, more: Array) -> Array:
        """The absmax of two pieces."""
        return more if seen is None else _absmax(np.concatenate([seen, more]))

    def quantize(
        self,
        x: Array,
        seen: Array | None = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """Scales by absmax, then codes."""
        if importance is not None:
            raise ValueError(f"importance goes with schemes that search for scales, not {self!r}")
        view = self.view(x.shape)
        absmax = self._seen(x, view, seen, num_threads)
        made = self._scales.make(absmax, self._whole(absmax, seen))
        if made.overflowed:
            raise overflow_error(self, Range(-absmax, absmax))
        codes = kernels.float_encode(
            x.reshape(view.matrix),
            view.spread(self._float32(made.arrays)),
            format=self.format,
            group_size=view.group_size,
            packed=self._is_packed,
            num_threads=num_threads,
        )
        arrays = {"packed" if self._is_packed else "codes": codes, **made.arrays}
        shapes = {field.name: field.shape for field in self.layout(x.shape)}
        arrays = {name: arrays[name].reshape(shape) for name, shape in shapes.items()}
        return Encoded(arrays, {"underflowed": made.underflowed} if made.underflowed else {})

    def decode(
        self,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        dtype_name: str,
        *,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """The values, rounded once to `dtype_name`."""
        view = self.view(shape)
        out = _check.output(out, shape, dtype(dtype_name), *arrays.values())
        kernels.float_decode(
            rows_of(arrays["packed"]) if self._is_packed else arrays["codes"].reshape(view.matrix),
            view.spread(self._float32(arrays)),
            format=self.format,
            group_size=view.group_size,
            length=shape[-1] if self._is_packed else None,
            dtype_name=dtype_name,
            out=out.reshape(view.matrix),
            num_threads=num_threads,
        )
        return out

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Params:
        """The scales: as they are stored in fp8, else float32."""
        return self._scales.read(arrays), None, None

    def codes(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Array:
        """The codes: those held, or unpacked ones."""
        if not self._is_packed:
            return arrays["codes"]
        return layouts.unpack(arrays["packed"], self.bits, shape[-1], signed=False)

    def health(
        self,
        x: Array,
        arrays: Mapping[str, Array],
        seen: Array | None = None,
        *,
        is_first: bool = True,
        fitted: bool = False,
        num_threads: int | None = None,
    ) -> dict[str, int]:
        """Counts of groups of zeros, and of values beyond the largest code.

        The groups of nvfp4 belong to their pieces, so their scales that were raised are counted
        here, "underflowed_scales". `is_first` is false for all but the first of pieces that share
        their groups; `fitted` says that the arrays are what `quantize` made of `x`.
        """
        if fitted and self._scales.are_plain(arrays):
            return {}
        view = self.view(x.shape)
        absmax = self._seen(x, view, seen, num_threads)
        found = {"clipped": self._clipped(x, view, absmax, self._float32(arrays))}
        if self.kind == "nvfp4":
            again = self._scales.make(absmax, self._whole(absmax, seen))
            found["underflowed_scales"] = again.underflowed
        if is_first or self.axis is not None:
            found["zero_groups"] = int(np.count_nonzero(absmax.view(np.int32) == 0))
        return found

    def _seen(self, x: Array, view: View, seen: Array | None, num_threads: int | None) -> Array:
        """The absmax of every group; ValueError for NaN and infinity."""
        if seen is not None and self.axis is None:
            return seen.reshape(view.params)
        return finite_ranges(x, view, magnitude=True, num_threads=num_threads).max

    def _whole(self, absmax: Array, seen: Array | None) -> Array | None:
        """The absmax of the tensor, if scales depend on it."""
        return _absmax(absmax) if seen is None and self._is_shared else seen

    def _float32(self, arrays: Mapping[str, Array]) -> Array:
        return kernels.to_float32(self._scales.read(arrays))

    def _clipped(self, x: Array, view: View, absmax: Array, scale: Array) -> int:
        """Values nearer to a code above the largest one, if there was one."""
        top = self.element
        limit = np.float32(top.max + 2.0 ** (top.emax - top.mantissa_bits - 1))
        if top.top % 2 == 0:  # the tie belongs to it
            limit = np.nextafter(limit, np.float32(np.inf))
        if not _reach(absmax, scale, limit).any():
            return 0
        rows, columns = view.matrix
        spread, step = view.spread(scale), max(1, _CHUNK // max(1, columns))
        count = 0
        for start in range(0, rows, step):
            part, own = x.reshape(view.matrix)[start : start + step], spread[start : start + step]
            if view.group_size is not None:
                own = np.repeat(own, view.group_size, axis=1)[:, :columns]
            count += int(np.count_nonzero(_reach(kernels.to_float32(part), own, limit)))
        return count


def _absmax(x: Array) -> Array:
    return kernels.absmax(x.reshape(1, -1)).reshape(1)


def _reach(x: Array, scale: Array, limit: np.float32) -> Array:
    with np.errstate(all="ignore"):
        reached: Array = np.abs(x / scale) >= limit
    return reached
