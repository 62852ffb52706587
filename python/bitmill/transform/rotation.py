# SPDX-License-Identifier: MIT
"""Randomized Hadamard rotations (QuaRot, arXiv:2404.00456): no entry stays large."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bitmill import _check, kernels
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill._hadamard import order_of
from bitmill.grid import rows_of


class Hadamard:
    """The rotation Q = diag(s)·H / √n of vectors of length `n`, with random signs s from `seed`.

    n is a power of two, or 12 or 20 times one. Q·Qᵀ = I, so (x·Q)·(W·Q)ᵀ = x·Wᵀ: weights are
    rotated once, activations as they come, in n log n additions. Each entry becomes a sum of all
    with random signs, near normal: an outlier is spread over n entries, √n times smaller. The
    signs are the bits of PCG64(seed), least significant first, 1 for a minus: the same wherever
    NumPy runs.

    Raises TypeError for an n or seed that is no int, ValueError for an n that has no such matrix
    and a seed below 0. The methods raise TypeError for other dtypes; ValueError for rows of another
    length, for NaN and infinity, and for sums that overflow float32.

    >>> rotation = Hadamard(4, seed=0)
    >>> rotation
    Hadamard(4, seed=0)
    >>> rotation.rotate(np.array([0, 8, 0, 0], np.float32))
    array([-4.,  4., -4.,  4.], dtype=float32)
    >>> rotation.inverse(rotation.rotate(np.array([1, 2, 3, 4], np.float32)))
    array([1., 2., 3., 4.], dtype=float32)
    """

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n = _check.integer(n, "n", low=1, high=sys.maxsize)
        self.seed = _check.integer(seed, "seed", low=0, high=sys.maxsize)
        if order_of(self.n) is None:
            raise ValueError(f"n={n} is no power of two, nor 12 or 20 times one: split rows")
        words = np.random.PCG64(self.seed).random_raw((self.n + 63) // 64).astype("<u8")
        minus = np.unpackbits(words.view(np.uint8), count=self.n, bitorder="little")
        self.sign: Array = (1 - 2 * minus.astype(np.int8)).astype(np.int8)

    def rotate(self, x: Any, *, num_threads: int | None = None) -> Array:
        """x·Q of `x` [..., n], float32: see `bitmill.reference.hadamard` for how it is rounded."""
        return self._product(x, "x", self.sign, num_threads)

    def rotate_weight(self, w: Any, *, num_threads: int | None = None) -> Array:
        """W·Q of weights [..., n] whose inputs are rotated by `rotate`; the same rotation."""
        return self._product(w, "w", self.sign, num_threads)

    def inverse(self, y: Any, *, num_threads: int | None = None) -> Array:
        """y·Qᵀ of `y` [..., n], float32: undoes `rotate`."""
        made = self._product(y, "y", None, num_threads)
        made *= self.sign
        return made

    @default_floats()
    def _product(self, given: Any, name: str, sign: Array | None, threads: int | None) -> Array:
        values = _check.array(given, name)
        if values.shape[-1] != self.n:
            raise ValueError(f"{name} has shape {values.shape}; wanted rows of {self.n}")
        made = kernels.hadamard(rows_of(values), sign=sign, num_threads=threads)
        if not np.isfinite(kernels.absmax(made, None, num_threads=threads)).all():
            if np.isfinite(kernels.to_float32(values)).all():
                raise ValueError(f"{name} has sums that overflow float32: scale it down")
            raise _check.nonfinite_error(values, name)
        return made.reshape(values.shape)

    def __repr__(self) -> str:
        return f"Hadamard({self.n}, seed={self.seed})"
