# SPDX-License-Identifier: MIT
"""Scales and offsets of quantized weights as numbers that may be changed, while codes stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitmill import kernels
from bitmill._dtypes import STORAGES, Array, name_of
from bitmill._sizes import group_count
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Float, Scales
from bitmill.schemes.table_scheme import TableScheme

Parameters = dict[str, Array]
"""ŵ = u·scale, or u·scale + offset: "scale" and perhaps "offset", float64 [N, groups]."""


def group_size(q: QTensor) -> int:
    """Columns that share a scale; all where it is one a row."""
    size = getattr(q.scheme, "group_size", None)
    return q.shape[1] if size is None else size


def parameters_of(q: QTensor) -> Parameters | None:
    """Those of weights [N, K]; None where they are no floats, or not one for each row or group."""
    if not isinstance(q.scheme, Affine | Float | TableScheme) or not q.size:
        return None
    given = {"scale": q.scale, "offset": q.offset}
    held = {name: array for name, array in given.items() if array is not None}
    wanted = q.shape[0], group_count(q.shape[1], group_size(q))
    in_floats = all(name_of(array.dtype) in STORAGES for array in held.values())
    if "scale" not in held or not in_floats or any(a.shape != wanted for a in held.values()):
        return None
    if not isinstance(_scales(q), Scales) and q.arrays["scale"].dtype != held["scale"].dtype:
        return None  # codes stand for scales
    return {name: array.astype(np.float64) for name, array in held.items()}


def factors_of(q: QTensor, held: Parameters) -> Parameters:
    """What each weight has of each parameter of its group, float64 [N, K]: u, and 1."""
    each = np.arange(q.shape[1]) // group_size(q)
    weights = q.dequantize().astype(np.float64)
    if "offset" in held:
        weights -= held["offset"][:, each]
    scale = held["scale"][:, each]
    units = np.divide(weights, scale, out=np.zeros_like(weights), where=scale != 0)
    return {"scale": units} | ({"offset": np.ones_like(units)} if "offset" in held else {})


def with_parameters(q: QTensor, wanted: Parameters) -> QTensor:
    """`q` with the parameters that it can store and that are nearest to these.

    Those stay that would overflow, and scales that would become 0 or change their sign.
    """
    held = parameters_of(q)
    assert held is not None
    kept = {name: _allowed(held[name], values, name) for name, values in wanted.items()}
    scales = _scales(q)
    if not isinstance(scales, Scales):
        stored = {name: _rounded(values, q.arrays[name], name) for name, values in kept.items()}
        return replace(q, arrays=q.arrays | stored)
    signed = getattr(q.scheme, "scale_rule", None) == "signed_max"
    stored = scales.nearest(kept["scale"], kept.get("offset"), group_size(q), signed=signed)
    return replace(q, arrays=q.arrays | stored)


def _scales(q: QTensor) -> str | Scales | None:
    return getattr(q.scheme, "scales", None)


def _allowed(held: Array, wanted: Array, name: str) -> Array:
    """`wanted` as float32, with `held` where that is no parameter."""
    with np.errstate(over="ignore"):
        found = wanted.astype(np.float32)
    good = np.isfinite(found)
    if name == "scale":
        good &= np.sign(found) == np.sign(held)
    return np.where(good, found, held).astype(np.float32)


def _rounded(values: Array, held: Array, name: str) -> Array:
    """`values` in the dtype of `held`, which stays where that has no such number."""
    with np.errstate(over="ignore"):
        stored = kernels.from_float32(values, name_of(held.dtype))
    found = stored.astype(np.float32)
    good = np.isfinite(found)
    if name == "scale":
        good &= (found != 0) | (values == 0)
    return np.where(good, stored, held)
