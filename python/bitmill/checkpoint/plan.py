# SPDX-License-Identifier: MIT
"""What will become of every tensor of a checkpoint, decided from headers alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from bitmill._dtypes import STORAGES
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import NAMES, Spec, TensorInfo
from bitmill.checkpoint.patterns import module_of, why_no_float, why_not_linear
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.rules import Chosen, Rules, choose
from bitmill.formats import Format, Weight, compressed_tensors
from bitmill.schemes import Scheme

FORMAT: Format = compressed_tensors
"""The format of the target."""

SCALE_DTYPES = ("auto", *STORAGES)


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """What will become of one tensor: `scheme` is None where it is copied unchanged."""

    info: TensorInfo
    file: str
    scheme: Scheme | None
    reason: str
    """The rule that selected the tensor, or why it is kept."""

    @property
    def name(self) -> str:
        """The tensor's name in the source."""
        return self.info.name

    @property
    def stored(self) -> list[Spec]:
        """The tensors that stand for it in the target."""
        if self.scheme is None:
            return [Spec(self.info.name, self.info.dtype, self.info.shape)]
        module = self.info.name.removesuffix(".weight")
        return [
            Spec(f"{module}.{name}", NAMES[dtype], shape)
            for name, dtype, shape in FORMAT.tensors(self.scheme, self.info.shape)
        ]

    @property
    def bytes_before(self) -> int:
        """Bytes of data in the source."""
        return self.info.nbytes

    @property
    def bytes_after(self) -> int:
        """Bytes of data in the target, with scales, zero-points, shape and padding."""
        return sum(spec.nbytes for spec in self.stored)


@dataclass(frozen=True, slots=True)
class Plan:
    """Every tensor of a checkpoint with its scheme, sizes and reason."""

    tensors: tuple[PlannedTensor, ...]

    @property
    def bytes_before(self) -> int:
        """Bytes of tensor data in the source."""
        return sum(tensor.bytes_before for tensor in self.tensors)

    @property
    def bytes_after(self) -> int:
        """Bytes of tensor data in the target."""
        return sum(tensor.bytes_after for tensor in self.tensors)

    def quantization_config(self) -> dict[str, object]:
        """What config.json will say about the target."""
        weights: dict[str, Weight] = {}
        linear: set[str] = set()
        kept: list[str] = []
        for tensor in self.tensors:
            module, info = module_of(tensor.name), tensor.info
            if module is None:
                continue
            if tensor.scheme is not None:
                weights[module] = Weight(tensor.scheme, info.shape, info.numpy or info.dtype)
                if why_not_linear(info) is None:
                    linear.add(module)
            elif len(info.shape) == 2:  # a Linear layer for all we know
                kept.append(module)
        return FORMAT.config(weights, linear=linear, ignore=kept)


def plan_checkpoint(
    src: str | os.PathLike[str],
    rules: Rules,
    *,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
) -> Plan:
    """Decide what will become of every tensor of `src`; no tensor data are read.

    `rules` is a scheme for `Linear` (2-D weights of a float dtype that are no embedding, norm or
    `lm_head`), or `{pattern: scheme}`, of which the first match wins. What no rule matches is kept.
    `include` adds patterns to a bare scheme; `ignore` keeps whatever it matches. A pattern is the
    name of a module (a tensor's without `.weight`), `Linear`, or `re:` and a regex for `re.match`.

    `scale_dtype` overrides the `scales` of the schemes, which None leaves as they are: "auto" is
    config.json's `dtype` or `torch_dtype`, without one the tensor's own dtype, float64 as float32.

    Raises CheckpointError if the source is broken or quantized already, if a pattern matches
    nothing, for all tensors at once that the format cannot hold, or whose names in the target are
    those of others.
    """
    return plan_tensors(
        open_checkpoint(src), rules, ignore=ignore, include=include, scale_dtype=scale_dtype
    )


def plan_tensors(
    source: Checkpoint,
    rules: Rules,
    *,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = None,
) -> Plan:
    """`plan_checkpoint` of a source whose headers are read."""
    _refuse_quantized(source)
    if scale_dtype is not None and scale_dtype not in SCALE_DTYPES:
        raise ValueError(f"scale_dtype={scale_dtype!r} is not one of: {', '.join(SCALE_DTYPES)}")
    chosen = choose(rules, ignore=ignore, include=include)
    _refuse_unmatched(source, chosen)
    tensors = []
    for path, info in source.tensors():
        scheme, reason = chosen.decide(info)
        if scheme is not None and scale_dtype is not None:
            scheme = scheme.with_scales(_scale_dtype(scale_dtype, source, info))
        tensors.append(PlannedTensor(info, path.name, scheme, reason))
    _refuse_unsupported(source, tensors)
    _refuse_same_names(source, tensors)
    return Plan(tuple(tensors))


def _scale_dtype(asked: str, source: Checkpoint, info: TensorInfo) -> str:
    """The storage dtype of a tensor's scales."""
    if asked != "auto":
        return asked
    for config in (source.config, source.config.get("text_config")):
        for key in ("dtype", "torch_dtype"):
            value = config.get(key) if isinstance(config, dict) else None
            name = value.removeprefix("torch.") if isinstance(value, str) else None
            if name in (*STORAGES, "float64"):
                return "float32" if name == "float64" else name
    return info.numpy if info.numpy in STORAGES else "float32"


def _refuse_quantized(source: Checkpoint) -> None:
    for key in ("quantization_config", "compression_config", "quantization"):
        found = source.config.get(key)
        if found:
            method = found.get("quant_method", key) if isinstance(found, dict) else key
            raise CheckpointError(
                f"{source.folder}: quantized already (config.json: {method}); "
                "bitmill takes float weights: start from the original checkpoint"
            )


def _refuse_unmatched(source: Checkpoint, chosen: Chosen) -> None:
    """Raise if a pattern selects nothing: it is a slip, or the layers have other names."""
    infos = [info for _, info in source.tensors()]
    idle = chosen.unmatched(infos)
    if idle:
        modules = [module for info in infos if (module := module_of(info.name)) is not None]
        example = f"such as {modules[-1]!r}" if modules else "and there is none here"
        raise CheckpointError(
            f"{source.folder}: nothing matches {', '.join(map(repr, idle))}; patterns name modules "
            f"(tensors without '.weight'), {example}"
        )


def _refuse_unsupported(source: Checkpoint, tensors: list[PlannedTensor]) -> None:
    """Raise one error for all tensors that the format cannot hold, and if none is selected."""
    selected = [(tensor.info, tensor.scheme) for tensor in tensors if tensor.scheme is not None]
    if not selected:
        raise CheckpointError(f"{source.folder}: all that the rules select is ignored")
    names: dict[str, list[str]] = {}
    for info, scheme in selected:
        reason = why_no_float(info) or FORMAT.why_not(scheme, info.shape)
        if reason is not None:
            names.setdefault(reason, []).append(info.name.removesuffix(".weight"))
    if names:
        listed = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in names.items())
        count = sum(map(len, names.values()))
        raise CheckpointError(
            f"{source.folder}: {count} of {len(selected)} selected tensors cannot be stored: "
            f"{listed}. Ignore them to keep them as they are"
        )


def _refuse_same_names(source: Checkpoint, tensors: list[PlannedTensor]) -> None:
    """Raise one error for all pairs of tensors that would have one name in the target."""
    makers: dict[str, str] = {}
    pairs = []
    for tensor in tensors:
        for spec in tensor.stored:
            other = makers.setdefault(spec.name, tensor.name)
            if other != tensor.name:
                pairs.append(f"{spec.name!r} (from {other!r} and {tensor.name!r})")
    if pairs:
        raise CheckpointError(
            f"{source.folder}: tensors would have the same name in the target: {', '.join(pairs)}. "
            "Ignore the weights among them"
        )
