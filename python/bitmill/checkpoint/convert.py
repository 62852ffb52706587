# SPDX-License-Identifier: MIT
"""Quantize a checkpoint: read, quantize and write one tensor at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitmill._threads import resolve
from bitmill.checkpoint.copy import copy_others
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo, build_header
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.plan import FORMAT, Plan, PlannedTensor, plan_tensors
from bitmill.checkpoint.read import (
    CONFIG,
    INDEX,
    WEIGHTS,
    Checkpoint,
    open_checkpoint,
    read_bytes,
    read_tensor,
)
from bitmill.checkpoint.report import Report, TensorReport
from bitmill.checkpoint.rules import Rules
from bitmill.checkpoint.write import TargetFolder, create, write_at
from bitmill.metrics import metrics
from bitmill.quantize import quantize

COPY_BLOCK = 1 << 24
"""Bytes of a kept tensor that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Handed to the `progress` callable each time a tensor is finished."""

    tensor: str
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Job:
    """One tensor's way from file to file: paths and places, no arrays, so that it can be sent."""

    planned: PlannedTensor
    source: Path
    target: Path
    places: tuple[TensorInfo, ...]
    """Where in `target` its tensors go; one if it is kept."""
    num_threads: int | None


def quantize_checkpoint(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    plan: Plan | Rules,
    *,
    num_threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
    overwrite: bool = False,
) -> Report:
    """Write the checkpoint `src`, quantized by `plan`, into the folder `dst`.

    `plan` is what `plan_checkpoint` returned for `src`, or the rules for it. The target is in the
    `pack-quantized` format of compressed-tensors, with shards named as in the source, every tensor
    that the plan keeps unchanged, a `config.json` with the `quantization_config`, and copies of all
    other files but weights of other kinds. It appears when it is complete, and holds no times,
    hosts or paths. `progress` is called with a `Progress` after each tensor.

    With `overwrite`, new files replace old ones of their names, and the weights of the checkpoint
    that was in `dst` go: `model.safetensors`, the index and what it names. The report lists them.

    Raises CheckpointError naming file and tensor (also for NaN and infinities in the data),
    FileExistsError if `dst` holds something and `overwrite` is false, and OSError.
    """
    start = time.perf_counter()
    resolve(num_threads)  # a wrong number is an error of the call, not of its first tensor
    path = given_path(dst, "dst")
    source = open_checkpoint(src)
    if not isinstance(plan, Plan):
        plan = plan_tensors(source, plan)
    _refuse_other_plan(source, plan)
    inputs = [source.folder / name for name in source.files]
    if not source.is_file:
        inputs.append(source.folder)
    with TargetFolder(path, inputs, overwrite=overwrite) as target:
        jobs, headers, bytes_after = _stage_weights(source, plan, target, num_threads)
        not_copied = () if source.is_file else copy_others(source, target)
        _stage_index(source, target, headers)
        config = {**source.config, "quantization_config": plan.quantization_config()}
        target.stage_json(CONFIG, config)
        reports = _run(jobs, plan.bytes_before, progress)
        target.commit()
    bytes_before = sum(header.nbytes for header in source.files.values())
    return Report(
        tuple(reports),
        not_copied,
        tuple(target.replaced),
        tuple(target.removed),
        bytes_before,
        bytes_after,
        time.perf_counter() - start,
    )


def run_job(job: Job) -> TensorReport:
    """Do one tensor: read it, quantize or copy it, write it to its places."""
    planned, info = job.planned, job.planned.info
    if planned.scheme is None:
        (place,) = job.places
        for done in range(0, info.nbytes, COPY_BLOCK):
            block = read_bytes(job.source, info.begin + done, min(COPY_BLOCK, info.nbytes - done))
            write_at(job.target, place.begin + done, block)
        return TensorReport(
            info.name, info.shape, None, planned.reason, info.nbytes, planned.bytes_after
        )
    x = read_tensor(job.source, info)
    try:
        q = quantize(x, planned.scheme, num_threads=job.num_threads)
    except ValueError as error:
        raise CheckpointError(f"{job.source}: tensor {info.name!r}: {error}") from error
    arrays = FORMAT.encode(q)
    for place in job.places:
        write_at(job.target, place.begin, arrays[place.name.rpartition(".")[2]])
    health = dict(q.health)
    negative = np.count_nonzero(q.scale < 0)
    if negative:
        health["negative scales"] = int(negative)
    return TensorReport(
        info.name,
        info.shape,
        planned.scheme,
        planned.reason,
        info.nbytes,
        planned.bytes_after,
        metrics(x, q, num_threads=job.num_threads),
        health,
    )


def _run(
    jobs: list[Job], bytes_total: int, progress: Callable[[Progress], object] | None
) -> list[TensorReport]:
    """Do the jobs, one after the other."""
    reports = []
    done = 0
    for job in jobs:
        report = run_job(job)
        reports.append(report)
        done += report.bytes_before
        if progress is not None:
            progress(Progress(report.name, done, bytes_total))
    return reports


def _stage_weights(
    source: Checkpoint, plan: Plan, target: TargetFolder, num_threads: int | None
) -> tuple[list[Job], dict[str, dict[str, TensorInfo]], int]:
    """Create the weight files with their headers: the jobs that fill them, their tensors, bytes.

    Every size follows from the plan, so headers come before data, and data go to known places.
    """
    jobs: list[Job] = []
    headers: dict[str, dict[str, TensorInfo]] = {}
    total = 0
    for file, header in source.files.items():
        planned = [tensor for tensor in plan.tensors if tensor.file == file]
        metadata = {"format": "pt", **header.metadata}
        head, places = build_header([s for tensor in planned for s in tensor.stored], metadata)
        name = file if source.index or len(source.files) > 1 else WEIGHTS
        headers[name] = places
        temporary = target.stage(name)
        size = len(head) + sum(place.nbytes for place in places.values())
        create(temporary, head, size)
        total += size
        for tensor in planned:
            own = tuple(places[spec.name] for spec in tensor.stored)
            jobs.append(Job(tensor, source.folder / file, temporary, own, num_threads))
    return jobs, headers, total


def _stage_index(
    source: Checkpoint, target: TargetFolder, headers: dict[str, dict[str, TensorInfo]]
) -> None:
    """Write the index, if the source has one or several files."""
    if not source.index and len(headers) == 1:
        return
    size = sum(info.nbytes for places in headers.values() for info in places.values())
    homes = {tensor: file for file, places in headers.items() for tensor in places}
    metadata = {**source.index.get("metadata", {}), "total_size": size}
    target.stage_json(INDEX, {"metadata": metadata, "weight_map": dict(sorted(homes.items()))})


def _refuse_other_plan(source: Checkpoint, plan: Plan) -> None:
    """Raise unless the plan lists just the tensors of the source, as they are now."""
    planned = [(tensor.file, tensor.info) for tensor in plan.tensors]
    if planned != [(path.name, info) for path, info in source.tensors()]:
        raise CheckpointError(
            f"{source.folder}: the plan is for other tensors than these; plan this checkpoint anew"
        )
