# SPDX-License-Identifier: MIT
"""Quantize a checkpoint: read, quantize and write one tensor at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bitmill._threads import resolve
from bitmill.checkpoint.copy import copy_others
from bitmill.checkpoint.job import Job, run_job
from bitmill.checkpoint.output import Output, lay_out
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.planner import check_plan, plan_checkpoint
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.report import REPORT, Report, TensorReport
from bitmill.checkpoint.rules import Rules
from bitmill.checkpoint.write import TargetFolder, create, json_text, write_file


@dataclass(frozen=True, slots=True)
class Progress:
    """Handed to the `progress` callable each time a tensor is finished."""

    tensor: str
    bytes_done: int
    bytes_total: int


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

    `plan` is what `plan_checkpoint` returned for `src` or `read_plan` read, or the rules for it.
    The target is a compressed-tensors checkpoint, or one of bitmill's own if the plan says so: with
    shards named as in the source, every tensor that the plan keeps unchanged, a `config.json` with
    the `quantization_config`, copies of all other files but weights of other kinds, and the report
    in `bitmill_report.json`. It appears when it is complete, and holds no times, hosts or paths.
    `progress` is called with a `Progress` after each tensor.

    With `overwrite`, new files replace old ones of their names, and the weights of the checkpoint
    that was in `dst` go: `model.safetensors`, the index and what it names. What is returned lists
    them.

    Raises CheckpointError naming file and tensor (also for NaN and infinities in the data),
    FileExistsError if `dst` holds something and `overwrite` is false, and OSError.
    """
    start = time.perf_counter()
    resolve(num_threads)  # a wrong number is an error of the call, not of its first tensor
    path = given_path(dst, "dst")
    source = open_checkpoint(src)
    plan = check_plan(source, plan) if isinstance(plan, Plan) else plan_checkpoint(source, plan)
    output = lay_out(source, plan)
    inputs = [source.folder / name for name in source.files]
    if not source.is_file:
        inputs.append(source.folder)
    with TargetFolder(path, inputs, overwrite=overwrite) as target:
        jobs = _stage_weights(source, output, target, num_threads)
        not_copied = () if source.is_file else copy_others(source, target)
        report_file = target.stage(REPORT)
        for name, text in output.texts.items():  # named last: without them it is no checkpoint yet
            target.stage_bytes(name, text)
        report = Report(
            tuple(_run(jobs, plan.bytes_before, progress)),
            bytes_before=sum(header.nbytes for header in source.files.values()),
            bytes_after=sum(file.nbytes for file in output.weights.values()),
            notes=tuple(plan.notes()),
            not_copied=not_copied,
        )
        write_file(report_file, json_text(report.to_dict()))
        target.commit()
    return replace(
        report,
        replaced=tuple(target.replaced),
        removed=tuple(target.removed),
        seconds=time.perf_counter() - start,
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
    source: Checkpoint,
    output: Output,
    target: TargetFolder,
    num_threads: int | None,
) -> list[Job]:
    """Create the weight files with their headers: the jobs that fill them.

    Every size follows from the plan, so headers come before data, and data go to known places.
    """
    infos = {info.name: info for _, info in source.tensors()}
    jobs: list[Job] = []
    for name, file in output.weights.items():
        temporary = target.stage(name)
        create(temporary, file.head, file.nbytes)
        for tensor in file.tensors:
            places = tuple(file.places[spec.name] for spec in tensor.stored)
            path = source.folder / tensor.file
            jobs.append(Job(tensor, infos[tensor.name], path, temporary, places, num_threads))
    return jobs
