# SPDX-License-Identifier: MIT
"""ONNX: a graph with one MatMulNBits node, an operator of ONNX Runtime, for each weight.

A module `M` with a weight [R, C] in b bits becomes a node with input `M.input` [rows, C], output
`M.output` [rows, R] = `M.input` · weightᵀ, and the initializers, for blocks of s columns,
    M.weight_codes   U8 [R, ceil(C/s), s·b/8]      a row's codes as one bit stream, unsigned, u; the
                                                   last block is filled up with code 0
    M.weight_scales     [R, ceil(C/s)]             float16, or float32
    M.weight_points  U8 [R, ceil(ceil(C/s)·b/8)]   zero-points as a bit stream; without them,
                                                   2^(b−1), which is what symmetric weights have
that stand for (u − zp) · scale. bfloat16 scales become float32: ONNX Runtime has no bfloat16 on a
CPU. The data lie in a file beside the graph. Tensors that are not quantized, biases too, are part
of the rest of the model, whose graph is not ours to know: they are left out.

Layout as ONNX Runtime 1.32 writes and reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bitmill._dtypes import Array, dtype
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import NAMES, Spec, TensorInfo
from bitmill.checkpoint.output import TensorFile
from bitmill.checkpoint.read import Checkpoint
from bitmill.export import affine
from bitmill.export.base import Files, Weight
from bitmill.layouts import pack
from bitmill.qtensor import QTensor
from bitmill.schemes import Affine, Field, Scheme, total

copies = False

BITS = (2, 4, 8)
BLOCK_SIZES = (16, 32, 64, 128, 256)
GRAPH, DATA = "model.onnx", "model.onnx.data"
_ALIGNMENT = 4096
"""Of initializers in the data file, so that they can be mapped."""
_OPSET, _IR = 21, 10


def why_not(scheme: Scheme, shape: tuple[int, ...], module: str) -> str | None:
    """Why the format cannot hold just these values; None if it can.

    >>> why_not(Affine(4, group_size=128), (512, 300), "m")
    >>> why_not(Affine(4, group_size=24), (512, 384), "m")
    'groups of 24 cannot be cut into blocks of 16, 32, 64, 128 or 256'
    """
    reason = affine.why_not(scheme, shape, BITS)
    if reason is not None:
        return reason
    assert isinstance(scheme, Affine)
    if scheme.offset:
        return "the format holds integer zero-points only, no real offsets"
    if not affine.fitting(scheme, shape[1], BLOCK_SIZES):
        return f"groups of {scheme.group_size} cannot be cut into blocks of 16, 32, 64, 128 or 256"
    return None


def tensors(scheme: Affine, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every initializer that stands for the weight.

    >>> for tensor in tensors(Affine(4, symmetric=False, group_size=128), (512, 300)):
    ...     print(*tensor)
    weight_codes uint8 (512, 3, 64)
    weight_scales float32 (512, 3)
    weight_points uint8 (512, 2)
    """
    return _fields(scheme, shape, block_size(scheme, shape))


def encode(q: QTensor) -> dict[str, Array]:
    """The arrays that `tensors` lists."""
    scheme = q.scheme
    assert isinstance(scheme, Affine)
    size = block_size(scheme, q.shape)
    codes, scales, *points = _fields(scheme, q.shape, size)
    rows, blocks = scales.shape
    kind = dtype(scales.dtype)
    arrays = {
        codes.name: _filled(affine.words(q), blocks * size * scheme.bits // 8).reshape(codes.shape),
        scales.name: affine.spread(affine.scale_of(q), scheme, q.shape, size).astype(kind),
    }
    for field in points:
        given = affine.spread(affine.points(q), scheme, q.shape, size)
        nbytes = field.shape[1]
        padded = np.full((rows, nbytes * 8 // scheme.bits), affine.middle(scheme), np.uint8)
        padded[:, :blocks] = given  # what is left of a byte is the middle, as ONNX Runtime has it
        arrays[field.name] = _filled(pack(padded, scheme.bits), nbytes)
    return arrays


def files(
    source: Checkpoint,
    weights: Mapping[str, Weight],
    kept: Mapping[str, tuple[str, TensorInfo]],
) -> Files:
    """The graph, and the file with the data of its initializers."""
    places: dict[str, TensorInfo] = {}
    end = 0
    for module, (scheme, shape, _) in weights.items():
        for field in tensors(scheme, shape):
            spec = Spec(f"{module}.{field.name}", NAMES[field.dtype], field.shape)
            begin = -(-end // _ALIGNMENT) * _ALIGNMENT
            places[spec.name] = TensorInfo(*spec, begin, spec.nbytes)
            end = begin + spec.nbytes
    graph = _graph(source, weights, places)
    note = (
        f"{len(kept)} tensors that are not quantized are left out: the graph has no place for them"
    )
    return Files({DATA: TensorFile(b"", places)}, {GRAPH: graph}, (note,) if kept else ())


def block_size(scheme: Affine, shape: tuple[int, ...]) -> int:
    """Columns for which a scale is stored: the scheme's, if ONNX Runtime has such blocks; else
    those that take the least bytes, and the larger of two that take the same.

    >>> block_size(Affine(8), (8, 384)), block_size(Affine(8), (8, 1024))
    (128, 256)
    """
    if scheme.group_size in BLOCK_SIZES:
        return scheme.group_size
    sizes = affine.fitting(scheme, shape[1], BLOCK_SIZES)
    return min(reversed(sizes), key=lambda size: total(_fields(scheme, shape, size)))


def _fields(scheme: Affine, shape: tuple[int, ...], size: int) -> list[Field]:
    rows, columns = shape
    blocks = -(-columns // size)
    kind = "float16" if affine.scale_dtype(scheme) == "float16" else "float32"
    made = [
        Field("weight_codes", "uint8", (rows, blocks, size * scheme.bits // 8)),
        Field("weight_scales", kind, (rows, blocks)),
    ]
    if not scheme.symmetric:
        made.append(Field("weight_points", "uint8", (rows, -(-blocks * scheme.bits // 8))))
    return made


def _filled(words: Array, nbytes: int) -> Array:
    """The streams of the rows in words [R, W], cut or filled up with zeros to so many bytes."""
    streams = np.ascontiguousarray(words).view(np.uint8)
    filled = np.zeros((len(streams), nbytes), np.uint8)
    count = min(nbytes, streams.shape[1])
    filled[:, :count] = streams[:, :count]
    return filled


def _graph(
    source: Checkpoint, weights: Mapping[str, Weight], places: Mapping[str, TensorInfo]
) -> bytes:
    """The model, as bytes that depend on its weights' names, schemes and shapes alone."""
    try:
        from onnx import TensorProto, helper
    except ImportError:
        raise CheckpointError(
            f"{source.where}: an ONNX graph, which the package onnx writes: "
            "pip install 'bitmill[onnx]'"
        ) from None
    kinds = {"U8": TensorProto.UINT8, "F16": TensorProto.FLOAT16, "F32": TensorProto.FLOAT}
    nodes, inputs, outputs = list[Any](), list[Any](), list[Any]()
    for module, (scheme, shape, _) in weights.items():
        names = [f"{module}.{field.name}" for field in tensors(scheme, shape)]
        nodes.append(_node(helper, module, names, scheme, shape))
        kind = kinds[places[names[1]].dtype]  # of the scales, and so of inputs and outputs
        for values, name, width in ((inputs, "input", shape[1]), (outputs, "output", shape[0])):
            values.append(helper.make_tensor_value_info(f"{module}.{name}", kind, ["rows", width]))
    graph = helper.make_graph(nodes, "weights", inputs, outputs)
    for place in places.values():
        proto = graph.initializer.add(
            name=place.name,
            data_type=kinds[place.dtype],
            dims=place.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (("location", DATA), ("offset", place.begin), ("length", place.nbytes)):
            proto.external_data.add(key=key, value=str(value))
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="bitmill")
    text: bytes = model.SerializeToString(deterministic=True)
    return text


def _node(
    helper: Any, module: str, names: list[str], scheme: Affine, shape: tuple[int, ...]
) -> Any:
    """y = x · dequantize(codes)ᵀ, with float32 arithmetic."""
    return helper.make_node(
        "MatMulNBits",
        [f"{module}.input", *names],
        [f"{module}.output"],
        name=module,
        domain="com.microsoft",
        K=shape[1],
        N=shape[0],
        bits=scheme.bits,
        block_size=block_size(scheme, shape),
        accuracy_level=1,
    )
