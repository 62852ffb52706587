# SPDX-License-Identifier: MIT
"""sensitivity: what each candidate scheme takes and loses on each weight, read once for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from bitmill import _check, _core
from bitmill._threads import resolve as resolve_threads
from bitmill.checkpoint.candidates import KEEP, Candidates, resolve
from bitmill.checkpoint.convert import MAX_MEMORY, ON_NONFINITE
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.measured import Measure, Sensitivity, TensorSensitivity
from bitmill.checkpoint.pieces import Span, cost, cut, is_shared
from bitmill.checkpoint.planner import check_scale_dtype
from bitmill.checkpoint.pool import Pool, Task
from bitmill.checkpoint.run import Progress
from bitmill.checkpoint.sizes import parse_size
from bitmill.checkpoint.subjects import Source, Subject, subjects
from bitmill.checkpoint.trial import Trial, Tried, run_trial, scan_trial
from bitmill.metrics import ErrorTotal

_SUMS = 16
"""Bytes that the sums of a row take for each candidate."""


def sensitivity(
    source: Source,
    candidates: Candidates,
    importance: Any = None,
    *,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
    max_memory: int | str = MAX_MEMORY,
    num_threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    on_nonfinite: str = "error",
) -> Sensitivity:
    """Measure every weight of `source` under every candidate: the bytes it takes, what is lost.

    `source` is a checkpoint, of which `Linear` weights and what `include` matches are measured, but
    nothing that `ignore` matches (see `plan_checkpoint`); or a mapping from names to arrays.

    `candidates` is a list of names, or {label: scheme}, where a scheme may be a `LayerScheme` or a
    name too. Names are:

    - "W2" to "W8": `Affine(bits, group_size=128, clip="mse")`, with a scale per row at 8 bits.
      Behind it may stand the groups, "g32" or "row", and "a" for a zero-point or "o" for a real
      offset: "W4g32", "W3g64a", "W4rowo";
    - the presets of `plan_checkpoint`, as they are;
    - "KEEP": the weight as it is.

    Candidates go into one checkpoint, which has one method of quantization: if some cannot be
    stored by compressed-tensors, all are taken to be stored in the native format.

    The error of a candidate is Σ(x − x̂)², just what `quantize_checkpoint` would report; bytes are
    those of the data in the file. A candidate that the format cannot hold for a weight, or whose
    scales overflow there, is left out, with the reason.

    Parameters
    ----------
    importance
        Weighs squared errors, Σ w·(x − x̂)² with the w of each column, and the clips that take one:
        a file as for `quantize_checkpoint`, or with arrays a mapping from names to one number per
        column. Errors of all weights are added in the end, so each must have one.
    scale_dtype
        As in `plan_checkpoint`: overrides the `scales` of the candidates.
    max_memory
        Bytes (or "256MiB") that pieces of weights in memory may take together. Each weight is read
        once for all candidates. Where pieces of a weight share parameters under one of them (a
        scale for the tensor) and the weight does not fit in whole, it is read twice. A candidate
        that takes a weight in whole only is an error where that does not fit.
    num_threads
        Threads that compute; the result does not depend on it, nor on `max_memory`.
    progress
        Called with a `Progress` after each piece.
    on_nonfinite
        What to do with a weight that holds NaN or infinities: "error", or "keep", which leaves it
        nothing but KEEP.

    Raises CheckpointError naming file and tensor, OSError, and ValueError for wrong arguments.

    >>> import bitmill as bm, numpy as np
    >>> x = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    >>> found = bm.sensitivity({"a": x, "b": 3 * x}, ["W2", "W4", "KEEP"])
    >>> for label, size, error in found.choices()["b"]:
    ...     print(label, size, round(error))
    W2 4624 21220
    W4 8720 1457
    KEEP 65536 0
    """
    layers = resolve(candidates)
    threads, limit = resolve_threads(num_threads), parse_size(max_memory, "max_memory")
    check_scale_dtype(scale_dtype)
    _check.choice(on_nonfinite, "on_nonfinite", ON_NONFINITE)
    found = subjects(
        source, layers, importance, ignore=ignore, include=include, scale_dtype=scale_dtype
    )
    work = [_Work(subject, limit) for subject in found]
    most = max((each.cost for each in work), default=1)
    at_once = limit // max(1, most)
    kernel_threads = max(1, threads // at_once)
    with Pool(None, threads, at_once) as pool:
        _Run(pool, kernel_threads, on_nonfinite == "keep", progress).do(work)
    tensors = tuple(each.result(list(layers)) for each in work)
    return Sensitivity(tensors, layers, scale_dtype, importance is not None)


@dataclass(slots=True)
class _Work:
    """A weight on its way: its pieces, and the sums so far."""

    subject: Subject
    max_memory: int
    spans: list[Span] = field(init=False)
    cost: int = 0
    """Bytes of memory that a piece takes."""
    shared: dict[str, Any] = field(default_factory=dict)
    """By label of those whose pieces must be scanned first, what was seen."""
    xx: float = 0.0
    dd: dict[str, float] = field(default_factory=dict)
    weighed: dict[str, float] = field(default_factory=dict)
    nonfinite: bool = False

    def __post_init__(self) -> None:
        planned = self.subject.planned
        cuts = [cut(tensor) for tensor in planned.values()]
        self.spans = min(cuts, key=len, default=[])  # where one may be cut, all others may
        shape = self.subject.info.shape
        whole = Span((0,) * len(shape), shape, 0)
        shared = [label for label in planned if is_shared(planned[label])]
        if shared and self._cost(whole) <= self.max_memory:
            self.spans = [whole]
        if len(self.spans) > 1:
            self.shared = dict.fromkeys(shared)
        self.cost = max(map(self._cost, self.spans[:1]), default=0)
        if self.cost > self.max_memory:
            worst = max(planned, key=lambda label: self._cost_under(label, self.spans[0]))
            raise CheckpointError(
                f"{self.subject.where}max_memory={self.max_memory} is too little: a piece of "
                f"tensor {self.subject.info.name!r} takes {self.cost} bytes under {worst!r}"
            )

    def _cost(self, span: Span) -> int:
        """Bytes of memory, about, that a piece takes."""
        labels = self.subject.planned
        most = max(self._cost_under(label, span) for label in labels)
        return most + _SUMS * span.rows * len(labels)

    def _cost_under(self, label: str, span: Span) -> int:
        """Of this, what one candidate takes."""
        tensor = self.subject.planned[label]
        takes = tensor.scheme is not None and tensor.scheme.takes_importance
        return cost(tensor, span, weighed=takes and self.subject.importance is not None)

    def take(self, tried: Tried) -> None:
        """Add the sums of the next piece, row after row."""
        self.xx = _core.add_in_order(self.xx, tried.xx)
        for sums, rows in ((self.dd, tried.dd), (self.weighed, tried.weighed)):
            for label, each in rows.items():
                sums[label] = _core.add_in_order(sums.get(label, 0.0), each)
        for label, why in tried.failed.items():
            self.subject.left_out.setdefault(label, why)

    def result(self, labels: list[str]) -> TensorSensitivity:
        """What was measured, in the order of the labels."""
        info, left_out = self.subject.info, dict(self.subject.left_out)
        if self.nonfinite:
            why = "values that are not finite in float32"
            left_out |= {label: why for label in labels if label != KEEP}
        measured = {
            label: self._measure(label)
            for label in labels
            if label not in left_out and label != KEEP
        }
        if KEEP in labels or self.nonfinite:
            measured[KEEP] = Measure(info.nbytes, 0.0, math.inf)
            measured = {label: measured[label] for label in (*labels, KEEP) if label in measured}
        return TensorSensitivity(info.name, info.dtype, info.shape, measured, left_out)

    def _measure(self, label: str) -> Measure:
        error = noise = self.dd[label]
        weights = self.subject.weights()
        if weights is not None:
            error = math.ldexp(self.weighed[label], weights.exponent)
        told = ErrorTotal(xx=self.xx, dd=noise).metrics(self.subject.info.size)
        return Measure(self.subject.planned[label].bytes_after, error, told.sqnr_db)


@dataclass(slots=True)
class _Run:
    """All pieces of all weights, in order."""

    pool: Pool
    kernel_threads: int
    keep_nonfinite: bool
    progress: Callable[[Progress], object] | None

    def do(self, work: list[_Work]) -> None:
        """Measure each."""
        total = sum(each.subject.info.nbytes for each in work)
        done = 0
        with closing(self.pool.in_order(self._tasks(work))) as results:
            for (each, span), tried in results:
                info = each.subject.info
                if tried is None:
                    self._refuse(each)
                elif not each.nonfinite:
                    each.take(tried)
                done += span.size * (info.nbytes // max(1, info.size))
                if self.progress is not None:
                    self.progress(Progress(info.name, done, total))

    def _tasks(self, work: list[_Work]) -> Iterator[tuple[tuple[_Work, Span], Task]]:
        for each in work:
            if each.shared:
                self._scan(each)
            for span in each.spans:
                if each.nonfinite:
                    break
                trial = self._trial(each, span, list(each.subject.planned))
                yield (each, span), Task(run_trial, (trial, each.shared))

    def _scan(self, each: _Work) -> None:
        """Find what candidates must know of all pieces."""
        trials = (self._trial(each, span, list(each.shared)) for span in each.spans)
        tasks = ((None, Task(scan_trial, (trial,))) for trial in trials)
        with closing(self.pool.in_order(tasks)) as results:
            for _, found in results:
                if found is None:
                    return self._refuse(each)
                for label, more in found.items():
                    scheme = self._schemes(each, [label])[label]
                    each.shared[label] = scheme.merge(each.shared[label], more)
        return None

    def _trial(self, each: _Work, span: Span, labels: list[str]) -> Trial:
        weights = each.subject.weights()
        return Trial(
            each.subject.values.block(span),
            span.origin,
            self._schemes(each, labels),
            None if weights is None else weights.values,
            self.kernel_threads,
        )

    def _schemes(self, each: _Work, labels: list[str]) -> dict[str, Any]:
        return {label: each.subject.planned[label].scheme for label in labels}

    def _refuse(self, each: _Work) -> None:
        """A weight that cannot be quantized: an error, or one to keep."""
        if not self.keep_nonfinite:
            subject = each.subject
            raise CheckpointError(
                f"{subject.where}tensor {subject.info.name!r}: {subject.values.nonfinite()}; or "
                "leave the tensor as it is: on_nonfinite='keep'"
            )
        each.nonfinite = True
