# SPDX-License-Identifier: MIT
"""What will become of every tensor of a checkpoint, decided from headers alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bitmill._dtypes import STORAGES
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import (
    LINEAR,
    check_pattern,
    matches,
    module_of,
    why_no_float,
    why_not_linear,
)
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.formats import compressed_tensors
from bitmill.schemes.affine import Affine

Rules = Affine | Mapping[str, Affine]
"""A scheme for `Linear`, or a scheme for each of several patterns."""

SCALE_DTYPES = ("auto", *STORAGES)


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """What will become of one tensor: `scheme` is None where it is copied unchanged."""

    info: TensorInfo
    file: str
    scheme: Affine | None
    reason: str
    """The rule that selected the tensor, or why it is kept."""

    @property
    def name(self) -> str:
        """The tensor's name in the source."""
        return self.info.name

    @property
    def bytes_before(self) -> int:
        """Bytes of data in the source."""
        return self.info.nbytes

    @property
    def bytes_after(self) -> int:
        """Bytes of data in the target, with scales, zero-points, shape and padding."""
        if self.scheme is None:
            return self.info.nbytes
        return compressed_tensors.nbytes(self.scheme, self.info.shape)


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
        schemes: dict[str, Affine] = {}
        linear: set[str] = set()
        kept: list[str] = []
        for tensor in self.tensors:
            module = module_of(tensor.name)
            if module is None:
                continue
            if tensor.scheme is not None:
                schemes[module] = tensor.scheme
                if why_not_linear(tensor.info) is None:
                    linear.add(module)
            elif len(tensor.info.shape) == 2:  # a Linear layer for all we know
                kept.append(module)
        return compressed_tensors.config(schemes, linear=linear, ignore=kept)


def plan_checkpoint(
    src: str | os.PathLike[str],
    rules: Rules,
    *,
    ignore: Iterable[str] = (),
    include: Iterable[str] = (),
    scale_dtype: str | None = "auto",
) -> Plan:
    """Decide what will become of every tensor of `src`; no tensor data are read.

    `rules` is a scheme for `Linear` (2-D weights of a float dtype that are no embedding, norm or
    `lm_head`), or `{pattern: scheme}`, of which the first match wins. What no rule matches is kept.
    `include` adds patterns to a bare scheme; `ignore` keeps whatever it matches. A pattern is the
    name of a module (a tensor's without `.weight`), `Linear`, or `re:` and a regex for `re.match`.

    `scale_dtype` overrides the schemes' `scales`: "auto" is config.json's `dtype` or `torch_dtype`,
    without one the tensor's own dtype, float64 as float32. None leaves the schemes as they are.

    Raises CheckpointError if the source is broken or quantized already, if a pattern matches
    nothing, or for all tensors at once that the format cannot hold.
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
    scale_dtype: str | None = "auto",
) -> Plan:
    """`plan_checkpoint` of a source whose headers are read."""
    _refuse_quantized(source)
    if scale_dtype is not None and scale_dtype not in SCALE_DTYPES:
        raise ValueError(f"scale_dtype={scale_dtype!r} is not one of: {', '.join(SCALE_DTYPES)}")
    ignored = _patterns(ignore, "ignore")
    chosen = _rules(rules, _patterns(include, "include"))
    _refuse_unmatched(source, [*chosen, *ignored])
    tensors = []
    for path, info in source.tensors():
        scheme, reason = _decide(info, chosen, ignored)
        if scheme is not None and scale_dtype is not None:
            scheme = replace(scheme, scales=_scale_dtype(scale_dtype, source, info))
        tensors.append(PlannedTensor(info, path.name, scheme, reason))
    _refuse_unsupported(source, tensors)
    return Plan(tuple(tensors))


def _rules(rules: Rules, include: list[str]) -> dict[str, Affine]:
    """The schemes by pattern, first match first."""
    if isinstance(rules, Mapping):
        if include:
            raise ValueError("include goes with one scheme; add the patterns to the rules instead")
        chosen = {check_pattern(pattern, "rules"): scheme for pattern, scheme in rules.items()}
    else:
        chosen = dict.fromkeys([LINEAR, *include], rules)
    for pattern, scheme in chosen.items():
        if not isinstance(scheme, Affine):
            raise TypeError(
                f"rules: {pattern!r} has a {type(scheme).__name__}; wanted a scheme such as "
                "bm.Affine(4, group_size=128)"
            )
    return chosen


def _patterns(patterns: Iterable[str], name: str) -> list[str]:
    if isinstance(patterns, str):
        raise TypeError(f"{name}={patterns!r} is one string; {name} takes a list of patterns")
    return [check_pattern(pattern, name) for pattern in patterns]


def _decide(
    info: TensorInfo, rules: Mapping[str, Affine], ignored: list[str]
) -> tuple[Affine | None, str]:
    """The scheme of a tensor and the rule it comes from, or None and why it is kept."""
    for pattern in ignored:
        if matches(pattern, info):
            return None, f"ignored: {pattern}"
    for pattern, scheme in rules.items():
        if matches(pattern, info):
            return scheme, pattern
    return None, why_not_linear(info) or "no rule matches"


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


def _refuse_unmatched(source: Checkpoint, patterns: list[str]) -> None:
    """Raise if a pattern selects nothing: it is a slip, or the layers have other names."""
    infos = [info for _, info in source.tensors()]
    idle = [p for p in patterns if not any(matches(p, info) for info in infos)]
    if idle:
        modules = [module for info in infos if (module := module_of(info.name)) is not None]
        example = f"such as {modules[-1]!r}" if modules else "and there is none here"
        raise CheckpointError(
            f"{source.folder}: nothing matches {', '.join(map(repr, idle))}; patterns name modules "
            f"(tensors without '.weight'), {example}"
        )


def _refuse_unsupported(source: Checkpoint, tensors: list[PlannedTensor]) -> None:
    """Raise one error for all tensors that the format cannot hold, and if none is selected."""
    selected = [tensor for tensor in tensors if tensor.scheme is not None]
    if not selected:
        raise CheckpointError(f"{source.folder}: ignore leaves nothing of what the rules select")
    names: dict[str, list[str]] = {}
    for tensor in selected:
        reason = why_no_float(tensor.info) or compressed_tensors.why_not(
            tensor.scheme, tensor.info.shape
        )
        if reason is not None:
            names.setdefault(reason, []).append(tensor.name.removesuffix(".weight"))
    if names:
        listed = "; ".join(f"{reason}: {', '.join(found)}" for reason, found in names.items())
        count = sum(map(len, names.values()))
        raise CheckpointError(
            f"{source.folder}: {count} of {len(selected)} selected tensors cannot be stored: "
            f"{listed}. Ignore them, or choose another group size or none (one scale per row)"
        )
