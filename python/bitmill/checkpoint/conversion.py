# SPDX-License-Identifier: MIT
"""One run of quantize_checkpoint: from a source and a plan to a target with all its names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bitmill.checkpoint.changed import changed, damaged
from bitmill.checkpoint.copy import copy_file, differ, other_files, refuse_unfit
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.fused import split_layers
from bitmill.checkpoint.importance import Importance
from bitmill.checkpoint.journal import Journal
from bitmill.checkpoint.manifest import (
    MANIFEST,
    differences,
    expected,
    manifest_text,
    nonfinite_in,
    read_manifest,
)
from bitmill.checkpoint.output import Output, WeightFile, lay_out
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.pool import Pool
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.report import REPORT, Report, TensorReport, read_report
from bitmill.checkpoint.room import missing_room, refuse_full
from bitmill.checkpoint.run import Outcome, Progress, Run, key_of
from bitmill.checkpoint.target import (
    WorkFolder,
    already_there,
    is_unfinished,
    other_content,
)
from bitmill.checkpoint.write import create, is_created, json_text


class Conversion:
    """One call: a source, a plan and a target. Nothing is changed before `run`."""

    def __init__(
        self,
        source: Checkpoint,
        path: Path,
        plan: Plan,
        overwrite: bool,
        *,
        keep_nonfinite: bool,
        importance: Importance,
    ) -> None:
        """Raises where the target is no place for the files."""
        self.source, self.path, self.plan = source, path, plan
        self.overwrite, self.keep_nonfinite = overwrite, keep_nonfinite
        self.importance = importance
        self.output = lay_out(source, plan)
        self.others = other_files(source)
        self._infos = {info.name: info for _, info in source.tensors()}
        names = {*self.output.sizes(), *self.others.copied, REPORT, MANIFEST}
        refuse_unfit(path, source, self.others, names, read=importance.path)

    def finished(self, pool: Pool) -> Report | None:
        """The report of a finished target that is just what this call would make; None if there is
        anything to do. FileExistsError if that would destroy something."""
        if self.overwrite:
            return None
        if not is_unfinished(self.path) and (manifest := read_manifest(self.path)) is not None:
            return self._compared(pool, manifest)
        if other_content(self.path):
            raise already_there(self.path, "is not empty")
        return None

    def run(
        self, pool: Pool, num_threads: int, progress: Callable[[Progress], object] | None
    ) -> Report:
        """Do all that is not done yet."""
        with WorkFolder(self.path) as work:
            report = self.finished(pool)  # now that nobody else writes to it
            if report is not None:
                return report
            runner = Run(
                self.source,
                work.journal,
                pool,
                num_threads=num_threads,
                keep_nonfinite=self.keep_nonfinite,
                importance=self.importance,
                progress=progress,
            )
            try:
                return self._run(work, runner)
            except BaseException as error:
                if not work.journal.is_empty:
                    error.add_note("run the same again to continue")
                raise

    def _run(self, work: WorkFolder, runner: Run) -> Report:
        plan, output = self.plan, self.output
        if self.keep_nonfinite:
            plan = self._keeping(plan, self._refused(work.journal))
        while True:
            # Which tensor lies in which file stays as it was, whatever is found in them.
            output = lay_out(self.source, plan, self.output.shards)
            partials = self._stage(work, output)
            outcome = runner.do(output, partials, plan.bytes_before)
            if not outcome.refused:
                break
            plan = self._keeping(plan, outcome.refused)
        report = Report(
            tuple(self._in_source_order(outcome)),
            bytes_before=sum(header.nbytes for header in self.source.files.values()),
            bytes_after=sum(file.nbytes for file in output.weights.values()),
            notes=(*plan.notes(), *_split_notes(plan), *self.importance.notes(plan)),
            not_copied=self.others.left_out,
        )
        work.stage_bytes(REPORT, json_text(report.to_dict()))
        wanted = expected(self.source, plan, output, self.importance)
        work.stage_bytes(MANIFEST, manifest_text(wanted, outcome.digests))
        for name, text in output.texts.items():
            work.stage_bytes(name, text)
        self.importance.refuse_changed()
        self.source.refuse_changed()
        start = time.perf_counter()
        commit = work.commit(last=output.texts)
        profile = {**runner.seconds, "syncing": time.perf_counter() - start}
        return replace(report, replaced=commit.replaced, removed=commit.obsolete, profile=profile)

    def _keeping(self, plan: Plan, names: set[str]) -> Plan:
        """The plan that leaves these as they are; an error if nothing else is to be done."""
        plan = plan.keeping(names)
        if not plan.quantized:
            raise CheckpointError(
                f"{self.source.where}: nothing to quantize: all weights that are selected hold NaN "
                "or infinite values"
            )
        return plan

    def _stage(self, work: WorkFolder, output: Output) -> dict[str, Path]:
        """Files for the weights, with their headers, and copies of all other files."""
        work.unstage()
        partials = {n: work.stage(n, self._version(file)) for n, file in output.weights.items()}
        nbytes = sum(file.nbytes for file in output.weights.values())
        if missing_room(self.path, nbytes, partials.values()) > 0:
            work.remove_others(self._needed(work.journal))  # what runs with other plans have left
        refuse_full(self.path, nbytes, partials.values())
        for name, file in output.weights.items():
            if not is_created(partials[name], file.head, file.nbytes):
                create(partials[name], file.head, file.nbytes)
        for name in self.others.copied:
            copy_file(self.source.folder / name, work.stage(name))
        return partials

    def _version(self, file: WeightFile) -> bytes:
        """What a file depends on. Each version has a place of its own: a worker that was lost may
        still write what it was told when the source or the plan was another."""
        return b"".join([file.head, *(self._key(tensor).encode() for tensor in file.tensors)])

    def _needed(self, journal: Journal) -> set[str]:
        """Temporary files in which there are pieces of what is to be done."""
        keys = {self._key(tensor) for tensor in self.plan.tensors}
        return {
            record.partial
            for key in keys & journal.pieces.keys()
            for record in journal.pieces[key].values()
        }

    def _key(self, tensor: PlannedTensor) -> str:
        header = self.source.files[tensor.file]
        return key_of(tensor, self._infos[tensor.name], header, self.importance)

    def _refused(self, journal: Journal) -> set[str]:
        """Tensors in which an earlier run has found what cannot be quantized."""
        return {
            tensor.name for tensor in self.plan.quantized if self._key(tensor) in journal.refused
        }

    def _in_source_order(self, outcome: Outcome) -> Iterator[TensorReport]:
        reports = {report.name: report for report in outcome.reports}
        return (reports[tensor.name] for tensor in self.plan.tensors)

    def _compared(self, pool: Pool, manifest: Mapping[str, Any]) -> Report:
        """The report of a finished target, if nothing is to be done."""
        plan = self.plan
        if self.keep_nonfinite:
            plan = self._keeping(plan, nonfinite_in(manifest))
        output = lay_out(self.source, plan, self.output.shards)
        wanted = expected(self.source, plan, output, self.importance)
        found = list(differences(self.path, manifest, wanted))
        found = found or list(self._other_texts(output))
        found = found or list(changed(self.source, plan, pool, manifest))
        found = found or list(damaged(self.path, output, pool, manifest))
        if found:
            listed = "; ".join([*found[:3], *([f"and {len(found) - 3} more"] if found[3:] else [])])
            raise already_there(self.path, f"is finished, but differs: {listed}")
        return replace(read_report(self.path), unchanged=True)

    def _other_texts(self, output: Output) -> Iterator[str]:
        """What says so of each file beside the weights that is not as it would be written."""
        for name in self.others.copied:
            if differ(self.source.folder / name, self.path / name):
                yield f"{name} is another"
        for name, text in output.texts.items():
            if (self.path / name).read_bytes() != text:
                yield f"{name} is another"
        try:
            read_report(self.path)
        except (OSError, CheckpointError):
            yield f"{REPORT} is no report, or is gone"


def _split_notes(plan: Plan) -> Iterator[str]:
    """What to know of layers that were split by what was found in them."""
    split = split_layers(plan) if any(tensor.nonfinite for tensor in plan.tensors) else []
    if split:
        yield f"vLLM makes one layer of these, and will not load them: {'; '.join(split)}"
