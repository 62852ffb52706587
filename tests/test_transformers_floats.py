# SPDX-License-Identifier: MIT
"""Float checkpoints in Transformers: the logits are those of the dequantized weights, exactly."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import LayerScheme, plan_checkpoint, quantize_checkpoint
from bitmill.formats import BY_NAME, floats
from checkpoints import weight
from conftest import needs

torch = needs("torch")
needs("transformers")
needs("compressed_tensors")

# They warn of their own and of each other's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")

from test_transformers import (  # noqa: E402  behind the packages that it needs
    dequantized,
    dequantizing,
    difference,
    forward,
    logits,
    one_thread,  # noqa: F401
    save_llama,
)

FP8 = [
    bm.Float("fp8_e4m3"),
    bm.Float("fp8_e4m3", axis=None),
    bm.Float("fp8_e4m3", group_size=64),
]
BLOCKS = [bm.Float(kind) for kind in ("mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "nvfp4")]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in miniature with random weights; its name is that of its dtype."""
    dtype = str(request.param)
    return save_llama(tmp_path_factory.mktemp("model") / dtype, dtype)


def quantized(folder: Path, target: Path, scheme: Any) -> Path:
    plan = plan_checkpoint(folder, scheme, scale_dtype="auto")
    quantize_checkpoint(folder, target, plan)
    return target


@pytest.mark.parametrize("scheme", FP8, ids=repr)
def test_fp8_weights_give_the_logits_of_the_dequantized_ones(
    folder: Path, tmp_path: Path, scheme: bm.Float
) -> None:
    made = quantized(folder, tmp_path / "q", scheme)
    assert difference(folder, made) == 0.0
    assert difference(folder, made, quantization_config=dequantizing()) == 0.0
    assert np.abs(logits(made) - logits(folder)).max() > 0


@pytest.mark.parametrize("scheme", BLOCKS, ids=repr)
def test_blocks_give_the_logits_of_the_dequantized_ones(
    folder: Path, tmp_path: Path, scheme: bm.Float
) -> None:
    made = quantized(folder, tmp_path / "q", scheme)
    if folder.name == "bfloat16":
        assert difference(folder, made) == 0.0
    else:  # they make bfloat16 weights of them, for inputs of float32
        with pytest.raises(RuntimeError, match="same dtype"):
            logits(made)
    rounding = difference(folder, made, quantization_config=dequantizing())
    exact = folder.name == "bfloat16" or scheme.kind != "nvfp4"
    assert rounding == 0.0 if exact else 0.0 < rounding < 0.01


def test_fp8_activations_are_quantized_per_token(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "model", "float32")
    made = quantized(folder, tmp_path / "q", "FP8_DYNAMIC")
    model = dequantized(folder, made)
    plain = forward(model)
    assert difference(folder, made, quantization_config=dequantizing()) == 0.0

    def before(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x = bm.fake_quantize(inputs[0].numpy(), bm.Float("fp8_e4m3"))
        return (torch.from_numpy(x),)

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(before)
    found, wanted = logits(made), forward(model)
    assert np.abs(found - wanted).max() < 1e-3
    assert np.abs(wanted - plain).max() > 10 * np.abs(found - wanted).max()


@pytest.mark.parametrize("scheme", BLOCKS[:3], ids=repr)
def test_blocks_of_bfloat16_have_the_bytes_that_compressed_tensors_makes(scheme: bm.Float) -> None:
    compressors = importlib.import_module("compressed_tensors.compressors")
    quantization = importlib.import_module("compressed_tensors.quantization")
    utils = importlib.import_module("compressed_tensors.quantization.utils")
    layer, x = LayerScheme(scheme), weight(48, 256)
    said = floats.arguments(scheme, x.shape)
    args = quantization.QuantizationScheme(targets=["m"], weights=said)
    values = torch.from_numpy(x.astype(np.float32)).bfloat16()
    groups = values.unflatten(-1, (-1, 32))
    scale, _ = utils.calculate_qparams(groups.amin(-1), groups.amax(-1), args.weights)
    compressor = compressors.BaseCompressor.get_value_from_registry(layer.format)
    made = compressor.compress({"weight": values, "weight_scale": scale}, args)
    encoded = BY_NAME[layer.format].encode(bm.quantize(x, scheme))
    assert sorted(made) == sorted(encoded)
    for name, array in encoded.items():
        assert made[name].view(torch.uint8).numpy().tobytes() == array.tobytes(), name
