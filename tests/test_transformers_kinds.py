# SPDX-License-Identifier: MIT
"""Models of many kinds in Transformers: every quantized weight finds its module, under any name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import plan_checkpoint, quantize_checkpoint
from bitmill.checkpoint.write import write_tensors
from conftest import needs

torch = needs("torch")
transformers = needs("transformers")
needs("compressed_tensors")

# They warn of their own and of each other's deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 64,
}
TOKENS = {"input_ids": [[6, 7, 8, 9, 10, 11]]}
GROUPS = bm.Affine(4, group_size=32)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)  # sums in one order
    transformers.logging.set_verbosity_error()


def llava() -> Any:
    text = transformers.LlamaConfig(**SIZES)
    vision = transformers.CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=28,
        patch_size=14,
        projection_dim=64,
    )
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=5)
    return transformers.LlavaForConditionalGeneration(config)


def whisper() -> Any:
    config = transformers.WhisperConfig(
        vocab_size=256,
        d_model=64,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        max_source_positions=50,
        max_target_positions=50,
        num_mel_bins=16,
    )
    return transformers.WhisperForConditionalGeneration(config)


def mixture(kind: str, **experts: int) -> Callable[[], Any]:
    def build() -> Any:
        config = getattr(transformers, f"{kind}Config")(**SIZES, num_key_value_heads=2, **experts)
        return getattr(transformers, f"{kind}ForCausalLM")(config)

    return build


def pixels(*shape: int) -> Any:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


MODELS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "Llava": (
        llava,
        {"input_ids": [[6, 7, 5, 5, 5, 5, 8]], "pixel_values": lambda: pixels(3, 28, 28)},
    ),
    "BertForMaskedLM": (
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES)),
        TOKENS,
    ),
    "Whisper": (
        whisper,
        {"input_features": lambda: pixels(16, 100), "decoder_input_ids": [[6, 7, 8]]},
    ),
    "Gemma, tied": (
        lambda: transformers.GemmaForCausalLM(
            transformers.GemmaConfig(**SIZES, num_key_value_heads=2, head_dim=16)
        ),
        TOKENS,
    ),
    "Mixtral": (mixture("Mixtral", num_local_experts=4), TOKENS),
    "Qwen3Moe": (
        mixture("Qwen3Moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64),
        TOKENS,
    ),
    "Qwen2Moe, a shared expert": (
        mixture(
            "Qwen2Moe",
            num_experts=4,
            num_experts_per_tok=2,
            moe_intermediate_size=64,
            shared_expert_intermediate_size=64,
        ),
        TOKENS,
    ),
    "Phimoe": (mixture("Phimoe", num_local_experts=4), TOKENS),
}


def saved(folder: Path, kind: str) -> Path:
    """A small random model of this kind, as Transformers saves it."""
    torch.manual_seed(0)
    MODELS[kind][0]().save_pretrained(folder)
    return folder


def logits(folder: Path, source: Path, kind: str, **options: Any) -> np.ndarray:
    """What Transformers makes of a folder; every key must find its place."""
    (name,) = transformers.AutoConfig.from_pretrained(source).architectures
    model, info = getattr(transformers, name).from_pretrained(
        folder, output_loading_info=True, **options
    )
    lost = {key: list(info[key]) for key in ("missing_keys", "unexpected_keys") if info[key]}
    assert not lost, lost
    inputs = {k: v() if callable(v) else torch.tensor(v) for k, v in MODELS[kind][1].items()}
    with torch.no_grad():
        return np.asarray(model.eval()(**inputs).logits.float().numpy())


def plain(source: Path, quantized: Path, folder: Path) -> Path:
    """The source with the weights that bitmill says `quantized` holds."""
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    loaded = bm.load_checkpoint(quantized)
    values = {n: w.dequantize() if isinstance(w, bm.QTensor) else w for n, w in loaded.items()}
    write_tensors(folder / "model.safetensors", values)
    return folder


def difference(source: Path, target: Path, kind: str, **options: Any) -> float:
    wanted = logits(plain(source, target, target.with_name("plain")), source, kind)
    return float(np.abs(logits(target, source, kind, **options) - wanted).max())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dequantize", [False, True])
def test_logits_are_those_of_the_dequantized_weights(
    tmp_path: Path, kind: str, dequantize: bool
) -> None:
    source = saved(tmp_path / "model", kind)
    quantize_checkpoint(source, tmp_path / "q", GROUPS)
    config = transformers.CompressedTensorsConfig(dequantize=True)
    options = {"quantization_config": config} if dequantize else {}
    assert difference(source, tmp_path / "q", kind, **options) == 0.0


@pytest.mark.parametrize("ignore", [["re:vision_tower.*"], ["re:language_model.*"]])
def test_part_of_a_model_of_several_is_left_alone(tmp_path: Path, ignore: list[str]) -> None:
    source = saved(tmp_path / "model", "Llava")
    plan = plan_checkpoint(source, GROUPS, ignore=ignore)
    quantize_checkpoint(source, tmp_path / "q", plan)
    assert difference(source, tmp_path / "q", "Llava") == 0.0


def test_parts_of_a_model_have_schemes_of_their_own(tmp_path: Path) -> None:
    source = saved(tmp_path / "model", "Llava")
    rules = {"re:vision_tower.*(proj|fc.)$": bm.Affine(8), "Linear": GROUPS}
    quantize_checkpoint(source, tmp_path / "q", rules)
    loaded = bm.load_checkpoint(tmp_path / "q").values()
    assert {w.scheme.bits for w in loaded if isinstance(w, bm.QTensor)} == {4, 8}
    assert difference(source, tmp_path / "q", "Llava") == 0.0
