# SPDX-License-Identifier: MIT
"""ONNX Runtime: models of one operator, into the same arrays every time (no copies, no pages)."""

from __future__ import annotations

import ml_dtypes  # noqa: F401  (onnx.helper names its types)
import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.capi._pybind_state import quantize_matmul_bnb4

from agree import same_bits
from peers import Rival

TYPES = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def operator(name, inputs, outputs, **attributes):
    """A call of one operator on named arrays."""
    values = [
        [
            helper.make_tensor_value_info(key, TYPES[array.dtype.name], array.shape)
            for key, array in arrays.items()
        ]
        for arrays in (inputs, outputs)
    ]
    node = helper.make_node(name, list(inputs), list(outputs), **attributes)
    model = helper.make_model(
        helper.make_graph([node], name, *values),
        opset_imports=[helper.make_opsetid("", 21)],
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
