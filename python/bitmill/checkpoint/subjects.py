# SPDX-License-Identifier: MIT
"""The weights that `sensitivity` looks at: in a checkpoint, or arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bitmill import _check
from bitmill._check import NonfiniteError
from bitmill._dtypes import Array, dtype, name_of
from bitmill._importance import Scaled, scaled
from bitmill.checkpoint.data import read_blocks
from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.header import NAMES, TensorInfo
from bitmill.checkpoint.importance import Vector, read_importance
from bitmill.checkpoint.job import Input
from bitmill.checkpoint.paths import Stamp, given_path
from bitmill.checkpoint.pieces import PIECE, Span
from bitmill.checkpoint.plan import Plan, PlannedTensor
from bitmill.checkpoint.planner import decide, model_in, refuse_quantized
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.rules import choose
from bitmill.checkpoint.unsupported import why_no_place, why_not_stored
from bitmill.formats import LayerScheme

Source = str | os.PathLike[str] | Checkpoint | Mapping[str, Any]
Layers = Mapping[str, LayerScheme | None]


class Block(Protocol):
    """A piece of a weight."""

    def read(self) -> Array:
        """Its values, C-contiguous, perhaps in a buffer of this thread."""


class Values(Protocol):
    """Where the values of a weight lie."""

    def block(self, span: Span) -> Block:
        """The piece at `span`."""

    def nonfinite(self) -> NonfiniteError:
        """The error for values of which some are not finite."""


@dataclass(slots=True)
class Subject:
    """A weight, and what it may become."""

    info: TensorInfo
    values: Values
    where: str
    """What errors name before the tensor: its file, or nothing."""
    planned: dict[str, PlannedTensor] = field(default_factory=dict)
    """By label, for what can be stored."""
    left_out: dict[str, str] = field(default_factory=dict)
    importance: Vector | Scaled | None = None

    def weights(self) -> Scaled | None:
        """The importance of its columns."""
        given = self.importance
        return given.read_scaled() if isinstance(given, Vector) else given

    def add(self, label: str, planned: PlannedTensor, reason: str | None) -> None:
        """What the weight would be under a candidate, unless there is a reason why it cannot."""
        if reason is None:
            self.planned[label] = planned
        else:
            self.left_out[label] = reason


class _FileBlock(NamedTuple):
    input: Input
    dtype: str
    shape: tuple[int, ...]

    def read(self) -> Array:
        return self.input.read().view(dtype(self.dtype)).reshape(self.shape)


class _FileValues(NamedTuple):
    path: Path
    stamp: Stamp
    info: TensorInfo

    def block(self, span: Span) -> Block:
        assert self.info.numpy is not None
        each = dtype(self.info.numpy).itemsize
        begin = self.info.begin + span.begin * each
        given = Input(self.path, self.stamp, begin, span.size * each)
        return _FileBlock(given, self.info.numpy, span.shape)

    def nonfinite(self) -> NonfiniteError:
        return _check.nonfinite_in(read_blocks(self.path, self.info, self.stamp, PIECE))


class _ArrayBlock(NamedTuple):
    values: Array

    def read(self) -> Array:
        return self.values


class _ArrayValues(NamedTuple):
    array: Array

    def block(self, span: Span) -> Block:
        flat = self.array.reshape(-1)[span.begin : span.begin + span.size]
        return _ArrayBlock(flat.reshape(span.shape))

    def nonfinite(self) -> NonfiniteError:
        return _check.nonfinite_error(self.array)


def subjects(
    source: Source,
    layers: Layers,
    importance: Any,
    *,
    ignore: Iterable[str],
    include: Iterable[str],
    scale_dtype: str | None,
) -> list[Subject]:
    """The weights of a source, each with the candidates that its format can hold."""
    if not isinstance(source, Mapping):
        opened = source if isinstance(source, Checkpoint) else open_checkpoint(source)
        return _in_checkpoint(opened, layers, importance, ignore, include, scale_dtype)
    if [*ignore, *include]:
        raise ValueError("ignore and include go with a checkpoint; leave arrays out of the mapping")
    found = [_of_array(str(name), x, layers, scale_dtype) for name, x in source.items()]
    if importance is not None:
        _weigh_arrays(found, importance)
    return found


def _in_checkpoint(
    source: Checkpoint,
    layers: Layers,
    importance: Any,
    ignore: Iterable[str],
    include: Iterable[str],
    scale_dtype: str | None,
) -> list[Subject]:
    refuse_quantized(source)
    ignore, include, model = list(ignore), list(include), model_in(source)
    found: dict[str, Subject] = {}
    plan = Plan(())
    for label, layer in layers.items():
        if layer is None:
            continue
        chosen = choose(layer, ignore=ignore, include=include)
        plan = Plan(tuple(decide(source, chosen, model, scale_dtype)), model=model)
        for tensor in plan.quantized:
            if tensor.name not in found:
                found[tensor.name] = _of_file(source, tensor)
            found[tensor.name].add(label, tensor, why_not_stored(tensor, model))
    if not found:
        raise CheckpointError(f"{source.where}: nothing to measure: all is ignored")
    if importance is not None:
        _weigh_files(list(found.values()), given_path(importance, "importance"), source, plan)
    return list(found.values())


def _of_file(source: Checkpoint, tensor: PlannedTensor) -> Subject:
    path, header = source.folder / tensor.file, source.files[tensor.file]
    info = header.tensors[tensor.name]
    return Subject(info, _FileValues(path, header.stamp, info), f"{path}: ")


def _of_array(name: str, x: Any, layers: Layers, scale_dtype: str | None) -> Subject:
    array = _check.array(x, name)
    kind = name_of(array.dtype)
    info = TensorInfo(name, NAMES[kind], array.shape, 0, array.nbytes)
    subject = Subject(info, _ArrayValues(array), "")
    for label, layer in layers.items():
        if layer is not None:
            if scale_dtype is not None:
                auto = "float32" if kind == "float64" else kind
                scales = auto if scale_dtype == "auto" else scale_dtype
                layer = layer.with_scales(scales)
            planned = PlannedTensor(name, "", info.dtype, info.shape, layer, "")
            subject.add(label, planned, why_no_place(layer, info.shape))
    return subject


def _weigh_files(found: list[Subject], path: Path, source: Checkpoint, plan: Plan) -> None:
    """Give each weight its importance; CheckpointError for those that the file does not name."""
    vectors = read_importance(path, source.config, plan).vectors
    missing = [subject.info.name for subject in found if subject.info.name not in vectors]
    if missing:
        raise CheckpointError(
            f"{path}: holds no importance of {len(missing)} of {len(found)} weights, such as "
            f"{shown(missing[0])}: their errors would not add up with those of the others; ignore "
            "them, or measure without importance"
        )
    for subject in found:
        subject.importance = vectors[subject.info.name]


def _weigh_arrays(found: list[Subject], importance: Any) -> None:
    if not isinstance(importance, Mapping):
        raise TypeError(
            f"importance is a {type(importance).__name__}; with arrays as source it is a mapping "
            "from their names to one number per column"
        )
    for subject in found:
        name = subject.info.name
        if name not in importance:
            raise ValueError(f"importance has nothing for {name!r}: errors would not add up")
        try:
            subject.importance = scaled(importance[name], subject.info.shape[-1:])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
