# SPDX-License-Identifier: MIT
"""How many threads a call may use: argument, set_num_threads, environment, affinity mask."""

from __future__ import annotations

import os

from bitmill import _check

_chosen: int | None = None


def set_num_threads(n: int | None) -> None:
    """Set how many threads calls use that do not say; None goes back to the environment.

    Results never depend on it. Raises TypeError or ValueError unless 1 <= n <= 1024.

    >>> set_num_threads(2); get_num_threads()
    2
    >>> set_num_threads(None)
    """
    global _chosen
    remedy = " (or None for what the environment says)"
    _chosen = None if n is None else _count(n, "n", remedy)


def get_num_threads() -> int:
    """Number of threads of a call without `num_threads=`.

    The first that is there of: `set_num_threads`, `BITMILL_NUM_THREADS`, `OMP_NUM_THREADS`
    (its first entry), the CPUs in the affinity mask.
    """
    if _chosen is not None:
        return _chosen
    ours = os.environ.get("BITMILL_NUM_THREADS")
    if ours:
        if not ours.isdecimal() or not 1 <= int(ours) <= _check.MAX_THREADS:
            raise ValueError(
                f"BITMILL_NUM_THREADS={ours!r} must be a number between 1 and {_check.MAX_THREADS}"
            )
        return int(ours)
    # OMP_NUM_THREADS may be a list, one entry per nesting level; what cannot be read is not ours.
    openmp = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if openmp.isdecimal() and int(openmp) >= 1:
        return min(int(openmp), _check.MAX_THREADS)
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _check.MAX_THREADS)
    return min(os.cpu_count() or 1, _check.MAX_THREADS)


def resolve(num_threads: int | None) -> int:
    """The thread count of one call."""
    if num_threads is None:
        return get_num_threads()
    return _count(num_threads, "num_threads", " (or None for bitmill.get_num_threads())")


def _count(value: int, name: str, remedy: str) -> int:
    return _check.integer(value, name, low=1, high=_check.MAX_THREADS, remedy=remedy)
