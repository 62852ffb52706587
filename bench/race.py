# SPDX-License-Identifier: MIT
"""Time a call in turn with its rivals and with a stream of the same bytes: A B A B.

The speed of a shared machine drifts by a third, so a ratio is taken between neighbours in time:
every round times each rival, then the stream, then ours, and what is reported is the median over
the rounds of the ratio within a round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter
from typing import Any

from ceilings import Ceiling

Call = Callable[[], Any]

SECONDS = 1.5  # what the rounds of one bench may take together, about
FEWEST, MOST = 5, 25


class Racing:
    """The fixture `race`; `alone` leaves out ceilings and rivals, for the comparison of commits."""

    def __init__(self, benchmark: Any, rounds: int = 0, alone: bool = False) -> None:
        self.benchmark, self.rounds, self.alone = benchmark, rounds, alone

    def __call__(
        self,
        ours: Call,
        *,
        size: int,
        nbytes: int,
        ceiling: Ceiling | None = None,
        rivals: Mapping[str, Call] | None = None,
    ) -> None:
        """Time `ours`, which handles `size` weights and moves `nbytes` bytes, read and written.

        Noted in `extra_info`: Gweights/s and GB/s by the median time, the share of the ceiling's
        rate, and "x NAME": how many times as long as ours the rival NAME takes.
        """
        others: dict[str, Call] = {} if self.alone else dict(rivals or {})
        stream = None if self.alone else ceiling
        if stream is not None:
            others[stream.name] = stream.run
        seconds: dict[str, list[float]] = {name: [] for name in others}

        def time_others() -> None:
            for name, call in others.items():
                seconds[name].append(timed(call))

        self.benchmark.pedantic(
            ours, setup=time_others, rounds=self._count(ours, time_others), warmup_rounds=1
        )
        if self.benchmark.stats is None:  # --benchmark-disable
            return
        times = self.benchmark.stats.stats.data
        info = self.benchmark.extra_info
        info["Gweights/s"] = size / median(times) / 1e9
        info["GB/s"] = nbytes / median(times) / 1e9
        for name, theirs in seconds.items():
            ratio = median(b / a for a, b in zip(times, theirs[-len(times) :], strict=True))
            if stream is not None and name == stream.name:
                info["% of the ceiling"] = 100 * ratio * nbytes / stream.nbytes
                info["ceiling"] = f"{stream.nbytes / median(theirs) / 1e9:.1f} GB/s ({name})"
            else:
                info[f"x {name}"] = ratio

    def _count(self, ours: Call, time_others: Call) -> int:
        """How many rounds: as the option says, or as many as fit the time."""
        if self.rounds or self.benchmark.disabled:
            return self.rounds or 1
        timed(time_others), timed(ours)  # the first calls are slow
        once = timed(time_others) + timed(ours)
        return max(FEWEST, min(MOST, int(SECONDS / once)))


def timed(call: Call) -> float:
    """Seconds until `call` returns; what it returns is freed later, as a caller would."""
    start = perf_counter()
    result = call()
    seconds = perf_counter() - start
    del result
    return seconds
