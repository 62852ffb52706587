# SPDX-License-Identifier: MIT
"""Executors that work in an odd order, or fail, and what notes the arrays in their calls."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np


class Backwards(Executor):
    """Does nothing until a result is asked for: then all that it has, the last first."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.most = 0

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Asked(self)
        self.calls.append((function, *args))
        self.waiting.append((future, lambda: function(*args, **kwargs)))
        self.most = max(self.most, len(self.waiting))
        return future

    def do_all(self) -> None:
        while self.waiting:
            future, work = self.waiting.pop()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:
                    future.set_exception(error)


class Asked(Future[Any]):
    """A future of `Backwards`."""

    def __init__(self, executor: Backwards) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self._executor.do_all()
        return super().result(0)


class LostError(Exception):
    """The executor's own failure."""


class Failing(Backwards):
    """One of its calls fails."""

    def __init__(self, number: int, *, at_once: bool, kind: type[Exception] = LostError) -> None:
        super().__init__()
        self.left, self.at_once, self.error = number, at_once, kind("no workers")

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.left -= 1
        if self.left:
            return super().submit(function, *args, **kwargs)
        if self.at_once:
            raise self.error
        future: Future[Any] = Future()
        future.set_exception(self.error)
        return future


class Empty(Backwards):
    """An executor that is false, as what has a length of 0 is."""

    def __len__(self) -> int:
        return 0


class Numb(pickle.Pickler):
    """Notes the arrays that it is given."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.arrays: list[np.ndarray] = []

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            self.arrays.append(value)
        return NotImplemented
