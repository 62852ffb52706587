# SPDX-License-Identifier: MIT
"""What a target chose for a tensor, and why."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bitmill._sizes import group_count
from bitmill.layouts import Layout
from bitmill.schemes import Affine, total

if TYPE_CHECKING:
    from bitmill.targets.target import Target


@dataclass(frozen=True)
class Explanation:
    """A choice of a target; `str()` of it is prose.

    `groups` are those of a row; `padded` is the shape of the codes in the packed array, `packed`
    that of the array; `nbytes` counts packed codes, scales, zero-points and offsets. `reasons` says
    why width, groups, codes, scales and layout are these.
    """

    target: str
    shape: tuple[int, ...]
    scheme: Affine
    groups: int
    layout: Layout
    padded: tuple[int, ...]
    packed: tuple[int, ...]
    nbytes: int
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        size, groups = "x".join(map(str, self.shape)), self.groups
        head = f"{self.target} takes {size} weights as {self.scheme.describe()}"
        count = f"{groups} group{'s' if groups != 1 else ''} of each row"
        return "\n".join([f"{head}: {count}.", *self.reasons])


def explain(
    target: Target, shape: tuple[int, ...], scheme: Affine, wanted: int, fixed: Set[str]
) -> Explanation:
    """The record for a `scheme` that the target chose for `wanted` bits and `fixed` options."""
    layout = target.packing(scheme, target.alignment)
    sides = [field for field in scheme.layout(shape) if field.name not in ("packed", "codes")]
    nbytes, packed = layout.nbytes(shape) + total(sides), layout.shape(shape)
    reasons = [
        _why_bits(target, scheme.bits, wanted),
        _why_groups(target, shape[-1], scheme, "group_size" in fixed or "axis" in fixed),
        _why_numbers(target, scheme, fixed),
        _why_layout(layout, shape, nbytes),
        *([target.about] if target.about else []),
    ]
    return Explanation(
        target.name,
        shape,
        scheme,
        group_count(shape[-1], scheme.group_size),
        layout,
        layout.padded(shape),
        packed,
        nbytes,
        tuple(reasons),
    )


def one_of(names: Iterable[object], word: str = "or") -> str:
    """The names in a sentence, None for one scale per row.

    >>> one_of((2, 4, 8)), one_of((32, None)), one_of((4,))
    ('2, 4 or 8', '32 or a row', '4')
    """
    *some, last = ["a row" if name is None else str(name) for name in names]
    return f"{', '.join(some)} {word} {last}" if some else last


def _why_bits(target: Target, bits: int, wanted: int) -> str:
    if bits == wanted:
        return f"{bits} bits, as wanted."
    widths = one_of(target.supported_bits, "and")
    if len(target.supported_bits) == 1:
        return f"{bits} bits, the only width there is ({wanted} wanted)."
    return f"{bits} bits: of {widths} the nearest to {wanted}, the wider of two as near."


def _why_groups(target: Target, length: int, scheme: Affine, fixed: bool) -> str:
    size, wanted = scheme.group_size, target.wanted_group_size(scheme.bits)
    what = "One scale per row" if size is None else f"Groups of {size}"
    if scheme.axis is None:
        return "One scale for the tensor, as asked for."
    if fixed:
        return f"{what}, as asked for."
    if size == wanted:
        return f"{what}, as wanted" + (f" for {scheme.bits} bits." if size is None else ".")
    near = length if wanted is None else wanted
    if target.group_sizes:
        there = one_of(target.group_sizes, "and")
    else:
        there = "all sizes" if target.alignment == 1 else f"the multiples of {target.alignment}"
    return ", ".join([f"{what}: the nearest to {near} of {there}", *limits(target)]) + "."


def limits(target: Target) -> list[str]:
    """What the target asks of the groups of a row, in words."""
    said = ["with rows of whole groups"] if target.whole_groups else []
    if target.max_groups is not None:
        said.append(f"with at most {target.max_groups} groups of a row")
    return said


def kind_of(scheme: Affine) -> str:
    """What its codes are called among the `kinds` of a target."""
    return "symmetric" if scheme.symmetric else "offset" if scheme.offset else "asymmetric"


def _why_numbers(target: Target, scheme: Affine, fixed: Set[str]) -> str:
    """Kind of the codes, dtype of the scales, and the rule that makes these."""
    by_kind = {"symmetric", "offset"} & fixed
    codes = f"{kind_of(scheme).capitalize()} codes{_among(target.kinds, bool(by_kind))}"
    scales = f"{scheme.scales} scales{_among(target.scales, 'scales' in fixed)}"
    if not scheme.symmetric:
        return f"{codes}, {scales}."
    rule = f"the rule {scheme.scale_rule}{_among(target.scale_rules, 'scale_rule' in fixed)}"
    return f"{codes}, {scales} by {rule}."


def _among(there: tuple[str, ...], asked: bool) -> str:
    """Why it is this one of those that there are."""
    if asked:
        return " (as asked for)"
    return f" (of {one_of(there, 'and')})" if len(there) > 1 else ""


def _why_layout(layout: Layout, shape: tuple[int, ...], nbytes: int) -> str:
    padded = layout.padded(shape)
    pads = []
    if padded[-1] != shape[-1]:
        pads.append(f"rows padded to {padded[-1]} codes")
    if padded[:-1] != shape[:-1]:
        pads.append(f"{padded[-2]} rows")
    said = ", ".join([f"{layout.dtype} {layout.shape(shape)}", *pads])
    return f"Packed as {layout!r}: {said}; with scales {nbytes:,} bytes."
