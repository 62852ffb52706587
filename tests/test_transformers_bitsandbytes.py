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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "scheme",
    [bm.NF4(), bm.NF4(128, clip="mse"), bm.FP4(32), bm.NF4(double_quantization=True)],
    ids=str,
)
def test_weights_in_transformers_are_those_of_bitmill(tmp_path: Path, scheme, dtype):
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    model.to(getattr(torch, dtype)).save_pretrained(tmp_path / "src")
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
    with torch.no_grad():
        assert torch.isfinite(loaded(torch.tensor([[1, 5, 9, 2]])).logits).all()
