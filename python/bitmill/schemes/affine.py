# SPDX-License-Identifier: MIT
"""The affine scheme: integers on a uniform grid, with a scale, perhaps a zero-point, per group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cached_property, lru_cache
from operator import index
from typing import Any

import numpy as np

from bitmill import _check, kernels, layouts
from bitmill._dtypes import Array, dtype
from bitmill._results import AffineCodes, AffineParams, Params, Range, each_param
from bitmill._sizes import code_dtype, word_count, zero_point_dtype
from bitmill.clip import Clip, MinMax, ranges, spelled
from bitmill.clip import resolve as resolve_clip
from bitmill.grid import Axis, CodeRange, Grid, View, channel_axis, code_range, rows_of
from bitmill.grid import view as view_of
from bitmill.schemes import counts
from bitmill.schemes.base import Cut, Encoded, Field, register
from bitmill.schemes.options import check_options
from bitmill.schemes.overflow import overflow_error
from bitmill.schemes.ranged import Ranged
from bitmill.schemes.scales import Scales

_FUSED = 1 << 16  # values; a longer group leaves the cache between its range and its codes


@register
@dataclass(frozen=True)
class Affine(Ranged):
    """Codes on a uniform grid: x̂ = (q − zero_point) · scale, or x̂ = q · scale + offset.

    q = clamp(rint(x / scale) + zero_point, qmin, qmax), with the float32 quotient by the scale as
    it is stored, rounded half to even.

    Parameters
    ----------
    bits
        Width of a code: 2 to 8, or 16.
    symmetric
        Signed codes −2^(bits−1) … 2^(bits−1) − 1 and no zero-point. Otherwise codes and zero-points
        from 0 to 2^bits − 1, over a range that always contains 0, so that 0.0 is exact.
    axis
        "row" (one scale for everything along the last axis), None (one for the tensor), or an int
        (one per channel of that axis; 0 for the output channels of a convolution).
    group_size
        One scale for every so many values along a row; the last group of a row may be short.
    clip
        How ranges are chosen: "minmax", "mse", "mse-exact", "percentile:99.9", "aciq", "meanstd:3",
        "entropy", or an object of `bitmill.clip`.
    scale_rule
        For symmetric codes: "absmax" (absmax/qmax), "full_range" (absmax/((qmax − qmin)/2), the
        rule of compressed-tensors) or "signed_max" (v/qmin with v the value of largest magnitude,
        the rule of llama.cpp and ONNX Runtime; the scale may be negative).
    narrow_range
        Symmetric codes without −2^(bits−1).
    scales
        Storage dtype of scales and offsets: "float32", "float16" or "bfloat16"; or `bm.Scales`,
        with groups: few bits each, and a step that a super-block of groups shares.
    offset
        With symmetric=False: a real offset, the least value of the group, and no zero-point.

    A group of zeros has scale 1. A scale that underflows becomes the smallest positive value of its
    dtype (counted in `QTensor.health`); one that overflows is a ValueError.

    Raises ValueError for values out of range and for options that exclude each other, TypeError for
    values of a wrong type.

    >>> import bitmill as bm
    >>> bm.Affine(4, group_size=128)
    Affine(bits=4, group_size=128)
    >>> bm.Affine(4, group_size=128).layout((2, 300))[0]
    Field(name='packed', dtype='uint32', shape=(2, 38))
    """

    bits: int = 8
    _: KW_ONLY
    symmetric: bool = True
    axis: Axis = "row"
    group_size: int | None = None
    clip: str | Clip = "minmax"
    scale_rule: str = "absmax"
    narrow_range: bool = False
    scales: str | Scales = "float32"
    offset: bool = False

    def __post_init__(self) -> None:
        check_options(self)

    # What the options mean

    # The derived values are kept: finding them anew took most of a small call.

    @cached_property
    def code_range(self) -> CodeRange:
        """Least and greatest code."""
        return code_range(self.bits, symmetric=self.symmetric, narrow=self.narrow_range)

    @cached_property
    def grid(self) -> Grid:
        """Codes, scale rule and storage, as the kernels take them."""
        asymmetric = "offset" if self.offset else "asymmetric"
        rule = self.scale_rule if self.symmetric else asymmetric
        scales = self.scales if isinstance(self.scales, str) else "float32"
        return Grid(*self.code_range, rule, scales)

    @property
    def scale_name(self) -> str:
        """What an error calls the scales."""
        return f"{self.bits}-bit scale{' or offset' if self.offset else ''}"

    @property
    def packed_bits(self) -> int | None:
        """Width of the fields in packed words; None at 8 and 16 bits, which are not packed."""
        return self.bits if self.bits < 8 else None

    def view(self, shape: tuple[int, ...]) -> View:
        """How a tensor of this shape is cut into groups."""
        return view_of(tuple(map(index, shape)), self.axis, self.group_size)

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes."""
        shape = tuple(map(index, shape))
        params = self.view(shape).params
        return list(
            _layout(self.grid, self.packed_bits, self.scales, self.group_size, params, shape)
        )

    @property
    def takes_importance(self) -> bool:
        """Whether `quantize` takes `importance`: if the clip does."""
        return self._clip.takes_importance

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays, `weighed`
        by an importance of each column."""
        view = self.view(shape)
        two_level = 48 if isinstance(self.scales, Scales) else 0
        scratch = math.prod(view.params) * (self._clip.bytes_per_group + two_level)
        if weighed:  # read as float64; where groups lie across rows, spread over the values
            scratch += 24 * shape[-1] + (0 if view.whole_rows else 4 * math.prod(shape))
        return scratch

    def with_scales(self, scales: str) -> Affine:
        """The same scheme with scales and offsets stored in another dtype; `Scales` stay.

        >>> Affine(4, group_size=32).with_scales("float16")
        Affine(bits=4, group_size=32, scales='float16')
        """
        return self if isinstance(self.scales, Scales) else replace(self, scales=scales)

    def describe(self) -> str:
        """A few words for tables: width, symmetry, granularity.

        >>> Affine(4, symmetric=False, group_size=32).describe()
        'int4 asym g32'
        """
        kind = "sym" if self.symmetric else "offset" if self.offset else "asym"
        cut = f"g{self.group_size}" if self.group_size else _describe_axis(self.axis)
        two_level = f" s{self.scales.bits}" if isinstance(self.scales, Scales) else ""
        return f"int{self.bits} {kind} {cut}{two_level}"

    def to_dict(self) -> dict[str, Any]:
        """The options that differ from the defaults, under the scheme's name.

        >>> Affine(4, group_size=32).to_dict()
        {'scheme': 'Affine', 'bits': 4, 'group_size': 32}
        """
        given = _given(self)
        if "clip" in given:
            given["clip"] = spelled(given["clip"])
        if isinstance(self.scales, Scales):
            given["scales"] = self.scales.to_dict()
        return {"scheme": "Affine", "bits": self.bits} | given

    def __getstate__(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}  # nothing that is derived

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in _given(self).items())
        return f"Affine(bits={self.bits}{options})"

    # What the scheme does

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Between rows; if channels run along an axis that is not the last, along the first one.

        >>> Affine(4).cut((8, 64, 32)), Affine(8, axis=None).cut((64, 32))
        (Cut(axis=1, shared=False), Cut(axis=0, shared=True))
        """
        last = len(shape) - 1
        axis = last if self.axis in ("row", None) else channel_axis(self.axis, len(shape))
        shared = self.axis is None or (self.axis != "row" and axis > 0)
        if last == 0 or (shared and not self._clip.by_ranges):
            return Cut(None)
        return Cut(last - 1 if axis == last else 0, shared)

    def fit(
        self, x: Array, *, importance: Array | None = None, num_threads: int | None = None
    ) -> AffineParams:
        """Scale, and zero-point or offset, of every group of `x`, in their shape beside the tensor.

        Raises ValueError for NaN and infinity, for a scale or offset that overflows its dtype, and
        for an importance that the clip does not take.
        """
        options: dict[str, Any] = {"num_threads": num_threads}
        if importance is not None:
            self._check_importance()
            options["importance"] = importance
        made = self._clip.fit(x, self.view(x.shape), self.grid, **options)
        if made.overflowed:
            raise overflow_error(self, ranges(x, self.view(x.shape), num_threads=num_threads))
        return made

    def encode(
        self,
        x: Array,
        params: AffineParams,
        seen: Range | None = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> dict[str, Array]:
        """The arrays of `layout` for a finite `x` under these parameters.

        `importance` weighs what two-level scales are chosen by.
        """
        view = self.view(x.shape)
        if self.offset or isinstance(self.scales, Scales):
            seen = seen or ranges(x, view, num_threads=num_threads)
        stored = self._store(x, params[:3], seen, importance, num_threads)
        scale, zero_point, offset = self.params(stored, x.shape)
        given = each_param(view.spread, (self._divisor(seen, scale), zero_point, offset))
        qmin, qmax = self.code_range
        options: dict[str, Any] = {"qmin": qmin, "qmax": qmax, "num_threads": num_threads}
        if view.whole_rows:
            options |= {"group_size": view.group_size, "bits": self.packed_bits}
        encode = kernels.column_encode if view.columns else kernels.affine_encode
        codes = encode(x.reshape(view.matrix), *given, **options)
        if self.packed_bits is not None and not view.whole_rows:
            codes = layouts.pack(codes.reshape(x.shape), self.bits, num_threads=num_threads)
        return self._arrays(x.shape, codes, stored)

    def quantize(
        self,
        x: Array,
        seen: Range | None = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """`fit`, then `encode`; in one pass over memory where groups lie along rows."""
        view = self.view(x.shape)
        group = view.group_size or view.matrix[1]
        if importance is not None:
            self._check_importance()
        elif self._is_plain and view.whole_rows and group <= _FUSED:
            return self._quantize_fused(x, view, num_threads)
        if seen is None:
            params = self.fit(x, importance=importance, num_threads=num_threads)
        else:
            params = self._fit_ranges(seen, x)
        arrays = self.encode(x, params, seen, importance=importance, num_threads=num_threads)
        return Encoded(arrays, _health(params))

    def row_errors(self, x: Array, *, num_threads: int | None = None) -> Array | None:
        """Σ(x − x̂)² over each row; None where groups do not lie along rows, or have `bm.Scales`."""
        view = self.view(x.shape)
        if not view.whole_rows or isinstance(self.scales, Scales):
            return None
        scale, zero_point, offset = self.fit(x, num_threads=num_threads)[:3]
        if self.offset:
            scale = _divisor(ranges(x, view, num_threads=num_threads), scale)
        return kernels.affine_error(
            x.reshape(view.matrix),
            *each_param(view.spread, (scale, zero_point, offset)),
            **self.code_range._asdict(),
            group_size=view.group_size,
            num_threads=num_threads,
        )

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
        given = each_param(view.spread, self.params(arrays, shape))
        out = _check.output(out, shape, dtype(dtype_name), *arrays.values())
        options: dict[str, Any] = {"dtype_name": dtype_name, "num_threads": num_threads}
        if view.whole_rows and self.packed_bits is not None:
            codes = rows_of(arrays["packed"])
            options |= {"bits": self.bits, "length": shape[-1], "signed": self.symmetric}
        else:
            codes = self.codes(arrays, shape, num_threads=num_threads).reshape(view.matrix)
        if not view.columns:
            options["group_size"] = view.group_size
        decode = kernels.column_decode if view.columns else kernels.affine_decode
        decode(codes, *given, out=out.reshape(view.matrix), **options)
        return out

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Params:
        """Scale, and zero-point or offset where there is one."""
        if not isinstance(self.scales, Scales):
            return arrays["scale"], arrays.get("zero_point"), arrays.get("offset")
        signed, groups = self.scale_rule == "signed_max", self.view(shape).params
        assert self.group_size is not None
        scale, offset = self.scales.read(arrays, groups, self.group_size, signed=signed)
        return scale, arrays.get("zero_point"), offset

    def codes(
        self,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        *,
        num_threads: int | None = None,
    ) -> Array:
        """The integer codes: those held, or unpacked ones."""
        if self.packed_bits is None:
            return arrays["codes"]
        return layouts.unpack(
            arrays["packed"], self.bits, shape[-1], signed=self.symmetric, num_threads=num_threads
        )

    def health(
        self,
        x: Array,
        arrays: Mapping[str, Array],
        seen: Range | None = None,
        *,
        is_first: bool = True,
        fitted: bool = False,
        num_threads: int | None = None,
    ) -> dict[str, int]:
        """Counts of groups of zeros, of values beyond the last code, and of negative scales.

        `is_first` is false for all but the first of pieces that share their groups; `fitted` says
        that the arrays are what `quantize` made of `x`.
        """
        view, params = self.view(x.shape), self.params(arrays, x.shape)
        if fitted and self._is_plain and counts.is_plain(params[0], self.grid):
            return {}
        seen = seen or ranges(x, view, num_threads=num_threads)
        divided_by = (self._divisor(seen, params[0]), *params[1:])
        clipped = 0
        if counts.may_clip(seen, divided_by, self.code_range):
            clipped = counts.clipped(x, divided_by, view, self.code_range)
        if not is_first:
            return {"clipped": clipped}
        return {
            "zero_groups": counts.zero_groups(seen),
            "clipped": clipped,
            "negative_scales": int(np.count_nonzero(params[0] < 0)),
        }

    def _divisor(self, seen: Range | None, scale: Array) -> Array:
        """What values less an offset are divided by: the scale, or infinity for codes 0."""
        if self.offset and seen is not None:
            scale = _divisor(seen, scale)
        if isinstance(self.scales, Scales):
            zero = scale.view(np.int32) << 1 == 0  # the caller may have set DAZ
            scale = np.where(zero, np.float32(np.inf), scale)
        return scale

    def _check_importance(self) -> None:
        if not self.takes_importance:
            raise ValueError(
                f"importance goes with a clip that weighs errors (clip='mse'), not {self.clip!r}"
            )

    @property
    def _clip(self) -> Clip:
        return resolve_clip(self.clip)

    def _fit_ranges(self, seen: Range, x: Array) -> AffineParams:
        """`fit` by the ranges of a whole tensor, of which `x` is a piece."""
        made = self._clip.fit_ranges(seen, self.view(x.shape), self.grid)
        if made.overflowed:
            raise overflow_error(self, seen)
        return made

    def _quantize_fused(self, x: Array, view: View, num_threads: int | None) -> Encoded:
        made = kernels.affine_quantize(
            x.reshape(view.matrix),
            **self.grid._asdict(),
            group_size=view.group_size,
            bits=self.packed_bits,
            num_threads=num_threads,
        )
        if made.nonfinite:
            raise _check.nonfinite_error(x)
        if made.overflowed:
            raise overflow_error(self, ranges(x, view, num_threads=num_threads))
        return Encoded(self._arrays(x.shape, made.codes, _named(made[1:4])), _health(made))

    @property
    def _is_plain(self) -> bool:
        """Whether one pass over the values of a group suffices."""
        return self.clip == MinMax() and isinstance(self.scales, str)

    def _store(
        self,
        x: Array,
        params: Params,
        seen: Range | None,
        importance: Array | None,
        num_threads: int | None,
    ) -> dict[str, Array]:
        """What stands for these parameters."""
        if not isinstance(self.scales, Scales):
            return _named(params)
        assert seen is not None
        assert self.group_size is not None
        view = self.view(x.shape)
        if importance is not None and importance.ndim > 1:
            importance = importance.reshape(view.matrix)
        lo, hi = (end.view(np.int32) for end in seen)  # the caller may have set DAZ
        equal = lo == hi if self.offset else (lo | hi) == 0
        scale = np.where(equal, np.float32(0), params[0])
        spread = each_param(view.spread, (scale, *params[1:]))
        arrays = self.scales.store(
            x.reshape(view.matrix), spread, importance, self.grid, self.group_size, num_threads
        )
        if params[1] is not None:
            arrays["zero_point"] = params[1]
        fields = {field.name: field.shape for field in self.layout(x.shape)}
        return {name: array.reshape(fields[name]) for name, array in arrays.items()}

    def _arrays(
        self, shape: tuple[int, ...], codes: Array, stored: dict[str, Array]
    ) -> dict[str, Array]:
        made = stored | {"packed" if self.packed_bits else "codes": codes}
        return {field.name: made[field.name].reshape(field.shape) for field in self.layout(shape)}


def _named(params: tuple[Array | None, ...]) -> dict[str, Array]:
    names = ("scale", "zero_point", "offset")
    return {n: a for n, a in zip(names, params, strict=True) if a is not None}


def _divisor(seen: Range, scale: Array) -> Array:
    """What values less an offset are divided by: the scale; infinity in constant groups.

    Those have codes 0 by definition, while x − offset need not be 0 after rounding.
    """
    constant = seen.min.view(np.int32) == seen.max.view(np.int32)  # the caller may have set DAZ
    return np.where(constant, scale.dtype.type(np.inf), scale)


@lru_cache(maxsize=1024)
def _layout(
    grid: Grid,
    packed_bits: int | None,
    scales: str | Scales,
    group_size: int | None,
    params: tuple[int, ...],
    shape: tuple[int, ...],
) -> tuple[Field, ...]:
    if packed_bits is None:
        made = [Field("codes", code_dtype(grid.qmin, grid.qmax).name, shape)]
    else:
        made = [Field("packed", "uint32", (*shape[:-1], word_count(shape[-1], packed_bits)))]
    if isinstance(scales, Scales):
        assert group_size is not None
        made += scales.fields(params, group_size, offset=grid.rule == "offset")
    else:
        made.append(Field("scale", grid.scales, params))
    if grid.rule == "asymmetric":
        made.append(Field("zero_point", zero_point_dtype(grid.qmax).name, params))
    elif grid.rule == "offset" and isinstance(scales, str):
        made.append(Field("offset", grid.scales, params))
    return tuple(made)


def _describe_axis(axis: Axis) -> str:
    return "row" if axis == "row" else "tensor" if axis is None else f"axis {axis}"


@lru_cache(maxsize=1)
def _default() -> Affine:
    return Affine()


def _given(scheme: Affine) -> dict[str, Any]:
    """The options, beside bits, that differ from the defaults, as their constructor takes them."""
    default = _default()
    values = {f.name: getattr(scheme, f.name) for f in fields(Affine) if f.name != "bits"}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def _health(made: AffineParams | AffineCodes) -> dict[str, int]:
    counts = {name: getattr(made, name, 0) for name in ("underflowed", "unclipped")}
    return {name: count for name, count in counts.items() if count}
