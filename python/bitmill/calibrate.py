# SPDX-License-Identifier: MIT
"""Static parameters by a few batches of what is to be quantized."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bitmill import _check
from bitmill._dtypes import Array
from bitmill._threads import resolve
from bitmill.clip import resolve as resolve_clip
from bitmill.observers import MinMax, Observer
from bitmill.observers.base import informants, no_informant
from bitmill.qparams import QParams, static_scheme
from bitmill.schemes import Affine


def calibrate(
    batches: Iterable[Any],
    scheme: Affine,
    num_samples: int | None = None,
    *,
    observer: Observer | None = None,
    num_threads: int | None = None,
) -> QParams | dict[str, QParams]:
    """Parameters of `scheme` for values such as those in `batches`.

    `batches` is any iterable, a generator too. Of arrays it gives one QParams; of mappings
    {name: array} a dict with one QParams for each name. The arrays of a name need not have one
    shape, nor come in every batch. `num_samples` is how many samples (indices of the first axis) of
    each name are looked at: the last batch is cut, and none is asked for once every name that has
    come has as many, so that a name which first comes later is not found.

    `observer` is one whose class and options serve as a pattern for each name; by default
    `observers.MinMax` where the scheme's clip goes by ranges, else the one that knows what it goes
    by, `observers.Histogram` before `observers.Moments`. NaN and infinity are skipped.

    The full range is the default, and the best choice but "mse" for transformers, where a few large
    values carry much of the signal: with static int8 inputs of all linear layers of MiniLM, the
    mean cosine of its embeddings to those of the float model is 0.9943 by "minmax", 0.9946 by
    "mse", 0.938 by "entropy", 0.868 by "percentile:99.9" (`python bench/static_activations.py`).

    Raises ValueError for no batches, for a scheme with rows or groups, and as `Observer.compute`;
    TypeError for batches that are no iterable, or of both kinds.

    >>> import bitmill as bm, numpy as np
    >>> batches = ({"up": np.full((2, 4), 0.1 * i), "down": np.ones((2, 8))} for i in range(5))
    >>> params = bm.calibrate(batches, bm.Affine(8, symmetric=False, axis=None), num_samples=4)
    >>> sorted(params), params["down"].scale * 255
    (['down', 'up'], array([1.], dtype=float32))
    """
    scheme = static_scheme(scheme)
    pattern = _pattern(scheme, observer)
    if num_samples is not None:
        num_samples = _check.integer(num_samples, "num_samples", low=1, high=sys.maxsize)
    watched = _Watched(pattern, num_samples, resolve(num_threads))
    for batch in _iterable(batches):
        watched.update(batch)
        if watched.is_done:
            break
    found: dict[Any, QParams] = {}
    for name, one in watched.by_name.items():
        with _naming(name):
            found[name] = one.compute(scheme)
    if not found:
        raise ValueError("batches is empty: there is nothing to go by")
    return found.get(None, found)


class _Watched:
    """Observers by the names of what they look at; None is the name of arrays that have none."""

    def __init__(self, pattern: Observer, num_samples: int | None, num_threads: int) -> None:
        self.by_name: dict[Any, Observer] = {}
        self._pattern, self._threads = pattern, num_threads
        self._wanted = num_samples
        self._left: dict[Any, int] = {}

    def update(self, batch: Any) -> None:
        """Look at an array, or at the arrays of a mapping."""
        named = batch if isinstance(batch, Mapping) else {None: batch}
        for name, x in named.items():
            if self.by_name and (name is None) != (None in self.by_name):
                raise TypeError("batches has both arrays and mappings; wanted one of them")
            with _naming(name):
                self._look(name, _check.array(x))

    def _look(self, name: Any, x: Array) -> None:
        if name not in self.by_name:
            self.by_name[name] = self._pattern.fresh()
            self._left[name] = self._wanted or 0
        if self._wanted is not None:
            x = x[: self._left[name]]
            self._left[name] -= x.shape[0]
        self.by_name[name].update(x, num_threads=self._threads)

    @property
    def is_done(self) -> bool:
        """Whether every name has as many samples as are wanted."""
        return self._wanted is not None and not any(self._left.values())


def _pattern(scheme: Affine, observer: Any) -> Observer:
    if observer is None:
        assert not isinstance(scheme.axis, str)
        clip = resolve_clip(scheme.clip)
        kinds = [MinMax] if clip.by_ranges else informants(clip)
        if not kinds:
            raise no_informant("calibrate", clip)
        return kinds[0](axis=scheme.axis)
    if not isinstance(observer, Observer):
        shown = getattr(observer, "__name__", type(observer).__name__)
        raise TypeError(f"observer is {shown}; wanted an object such as bm.observers.Histogram()")
    if observer.axis != scheme.axis:
        raise ValueError(
            f"scheme has axis={scheme.axis} and observer axis={observer.axis}; wanted the same one"
        )
    return observer


def _iterable(batches: Any) -> Iterable[Any]:
    if isinstance(batches, Mapping) or not isinstance(batches, Iterable):
        raise TypeError(f"batches is a {type(batches).__name__}; wanted an iterable: [batches]")
    return batches


@contextmanager
def _naming(name: Any) -> Iterator[None]:
    """Adds to errors what they are about."""
    try:
        yield
    except Exception as error:
        if name is not None:
            error.add_note(f"in batches, under the name {name!r}")
        raise
