# SPDX-License-Identifier: MIT
"""A target: what a device or runtime can do, turned into a scheme and a packed layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

from bitmill import _check
from bitmill._dtypes import STORAGES
from bitmill._sizes import group_count
from bitmill.layouts import Layout
from bitmill.schemes import Affine, Float
from bitmill.targets.choose import divisors, multiples_near, nearest_size, nearest_width
from bitmill.targets.explain import Explanation, explain, kind_of, limits, one_of
from bitmill.targets.options import CHECKS, KINDS, SCALE_RULES, positive
from bitmill.targets.packing import words

Packing = Callable[[Affine, int], Layout]
"""The layout of the codes of a scheme, with rows of whole alignments."""


@dataclass(frozen=True)
class Target:
    """What a device or runtime takes. `scheme`, `layout` and `explain` choose from it by shape.

    The width is the supported one nearest to the bits that are wanted, the wider of two as near: of
    (4, 8), 6 gives 8. The group size is, of those that the target takes and a row of the tensor
    permits, the one nearest by ratio to `group_size`, the larger of two as near; a scale per row
    counts as a group of the row. Scales are those of the tensor as it is: what a layout pads is in
    the packed array alone.

    Parameters
    ----------
    supported_bits
        Widths of codes that there are: of 2 to 8, and 16.
    alignment
        Groups are multiples of so many codes, and so are the rows of the packed layout.
    max_groups
        Most groups that a row may have; None: any number.
    target_bits
        The bits that are wanted where none are asked for.
    group_size
        The size that is wanted; None: one scale per row.
    group_sizes
        The sizes that there are, None among them for one scale per row; empty: all multiples of the
        alignment, and rows.
    whole_groups
        Whether a row has to be a whole number of groups.
    row_scales_from
        Codes of so many bits or more get one scale per row, if the target takes that.
    kinds, scale_rules, scales
        What the target takes, the first of each by default: of "symmetric", "asymmetric" (integer
        zero-points) and "offset"; the `scale_rule`s of symmetric codes; dtypes of scales.
    ranks
        Ranks of tensors; empty: any from 1.
    others
        Schemes beside affine ones: kinds of `bitmill.Float`, or names such as "NF4".
    formats, activation_formats, row_activations
        The formats of `LayerScheme` that the runtime reads, or that its files are made of, the
        first by default, and those with input activations; whether it takes these with symmetric
        8-bit weights of one scale per row only.
    export
        What `bitmill export --to` calls the files that the runtime reads, if it needs others.
    packing
        A function of a scheme and the alignment: the layout.
    name, about
        How errors and explanations call the target, and what they say about it.

    Raises ValueError for values out of range, TypeError for values of a wrong type.

    >>> target = Target((4, 8), alignment=32, max_groups=16, target_bits=6)
    >>> target.scheme((512, 4096))
    Affine(bits=8, group_size=256)
    >>> target.scheme((512, 100), bits=4), target.layout((512, 100), bits=4).shape((512, 100))
    (Affine(bits=4, group_size=128), (512, 16))
    """

    supported_bits: tuple[int, ...]
    alignment: int = 1
    max_groups: int | None = None
    target_bits: int = 4
    _: KW_ONLY
    group_size: int | None = 128
    group_sizes: tuple[int | None, ...] = ()
    whole_groups: bool = False
    row_scales_from: int | None = None
    kinds: tuple[str, ...] = KINDS
    scale_rules: tuple[str, ...] = SCALE_RULES
    scales: tuple[str, ...] = STORAGES
    ranks: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    formats: tuple[str, ...] = ("native",)
    activation_formats: tuple[str, ...] = ()
    row_activations: bool = False
    export: str | None = None
    packing: Packing = words
    name: str = "this target"
    about: str = ""

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            object.__setattr__(self, name, check(getattr(self, name), name))
        object.__setattr__(self, "supported_bits", tuple(sorted({*self.supported_bits})))
        for size in self.group_sizes:
            if size is not None and size % self.alignment:
                raise ValueError(
                    f"group_sizes has {size}, no multiple of alignment={self.alignment}"
                )

    # What it chooses

    def width(self, bits: int | None = None) -> int:
        """The supported width nearest to `bits`, by default `target_bits`; the wider of two.

        >>> Target((2, 4, 8)).width(6), Target((2, 4, 8)).width(3), Target((2, 4, 8)).width()
        (8, 4, 4)
        """
        wanted = self.target_bits if bits is None else positive(bits, "bits")
        return nearest_width(wanted, self.supported_bits)

    def scheme(self, shape: tuple[int, ...], bits: int | None = None, **options: Any) -> Affine:
        """The scheme for a tensor of this shape.

        `options` are those of `bitmill.Affine` that the caller has decided on; the target chooses
        the others. Raises ValueError if nothing that the target takes fits the tensor, or the
        options do not fit the target, saying which constraint is in the way.

        >>> Target((4,), 32, group_sizes=(32, 64)).scheme((8, 96), symmetric=False, clip="mse")
        Affine(bits=4, symmetric=False, group_size=64, clip=MSE(mode='fast'))
        """
        shape = _check.shape(shape)
        width = self.width(bits)
        chosen: dict[str, Any] = {"scales": self.scales[0], **self._kind(options)}
        if "group_size" not in options and "axis" not in options:
            chosen["group_size"] = self._group_size(shape, width)
        made = Affine(width, **chosen | options)
        reason = self.why_not(made, shape)
        if reason is not None:
            raise ValueError(reason)
        return made

    def layout(self, shape: tuple[int, ...], bits: int | None = None, **options: Any) -> Layout:
        """How the codes of `scheme(shape, bits, **options)` lie in memory.

        >>> Target((4,), 32).layout((8, 100))
        Words(bits=4, signed=True, multiple=32, pad=0)
        """
        return self.packing(self.scheme(shape, bits, **options), self.alignment)

    def explain(
        self, shape: tuple[int, ...], bits: int | None = None, **options: Any
    ) -> Explanation:
        """What is chosen for a tensor of this shape, and why; `str()` of it is prose.

        >>> target = Target((4, 8), alignment=32, max_groups=16, target_bits=6, name="a board")
        >>> print(target.explain((512, 4090)))
        a board takes 512x4090 weights as int8 sym g256: 16 groups of each row.
        8 bits: of 4 and 8 the nearest to 6, the wider of two as near.
        Groups of 256: the nearest to 128 of the multiples of 32, with at most 16 groups of a row.
        Symmetric codes (of symmetric, asymmetric and offset), float32 scales (of float32, float16 \
and bfloat16) by the rule absmax (of absmax, full_range and signed_max).
        Packed as Words(bits=8, signed=True, multiple=32, pad=0): uint32 (512, 1024), rows padded \
to 4096 codes; with scales 2,129,920 bytes.
        """
        scheme = self.scheme(shape, bits, **options)
        wanted = self.target_bits if bits is None else bits
        return explain(self, _check.shape(shape), scheme, wanted, fixed=frozenset(options))

    def fitting(self, bits: int | None = None, **options: Any) -> Fitting:
        """The choice for any shape: a rule for `bitmill.plan_checkpoint`."""
        return Fitting(self, bits, tuple(options.items()))

    def _kind(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of symmetry, and the rule of the scale, that go with the given ones.

        They are those of the first kind that does; if the target has none, of any.
        """
        given = {name: options[name] for name in ("symmetric", "offset") if name in options}
        if options.get("narrow_range") or options.get("scale_rule", "absmax") != "absmax":
            given.setdefault("symmetric", True)
        ways = [
            {"symmetric": kind == "symmetric", "offset": kind == "offset"}
            for kind in (*self.kinds, *KINDS)
        ]
        way = next((way for way in ways if way == way | given), ways[0])
        rule = self.scale_rules[0] if way["symmetric"] else "absmax"
        return {**way, "scale_rule": rule}

    def _group_size(self, shape: tuple[int, ...], bits: int) -> int | None:
        """The size nearest to the wanted one. ValueError if none fits."""
        length, wanted = shape[-1], self.wanted_group_size(bits)
        if wanted is None and self.takes_rows:
            return None
        found = self._sizes(length, wanted or length)
        if not found:
            raise ValueError(
                f"{self.name} takes groups of {one_of(self.group_sizes)}, "
                f"{', '.join(self._limits_in_the_way(length))}: none fits rows of {length} weights"
            )
        return found[nearest_size(wanted or length, found)]

    def _limits_in_the_way(self, length: int) -> list[str]:
        """The limits for which not all group sizes fit rows of a length, in words."""
        sizes = [size for size in self.group_sizes if size is not None]
        most = max(group_count(length, size) for size in sizes)
        is_uneven = any(length % size for size in sizes)
        is_much = self.max_groups is not None and most > self.max_groups
        broken = replace(
            self,
            whole_groups=self.whole_groups and is_uneven,
            max_groups=self.max_groups if is_much else None,
        )
        return limits(broken)

    def _sizes(self, length: int, wanted: int) -> dict[int, int | None]:
        """By their sizes, the groups that fit a row, as far as they matter; None is the row."""
        least = -(-length // self.max_groups) if self.max_groups else 0
        row: dict[int, int | None] = {length: None} if self.takes_rows else {}
        if self.group_sizes:
            sizes = [size for size in self.group_sizes if size is not None]
            return row | {s: s for s in sizes if self._why_no_group(s, length) is None}
        if self.whole_groups:
            return row | {size: size for size in divisors(length, self.alignment, least)}
        return {size: size for size in multiples_near(wanted, self.alignment, least)}

    @property
    def takes_rows(self) -> bool:
        """Whether there may be one scale per row."""
        return not self.group_sizes or None in self.group_sizes

    def wanted_group_size(self, bits: int) -> int | None:
        """The size that is wanted for codes of so many bits; None for one scale per row."""
        by_rows = self.row_scales_from is not None and bits >= self.row_scales_from
        return None if by_rows else self.group_size

    # What it takes

    def why_not(self, scheme: object, shape: tuple[int, ...]) -> str | None:
        """Which constraint a scheme breaks for a tensor of this shape; None if it breaks none.

        >>> Target((4, 8), 32, name="a board").why_not(Affine(4, group_size=48), (8, 96))
        'a board takes groups that are multiples of 32, not 48'
        """
        return next(self._reasons(scheme, shape), None)

    def _reasons(self, scheme: object, shape: tuple[int, ...]) -> Iterator[str]:
        """The constraints that a scheme breaks, one after the other."""
        if not shape:
            yield f"{self.name} takes weights of 1 dimension or more, no single number"
            return
        if self.ranks and len(shape) not in self.ranks:
            ranks = one_of(f"{rank}-D" for rank in self.ranks)
            yield f"{self.name} takes {ranks} weights, not {len(shape)}-D"
        if not isinstance(scheme, Affine):
            kind = scheme.kind if isinstance(scheme, Float) else type(scheme).__name__
            if kind not in self.others:
                yield f"{self.name} takes {one_of(('affine codes', *self.others))}, not {kind}"
            return
        if scheme.bits not in self.supported_bits:
            yield f"{self.name} takes {one_of(self.supported_bits)} bits, not {scheme.bits}"
        kind = kind_of(scheme)
        if kind not in self.kinds:
            yield f"{self.name} takes {one_of(self.kinds)} codes, not {kind} ones"
        if scheme.symmetric and scheme.scale_rule not in self.scale_rules:
            yield (
                f"{self.name} takes scales by the rule {one_of(self.scale_rules)}, not "
                f"{scheme.scale_rule}"
            )
        if not isinstance(scheme.scales, str):
            yield f"{self.name} takes one scale per group, no two-level scales"
        elif scheme.scales not in self.scales:
            yield f"{self.name} takes {one_of(self.scales)} scales, not {scheme.scales}"
        if scheme.axis not in ("row", None):
            yield f"{self.name} takes scales along rows, not of axis {scheme.axis}"
        reason = self._why_no_group(scheme.group_size, shape[-1])
        if reason is not None:
            yield reason

    def _why_no_group(self, size: int | None, length: int) -> str | None:
        """What is wrong with groups of this size in rows of a length; None if nothing is."""
        if size is None:
            if self.takes_rows:
                return None
            return f"{self.name} takes groups of {one_of(self.group_sizes)}, not one scale per row"
        if self.group_sizes and size not in self.group_sizes:
            return f"{self.name} takes groups of {one_of(self.group_sizes)}, not {size}"
        if size % self.alignment:
            return f"{self.name} takes groups that are multiples of {self.alignment}, not {size}"
        if self.whole_groups and length % size:
            return (
                f"{self.name} takes rows that are a whole number of groups, not {length} weights "
                f"in groups of {size}"
            )
        count = group_count(length, size)
        if self.max_groups is not None and count > self.max_groups:
            return f"{self.name} takes at most {self.max_groups} groups of a row, not {count}"
        return None


@dataclass(frozen=True)
class Fitting:
    """A target with what is decided already: chooses the scheme for each tensor by its shape."""

    target: Target
    bits: int | None = None
    options: tuple[tuple[str, Any], ...] = ()

    def scheme(self, shape: tuple[int, ...], scales: str | None = None) -> Affine:
        """The scheme for a tensor of this shape; with scales of this dtype, if none was decided on.

        >>> Target((4,), 64).fitting(clip="mse").scheme((8, 256), "bfloat16")
        Affine(bits=4, group_size=128, clip=MSE(mode='fast'), scales='bfloat16')
        """
        options = dict(self.options)
        if scales is not None:
            options.setdefault("scales", scales)
        return self.target.scheme(shape, self.bits, **options)
