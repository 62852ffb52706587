# SPDX-License-Identifier: MIT
"""Transformations of a layer that `bm.ptq` may try: made of its weights and its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._hadamard import order_of
from bitmill.transform import Hadamard, smooth, smooth_scales, split_columns


class Moved:
    """Inputs and weights as they are: what a layer does before it multiplies. Others extend it."""

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """What the quantized weights are multiplied by, for inputs [T, K], float32."""
        return x

    def weight(self, w: Array) -> Array:
        """What is quantized, of weights [N, K]."""
        return w

    def beside(self, x: Array) -> Array | None:
        """What is added to the product, in float32 [T, N]."""
        return None

    @property
    def nbytes(self) -> int:
        """Bytes that a layer holds for it."""
        return 0

    def describe(self) -> str:
        """In a few words; empty where nothing is done."""
        return ""


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

    @property
    def name(self) -> str:
        """A word for reports."""
        return _named("smooth", self.alpha, 0.5)

    def fit(self, w: Array, x: Array) -> Moved:
        """By the largest magnitude of each input channel."""
        scales = smooth_scales(np.abs(x).max(axis=0, initial=0), w, self.alpha)
        return Smoothed(scales)


class Smoothed(Moved):
    """x / s, and W·s."""

    def __init__(self, scales: Array) -> None:
        self.scales = scales

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """x / s."""
        return x / self.scales

    def weight(self, w: Array) -> Array:
        """W·diag(s)."""
        return smooth(w, self.scales)

    @property
    def nbytes(self) -> int:
        """Of s."""
        return self.scales.nbytes

    def describe(self) -> str:
        """In a few words."""
        return "inputs divided by a scale each"


@dataclass(frozen=True)
class Rotate:
    """A randomized Hadamard rotation of inputs and weights: `bm.transform.Hadamard`.

    It applies where K is a power of two, or 12 or 20 times one.
    """

    seed: int = 0

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


class Rotated(Moved):
    """x·Q, and W·Q."""

    def __init__(self, rotation: Hadamard) -> None:
        self.rotation = rotation

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """x·Q."""
        return self.rotation.rotate(x, num_threads=num_threads)

    def weight(self, w: Array) -> Array:
        """W·Q."""
        return self.rotation.rotate_weight(w)

    @property
    def nbytes(self) -> int:
        """Of the signs."""
        return self.rotation.sign.nbytes

    def describe(self) -> str:
        """In a few words."""
        return f"inputs rotated (seed {self.rotation.seed})"


@dataclass(frozen=True)
class Split:
    """LLM.int8(): input channels that reach `threshold` stay in float32, with their weights.

    It applies where some channels do, and not all.
    """

    threshold: float = 6.0

    @property
    def name(self) -> str:
        """A word for reports."""
        return _named("split", self.threshold, 6.0)

    def fit(self, w: Array, x: Array) -> Moved | None:
        """By the largest magnitude of each input channel."""
        outliers = split_columns(x, self.threshold).outliers
        return KeptColumns(w, outliers) if 0 < len(outliers) < w.shape[1] else None


class KeptColumns(Moved):
    """Columns of outliers in float32 beside the product; within it they are 0."""

    def __init__(self, w: Array, outliers: Array) -> None:
        self.outliers = outliers
        self.kept: Array = np.ascontiguousarray(w[:, outliers])

    def _without(self, values: Array) -> Array:
        rest = values.copy()
        rest[:, self.outliers] = 0
        return rest

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """x, with 0 for outliers."""
        return self._without(x)

    def weight(self, w: Array) -> Array:
        """W, with 0 for their columns."""
        return self._without(w)

    def beside(self, x: Array) -> Array:
        """The product of what is kept; additions in the order of NumPy's BLAS."""
        made: Array = x[:, self.outliers] @ self.kept.T
        return made

    @property
    def nbytes(self) -> int:
        """Of weights that are kept, and their indices."""
        return self.kept.nbytes + self.outliers.nbytes

    def describe(self) -> str:
        """In a few words."""
        return f"{len(self.outliers)} columns in float32"


def _named(name: str, value: float, default: float) -> str:
    return name if value == default else f"{name}:{value:g}"


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
