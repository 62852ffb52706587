# SPDX-License-Identifier: MIT
"""One tensor's way from file to file: read, quantize or copy, write, and say what happened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bitmill._dtypes import FLOATS, dtype
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.plan import PlannedTensor
from bitmill.checkpoint.read import read_bytes, read_tensor
from bitmill.checkpoint.report import Health, TensorReport
from bitmill.checkpoint.write import write_at
from bitmill.formats import BY_NAME, LayerScheme
from bitmill.metrics import Metrics, count_nonfinite, metrics
from bitmill.quantize import quantize

COPY_BLOCK = 1 << 24
"""Bytes of a kept tensor that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Job:
    """Paths and places, no arrays, so that it can be sent."""

    planned: PlannedTensor
    info: TensorInfo
    source: Path
    target: Path
    places: tuple[TensorInfo, ...]
    """Where in `target` its tensors go; one if it is kept."""
    num_threads: int | None


def run_job(job: Job) -> TensorReport:
    """Do one tensor."""
    layer = job.planned.layer
    return _copy(job) if layer is None else _quantize(job, layer)


def _copy(job: Job) -> TensorReport:
    (place,) = job.places
    nonfinite = 0
    for done in range(0, job.info.nbytes, COPY_BLOCK):
        count = min(COPY_BLOCK, job.info.nbytes - done)
        block = read_bytes(job.source, job.info.begin + done, count)
        write_at(job.target, place.begin + done, block)
        if job.info.numpy in FLOATS:
            nonfinite += count_nonfinite(block.view(dtype(job.info.numpy)))
    return _report(job.planned, None, nonfinite=nonfinite)


def _quantize(job: Job, layer: LayerScheme) -> TensorReport:
    planned = job.planned
    x = read_tensor(job.source, job.info)
    try:
        q = quantize(x, layer.weights, num_threads=job.num_threads)
    except ValueError as error:
        raise CheckpointError(f"{job.source}: tensor {planned.name!r}: {error}") from error
    arrays = BY_NAME[layer.format].encode(q)
    for place in job.places:
        write_at(job.target, place.begin, arrays[place.name.removeprefix(f"{planned.module}.")])
    return _report(
        planned,
        metrics(x, q, num_threads=job.num_threads),
        underflowed_scales=q.health.get("underflowed", 0),
        **layer.weights.health(x, q.arrays, num_threads=job.num_threads),
    )


def _report(planned: PlannedTensor, measured: Metrics | None, **counts: int) -> TensorReport:
    """What became of a tensor, with its health."""
    return TensorReport(
        name=planned.name,
        shape=planned.shape,
        layer=planned.layer,
        reason=planned.reason,
        bytes_before=planned.bytes_before,
        bytes_after=planned.bytes_after,
        metrics=measured,
        health=Health(**counts, fallbacks=int(planned.unsupported is not None)),
        unsupported=planned.unsupported,
    )
