# SPDX-License-Identifier: MIT
"""One piece of a weight under every candidate: quantized, decoded, compared; nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np

from bitmill import kernels
from bitmill._check import NonfiniteError
from bitmill._dtypes import Array
from bitmill._floats import default_floats
from bitmill.checkpoint.data import Buffers
from bitmill.checkpoint.subjects import Block
from bitmill.grid import rows_of
from bitmill.schemes import Scheme
from bitmill.schemes.base import WithRowErrors
from bitmill.schemes.overflow import ScaleOverflowError

_buffers = Buffers()


class Trial(NamedTuple):
    """A piece, and the schemes to try on it."""

    block: Block
    origin: tuple[int, ...]
    """Where the piece begins in its tensor."""
    schemes: Mapping[str, Scheme]
    """By label."""
    importance: Array | None
    """Of the columns, float32 from 0 to 1."""
    num_threads: int
    """Threads of the kernels."""


class Tried(NamedTuple):
    """Sums over each row, float64 [R], by label where candidates differ."""

    xx: Array
    """Σx²."""
    dd: dict[str, Array]
    """Σ(x − x̂)²."""
    weighed: dict[str, Array]
    """Σ w·(x − x̂)² where there is an importance w, else empty."""
    failed: dict[str, str]
    """Candidates that the values do not allow, and why."""


def scan_trial(trial: Trial, gate: AbstractContextManager[Any] | None = None) -> Any:
    """By label, what schemes must know of all pieces before they encode any; None for NaN."""
    x = trial.block.read()
    with gate or nullcontext():
        try:
            return {
                label: scheme.scan(x, num_threads=trial.num_threads)
                for label, scheme in trial.schemes.items()
            }
        except NonfiniteError:
            return None


def run_trial(
    trial: Trial, seen: Mapping[str, Any], gate: AbstractContextManager[Any] | None = None
) -> Tried | None:
    """The errors of all candidates; None if values cannot be quantized.

    `seen` is, by label, what `scan_trial` told of all pieces, for those that share parameters.
    """
    x = trial.block.read()
    tried = Tried(np.zeros(0), {}, {}, {})
    with gate or nullcontext():
        for label in trial.schemes:
            try:
                tried = _with(tried, label, trial, x, seen.get(label))
            except NonfiniteError:
                return None
            except ScaleOverflowError as error:
                moved = error if label in seen else error.moved(trial.origin)
                tried.failed[label] = str(moved)
            except ValueError as error:
                tried.failed[label] = str(error)
    return tried


@default_floats()
def _with(tried: Tried, label: str, trial: Trial, x: Array, seen: Any) -> Tried:
    """What was tried, and one candidate more."""
    scheme, threads = trial.schemes[label], trial.num_threads
    # The first candidate takes the long way, on which Σx² is found.
    if tried.dd and seen is None and trial.importance is None and isinstance(scheme, WithRowErrors):
        found = scheme.row_errors(x, num_threads=threads)
        if found is not None:
            tried.dd[label] = found
            return tried
    importance = trial.importance if scheme.takes_importance else None
    # Never with a layout that the values decide: what has one cannot be planned.
    arrays = scheme.quantize(x, seen, importance=importance, num_threads=threads).arrays
    out = _buffers.take("values", 4 * x.size).view(np.float32).reshape(x.shape)
    scheme.decode(arrays, x.shape, "float32", out=out, num_threads=threads)
    sums = kernels.error_sums(rows_of(x), rows_of(out), num_threads=threads)
    tried.dd[label] = sums.dd
    if trial.importance is not None:
        weights = trial.importance[None]
        tried.weighed[label] = kernels.weighed_error(
            rows_of(x), rows_of(out), weights, num_threads=threads
        )
    return tried._replace(xx=sums.xx)
