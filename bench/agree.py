# SPDX-License-Identifier: MIT
"""Answers are checked before they are timed: bit for bit with ours, or as a format allows."""

from __future__ import annotations

from typing import Any

import numpy as np

CHECKED = slice(0, 16)  # rows compared with a NumPy twin, which takes its time


def same_bits(got: Any, wanted: Any) -> None:
    """Fail unless two arrays, or two tuples of arrays and numbers, are equal bit for bit."""
    if isinstance(wanted, tuple):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            same_bits(one, other)
    elif isinstance(wanted, np.ndarray):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.tobytes() == wanted.tobytes()
    else:
        assert got == wanted


def top(made: Any) -> Any:
    """The rows of `made` that were checked; the counts of a result with a name are left out."""
    if isinstance(made, tuple):
        return tuple(part[CHECKED] for part in made if isinstance(part, np.ndarray))
    return made[CHECKED]


def within_half_a_step(x: np.ndarray, values: np.ndarray, step: np.ndarray, slack: float) -> None:
    """Fail unless every value lies within half a step of its x, and `slack` steps more.

    `step` broadcasts against groups: x and values are [groups, size] and step [groups, 1].
    """
    assert x.shape == values.shape
    off = np.abs(x.astype(np.float64) - values)
    assert (off <= (0.5 + slack) * step).all(), f"off by {(off / step).max():.4f} steps"


def sqnr_db(x: np.ndarray, values: np.ndarray) -> float:
    """10 · log10(Σ x² / Σ (x − x̂)²), summed in float64."""
    noise = np.square(x.astype(np.float64) - values).sum()
    return float(10 * np.log10(np.square(x.astype(np.float64)).sum() / noise))


def nbytes(*arrays: Any) -> int:
    """Bytes of all arrays in results and tuples of results."""
    total = 0
    for part in arrays:
        if isinstance(part, tuple):
            total += nbytes(*part)
        elif isinstance(part, np.ndarray):
            total += part.nbytes
    return total
