# SPDX-License-Identifier: MIT
"""Quantize a checkpoint: in bounded memory, so that a broken run can be continued."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from bitmill import _check
from bitmill._threads import resolve
from bitmill.checkpoint.conversion import Conversion
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.importance import Importance, read_importance, refuse_idle
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.pieces import cost, cut
from bitmill.checkpoint.plan import Plan
from bitmill.checkpoint.planner import check_plan, plan_checkpoint
from bitmill.checkpoint.pool import Pool
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.report import Report
from bitmill.checkpoint.rules import Rules
from bitmill.checkpoint.run import Progress
from bitmill.checkpoint.sizes import parse_size
from bitmill.checkpoint.target import has_work

ON_NONFINITE = ("error", "keep")
MAX_MEMORY = "1GiB"


def quantize_checkpoint(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    plan: Plan | Rules,
    *,
    max_memory: int | str = MAX_MEMORY,
    max_shard_size: int | str | None = None,
    num_threads: int | None = None,
    executor: Executor | None = None,
    importance: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], object] | None = None,
    overwrite: bool = False,
    on_nonfinite: str = "error",
) -> Report:
    """Write the checkpoint `src`, quantized by `plan`, into the folder `dst`.

    `plan` is what `plan_checkpoint` returned for `src` or `read_plan` read, or the rules for it.
    The target is a compressed-tensors checkpoint, or one of bitmill's own if the plan says so: with
    every tensor that the plan keeps unchanged, a `config.json` with the `quantization_config`,
    copies of all other files but weights of other kinds, the report in `bitmill_report.json`, and
    what was made of what in `bitmill_manifest.json`, with what the plan tells of its own making.
    Its bytes depend on the source, the plan, the importance and the version of bitmill alone.

    Files get their names when all of them are complete and on the disk. Until then they lie in
    `dst/.bitmill`, where a run that was killed, or failed, has left what it had done: the same call
    goes on from there, and gives the bytes of an unbroken run. Where the source, the plan, the
    importance or the version has changed since, tensors that are not affected are reused, the
    others are not. If `dst` is finished and just what this call would make of this source, nothing
    is done but to compare (the report says `unchanged`).

    Parameters
    ----------
    max_memory
        Bytes (or "256MiB") that the pieces of tensors in memory may take together. Tensors may be
        larger. The least that a checkpoint needs is some 30 MiB, or one row of its widest tensor.
    max_shard_size
        Bytes (or "5GB") of a file of weights, unless one tensor takes more; default: as planned.
    num_threads
        Threads that compute. With `executor`, those of each piece; 1 by default there.
    executor
        A `concurrent.futures.Executor` whose workers see the same files under the same paths: they
        read, quantize and write the pieces.
    importance
        A file with one number for each column of a weight, which weighs squared errors as in
        `bitmill.quantize`: .npz or safetensors, with 1-D arrays named as the weights or their
        modules are; or the importance matrix of llama.cpp as GGUF (`pip install 'bitmill[gguf]'`).
        Weights that it does not name, or whose clip takes none, are named in the notes of the
        report.
    progress
        Called with a `Progress` after each piece.
    overwrite
        Replace files of the same names, and remove the weights of the checkpoint that was in `dst`:
        `model.safetensors`, the index and what it names. The report lists them.
    on_nonfinite
        What to do with a weight that holds NaN or infinities: "error", or "keep" it as it is.

    Raises CheckpointError naming file and tensor, also if another process writes to `dst`, and
    before anything is written for entries of `importance` that do not fit, or if no clip takes any;
    FileExistsError if `dst` holds something else and `overwrite` is false; and OSError.
    """
    start = time.perf_counter()
    threads = resolve(num_threads)  # a wrong number is an error of the call, not of a piece
    limit = parse_size(max_memory, "max_memory")
    _check.choice(on_nonfinite, "on_nonfinite", ON_NONFINITE)
    if not isinstance(executor, Executor | None):
        raise TypeError(f"executor={executor!r}; wanted a concurrent.futures.Executor")
    given = None if importance is None else given_path(importance, "importance")
    path, source = given_path(dst, "dst"), open_checkpoint(src)
    plan = check_plan(source, plan) if isinstance(plan, Plan) else plan_checkpoint(source, plan)
    if max_shard_size is not None:
        plan = replace(plan, max_shard_size=parse_size(max_shard_size, "max_shard_size"))
    if executor is not None:  # its workers may be at home in other folders
        path, source = _absolute(path), replace(source, folder=_absolute(source.folder))
        given = None if given is None else _absolute(given)
    weighed = Importance() if given is None else read_importance(given, source.config, plan)
    refuse_idle(weighed, plan)
    conversion = Conversion(
        source,
        path,
        plan,
        overwrite,
        keep_nonfinite=on_nonfinite == "keep",
        importance=weighed,
    )
    with Pool(executor, threads, _pieces_at_once(source, plan, weighed, limit)) as pool:
        # What another run has begun, or has finished but for tidying up, is looked at by `run`.
        report = None if has_work(path) else conversion.finished(pool)
        if report is None:
            kernel_threads = threads if executor is not None and num_threads else 1
            report = conversion.run(pool, kernel_threads, progress)
    return replace(report, seconds=time.perf_counter() - start)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _pieces_at_once(source: Checkpoint, plan: Plan, importance: Importance, max_memory: int) -> int:
    """How many pieces of any tensors memory has room for."""
    costs = {
        tensor.name: cost(tensor, cut(tensor)[0], weighed=importance.of(tensor) is not None)
        for tensor in plan.tensors
    }
    largest = max(costs, key=lambda name: costs[name], default=None)
    if largest is None:
        return 1
    if costs[largest] > max_memory:
        raise CheckpointError(
            f"{source.where}: max_memory={max_memory} is too little: a piece of tensor {largest!r} "
            f"takes {costs[largest]} bytes"
        )
    return max_memory // max(1, costs[largest])
