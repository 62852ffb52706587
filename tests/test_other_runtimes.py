# SPDX-License-Identifier: MIT
"""Words of a checkpoint, fed unchanged to ONNX Runtime's MatMulNBits and to MLX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint, quantize_checkpoint, read_tensor
from checkpoints import llama, make
from conftest import needs

NAME = "model.layers.0.mlp.down_proj"
CONFIG = {"model_type": "llama", "dtype": "float32"}


def stored(tmp_path: Path, scheme: bm.Affine) -> tuple[dict[str, np.ndarray], bm.QTensor]:
    """The tensors of one module of a quantized float32 model, and what bitmill reads from them."""
    folder = make(tmp_path / "model", llama("float32"), config=CONFIG)
    quantize_checkpoint(folder, tmp_path / "q", scheme)
    places = open_checkpoint(tmp_path / "q").tensors()
    arrays = {
        info.name.removeprefix(f"{NAME}."): read_tensor(path, info)
        for path, info in places
        if info.name.startswith(NAME)
    }
    return arrays, bm.load_checkpoint(tmp_path / "q")[f"{NAME}.weight"]


def matmul_n_bits(arrays: dict[str, np.ndarray], size: int, points: np.ndarray | None) -> Any:
    """What ONNX Runtime makes of the words."""
    rows, columns = map(int, arrays["weight_shape"])
    blobs = arrays["weight_packed"].view(np.uint8).reshape(rows, columns // size, size // 2)
    return of_blobs(blobs, arrays["weight_scale"], columns, points)


def of_blobs(
    blobs: np.ndarray, scale: np.ndarray, columns: int, points: np.ndarray | None, bits: int = 4
) -> Any:
    """What ONNX Runtime makes of them: MatMulNBits of the identity, transposed."""
    onnx, onnxruntime = needs("onnx"), needs("onnxruntime")
    rows, _, nbytes = blobs.shape
    constants = {"b": blobs, "scale": scale}
    if points is not None:
        constants["points"] = points
    node = onnx.helper.make_node(
        "MatMulNBits",
        ["a", *constants],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=rows,
        bits=bits,
        block_size=8 * nbytes // bits,
        accuracy_level=1,
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [value("a", onnx.TensorProto.FLOAT, [columns, columns])],
        [value("y", onnx.TensorProto.FLOAT, [columns, rows])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"a": np.eye(columns, dtype=np.float32)})
    return y.T


@pytest.mark.parametrize("size", [32, 128])
def test_words_are_those_of_matmul_n_bits(tmp_path: Path, size: int) -> None:
    arrays, q = stored(tmp_path, bm.Affine(4, group_size=size))
    np.testing.assert_array_equal(matmul_n_bits(arrays, size, None), q.dequantize())


@pytest.mark.parametrize("size", [32, 128])
def test_asymmetric_words_are_those_of_matmul_n_bits(tmp_path: Path, size: int) -> None:
    arrays, q = stored(tmp_path, bm.Affine(4, symmetric=False, group_size=size))
    points = q.zero_point
    assert points is not None
    padded = np.pad(points, ((0, 0), (0, points.shape[1] % 2)))
    packed = padded[:, ::2] | padded[:, 1::2] << 4  # per row, where the file has them per column
    np.testing.assert_array_equal(matmul_n_bits(arrays, size, packed), q.dequantize())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("size", [16, 64, 256])
@pytest.mark.parametrize("columns", [100, 256])
def test_scheme_and_layout_of_the_target_are_those_of_matmul_n_bits(
    bits: int, size: int, columns: int
) -> None:
    x = np.random.default_rng(bits).standard_normal((16, columns)).astype(np.float32)
    target = bm.targets.get("onnxruntime")
    q = bm.quantize(x, target.scheme(x.shape, bits, group_size=size))
    blobs = target.layout(x.shape, bits, group_size=size).pack(q.codes)
    np.testing.assert_array_equal(of_blobs(blobs, q.scale, columns, None, bits), q.dequantize())


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_scheme_and_layout_of_the_target_are_those_of_mlx(bits: int) -> None:
    mx = needs("mlx.core")
    x = np.random.default_rng(bits).standard_normal((16, 256)).astype(np.float32)
    target = bm.targets.get("mlx")
    q = bm.quantize(x, target.scheme(x.shape, bits, scales="float32"))
    words = target.layout(x.shape, bits).pack(q.codes)
    arrays = [mx.array(a) for a in (words, q.scale, q.arrays["offset"])]
    found = np.array(mx.dequantize(*arrays, group_size=64, bits=bits))
    # MLX may round once; bitmill rounds product and sum.
    low = np.repeat(np.abs(q.arrays["offset"]), 64, axis=1)
    assert (np.abs(found - q.dequantize()) <= 2.0**-23 * (2 * low + np.abs(found))).all()


def mlx(arrays: dict[str, np.ndarray], bias: np.ndarray, size: int) -> np.ndarray:
    """What MLX makes of the words: scale * u + bias, in one rounding or two."""
    mx = needs("mlx.core")
    words, scale = arrays["weight_packed"].view(np.uint32), np.float32(arrays["weight_scale"])
    values = mx.dequantize(
        mx.array(words), mx.array(scale), mx.array(bias), group_size=size, bits=4
    )
    return np.array(values)


@pytest.mark.parametrize("size", [32, 128])
def test_words_are_those_of_mlx(tmp_path: Path, size: int) -> None:
    arrays, q = stored(tmp_path, bm.Affine(4, group_size=size, scales="float16"))
    bias = -8 * np.float32(arrays["weight_scale"])
    np.testing.assert_array_equal(mlx(arrays, bias, size), q.dequantize())


@pytest.mark.parametrize("size", [32, 128])
def test_words_with_long_scales_are_those_of_mlx_but_for_its_second_rounding(
    tmp_path: Path, size: int
) -> None:
    arrays, q = stored(tmp_path, bm.Affine(4, group_size=size))
    bias = -8 * arrays["weight_scale"]
    found, ours = mlx(arrays, bias, size), q.dequantize()
    scale, low = (np.repeat(array, size, axis=1) for array in (arrays["weight_scale"], bias))
    rounded_twice = scale * np.float32(q.codes + np.int16(8)) + low
    # Builds of MLX with FMA round once, as we do; without it the product is rounded too.
    assert np.array_equal(found, ours) or np.array_equal(found, rounded_twice)


@pytest.mark.parametrize("size", [32, 128])
def test_asymmetric_words_are_those_of_mlx_but_for_the_rounding_of_its_bias(
    tmp_path: Path, size: int
) -> None:
    mx = needs("mlx.core")
    arrays, q = stored(tmp_path, bm.Affine(4, symmetric=False, group_size=size))
    words, scale = arrays["weight_packed"].view(np.uint32), arrays["weight_scale"]
    assert q.zero_point is not None
    bias = -scale * q.zero_point
    found = mx.dequantize(mx.array(words), mx.array(scale), mx.array(bias), group_size=size, bits=4)
    error = np.abs(np.array(found, np.float64) - q.dequantize())
    # Bias and sum are rounded, at most 15 scales large each; our product is rounded once.
    assert (error <= 15 * np.repeat(scale, size, axis=1) * 2.0**-23).all()
