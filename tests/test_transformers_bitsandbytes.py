# SPDX-License-Identifier: MIT
"""4-bit checkpoints in Transformers with bitsandbytes: its weights are bitmill's, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import quantize_checkpoint
from conftest import needs

torch = needs("torch")
transformers = needs("transformers")
functional = needs("bitsandbytes.functional")
needs("accelerate")

pytestmark = pytest.mark.filterwarnings("ignore")  # they warn of each other's deprecations

SIZES = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 32,
}


def saved_model(folder: Path, dtype: str):
    """A model with random weights, which `folder` then holds."""
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "scheme",
    [bm.NF4(), bm.NF4(128, clip="mse"), bm.FP4(32), bm.NF4(double_quantization=True)],
    ids=str,
)
def test_weights_in_transformers_are_those_of_bitmill(tmp_path: Path, scheme, dtype):
    saved_model(tmp_path / "src", dtype)
    quantize_checkpoint(tmp_path / "src", tmp_path / "q", scheme)
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "q", dtype="auto", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ours = bm.load_checkpoint(tmp_path / "q")
    compared = 0
    for name, module in loaded.named_modules():
        q = ours.get(f"{name}.weight")
        if not isinstance(q, bm.QTensor):
            continue
        state = module.weight.quant_state
        theirs = functional.dequantize_4bit(module.weight.data, state)
        wanted = q.dequantize(dtype=dtype).astype(np.float32)
        assert state.dtype == getattr(torch, dtype)
        assert np.abs(theirs.float().numpy() - wanted).max() == 0, name
        compared += 1
    assert compared == 14


TOKENS = [[1, 5, 9, 2, 60, 33], [7, 7, 0, 1, 2, 3]]


def logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor(TOKENS)).logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_logits_are_those_of_what_bitsandbytes_quantizes(tmp_path: Path, kind, dtype):
    model = saved_model(tmp_path / "src", dtype)
    quantize_checkpoint(tmp_path / "src", tmp_path / "q", bm.NF4() if kind == "nf4" else bm.FP4())
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "src",
        dtype=model.dtype,
        quantization_config=transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=model.dtype
        ),
    )
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "q", dtype="auto")
    assert logits(ours).abs().max() > 0.01
    assert (logits(ours) - logits(theirs)).abs().max() == 0


@pytest.mark.parametrize(
    "scheme", [bm.NF4(), bm.FP4(128, clip="mse"), bm.NF4(double_quantization=True)], ids=str
)
def test_logits_are_those_of_the_dequantized_weights(tmp_path: Path, scheme):
    model = saved_model(tmp_path / "src", "float32")
    quantize_checkpoint(tmp_path / "src", tmp_path / "q", scheme)
    weights = {
        name: torch.from_numpy(q.dequantize())
        for name, q in bm.load_checkpoint(tmp_path / "q").items()
        if isinstance(q, bm.QTensor)
    }
    assert len(weights) == 14
    assert not model.load_state_dict(weights, strict=False).unexpected_keys
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "q", dtype="auto")
    for module in loaded.modules():  # else it multiplies in bfloat16, where the CPU can
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    assert (logits(loaded) - logits(model)).abs().max() == 0
