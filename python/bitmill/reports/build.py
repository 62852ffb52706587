# SPDX-License-Identifier: MIT
"""report: look once at everything in a quantized folder, one tensor in memory at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitmill import kernels
from bitmill._dtypes import Array
from bitmill._threads import resolve
from bitmill.checkpoint import (
    CheckpointError,
    LoadedCheckpoint,
    Progress,
    Report,
    Sensitivity,
    TensorReport,
    load_checkpoint,
    read_report,
    read_sensitivity,
)
from bitmill.checkpoint.errors import shown
from bitmill.checkpoint.manifest import MANIFEST, Manifest, open_manifest
from bitmill.checkpoint.paths import given_path
from bitmill.qtensor import QTensor
from bitmill.reports.curve import curve, labels_of
from bitmill.reports.errors import errors
from bitmill.reports.files import check_writable, destinations
from bitmill.reports.levels import group_size_of, histogram, scale_range
from bitmill.reports.record import Details, FullReport


def report(
    folder: str | os.PathLike[str],
    *,
    html: str | os.PathLike[str] | None = None,
    csv: str | os.PathLike[str] | None = None,
    json: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    sensitivity: Sensitivity | str | os.PathLike[str] | None = None,
    num_threads: int | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> FullReport:
    """The report on a folder that `quantize_checkpoint` wrote, and a page to look at.

    Every quantized tensor is read, one at a time: a few times its size in float32 is in memory.

    Parameters
    ----------
    html, csv, json
        Files to write, see `FullReport.save`: with `html`, the other two lie beside it by default.
    source
        The checkpoint that was quantized. With it the histograms are of its values, and the page
        shows in which rows and groups the error is.
    sensitivity
        What `bitmill.sensitivity` measured of the source, or the file of it: gives the alternatives
        of each tensor, and the frontier. Default: what was measured for the budget, if the folder
        was made for one.
    num_threads
        Threads that compute; the result does not depend on it.
    progress
        Called with a `Progress` after each tensor.

    Raises CheckpointError for a folder that is none of bitmill's or is damaged, for a source or a
    sensitivity of other tensors, and if a file of these would be replaced; OSError.
    """
    folder, threads = given_path(folder, "folder"), resolve(num_threads)
    inputs = (path for path in (source, sensitivity) if isinstance(path, str | os.PathLike))
    paths = destinations(html, csv=csv, json=json)
    told, manifest = _read(folder)
    check_writable(paths, [folder, *map(Path, inputs)])  # that fails before everything is read
    stored = load_checkpoint(folder)
    original = None if source is None else _source(source, folder, manifest)
    measured = _sensitivity(sensitivity, folder, manifest)
    if measured is not None:
        _refuse_others(measured, told, folder)
    weights = _Weights(folder, stored, original, threads)
    details, done = {}, 0
    total = sum(tensor.bytes_before for tensor in told.quantized)
    for tensor in told.quantized:
        details[tensor.name] = weights.details(tensor)
        done += tensor.bytes_before
        if progress is not None:
            progress(Progress(tensor.name, done, total))
    found = FullReport(
        report=told,
        details=details if measured is None else _with_alternatives(details, told, measured),
        made_by=manifest.bitmill,
        command=manifest.command,
        sources={name: nbytes for name, (nbytes, _) in manifest.sources.items()},
        model=_model(stored.source.config),
        has_source=original is not None,
        curve=None if measured is None else curve(told, measured),
    )
    found.save(html, csv=csv, json=json)
    return found


@dataclass(frozen=True, slots=True)
class _Weights:
    """The values before and after."""

    folder: Path
    stored: LoadedCheckpoint
    original: LoadedCheckpoint | None
    num_threads: int

    def details(self, tensor: TensorReport) -> Details:
        """What a quantized tensor shows; CheckpointError if it is not what the report tells."""
        q = self.stored.get(tensor.name)
        if not isinstance(q, QTensor) or q.shape != tensor.shape:
            raise CheckpointError(
                f"{self.folder}: tensor {tensor.name!r} is not there as the report tells of it"
            )
        if q.size == 0:
            return Details()
        y = q.dequantize(num_threads=self.num_threads)
        x = y if self.original is None else self._original(tensor)
        total, where = errors(x, y, group_size_of(q.scheme), num_threads=self.num_threads)
        if self.original is not None and total.metrics(q.size) != tensor.metrics:
            raise CheckpointError(
                f"{self.original.source.where}: tensor {tensor.name!r} has other values than "
                f"{self.folder} was made of, or those in {self.folder} are damaged"
            )
        most = float(kernels.absmax(x.reshape(1, -1), num_threads=self.num_threads).max())
        peak = most / math.sqrt(total.xx / q.size) if total.xx else None
        found = histogram(x, y, q, num_threads=self.num_threads)
        return Details(found, scale_range(q), where, peak)

    def _original(self, tensor: TensorReport) -> Array:
        assert self.original is not None
        x = self.original.get(tensor.name)
        if isinstance(x, QTensor) or x is None or x.shape != tensor.shape:
            raise CheckpointError(
                f"{self.original.source.where}: tensor {tensor.name!r} is another than "
                f"{self.folder} was made of"
            )
        return kernels.to_float32(x, num_threads=self.num_threads)


def _source(source: str | os.PathLike[str], folder: Path, manifest: Manifest) -> LoadedCheckpoint:
    """The checkpoint that was quantized; CheckpointError if it is another."""
    found = load_checkpoint(source)
    files = found.source.files
    headers = {name: (header.nbytes, header.sha256) for name, header in files.items()}
    if headers != manifest.sources:
        other = sorted(set(headers.items()) ^ set(manifest.sources.items()))[0][0]
        raise CheckpointError(
            f"{found.source.where}: {folder} was not made of it: {other!r} has another size or "
            "header, or is not in one of them"
        )
    return found


def _sensitivity(
    given: Sensitivity | str | os.PathLike[str] | None, folder: Path, manifest: Manifest
) -> Sensitivity | None:
    """What was measured: as given, or as the folder has it."""
    if given is None:
        return manifest.sensitivity
    return given if isinstance(given, Sensitivity) else read_sensitivity(given)


def _refuse_others(measured: Sensitivity, told: Report, folder: Path) -> None:
    """Raise if something else was measured."""
    shapes = {tensor.name: tensor.shape for tensor in told.tensors}
    for tensor in measured.tensors:
        if shapes.get(tensor.name) != tensor.shape:
            raise CheckpointError(
                f"{folder}: the sensitivity is of other tensors, such as {shown(tensor.name)}"
            )


def _with_alternatives(
    details: dict[str, Details], told: Report, measured: Sensitivity
) -> dict[str, Details]:
    """The same with what candidates would take and lose; kept tensors may have some too."""
    labels = labels_of(told, measured)
    found = dict(details)
    for tensor in measured.tensors:
        found[tensor.name] = replace(
            details.get(tensor.name, Details()),
            alternatives=tensor.measured,
            left_out=tensor.left_out,
            label=labels.get(tensor.name),
        )
    return found


def _model(config: Mapping[str, Any]) -> str | None:
    """The architecture that config.json names."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else config.get("model_type")
    return first if isinstance(first, str) else None


def _read(folder: Path) -> tuple[Report, Manifest]:
    """What the conversion left: its report and its manifest."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is no folder; wanted one that 'bitmill quantize' wrote")
    try:
        told, manifest = read_report(folder), open_manifest(folder)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise CheckpointError(
            f"{folder}: no folder that 'bitmill quantize' wrote: {missing} is not in it"
        ) from None
    if sorted(manifest.tensors) != sorted(tensor.name for tensor in told.tensors):
        raise CheckpointError(f"{folder / MANIFEST}: is of other tensors than the report beside it")
    return told, manifest
