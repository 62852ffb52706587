# SPDX-License-Identifier: MIT
"""What a quantized layer does to its inputs before it multiplies, and beside that."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from bitmill._dtypes import Array
from bitmill.transform import Hadamard, smooth
from bitmill.transform.values import matrix, positive


class Moved:
    """Inputs and weights as they are; others extend it.

    `arrays` and `options` are what makes one again, if `is_known`: see `moved_of`.
    """

    kind: ClassVar[str] = "plain"
    arrays: Mapping[str, Array] = MappingProxyType({})
    options: Mapping[str, int] = MappingProxyType({})

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """What the quantized weights are multiplied by, for inputs [T, K], float32."""
        return x

    def weight(self, w: Array) -> Array:
        """What is quantized, of weights [N, K]."""
        return w

    def beside(self, x: Array) -> Array | None:
        """What is added to the product, float32 [T, N]."""
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def is_known(self) -> bool:
        """Whether `moved_of` can make it."""
        return type(self) in (Moved, Smoothed, Rotated, KeptColumns)

    def describe(self) -> str:
        """In a few words; empty where nothing is done."""
        return ""


class Smoothed(Moved):
    """x / s, and W·diag(s)."""

    kind = "smooth"

    def __init__(self, scales: Array) -> None:
        self.scales = scales
        self.arrays = {"input_scale": scales}

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """x / s."""
        return x / self.scales

    def weight(self, w: Array) -> Array:
        """W·diag(s)."""
        return smooth(w, self.scales)

    def describe(self) -> str:
        """In a few words."""
        return "inputs divided by a scale each"


class Rotated(Moved):
    """x·Q, and W·Q."""

    kind = "rotate"

    def __init__(self, rotation: Hadamard) -> None:
        self.rotation = rotation
        self.options = {"n": rotation.n, "seed": rotation.seed}

    def inputs(self, x: Array, num_threads: int | None = None) -> Array:
        """x·Q."""
        return self.rotation.rotate(x, num_threads=num_threads)

    def weight(self, w: Array) -> Array:
        """W·Q."""
        return self.rotation.rotate_weight(w)

    def describe(self) -> str:
        """In a few words."""
        return f"inputs rotated (seed {self.rotation.seed})"


class KeptColumns(Moved):
    """Columns `outliers` in float32, with weights `kept`, beside the product; in it they are 0."""

    kind = "split"

    def __init__(self, outliers: Array, kept: Array) -> None:
        self.outliers, self.kept = outliers, kept
        self.arrays = {"outliers": outliers, "outlier_weight": kept}

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

    def describe(self) -> str:
        """In a few words."""
        return f"{len(self.outliers)} columns in float32"


def moved_of(
    kind: object, options: Mapping[str, Any], arrays: Mapping[str, Array], shape: tuple[int, int]
) -> Moved:
    """What these describe, for weights of this shape; KeyError or ValueError if they are none."""
    rows, columns = shape
    if kind == Moved.kind:
        return Moved()
    if kind == Smoothed.kind:
        return Smoothed(positive(arrays["input_scale"], "input_scale", columns))
    if kind == Rotated.kind:
        rotation = Hadamard(options["n"], options["seed"])
        if rotation.n != columns:
            raise ValueError(f"a rotation of {rotation.n} columns is for weights of {columns}")
        return Rotated(rotation)
    if kind == KeptColumns.kind:
        outliers, kept = arrays["outliers"], matrix(arrays["outlier_weight"], "outlier_weight")
        steps = np.diff(outliers, prepend=-1, append=columns) if outliers.ndim == 1 else np.zeros(1)
        if outliers.dtype != np.int64 or kept.shape != (rows, len(outliers)) or (steps <= 0).any():
            raise ValueError("outliers are no ascending columns of these weights")
        return KeptColumns(outliers, kept)
    raise ValueError(f"no transformation is called {kind!r}")
