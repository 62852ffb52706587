# SPDX-License-Identifier: MIT
"""Which tensors a plan selects, what it says about the others, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Plan
from checkpoints import CONFIG, by_hand, llama, make, weight

W4 = bm.Affine(4, group_size=128)
W8 = bm.Affine(8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "llama", llama())


def selected(plan: Plan) -> dict[str, Any]:
    """The schemes by module."""
    return {t.name.removesuffix(".weight"): t.scheme for t in plan.tensors if t.scheme is not None}


def test_linear_is_every_2d_weight_but_embedding_norm_and_lm_head(folder: Path) -> None:
    plan = bm.plan_checkpoint(folder, W4)
    assert set(selected(plan)) == {
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.k_proj",
        "model.layers.0.mlp.down_proj",
    }
    reasons = {tensor.name: tensor.reason for tensor in plan.tensors if tensor.scheme is None}
    assert reasons == {
        "model.embed_tokens.weight": "embedding",
        "model.layers.0.input_layernorm.weight": "1-D",
        "model.norm.weight": "1-D",
        "lm_head.weight": "lm_head",
        "model.layers.0.self_attn.q_proj.bias": "not named *.weight",
        "model.steps": "not named *.weight",
    }


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("embeddings.word_embeddings", "embedding"),
        ("transformer.wte", "embedding"),
        ("shared", "embedding"),
        ("block.0.layer.0.SelfAttention.relative_attention_bias", "embedding"),
        ("layers.0.self_attn.q_norm", "norm"),
        ("h.0.ln_1", "norm"),
        ("language_model.lm_head", "lm_head"),
        ("time_embedding.linear_1", "Linear"),
        ("layers.0.shared_expert.up_proj", "Linear"),
        ("normalizer.proj", "Linear"),
    ],
)
def test_kind_of_module_is_told_by_the_last_part_of_its_name(
    tmp_path: Path, module: str, reason: str
) -> None:
    tensors = {f"{module}.weight": weight(8, 128), "x.weight": weight(8, 128)}
    plan = bm.plan_checkpoint(make(tmp_path / "m", tensors), W4)
    assert {tensor.name: tensor.reason for tensor in plan.tensors}[f"{module}.weight"] == reason


def test_first_matching_rule_wins_and_ignore_beats_all(folder: Path) -> None:
    rules = {"re:.*q_proj$": W8, "Linear": W4, "re:.*_proj$": W8}
    ignore = ["model.layers.0.mlp.down_proj"]
    plan = bm.plan_checkpoint(folder, rules, ignore=ignore, split_fused=True)
    found = selected(plan)
    assert {name: scheme.bits for name, scheme in found.items()} == {
        "model.layers.0.self_attn.q_proj": 8,
        "model.layers.0.self_attn.k_proj": 4,
    }
    (ignored,) = [t for t in plan.tensors if t.name == "model.layers.0.mlp.down_proj.weight"]
    assert ignored.reason == "ignored: model.layers.0.mlp.down_proj"


def test_include_adds_modules_that_linear_leaves_out(folder: Path) -> None:
    plan = bm.plan_checkpoint(folder, W4, include=["re:lm_"])
    assert {"lm_head", "model.layers.0.mlp.down_proj"} <= set(selected(plan))


def test_include_does_not_ask_for_linear_weights(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", {"lm_head.weight": weight(8, 128)})
    assert set(selected(bm.plan_checkpoint(folder, W4, include=["lm_head"]))) == {"lm_head"}


def test_embedding_is_for_the_native_format_alone(folder: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"an embedding, which loaders .*: model.embed_tokens"
    ):
        bm.plan_checkpoint(folder, W4, include=["re:.*embed_tokens"])
    rule = LayerScheme(W4, format="native")
    plan = bm.plan_checkpoint(folder, rule, include=["re:.*embed_tokens"])
    assert "model.embed_tokens" in selected(plan)


def test_regex_matches_from_the_start_of_the_name(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing matches 're:q_proj'"):
        bm.plan_checkpoint(folder, {"re:q_proj": W4})


def test_patterns_that_match_nothing_are_named_together(folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(folder, W4, ignore=["lm_head", "q_proj", "model.norm.weight"])
    assert str(caught.value) == (
        f"{folder}: nothing matches 'q_proj', 'model.norm.weight'; patterns name modules (tensors "
        "without '.weight'), such as 'model.norm'"
    )


def test_checkpoint_without_linear_weights_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", {"norm.weight": weight(8), "steps": np.arange(3)})
    with pytest.raises(CheckpointError, match=r"no Linear weight in it \(1 1-D\); name others"):
        bm.plan_checkpoint(folder, W4)


def test_plan_that_ignores_everything_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing to quantize: all is ignored"):
        bm.plan_checkpoint(folder, W4, ignore=["Linear"])


def test_all_unsupported_tensors_are_in_one_error(tmp_path: Path) -> None:
    tensors = {
        "a.weight": weight(4, 128),
        "b.weight": weight(4, 100),
        "c.weight": weight(4, 100),
        "d.weight": weight(4),
        "e.weight": np.ones((4, 128), np.int32),
    }
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(make(tmp_path / "m", tensors), {"re:.": W4})
    text = str(caught.value)
    assert "4 of 5 selected tensors cannot be stored" in text
    assert (
        "rows of 100 weights are not a whole number of groups of 128 (choose another size, " in text
    )
    assert "or none): b, c;" in text
    assert "the format holds 2- and 3-D weights only, not 1-D: d" in text
    assert "dtype I32: e" in text
    assert text.endswith(". Ignore them, or pass on_unsupported='keep' or 'fallback'")


@pytest.mark.parametrize(
    ("config", "dtype", "stored"),
    [
        ({"dtype": "bfloat16"}, "float32", "bfloat16"),
        ({"torch_dtype": "float16"}, "float32", "float16"),
        ({"torch_dtype": "torch.float16"}, "float32", "float16"),
        ({"text_config": {"torch_dtype": "bfloat16"}}, "float32", "bfloat16"),
        ({"dtype": "float64"}, "float16", "float32"),
        ({"dtype": "auto"}, "float16", "float16"),
        ({}, "float16", "float16"),
        (None, "float64", "float32"),
    ],
)
def test_scale_dtype_auto_is_that_of_the_model(
    tmp_path: Path, config: Any, dtype: str, stored: str
) -> None:
    folder = make(tmp_path / "m", {"a.weight": weight(4, 128, dtype=dtype)}, config=config)
    assert selected(bm.plan_checkpoint(folder, W4, scale_dtype="auto"))["a"].scales == stored


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_scales_of_a_scheme_are_kept_unless_another_dtype_is_asked_for(
    folder: Path, half: str
) -> None:
    scheme = bm.Affine(4, group_size=128, scales=half)
    for options, stored in (
        ({}, half),
        ({"scale_dtype": None}, half),
        ({"scale_dtype": "float32"}, "float32"),
        ({"scale_dtype": "auto"}, "bfloat16"),
    ):
        schemes = selected(bm.plan_checkpoint(folder, scheme, **options)).values()
        assert {scheme.scales for scheme in schemes} == {stored}


@pytest.mark.parametrize("shards", [1, 3])
def test_names_that_the_target_would_hold_twice_are_refused_together(
    tmp_path: Path, shards: int
) -> None:
    tensors = {
        "a.weight": weight(4, 128),
        "b.weight": weight(4, 128),
        "c.weight": weight(4, 128),
        "a.weight_scale": weight(4),
        "b.weight_zero_point": weight(4),
        "b.weight_shape": weight(2),
        "c.weight_scale_inv": weight(4),
    }
    folder = make(tmp_path / "m", tensors, shards=shards)
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(folder, W4)
    text = str(caught.value)
    assert text.startswith(f"{folder}: tensors would have the same name in the target: ")
    pairs = re.findall(r"'(\S+)' \(from '(\S+)' and '(\S+)'\)", text)
    assert {(name, *sorted(both)) for name, *both in pairs} == {
        ("a.weight_scale", "a.weight", "a.weight_scale"),
        ("b.weight_shape", "b.weight", "b.weight_shape"),
    }
    asymmetric = bm.Affine(4, symmetric=False)
    with pytest.raises(CheckpointError, match=r"'b.weight_zero_point' \(from"):
        bm.plan_checkpoint(folder, asymmetric, ignore=["a"])
    assert set(selected(bm.plan_checkpoint(folder, W4, ignore=["a", "b"]))) == {"c"}


def test_scheme_of_another_kind_is_refused_by_the_format(folder: Path) -> None:
    class Other:
        def layout(self, shape: object) -> None: ...
        def quantize(self, x: object) -> None: ...

    with pytest.raises(
        CheckpointError, match="the format holds affine codes only, no Other: model"
    ):
        bm.plan_checkpoint(folder, LayerScheme(Other(), format="pack-quantized"))


def test_weight_without_values_is_kept(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", {"a.weight": weight(0, 128), "b.weight": weight(4, 128)})
    plan = bm.plan_checkpoint(folder, W4)
    assert {t.name: t.reason for t in plan.tensors} == {"a.weight": "empty", "b.weight": "Linear"}
    with pytest.raises(CheckpointError, match=r"there are no weights in it: a\. Ignore them"):
        bm.plan_checkpoint(folder, W4, include=["a"])


@pytest.mark.parametrize("key", ["quantization_config", "compression_config", "quantization"])
def test_quantized_source_is_refused(tmp_path: Path, key: str) -> None:
    folder = make(tmp_path / "m", llama(), config={**CONFIG, key: {"quant_method": "awq"}})
    with pytest.raises(CheckpointError, match=r"quantized already \(config.json: awq\)"):
        bm.plan_checkpoint(folder, W4)


def test_sizes_come_from_headers_alone(tmp_path: Path) -> None:
    header = {
        "a.weight": {"dtype": "BF16", "shape": [256, 512], "data_offsets": [0, 262144]},
        "b": {"dtype": "F8_E4M3", "shape": [10], "data_offsets": [262144, 262154]},
    }
    path = by_hand(tmp_path / "x.safetensors", header, bytes(262154))
    plan = bm.plan_checkpoint(path, bm.Affine(4, group_size=128, scales="bfloat16"))
    packed, scales, shape = 256 * 512 // 2, 256 * 4 * 2, 16
    assert plan.bytes_before == 262154
    assert plan.bytes_after == packed + scales + shape + 10


def test_wrong_arguments_say_which(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"ignore='lm_head' is one string; ignore takes a list"):
        bm.plan_checkpoint(folder, W4, ignore="lm_head")
    with pytest.raises(TypeError, match=r"rules: 3 is a int; patterns are strings"):
        bm.plan_checkpoint(folder, {3: W4})
    with pytest.raises(TypeError, match=r"rules: 'Linear': scheme is a int; wanted a scheme"):
        bm.plan_checkpoint(folder, 4)
    with pytest.raises(ValueError, match=r"include: 're:\(' is not a regex"):
        bm.plan_checkpoint(folder, W4, include=["re:("])
    with pytest.raises(
        ValueError, match=r"rules is empty; wanted a scheme, or \{pattern: scheme\}"
    ):
        bm.plan_checkpoint(folder, {})
    with pytest.raises(ValueError, match="src is empty; wanted a path"):
        bm.plan_checkpoint("", W4)
    with pytest.raises(ValueError, match="include goes with one scheme"):
        bm.plan_checkpoint(folder, {"Linear": W4}, include=["lm_head"])
    with pytest.raises(ValueError, match="scale_dtype='int8' is not one of: auto, float32"):
        bm.plan_checkpoint(folder, W4, scale_dtype="int8")
