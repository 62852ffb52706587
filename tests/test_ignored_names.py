# SPDX-License-Identifier: MIT
"""What is written into `ignore`, and under which names modules are targeted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import bitmill as bm
from checkpoints import make, weight

LLAVA = {"text_config": {"model_type": "llama"}, "vision_config": {"model_type": "clip"}}


def planned_config(
    tmp_path: Path, tensors: dict[str, np.ndarray], config: Any = None, **options: Any
) -> dict[str, Any]:
    """The quantization_config of the plan for a model with these tensors."""
    src = make(tmp_path / "src", tensors, config=config)
    return bm.plan_checkpoint(src, bm.Affine(4), **options).quantization_config()


def linear(*modules: str) -> dict[str, np.ndarray]:
    return {f"{module}.weight": weight(4, 64) for module in modules}


def test_head_with_a_bias_and_no_weight_is_ignored(tmp_path: Path) -> None:
    tensors = linear("encoder.dense") | {"vocab_projector.bias": weight(4)}
    assert planned_config(tmp_path, tensors)["ignore"] == ["vocab_projector", "lm_head"]


def test_tied_heads_of_bert_and_whisper_are_ignored(tmp_path: Path) -> None:
    bert = linear("bert.dense", "cls.predictions.transform.dense")
    assert "cls.predictions.decoder" in planned_config(tmp_path / "bert", bert)["ignore"]
    whisper = linear("model.decoder.layers.0.fc1")
    assert "proj_out" in planned_config(tmp_path / "whisper", whisper)["ignore"]


def test_head_that_is_quantized_is_not_ignored(tmp_path: Path) -> None:
    tensors = linear("model.decoder.layers.0.fc1", "proj_out", "lm_head")
    config = planned_config(tmp_path, tensors, include=["lm_head"])
    assert config["ignore"] == []


def test_routers_are_ignored_under_either_name(tmp_path: Path) -> None:
    experts = [f"layers.0.moe.experts.{i}.w1" for i in range(2)]
    ignore = planned_config(tmp_path, linear(*experts, "layers.0.moe.gate"))["ignore"]
    assert ignore[0] == "layers.0.moe.gate"
    (pattern,) = (name for name in ignore if name.startswith("re:"))
    assert re.match(pattern[3:], "model.layers.0.mlp.router")
    assert not any(re.match(pattern[3:], module) for module in experts)


def test_regex_for_routers_is_left_out_where_it_would_hit_a_quantized_gate(tmp_path: Path) -> None:
    tensors = linear("layers.0.moe.experts.0.w1", "layers.0.moe.gate", "layers.1.attention.gate")
    assert not any(name.startswith("re:") for name in planned_config(tmp_path, tensors)["ignore"])


def test_modules_of_a_model_of_several_parts_are_found_under_other_names(tmp_path: Path) -> None:
    modules = [
        "language_model.model.layers.0.self_attn.o_proj",
        "vision_tower.vision_model.encoder.layers.0.self_attn.o_proj",
        "multi_modal_projector.linear_1",
    ]
    config = planned_config(
        tmp_path,
        linear(*modules, "language_model.lm_head"),
        LLAVA,
        ignore=["re:vision_tower.*", "re:multi_modal.*"],
    )
    patterns = [name.removeprefix("re:") for name in config["ignore"]]
    renamed = [
        "model.language_model.layers.0.self_attn.o_proj",
        "model.vision_tower.encoder.layers.0.self_attn.o_proj",
        "model.multi_modal_projector.linear_1",
        "lm_head",
    ]
    for name, ignored in zip(renamed, (False, True, True, True), strict=True):
        assert any(re.match(pattern, name) for pattern in patterns) is ignored, name
    assert "lm_head" in config["ignore"]


def test_part_of_a_model_is_not_taken_for_another_that_lies_beside_it(tmp_path: Path) -> None:
    """Both are in `model`, and have layers of the same names."""
    layer = "layers.0.self_attn.o_proj"
    vision = f"model.vision_tower.encoder.{layer}"
    config = planned_config(
        tmp_path,
        linear(f"model.language_model.{layer}", vision, "model.projector.linear"),
        LLAVA,
        ignore=["re:model.vision_tower.*", "re:model.projector.*"],
    )
    patterns = [name.removeprefix("re:") for name in config["ignore"]]
    for name, ignored in {
        f"model.language_model.{layer}": False,
        f"language_model.model.{layer}": False,
        vision: True,
        f"vision_tower.vision_model.encoder.{layer}": True,
        "multi.projector.linear": True,
    }.items():
        assert any(re.match(pattern, name) for pattern in patterns) is ignored, name
