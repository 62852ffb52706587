# SPDX-License-Identifier: MIT
"""A plan: what will become of every tensor of a checkpoint, and how large the result will be."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bitmill.allocation import Allocation
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import DTYPES, NAMES, Spec, TensorInfo, parse_json
from bitmill.checkpoint.ignored import ignore_list, spelling
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.checkpoint.patterns import Model, module_of, why_not_linear
from bitmill.checkpoint.sizes import parse_size
from bitmill.checkpoint.write import json_text, replace_file, write_file
from bitmill.formats import BY_NAME, LayerScheme, Method, Weight, layer_from_dict, method_of, native
from bitmill.schemes import Scheme

if TYPE_CHECKING:  # it asks plans which layers are fused
    from bitmill.checkpoint.measured import Sensitivity

VERSION = 1
MAX_SHARD_SIZE = 5_000_000_000


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """What will become of one tensor: `layer` is None where it is copied unchanged."""

    name: str
    file: str
    dtype: str
    """As safetensors calls it."""
    shape: tuple[int, ...]
    layer: LayerScheme | None
    reason: str
    """The rule that selected the tensor, or why it is kept."""
    unsupported: str | None = None
    """Why it does not get what the rule asked for, where that cannot be stored."""
    nonfinite: bool = False
    """Whether that is because of NaN or infinities that were found in it."""

    @property
    def scheme(self) -> Scheme | None:
        """The scheme of the weights."""
        return None if self.layer is None else self.layer.weights

    @property
    def info(self) -> TensorInfo:
        """The tensor as it is known without its place in the file."""
        return TensorInfo(self.name, self.dtype, self.shape, 0, self.bytes_before)

    @property
    def module(self) -> str:
        """The module whose weight it is; of other tensors, their name."""
        return module_of(self.info) or self.name

    @property
    def stored(self) -> list[Spec]:
        """The tensors that stand for it in the target."""
        if self.layer is None:
            return [Spec(self.name, self.dtype, self.shape)]
        format = BY_NAME[self.layer.format]
        return [
            Spec(f"{self.module}.{name}", NAMES[dtype], shape)
            for name, dtype, shape in format.tensors(self.layer.weights, self.shape)
        ]

    @property
    def bytes_before(self) -> int:
        """Bytes of data in the source."""
        return Spec(self.name, self.dtype, self.shape).nbytes

    @property
    def bytes_after(self) -> int:
        """Bytes of data in the target, with scales, zero-points, shape and padding."""
        return sum(spec.nbytes for spec in self.stored)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        said: dict[str, Any] = {"name": self.name, "file": self.file, "dtype": self.dtype}
        said |= {"shape": list(self.shape), "layer": self.layer and self.layer.to_dict()}
        said |= {"reason": self.reason, "unsupported": self.unsupported}
        return said | {"bytes_before": self.bytes_before, "bytes_after": self.bytes_after}


@dataclass(frozen=True, slots=True)
class Plan:
    """Every tensor of a checkpoint with its scheme, sizes and reason."""

    tensors: tuple[PlannedTensor, ...]
    files: dict[str, int] = field(default_factory=dict)
    """The weight files, the index and the config.json of the target, with their exact sizes."""
    model: Model = field(default_factory=Model)
    max_shard_size: int = MAX_SHARD_SIZE
    """Bytes of a weight file, unless one tensor takes more."""
    allocation: Allocation | None = field(default=None, compare=False)
    """How the schemes were chosen, if that was for a budget; not in the file."""
    sensitivity: Sensitivity | None = field(default=None, compare=False)
    """What they were chosen among; not in the file, but in the manifest of the target."""
    command: str | None = field(default=None, compare=False)
    """The command line that asked for it, with names in place of paths; where the other is."""

    @property
    def quantized(self) -> tuple[PlannedTensor, ...]:
        """The tensors that will be quantized."""
        return tuple(tensor for tensor in self.tensors if tensor.layer is not None)

    @property
    def kept(self) -> tuple[PlannedTensor, ...]:
        """The tensors that will be copied unchanged."""
        return tuple(tensor for tensor in self.tensors if tensor.layer is None)

    @property
    def bytes_before(self) -> int:
        """Bytes of tensor data in the source."""
        return sum(tensor.bytes_before for tensor in self.tensors)

    @property
    def bytes_after(self) -> int:
        """Bytes of tensor data in the target."""
        return sum(tensor.bytes_after for tensor in self.tensors)

    @property
    def weights(self) -> dict[str, Weight]:
        """The weights to quantize, by module."""
        return {
            tensor.module: Weight(
                tensor.layer, tensor.shape, DTYPES[tensor.dtype][1] or tensor.dtype
            )
            for tensor in self.quantized
            if tensor.layer is not None
        }

    def keeping(self, names: Collection[str]) -> Plan:
        """The plan that leaves these tensors as they are, because of what was found in them."""

        def kept(tensor: PlannedTensor) -> PlannedTensor:
            why = "values that are not finite in float32"
            return replace(tensor, layer=None, reason=why, unsupported=why, nonfinite=True)

        return replace(self, tensors=tuple(kept(t) if t.name in names else t for t in self.tensors))

    def quantization_config(self) -> dict[str, Any]:
        """What config.json will say about the target."""
        method, weights = self._method, self.weights
        if method is native:  # which calls weights as their files do
            return native.config(weights)
        infos = {tensor.module: tensor.info for tensor in self.quantized}
        spelled = spelling(self.model)
        return method.config(
            {spelled(module): weight for module, weight in weights.items()},
            linear={spelled(m) for m, i in infos.items() if why_not_linear(i, self.model) is None},
            ignore=ignore_list((tensor.info for tensor in self.kept), infos, self.model),
        )

    def notes(self) -> list[str]:
        """What to know about the runtimes before the target is handed to them."""
        if not self.quantized:
            return []
        return self._method.notes(self.weights, [tensor.module for tensor in self.kept])

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: what `read_plan` reads, and sizes for the reader."""
        return {
            "version": VERSION,
            "max_shard_size": self.max_shard_size,
            "tensors": [tensor.to_dict() for tensor in self.tensors],
            "files": self.files,
            "notes": self.notes(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as JSON, for `read_plan`; an existing file is replaced."""
        path = given_path(path, "path")
        with replace_file(path) as temporary:
            write_file(temporary, json_text(self.to_dict()))

    @property
    def _method(self) -> Method:
        formats = [tensor.layer.format for tensor in self.quantized if tensor.layer is not None]
        if not formats:
            raise ValueError("the plan quantizes nothing")
        return method_of(formats[0])


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan in a file that `Plan.save` wrote, perhaps edited since: `layer` and `reason` count.

    Raises CheckpointError naming file and tensor for what is none; whether it fits a checkpoint,
    `quantize_checkpoint` tells.
    """
    path = given_path(path, "path")
    with failing_at(path):
        said = parse_json(path, regular_file(path).read_bytes())
    if said.get("version") != VERSION or not isinstance(said.get("tensors"), list):
        raise CheckpointError(
            f"{path}: no plan of this bitmill: wanted 'version' {VERSION} and a list 'tensors'"
        )
    tensors = []
    for i, entry in enumerate(said["tensors"]):
        try:
            tensors.append(_planned(entry))
        except (KeyError, TypeError, ValueError) as error:
            name = entry.get("name", i) if isinstance(entry, Mapping) else i
            why = f"lacks {error}" if isinstance(error, KeyError) else error
            raise CheckpointError(f"{path}: tensor {name!r}: {why}") from None
    try:
        max_shard_size = parse_size(said.get("max_shard_size", MAX_SHARD_SIZE), "max_shard_size")
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return Plan(tuple(tensors), max_shard_size=max_shard_size)


def _planned(said: Mapping[str, Any]) -> PlannedTensor:
    if not isinstance(said, Mapping):
        raise ValueError(f"is {said!r}; wanted an object")
    layer, unsupported = said["layer"], said.get("unsupported")
    if layer is not None and not isinstance(layer, Mapping):
        raise ValueError(f"layer is {layer!r}; wanted an object, or null")
    if said["dtype"] not in DTYPES:
        raise ValueError(f"dtype {said['dtype']!r} is not one of: {', '.join(DTYPES)}")
    return PlannedTensor(
        str(said["name"]),
        str(said["file"]),
        said["dtype"],
        tuple(int(n) for n in said["shape"]),
        None if layer is None else layer_from_dict(layer),
        str(said["reason"]),
        None if unsupported is None else str(unsupported),
    )
