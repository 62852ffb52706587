# SPDX-License-Identifier: MIT
"""What all schemes of tables do: codes that stand for values, with a scale for each group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from operator import index
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import STORAGES, Array, dtype
from bitmill._results import Params, Range
from bitmill.clip import ranges
from bitmill.grid import View, rows_of
from bitmill.grid import view as view_of
from bitmill.schemes import counts, dynamic_map
from bitmill.schemes.base import Cut, Encoded, Field
from bitmill.schemes.coded import Coded
from bitmill.schemes.overflow import ScaleOverflowError
from bitmill.schemes.ranged import Ranged
from bitmill.schemes.scales import Scales, scales_of
from bitmill.schemes.table_search import Groups, best_scales, two_level_scales

CLIPS, RULES = ("minmax", "mse"), ("absmax", "signed_max")

S = TypeVar("S", bound="TableScheme")


class _Fitted(NamedTuple):
    """The scales of all groups as weights are divided by them, the arrays for them, and counts."""

    scale: Array
    arrays: dict[str, Array]
    health: dict[str, int]


@dataclass(frozen=True, repr=False)
class TableScheme(Coded, Ranged):
    """x̂ = values[code]·scale: the options and the work that schemes of tables share.

    A subclass gives the table, or says how to make it of the weights; and a group size.
    """

    _: KW_ONLY
    clip: str = "minmax"
    scale_rule: str = "absmax"
    scales: str | Scales = "float32"
    double_quantization: bool = False

    positional: ClassVar[tuple[str, ...]] = ("group_size",)
    if TYPE_CHECKING:

        @property
        def group_size(self) -> int | None: ...

    def __post_init__(self) -> None:
        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        if self.group_size is not None:
            size = _check.integer(self.group_size, "group_size", low=16, high=4096)
            settle("group_size", size)
        _check.choice(self.clip, "clip", CLIPS)
        _check.choice(self.scale_rule, "scale_rule", RULES)
        settle("scales", scales_of(self.scales))
        double = _check.flag(self.double_quantization, "double_quantization")
        settle("double_quantization", double)
        if isinstance(self.scales, Scales):
            self.scales.check(self.group_size)
        if double and (self.scales != "float32" or self.scale_rule != "absmax"):
            raise ValueError(
                "double_quantization=True is for positive scales that would be float32: leave out "
                "scales and scale_rule"
            )

    # What the options mean

    @property
    def name(self) -> str:
        """A word for tables."""
        return type(self).__name__

    @property
    def size(self) -> int:
        """Number of values in the table."""
        raise NotImplementedError

    def table_of(self, arrays: Mapping[str, Array]) -> Array:
        """The values, float32, of a tensor with these arrays."""
        raise NotImplementedError

    @property
    def code_bits(self) -> int:
        """Width of a code."""
        return max(1, (self.size - 1).bit_length())

    def view(self, shape: tuple[int, ...]) -> View:
        """How a tensor of this shape is cut into groups."""
        return view_of(tuple(map(index, shape)), "row", self.group_size)

    def layout(self, shape: tuple[int, ...]) -> list[Field]:
        """The arrays that a tensor of this shape takes: the one source of sizes."""
        shape = tuple(map(index, shape))
        groups = self.view(shape).params
        made = [self.code_field(shape)]
        if isinstance(self.scales, Scales):
            assert self.group_size is not None
            return made + self.scales.fields(groups, self.group_size, offset=False)
        if self.double_quantization:
            blocks = -(-math.prod(groups) // dynamic_map.BLOCK)
            return [
                *made,
                Field("scale", "uint8", groups),
                Field("nested_scale", "float32", (blocks,)),
                Field("nested_offset", "float32", (1,)),
            ]
        return [*made, Field("scale", self.scales, groups)]

    @property
    def takes_importance(self) -> bool:
        """Whether `quantize` takes `importance`: if scales are searched."""
        return self.clip == "mse"

    def scratch(self, shape: tuple[int, ...], *, weighed: bool = False) -> int:
        """Bytes of memory, about, that `quantize` takes beside its input and its arrays, `weighed`
        by an importance of each column."""
        per_group = 16 if self._is_plain else 64
        searched = (32 << 20) if self.clip == "mse" or isinstance(self.scales, Scales) else 0
        return math.prod(self.view(shape).params) * per_group + searched + 4 * shape[-1] * weighed

    def with_scales(self: S, scales: str) -> S:
        """The same scheme with scales stored in another dtype; `Scales` and codes of them stay."""
        if isinstance(self.scales, Scales) or self.double_quantization:
            return self
        return replace(self, scales=scales)

    def describe(self) -> str:
        """A few words for tables: name, granularity, what is special about scales."""
        cut = f"g{self.group_size}" if self.group_size else "row"
        two_level = f" s{self.scales.bits}" if isinstance(self.scales, Scales) else ""
        return f"{self.name} {cut}{two_level}{' dq' if self.double_quantization else ''}"

    # What the scheme does

    def cut(self, shape: tuple[int, ...]) -> Cut:
        """Between rows; nowhere if the scales of all rows are stored together."""
        return Cut(None if len(shape) == 1 or self.double_quantization else len(shape) - 2)

    def quantize(
        self,
        x: Array,
        seen: Range | None = None,
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """The arrays for `x`; in one pass over memory where the rule gives scales as stored."""
        if importance is not None and not self.takes_importance:
            raise ValueError(
                f"importance goes with scales that are searched (clip='mse'), not {self.clip!r}"
            )
        values, table = self._table_for(x, importance, num_threads)
        return self.encode(x, values, table, importance=importance, num_threads=num_threads)

    def _table_for(
        self, x: Array, importance: Array | None, num_threads: int | None
    ) -> tuple[Array, dict[str, Array]]:
        """The values, and the arrays that hold them, for the weights `x`."""
        return self.table_of({}), {}

    def encode(
        self,
        x: Array,
        values: Array,
        table: dict[str, Array],
        *,
        importance: Array | None = None,
        num_threads: int | None = None,
    ) -> Encoded:
        """Scales and codes under these `values`, beside the arrays that hold them."""
        view = self.view(x.shape)
        matrix = x.reshape(view.matrix)
        storage = self.scales if isinstance(self.scales, str) else "float32"
        made = kernels.table_quantize(
            matrix, values, rule=self.scale_rule, scales=storage, group_size=self.group_size,
            bits=self.packed_bits, num_threads=num_threads,
        )  # fmt: skip
        if made.nonfinite:
            raise _check.nonfinite_error(x)
        if made.overflowed:
            self._check_values(x, made.scale, values, num_threads)
        health = {"underflowed": made.underflowed} if made.underflowed else {}
        fitted, codes = _Fitted(made.scale, {"scale": made.scale}, health), made.codes
        if x.size == 0:
            named = {f.name: np.zeros(f.shape, dtype(f.dtype)) for f in self.layout(x.shape)}
            return Encoded(named | table, {})
        if not self._is_plain:
            if importance is not None:
                importance = importance.reshape(-1, view.matrix[1])
            groups = Groups(matrix, importance, values, self.group_size, num_threads)
            fitted = self._fit(groups, fitted)
        if fitted.scale is not made.scale:
            codes = kernels.table_encode(
                matrix, values, fitted.scale, group_size=self.group_size, bits=self.packed_bits,
                num_threads=num_threads,
            )  # fmt: skip
        arrays = fitted.arrays | table | {self.code_field(x.shape).name: codes}
        held = {f.name: arrays[f.name].reshape(f.shape) for f in self.layout(x.shape)}
        self._check_values(x, self.params(held, x.shape)[0], values, num_threads)
        return Encoded(held, fitted.health)

    def _fit(self, groups: Groups, base: _Fitted) -> _Fitted:
        """The scales that the options ask for, where the rule gives `base`."""
        signed, scale = self.scale_rule == "signed_max", base.scale
        seen = kernels.minmax(groups.x, self.group_size, num_threads=groups.num_threads)
        zeros = (seen.min.view(np.int32) | seen.max.view(np.int32)) == 0
        if self.clip == "mse":
            scale = best_scales(groups, scale, seen, signed=signed, scales=scale.dtype.name)
        if isinstance(self.scales, Scales):
            assert self.group_size is not None
            coded = two_level_scales(
                groups, np.where(zeros, np.float32(0), scale), signed=signed,
                bits=self.scales.bits, super_groups=self.scales.groups(self.group_size),
                scales=self.scales.dtype,
            )  # fmt: skip
            arrays = self.scales.packed(coded)
            scale = self.scales.read(arrays, zeros.shape, self.group_size, signed=signed)[0]
            health = {"underflowed": coded.underflowed} if coded.underflowed else {}
            return _Fitted(scale, arrays, health)
        if not self.double_quantization:
            return _Fitted(scale, {"scale": scale}, base.health)
        absmax = np.where(zeros, np.float32(0), scale)
        offset = dynamic_map.mean_of(absmax)
        codes, nested = dynamic_map.encode(absmax, offset)
        arrays = {"scale": codes, "nested_scale": nested, "nested_offset": np.array([offset])}
        return _Fitted(scale, arrays, base.health)

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
        scale = self.params(arrays, shape)[0].reshape(view.matrix[0], view.params[-1])
        kernels.table_decode(
            rows_of(arrays[self.code_field(shape).name]), self.table_of(arrays), scale,
            group_size=self.group_size, dtype_name=dtype_name, out=out.reshape(view.matrix),
            num_threads=num_threads, **self.words(shape),
        )  # fmt: skip
        return out

    def params(self, arrays: Mapping[str, Array], shape: tuple[int, ...]) -> Params:
        """What the values of the table are multiplied by, in each group."""
        groups = self.view(shape).params
        if isinstance(self.scales, Scales):
            assert self.group_size is not None
            signed = self.scale_rule == "signed_max"
            return self.scales.read(arrays, groups, self.group_size, signed=signed)[0], None, None
        if not self.double_quantization:
            return arrays["scale"], None, None
        offset = np.float32(arrays["nested_offset"][0])
        return dynamic_map.decode(arrays["scale"], arrays["nested_scale"], offset), None, None

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
        """Counts of groups of zeros, and of negative scales."""
        seen = seen or ranges(x, self.view(x.shape), num_threads=num_threads)
        negative = int(np.count_nonzero(self.params(arrays, x.shape)[0] < 0))
        return {"zero_groups": counts.zero_groups(seen), "negative_scales": negative}

    @property
    def _is_plain(self) -> bool:
        """Whether the scales of the rule are stored as they are."""
        return self.clip == "minmax" and self.scales in STORAGES and not self.double_quantization

    def _check_values(self, x: Array, scale: Array, values: Array, num_threads: int | None) -> None:
        """Raise ValueError if a scale, or a value of the table under one, is beyond float32."""
        largest = np.abs(values).max()
        with np.errstate(over="ignore"):
            if np.isfinite(kernels.absmax(scale.reshape(1, -1)) * largest).all():
                return
            stored = scale.reshape(-1).astype(np.float32)
            first = int(np.argmin(np.isfinite(stored * largest)))
        seen = ranges(x, self.view(x.shape), num_threads=num_threads)
        at = tuple(int(i) for i in np.unravel_index(first, seen.min.shape))
        low, high = float(seen.min[at]), float(seen.max[at])
        most, storage = max(-low, high), self.scales
        what = "values overflow float32"
        if not np.isfinite(stored[first]):
            what = f"scale overflows {storage if isinstance(storage, str) else 'float32'}"
        wider = storage != "float32" and most / largest <= np.finfo(np.float32).max
        raise ScaleOverflowError(
            at,
            f"spans {low:.9g} to {high:.9g} (absmax {most:.9g}), whose {self.name} {what}: "
            + ("use scales='float32'" if wider else "scale or clip x"),
        )
