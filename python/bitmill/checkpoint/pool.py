# SPDX-License-Identifier: MIT
"""Where pieces are done: in threads of this process, or in an executor that the caller gives."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

Tag = TypeVar("Tag")

_MANY = 64
"""Pieces that are with an executor at a time, at most: enough for as many workers."""
_PATIENCE = 5.0
"""Seconds to wait for pieces that an executor has begun, when they are not wanted any more."""


class Task(NamedTuple):
    """A function of `bitmill.checkpoint.job`, and what it takes but the gate."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Pool:
    """Does pieces, a limited number at a time, and gives the results in order.

    In this process, threads read and write while others compute: as many of these as `num_threads`
    says, with one thread each.
    """

    def __init__(self, executor: Executor | None, num_threads: int, at_once: int) -> None:
        """`at_once` is the number of pieces that memory has room for."""
        self._given = executor
        self._gate = threading.Semaphore(num_threads)
        workers = min(at_once, num_threads + 2)
        self._own = ThreadPoolExecutor(workers, "bitmill") if executor is None else None
        # Results wait for those before them, but hold little; an executor may begin all it has:
        # a window of pieces to scan, while those of the tensor before are there, all but one.
        given = max(1, min((at_once + 1) // 2, _MANY))
        self._window = 2 * workers if executor is None else given

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.shutdown(wait=True, cancel_futures=True)

    def in_order(
        self, tasks: Iterable[tuple[Tag, Task | None]]
    ) -> Generator[tuple[Tag, Any], None, None]:
        """Tags with the results of their tasks (None where there is no task), in the order given.

        Tasks are taken from the iterable when there is room for them.
        """
        waiting: deque[tuple[Tag, Future[Any] | None]] = deque()
        try:
            for tag, task in tasks:
                waiting.append((tag, None if task is None else self._submit(task)))
                if len(waiting) >= self._window:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenExecutor:
            waiting.clear()  # it ends them all itself; cancelled ones would break it once more
            raise
        finally:
            begun = [future for _, future in waiting if future is not None and not future.cancel()]
            wait(begun, _PATIENCE)

    def _submit(self, task: Task) -> Future[Any]:
        if self._own is None:
            assert self._given is not None
            return self._given.submit(task.function, *task.arguments)
        return self._own.submit(task.function, *task.arguments, gate=self._gate)


def _next(waiting: deque[tuple[Tag, Future[Any] | None]]) -> tuple[Tag, Any]:
    tag, future = waiting[0]
    result = None if future is None else future.result()
    waiting.popleft()
    return tag, result
