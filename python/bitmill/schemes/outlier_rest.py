# SPDX-License-Identifier: MIT
"""What is left of a tensor when its outliers are kept apart, and the values that are kept."""

from __future__ import annotations

import math

import numpy as np

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill.clip import ranges
from bitmill.schemes.affine import Affine
from bitmill.schemes.base import Scheme
from bitmill.schemes.kmeans import KMeans
from bitmill.schemes.learned import LearnedTable

_MOST = {
    "float16": 65504.0,
    "bfloat16": 255 * 2.0**120,
    "float32": (2.0**24 - 1) * 2.0**104,
    "float64": (2.0**24 - 1) * 2.0**104,  # which is rounded to float32
}
"""The largest finite value."""


def rest_of(x: Array, places: Array, inner: Scheme) -> Array:
    """`x` without what lies at these places: with 0 there, which no range but those of `offset`
    excludes; under such a scheme with the least value that is left in the group."""
    rest = x.copy()
    flat = rest.reshape(-1)
    flat[places] = 0
    if places.size and isinstance(inner, Affine) and excludes_zero(inner):
        flat[places] = _least_left(rest, places, inner)
    return rest


def weights_of(
    importance: Array | None, places: Array, inner: Scheme, shape: tuple[int, ...]
) -> Array | None:
    """The importance of the rest: as it is, but 0 at these places for a scheme that learns its
    values, which would learn the zeros there."""
    if not learns_values(inner) or places.size in (0, math.prod(shape)):
        return importance
    every = np.float32(1) if importance is None else importance
    weights = np.array(np.broadcast_to(every, shape))
    weights.reshape(-1)[places] = 0
    return weights


def learns_values(inner: Scheme) -> bool:
    """Whether it learns the values of its codes, by an importance of each weight."""
    return isinstance(inner, KMeans | LearnedTable) and inner.takes_importance


def excludes_zero(inner: Scheme) -> bool:
    """Whether a range may be wider for a 0 among its values."""
    return isinstance(inner, Affine) and inner.offset


def kept_of(x: Array, places: Array, values: str) -> Array:
    """The values at these places in the dtype that stores them: rounded once, to nearest even.

    Raises ValueError naming the first that this dtype cannot hold.
    """
    given = kernels.to_float32(x.reshape(-1)[places])
    kept = kernels.from_float32(given, values)
    bad = np.flatnonzero(~np.isfinite(kernels.to_float32(kept)))
    if bad.size:
        first = int(bad[0])
        raise ValueError(
            f"x.flat[{int(places[first])}] is {float(given[first]):.9g}, an outlier that overflows "
            f"{values}: use values='bfloat16' or 'float32'"
        )
    return kept


def put_back(out: Array, places: Array, values: Array) -> None:
    """Write the values that were kept to their places."""
    of = out.dtype.name
    out.reshape(-1)[places] = kernels.from_float32(kernels.to_float32(values.reshape(-1)), of)


def _least_left(rest: Array, places: Array, inner: Affine) -> Array:
    """The least of all other values in the group of each of these places; 0 if there is none."""
    most = np.float32(_MOST[rest.dtype.name])
    rest.reshape(-1)[places] = most
    view = inner.view(rest.shape)
    least = ranges(rest, view).min
    left = np.where(least == most, np.float32(0), least)
    return view.spread(left).reshape(-1)[view.param_of(places)].astype(rest.dtype)
