# SPDX-License-Identifier: MIT
"""Affine weights in compressed-tensors: what its integer formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bitmill._dtypes import Array, dtype
from bitmill.formats.base import held
from bitmill.schemes import Affine, Field, Float

_GRANULARITIES = {"tensor": "tensor", "channel": "row", "group": "group of a row"}
"""What has a scale of its own, by the names of compressed-tensors and by ours."""
_ORDERS_IN_PLACE = (None, False, "weight", "static")
"""The `actorder`s that leave the columns of a group beside each other."""


def why_not(
    scheme: object, shape: tuple[int, ...], *, ranks: Sequence[int], strategies: Sequence[str]
) -> str | None:
    """Why a format of these ranks and strategies cannot hold the weight; None if it can."""
    if not isinstance(scheme, Affine):
        return f"the format holds affine codes only, no {type(scheme).__name__}"
    if scheme.bits > 8:
        return f"the format holds 2 to 8 bits, not {scheme.bits}"
    if not isinstance(scheme.scales, str):
        return "the format holds one scale per group or row, no two-level scales"
    if scheme.offset:
        return "the format holds integer zero-points only, no real offsets"
    reason = why_not_shape(shape, ranks)
    if reason is not None:
        return reason
    if strategy(scheme, shape) not in strategies:
        *some, last = (_GRANULARITIES[name] for name in strategies)
        return f"the format holds one scale per {', '.join(some)} or {last} only"
    reason = why_no_groups(shape, scheme.group_size)
    return None if reason is None else f"{reason} (choose another size, or none)"


def why_not_shape(shape: tuple[int, ...], ranks: Sequence[int]) -> str | None:
    """Why a format of these ranks cannot hold a weight of this shape; None if it can."""
    if len(shape) not in ranks:
        return (
            f"the format holds {'- and '.join(map(str, ranks))}-D weights only, not {len(shape)}-D"
        )
    return "there are no weights in it" if 0 in shape else None


def why_no_groups(shape: tuple[int, ...], group_size: int | None) -> str | None:
    """What is wrong with groups of this size in rows of a weight; None if nothing is."""
    if group_size is None or shape[-1] % group_size == 0:
        return None
    return f"rows of {shape[-1]} weights are not a whole number of groups of {group_size}"


def strategy(scheme: Affine | Float, shape: tuple[int, ...]) -> str | None:
    """How compressed-tensors calls the granularity; None where it has no name for it."""
    if scheme.group_size is not None:
        return "group"
    if scheme.axis is None:
        return "tensor"
    return "channel" if scale(scheme, shape).shape == (*shape[:-1], 1) else None


def scale(scheme: Affine | Float, shape: tuple[int, ...]) -> Field:
    """Dtype and shape of the scales."""
    return next(field for field in scheme.layout(shape) if field.name == "scale")


def checked(
    scheme: object,
    shape: tuple[int, ...],
    reason_against: Callable[[object, tuple[int, ...]], str | None],
) -> Affine:
    """`scheme`, if nothing speaks against it."""
    reason = reason_against(scheme, shape)
    if reason is not None or not isinstance(scheme, Affine):
        raise ValueError(f"compressed-tensors cannot hold this {shape} weight: {reason}")
    return scheme


def arguments(scheme: Affine, shape: tuple[int, ...]) -> dict[str, Any]:
    """The `weights` of a configuration group; `scheme_of` reads them back."""
    said = {"num_bits": scheme.bits, "type": "int", "symmetric": scheme.symmetric}
    if scheme.group_size is None:
        return {**said, "strategy": strategy(scheme, shape)}
    return {**said, "strategy": "group", "group_size": scheme.group_size}


def scheme_of(described: Mapping[str, Any], dtypes: Mapping[str, str | None]) -> Affine:
    """The scheme, by its description and the dtype of the scales.

    What is not said has the defaults of compressed-tensors.
    """
    scales = dtypes.get("weight_scale")
    if scales is None:
        raise ValueError("weight_scale is missing, or of a dtype that NumPy lacks")
    kind, granularity = described.get("type", "int"), described.get("strategy", "channel")
    if kind != "int" or granularity not in _GRANULARITIES:
        raise ValueError(
            f"its weights are of type {kind!r} and strategy {granularity!r}; bitmill reads int, "
            f"and {', '.join(_GRANULARITIES)}"
        )
    if described.get("actorder") not in _ORDERS_IN_PLACE:
        raise ValueError(
            f"its groups are those of weight_g_idx (actorder {described['actorder']!r}), not of "
            "neighbours; bitmill reads no such order"
        )
    return Affine(
        described.get("num_bits", 8),
        symmetric=described.get("symmetric", True),
        axis=None if granularity == "tensor" else "row",
        group_size=described.get("group_size") if granularity == "group" else None,
        scales=scales,
    )


def check_arrays(
    arrays: Mapping[str, Array], wanted: Iterable[Field], shape: tuple[int, ...]
) -> None:
    """Raise unless the arrays are those of a weight of this shape."""
    for name, kind, of in wanted:
        found = held(arrays, name)
        if found.dtype != dtype(kind) or found.shape != of:
            raise ValueError(
                f"{name} is {found.dtype} {found.shape}; a {'x'.join(map(str, shape))} weight "
                f"takes {kind} {of}"
            )
