# SPDX-License-Identifier: MIT
"""ONNX Runtime: models of one operator, into the same arrays every time (no copies, no pages)."""

from __future__ import annotations

import ml_dtypes  # noqa: F401  (onnx.helper names its types)
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi._pybind_state import quantize_matmul_bnb4

from agree import same_bits, sqnr_db
from bitmill.layouts import Blobs, Nibbles
from peers import Rival, in_turn

MICROSOFT = "com.microsoft"
TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def operator(name, inputs, outputs, constants=None, domain="", **attributes):
    """A call of one operator on named arrays; constants are prepared when the model is loaded."""
    held = constants or {}
    values = [
        [
            helper.make_tensor_value_info(key, TYPES[array.dtype.name], array.shape)
            for key, array in arrays.items()
        ]
        for arrays in (inputs, outputs)
    ]
    node = helper.make_node(name, [*inputs, *held], list(outputs), domain=domain, **attributes)
    tensors = [numpy_helper.from_array(array, key) for key, array in held.items()]
    model = helper.make_model(
        helper.make_graph([node], name, *values, initializer=tensors),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for key, array in inputs.items():
        binding.bind_cpu_input(key, array)
    for key, array in outputs.items():
        binding.bind_output(key, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


def uint8_tensor(x, q):
    """DynamicQuantizeLinear: our scale, zero-point and codes, bit for bit."""
    outputs = {
        "y": np.empty(x.shape, np.uint8),
        "y_scale": np.empty((), np.float32),
        "y_zero_point": np.empty((), np.uint8),
    }

    def check(_):
        assert outputs["y_scale"] == q.scale.item()
        assert outputs["y_zero_point"] == q.zero_point.item()
        same_bits(outputs["y"], q.codes)

    return Rival(operator("DynamicQuantizeLinear", {"x": x}, outputs), check)


def dequantize_int8(q, out, ours):
    """DequantizeLinear, axis 0: our values, bit for bit."""
    inputs = {"x": q.codes, "scale": q.scale.reshape(-1)}
    run = operator("DequantizeLinear", inputs, {"y": out}, axis=0)
    return Rival(run, lambda _: same_bits(out, ours))


def nf4_quantize(x, ours):
    """quantize_matmul_bnb4, which the tool for models calls: our codes but next to thresholds."""
    codes, absmax = np.zeros(x.size // 2, np.uint8), np.zeros(ours.scale.size, np.float32)

    def run():
        quantize_matmul_bnb4(codes, x, absmax, 64, 1, x.shape[0], x.shape[1])

    def check(answer):
        same_bits(absmax.reshape(ours.scale.shape), ours.scale)
        swapped = (codes << 4 | codes >> 4).reshape(len(x), -1)
        assert (swapped != ours.codes.view(np.uint8)).mean() < 1e-4

    return Rival(run, check)


def dynamic_int8(x, weights, ours):
    """DynamicQuantizeMatMul: activations per tensor to uint8, weights by row."""
    out = np.empty_like(ours)

    def prepared(q):
        codes, scale = np.ascontiguousarray(q.codes.T), q.scale.reshape(-1)
        constants = {"w": codes, "scale": scale, "zero_point": np.zeros(len(scale), np.int8)}
        return operator("DynamicQuantizeMatMul", {"x": x}, {"y": out}, constants, MICROSOFT)

    return Rival(in_turn([prepared(q) for q in weights]), lambda _: _close(out, ours))


def nbits_int8(x, weights, ours):
    """MatMulNBits of 8 bits and level 4: activations to int8 by blocks of 128, as weights are."""
    out = np.empty_like(ours)

    def prepared(q):
        rows, length = q.shape
        blobs = (q.codes.view(np.uint8) ^ np.uint8(128)).reshape(rows, length // 128, 128)
        constants = {"w": blobs, "scale": np.repeat(q.scale.reshape(-1), length // 128)}
        sizes = {"K": length, "N": rows, "bits": 8, "block_size": 128, "accuracy_level": 4}
        return operator("MatMulNBits", {"x": x}, {"y": out}, constants, MICROSOFT, **sizes)

    return Rival(in_turn([prepared(q) for q in weights]), lambda _: _close(out, ours))


def nbits_int4(x, weights, ours):
    """MatMulNBits of 4 bits and level 4: activations to int8 by blocks, as weights are."""
    return _nbits4(x, weights, ours, 4)


def nbits_float(x, weights, ours):
    """MatMulNBits of 4 bits and level 0: activations stay floats."""
    return _nbits4(x, weights, ours, 0)


def _nbits4(x, weights, ours, level):
    out = np.empty_like(ours)

    def prepared(q):
        (rows, length), size = q.shape, q.scheme.group_size
        signed = q.zero_point is None
        blobs = Blobs(4, size, signed=signed).pack(q.codes)
        constants = {"w": blobs, "scale": q.scale.astype(np.float32).reshape(-1)}
        if not signed:
            constants["zero_point"] = Nibbles(signed=False).pack(q.zero_point).reshape(-1)
        sizes = {"K": length, "N": rows, "bits": 4, "block_size": size, "accuracy_level": level}
        return operator("MatMulNBits", {"x": x}, {"y": out}, constants, MICROSOFT, **sizes)

    return Rival(in_turn([prepared(q) for q in weights]), lambda _: _close(out, ours))


def bnb4(x, weights, ours):
    """MatMulBnb4 of NF4: activations stay floats."""
    out = np.empty_like(ours)

    def prepared(q):
        (rows, length), size = q.shape, q.scheme.group_size
        codes = Nibbles(first="high", signed=False).pack(q.codes.view(np.uint8))
        constants = {"w": codes.reshape(-1), "absmax": q.scale.astype(np.float32).reshape(-1)}
        sizes = {"K": length, "N": rows, "block_size": size, "quant_type": 1}
        return operator("MatMulBnb4", {"x": x}, {"y": out}, constants, MICROSOFT, **sizes)

    return Rival(in_turn([prepared(q) for q in weights]), lambda _: _close(out, ours))


def _close(out, ours):
    assert sqnr_db(ours, out) > 30
