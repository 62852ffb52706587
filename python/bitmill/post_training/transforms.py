# SPDX-License-Identifier: MIT
"""Transformations of a layer that `bm.ptq` may try, by its weights and its inputs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._hadamard import order_of
from bitmill.post_training.moved import KeptColumns, Moved, Rotated, Smoothed
from bitmill.transform import Hadamard, smooth_scales, split_columns


@runtime_checkable
class Transform(Protocol):
    """A way to make a layer easier to quantize. Its float outputs stay, but for rounding."""

    @property
    def name(self) -> str:
        """A word for reports."""

    def fit(self, w: Array, x: Array) -> Moved | None:
        """For weights [N, K] and calibration inputs [T, K]; None where it does not apply."""


@dataclass(frozen=True)
class Smooth:
    """SmoothQuant: inputs are divided, and columns of weights multiplied, by
    `bm.transform.smooth_scales`.

    The layer divides its own inputs. Where a norm or a linear layer before it can take the division
    (`bm.transform.fold_into_norm`), `layer.moved.scales` says by what.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        _check.between(self.alpha, "alpha", 0, 1)

    @property
    def name(self) -> str:
        """A word for reports."""
        return _named("smooth", self.alpha, 0.5)

    def fit(self, w: Array, x: Array) -> Moved:
        """By the largest magnitude of each input channel.

        One that is 0 throughout gets the median scale of the others: it may not stay 0.
        """
        most = np.abs(x).max(axis=0, initial=0)
        scales = smooth_scales(most, w, self.alpha)
        if (most > 0).any():
            scales[most == 0] = np.median(scales[most > 0])
        return Smoothed(scales)


@dataclass(frozen=True)
class Rotate:
    """A randomized Hadamard rotation of inputs and weights: `bm.transform.Hadamard`.

    It applies where K is a power of two, or 12 or 20 times one.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        _check.integer(self.seed, "seed", low=0, high=sys.maxsize)

    @property
    def name(self) -> str:
        """A word for reports."""
        return _named("rotate", self.seed, 0)

    def fit(self, w: Array, x: Array) -> Moved | None:
        """By the number of columns alone."""
        columns = w.shape[1]
        if not columns or order_of(columns) is None:
            return None
        return Rotated(Hadamard(columns, self.seed))


@dataclass(frozen=True)
class Split:
    """LLM.int8(): input channels that reach `threshold` stay in float32, with their weights.

    It applies where some channels do, and not all.
    """

    threshold: float = 6.0

    def __post_init__(self) -> None:
        _check.positive(self.threshold, "threshold")

    @property
    def name(self) -> str:
        """A word for reports."""
        return _named("split", self.threshold, 6.0)

    def fit(self, w: Array, x: Array) -> Moved | None:
        """By the largest magnitude of each input channel."""
        outliers = split_columns(x, self.threshold).outliers
        if not 0 < len(outliers) < w.shape[1]:
            return None
        return KeptColumns(outliers, np.ascontiguousarray(w[:, outliers]))


def _named(name: str, value: float, default: float) -> str:
    return name if value == default else f"{name}:{value}"


_BY_NAME: dict[str, Transform] = {kind.name: kind for kind in (Smooth(), Rotate(), Split())}


def resolve(given: Any) -> Transform:
    """A transformation by its name, or as it is given.

    >>> resolve("smooth")
    Smooth(alpha=0.5)
    """
    if isinstance(given, str):
        return _BY_NAME[_check.choice(given, "transforms", tuple(_BY_NAME))]
    if isinstance(given, type) or not isinstance(given, Transform):
        raise TypeError(f"transforms has {given!r}; wanted {', '.join(_BY_NAME)}, or one's object")
    return given
