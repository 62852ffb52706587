# SPDX-License-Identifier: MIT
"""Which options of the affine scheme there are, and which exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bitmill import _check
from bitmill.clip import resolve as resolve_clip
from bitmill.grid import Axis
from bitmill.schemes.scales import Scales, scales_of

if TYPE_CHECKING:
    from bitmill.schemes.affine import Affine


def check_options(scheme: Affine) -> None:
    """Raise for options out of range or excluding each other; settle the spelling of the others."""

    def settle(name: str, value: object) -> None:
        object.__setattr__(scheme, name, value)

    settle("bits", _check.code_width(scheme.bits))
    for name in ("symmetric", "narrow_range", "offset"):
        settle(name, _check.flag(getattr(scheme, name), name))
    settle("group_size", _check.group_size(scheme.group_size))
    settle("axis", _axis(scheme.axis))
    settle("clip", resolve_clip(scheme.clip))
    most = resolve_clip(scheme.clip).most_bits
    if scheme.bits > most:
        raise ValueError(f"clip={scheme.clip!r} goes with up to {most} bits, not {scheme.bits}")
    _check.choice(scheme.scale_rule, "scale_rule", ("absmax", "full_range", "signed_max"))
    settle("scales", scales_of(scheme.scales))
    if isinstance(scheme.scales, Scales):
        scheme.scales.check(scheme.group_size)
    check_groups(scheme.group_size, scheme.axis)
    if scheme.scale_rule == "signed_max" and scheme.narrow_range:
        raise ValueError(
            "scale_rule='signed_max' and narrow_range=True exclude each other: the rule is for the "
            "code that narrow_range leaves out"
        )
    if not scheme.symmetric and scheme.narrow_range:
        raise ValueError("narrow_range=True goes with symmetric=True")
    if not scheme.symmetric and scheme.scale_rule != "absmax":
        raise ValueError(f"scale_rule={scheme.scale_rule!r} goes with symmetric=True")
    if scheme.symmetric and scheme.offset:
        raise ValueError("offset=True goes with symmetric=False")


def check_groups(group_size: int | None, axis: Axis) -> None:
    """Raise for groups along anything but rows."""
    if group_size is not None and axis != "row":
        raise ValueError(
            f"group_size={group_size} and axis={axis!r} exclude each other: "
            "groups run along rows (leave out axis)"
        )


def _axis(axis: Any) -> Axis:
    if axis is None or axis == "row":
        return axis  # type: ignore[no-any-return]
    if isinstance(axis, str):
        raise ValueError(f"axis={axis!r} is not 'row', None or an int")
    return _check.integer(axis, "axis", low=-64, high=63)
