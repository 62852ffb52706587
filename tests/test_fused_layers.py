# SPDX-License-Identifier: MIT
"""Layers that runtimes fuse, experts and their routers, Conv1D, tied heads, and mixed formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, Plan
from bitmill.formats import pack_quantized
from checkpoints import CONFIG, config_of, llama, make, weight
from conftest import same_bits

W4 = bm.Affine(4, group_size=64)
W8 = bm.Affine(8)
NATIVE = LayerScheme(W4, format="native")
LAYER = "model.layers.0"


def folder_of(tmp_path: Path, modules: Iterable[str], **config: Any) -> Path:
    """A checkpoint in which each module has a weight of 8 rows of 64."""
    tensors = {f"{module}.weight": weight(8, 64, seed=i) for i, module in enumerate(modules)}
    return make(tmp_path / "src", tensors, config={**CONFIG, **config})


def reasons(plan: Plan) -> dict[str, str]:
    """By module, the rule that selected it, or why it is kept."""
    return {tensor.module: tensor.reason for tensor in plan.tensors}


# Layers that vLLM fuses

FUSED = [
    ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ("attention.self", ("query", "key", "value")),
    ("mlp", ("gate_proj", "up_proj")),
    ("mlp.shared_expert", ("gate_proj", "up_proj")),
    ("feed_forward", ("w1", "w3")),
    ("self_attn.mla", ("q_a_proj", "kv_a_proj_with_mqa")),
    ("mlp.experts", ("0.gate_proj", "0.down_proj", "1.gate_proj", "7.up_proj")),
    ("block_sparse_moe.experts", ("0.w1", "0.w2", "3.w3")),
]


@pytest.mark.parametrize(("parent", "parts"), FUSED, ids=[parent for parent, _ in FUSED])
@pytest.mark.parametrize("other", ["W8A16", "keep"])
def test_parts_with_different_schemes_are_refused_by_name(
    tmp_path: Path, parent: str, parts: tuple[str, ...], other: str
) -> None:
    first, *rest = sorted(f"{LAYER}.{parent}.{part}" for part in parts)
    src = folder_of(tmp_path, (first, *rest, "other"))
    rules = {first: W4, rest[-1]: other, "Linear": W4}
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, rules)
    said = "kept" if other == "keep" else "int8 sym row"
    assert str(caught.value) == (
        f"{src}: vLLM makes one layer of these, and wants one scheme for all parts "
        "(split_fused=True goes on, for other runtimes): "
        f"{first}: int4 sym g64, {rest[-1]}: {said}"
    )
    plan = bm.plan_checkpoint(src, rules, split_fused=True)
    assert len(plan.quantized) == len(plan.tensors) - (other == "keep")


def test_part_that_is_ignored_splits_the_layer(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [f"{LAYER}.self_attn.{x}_proj" for x in "qkvo"])
    with pytest.raises(CheckpointError, match=r"k_proj: int4 sym g64, .*q_proj: kept"):
        bm.plan_checkpoint(src, W4, ignore=["re:.*q_proj"])
    plan = bm.plan_checkpoint(src, W4, ignore=["re:.*o_proj"])
    assert len(plan.quantized) == 3


def test_all_split_layers_are_in_one_error(tmp_path: Path) -> None:
    modules = [f"model.layers.{i}.self_attn.{x}_proj" for i in range(3) for x in "qk"]
    src = folder_of(tmp_path, [*modules, "model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up"])
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, {r"re:.*\.[02]\..*q_proj": W8, "Linear": W4})
    listed = str(caught.value).partition("runtimes): ")[2].split("; ")
    assert [said.count("layers.0") + said.count("layers.2") for said in listed] == [2, 2]


def test_same_parts_of_other_layers_may_differ(tmp_path: Path) -> None:
    modules = [f"model.layers.{i}.self_attn.{x}_proj" for i in range(2) for x in "qkv"]
    modules += [f"model.layers.{i}.mlp.experts.0.w1" for i in range(2)]
    src = folder_of(tmp_path, modules)
    plan = bm.plan_checkpoint(src, {r"re:.*\.1\.": W8, "Linear": W4})
    assert {tensor.scheme for tensor in plan.quantized} == {W4, W8}


def test_difference_that_short_names_hide_is_shown(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [f"{LAYER}.mlp.gate_proj", f"{LAYER}.mlp.up_proj"])
    rules = {"re:.*gate_proj": bm.Affine(4, scale_rule="full_range"), "Linear": bm.Affine(4)}
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, rules)
    text = str(caught.value)
    assert '.gate_proj: {"weights": {"scheme": "Affine", "bits": 4, "scale_rule": ' in text
    assert text.count("full_range") == 1


def test_parts_of_another_width_are_of_another_layer(tmp_path: Path) -> None:
    tensors = {"attn.q_proj.weight": weight(4, 64)}
    tensors |= {f"attn.{x}_proj.weight": weight(4, 96, seed=i) for i, x in enumerate("kv")}
    plan = bm.plan_checkpoint(make(tmp_path / "src", tensors), W4, on_unsupported="fallback")
    assert {t.module: t.scheme.group_size for t in plan.quantized} == {
        "attn.q_proj": 64,
        "attn.k_proj": 32,
        "attn.v_proj": 32,
    }


@pytest.mark.parametrize("how", ["fallback", "keep"])
def test_experts_fall_back_together(tmp_path: Path, how: str) -> None:
    widths = {"gate_proj": 128, "up_proj": 128, "down_proj": 96}
    tensors = {
        f"mlp.experts.{i}.{name}.weight": weight(4, width, seed=i)
        for i in range(2)
        for name, width in widths.items()
    } | {"o_proj.weight": weight(4, 64)}
    scheme = bm.Affine(4, group_size=64)
    plan = bm.plan_checkpoint(make(tmp_path / "src", tensors), scheme, on_unsupported=how)
    groups = {t.module: t.scheme.group_size for t in plan.quantized}
    experts = {} if how == "keep" else {name.removesuffix(".weight"): 32 for name in tensors}
    assert groups == {**experts, "o_proj": 64}


def test_parts_that_fall_back_keep_the_bits_of_their_own_rules(tmp_path: Path) -> None:
    tensors = {f"attn.{x}_proj.weight": weight(4, 96, seed=i) for i, x in enumerate("qkv")}
    src = make(tmp_path / "src", tensors)
    rules = {"re:.*v_proj": bm.Affine(6, group_size=128), "Linear": bm.Affine(4, group_size=128)}
    plan = bm.plan_checkpoint(src, rules, on_unsupported="fallback", split_fused=True)
    found = {t.module: (t.scheme.bits, t.scheme.group_size) for t in plan.quantized}
    assert found == {"attn.q_proj": (4, 32), "attn.k_proj": (4, 32), "attn.v_proj": (6, 32)}
    with pytest.raises(CheckpointError, match=r"attn.v_proj: int6 sym g32"):
        bm.plan_checkpoint(src, rules, on_unsupported="fallback")


def test_native_checkpoints_may_split_any_layer(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [f"{LAYER}.self_attn.{x}_proj" for x in "qkv"])
    plan = bm.plan_checkpoint(src, {"re:.*q_proj": "keep", "Linear": NATIVE})
    assert len(plan.quantized) == 2


def test_biases_and_norms_of_fused_parts_do_not_count(tmp_path: Path) -> None:
    tensors = {}
    for i, part in enumerate(("q_proj", "k_proj")):
        tensors[f"self_attn.{part}.weight"] = weight(8, 64, seed=i)
    tensors["self_attn.q_proj.bias"] = weight(8)
    tensors["self_attn.v_proj.weight"] = weight(64)
    plan = bm.plan_checkpoint(make(tmp_path / "src", tensors), W4)
    assert len(plan.quantized) == 2


# Experts and routers

ROUTERS = [
    ("mlp.gate", "mlp.experts.0.gate_proj"),
    ("mlp.shared_expert_gate", "mlp.experts.0.gate_proj"),
    ("mlp.gate.wg", "mlp.experts.0.gate_proj"),
    ("block_sparse_moe.gate", "block_sparse_moe.experts.0.w1"),
    ("feed_forward.router", "feed_forward.experts.0.up_proj"),
    ("ffn.router.layer", "ffn.experts.mlp.v1"),
    ("block_sparse_moe.router.layer", "block_sparse_moe.output"),
    ("mlp.router", "mlp.experts.0.up_proj"),
]


@pytest.mark.parametrize(("router", "expert"), ROUTERS, ids=[router for router, _ in ROUTERS])
def test_router_is_no_linear_and_is_listed_in_ignore(
    tmp_path: Path, router: str, expert: str
) -> None:
    router, expert = f"{LAYER}.{router}", f"{LAYER}.{expert}"
    src = folder_of(tmp_path, [router, expert])
    plan = bm.plan_checkpoint(src, W4)
    assert reasons(plan) == {router: "router", expert: "Linear"}
    bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    assert router in config_of(tmp_path / "dst")["ignore"]


def test_router_beside_stacked_experts_is_no_linear(tmp_path: Path) -> None:
    tensors = {
        f"{LAYER}.mlp.gate.weight": weight(8, 64),
        f"{LAYER}.mlp.experts.down_proj": weight(2, 8, 64),
        f"{LAYER}.self_attn.o_proj.weight": weight(8, 64),
    }
    plan = bm.plan_checkpoint(make(tmp_path / "src", tensors), W4)
    assert reasons(plan)[f"{LAYER}.mlp.gate"] == "router"


@pytest.mark.parametrize(
    "module",
    [
        f"{LAYER}.mlp.gate",
        f"{LAYER}.mlp.shared_expert_gate",
        f"{LAYER}.mlp.gate.wg",
        f"{LAYER}.mlp.gate_proj",
        f"{LAYER}.mlp.router_proj",
        f"{LAYER}.mlp.gates",
        "gate",
    ],
)
def test_gate_in_a_model_without_experts_is_linear(tmp_path: Path, module: str) -> None:
    plan = bm.plan_checkpoint(folder_of(tmp_path, [module]), W4)
    assert reasons(plan) == {module: "Linear"}


def test_gate_beside_the_experts_of_another_layer_is_linear(tmp_path: Path) -> None:
    modules = ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    src = folder_of(tmp_path, [*modules, "model.layers.1.mlp.experts.0.w1"])
    found = reasons(bm.plan_checkpoint(src, W4))
    assert [found[module] for module in modules] == ["Linear", "router"]


def test_gate_proj_of_an_expert_is_linear(tmp_path: Path) -> None:
    module = f"{LAYER}.mlp.experts.0.gate_proj"
    assert reasons(bm.plan_checkpoint(folder_of(tmp_path, [module]), W4)) == {module: "Linear"}


def test_router_can_be_included(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [f"{LAYER}.mlp.gate", f"{LAYER}.mlp.experts.0.w1"])
    plan = bm.plan_checkpoint(src, W4, include=[r"re:.*\.gate$"])
    assert len(plan.quantized) == 2


# Conv1D of GPT-2

CONV1D = ["h.0.attn.c_attn", "h.0.attn.c_proj", "h.0.mlp.c_fc", "h.0.crossattention.q_attn"]


def test_conv1d_is_no_linear(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [*CONV1D, "score"], model_type="gpt2")
    assert reasons(bm.plan_checkpoint(src, W4)) == {
        **dict.fromkeys(CONV1D, "Conv1D"),
        "score": "Linear",
    }


def test_the_names_of_conv1d_are_linear_in_other_models(tmp_path: Path) -> None:
    src = folder_of(tmp_path, CONV1D, model_type="gpt_bigcode")
    assert set(reasons(bm.plan_checkpoint(src, W4)).values()) == {"Linear"}


def test_conv1d_by_name_is_refused_for_compressed_tensors(tmp_path: Path) -> None:
    src = folder_of(tmp_path, [*CONV1D, "score"], model_type="gpt2")
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, {"h.0.attn.c_attn": W4, "Linear": W4})
    assert (
        "1 of 2 selected tensors cannot be stored: a Conv1D, which loaders of compressed-tensors "
        "do not take for a Linear: h.0.attn.c_attn. "
    ) in str(caught.value)


def test_conv1d_by_name_can_be_stored_natively(tmp_path: Path) -> None:
    src = folder_of(tmp_path, CONV1D, model_type="gpt2")
    report = bm.quantize_checkpoint(src, tmp_path / "dst", {"re:.*": NATIVE})
    assert len(report.quantized) == len(CONV1D)
    name = f"{CONV1D[0]}.weight"
    stored = bm.load_checkpoint(tmp_path / "dst")[name]
    same_bits(stored.dequantize(), bm.quantize(weight(8, 64, seed=0), W4).dequantize())


# A head that is the embedding


@pytest.mark.parametrize(
    "config",
    [
        {"tie_word_embeddings": True},
        {"text_config": {"tie_word_embeddings": True}},
        {"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}},
    ],
)
def test_tied_lm_head_cannot_be_quantized(tmp_path: Path, config: dict[str, Any]) -> None:
    src = folder_of(tmp_path, ["lm_head", "a"], **config)
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, W4, include=["lm_head"])
    assert (
        "lm_head is tied to the embedding (tie_word_embeddings in config.json): lm_head. "
    ) in str(caught.value)
    plan = bm.plan_checkpoint(src, W4, include=["lm_head"], on_unsupported="keep")
    assert reasons(plan)["lm_head"].startswith("unsupported: lm_head is tied")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": False},
        {"text_config": {"tie_word_embeddings": False}},
        {"text_config": ["?"]},
    ],
)
def test_lm_head_of_its_own_can_be_quantized(tmp_path: Path, config: dict[str, Any]) -> None:
    src = folder_of(tmp_path, ["lm_head", "a"], **config)
    assert len(bm.plan_checkpoint(src, W4, include=["lm_head"]).quantized) == 2


# Stacks of experts

STACKS = [
    (f"{LAYER}.mlp.experts.gate_up_proj", f"{LAYER}.mlp.experts.gate_up_proj"),
    (f"{LAYER}.block_sparse_moe.input_linear.weight", f"{LAYER}.block_sparse_moe.input_linear"),
]


@pytest.mark.parametrize(("name", "module"), STACKS, ids=["bare", "weight"])
@pytest.mark.parametrize(
    "scheme",
    [W4, bm.Affine(4, symmetric=False, group_size=64), bm.Affine(3, symmetric=False), W8],
    ids=lambda scheme: scheme.describe().replace(" ", "-"),
)
def test_stack_is_packed_slice_by_slice(
    tmp_path: Path, name: str, module: str, scheme: bm.Affine
) -> None:
    stack = weight(3, 10, 128, dtype=np.float32)
    src = make(tmp_path / "src", {name: stack, "a.weight": weight(4, 128, dtype=np.float32)})
    bm.quantize_checkpoint(src, tmp_path / "dst", {"re:.*(experts|input_linear)": scheme})
    stored = bm.checkpoint.open_checkpoint(tmp_path / "dst")
    found = {
        info.name: bm.checkpoint.read_tensor(path, info)
        for path, info in stored.tensors()
        if info.name.startswith(module)
    }
    for i in range(3):
        wanted = pack_quantized.encode(bm.quantize(stack[i], scheme))
        del wanted["weight_shape"]
        for field, array in wanted.items():
            same_bits(found[f"{module}.{field}"][i], array, f"{field} of expert {i}")
    assert found[f"{module}.weight_shape"].tolist() == [3, 10, 128]


@pytest.mark.parametrize(("name", "module"), STACKS, ids=["bare", "weight"])
@pytest.mark.parametrize("format", ["pack-quantized", "native"])
def test_stack_is_loaded_under_its_name(
    tmp_path: Path, name: str, module: str, format: str
) -> None:
    stack = weight(3, 8, 64)
    src = make(tmp_path / "src", {name: stack, "a.weight": weight(4, 64)})
    layer = LayerScheme(W4, format=format)
    bm.quantize_checkpoint(src, tmp_path / "dst", {f"re:{module}": layer, "Linear": layer})
    loaded = bm.load_checkpoint(tmp_path / "dst")
    assert set(loaded) == {name, "a.weight"}
    same_bits(loaded[name].dequantize(), bm.quantize(stack, W4).dequantize())


def test_linear_leaves_stacks_alone(tmp_path: Path) -> None:
    tensors = {name: weight(2, 8, 64) for name, _ in STACKS}
    plan = bm.plan_checkpoint(make(tmp_path / "src", {**tensors, "a.weight": weight(8, 64)}), W4)
    assert {reasons(plan)[module] for _, module in STACKS} == {"3-D"}


def test_other_tensors_of_the_experts_are_no_modules(tmp_path: Path) -> None:
    tensors = {
        f"{LAYER}.mlp.experts.gate_up_proj": weight(2, 8, 64),
        f"{LAYER}.mlp.experts.gate_up_proj_bias": weight(2, 8),
        f"{LAYER}.mlp.sinks": weight(2, 8, 64),
    }
    src = make(tmp_path / "src", tensors)
    plan = bm.plan_checkpoint(src, {"re:.*": W4})
    assert [tensor.name for tensor in plan.quantized] == [f"{LAYER}.mlp.experts.gate_up_proj"]


def test_stack_in_int_quantized_is_refused(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {STACKS[0][0]: weight(2, 8, 64)})
    with pytest.raises(CheckpointError, match="the format holds 2-D weights only, not 3-D"):
        bm.plan_checkpoint(src, {"re:.*": "W8A8"})


def test_stack_has_a_note(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {STACKS[0][0]: weight(2, 8, 64)})
    (note,) = bm.plan_checkpoint(src, {"re:.*": W4}, scale_dtype="auto").notes()
    assert note.startswith("stacks of experts are packed slice by slice; ")


# Formats


def test_native_beside_other_formats_is_refused(tmp_path: Path) -> None:
    src = folder_of(tmp_path, ["a", "b"])
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, {"a": NATIVE, "b": W4})
    assert str(caught.value) == (
        f"{src}: formats native, pack-quantized in one checkpoint; those of compressed-tensors "
        "go together, the others with none"
    )


def test_mixed_formats_have_groups_with_formats_of_their_own(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    bm.quantize_checkpoint(src, tmp_path / "dst", {"re:.*down_proj": "W8A8", "Linear": "W4A16"})
    config = config_of(tmp_path / "dst")
    assert config["format"] == "mixed-precision"
    groups = {group["format"]: group for group in config["config_groups"].values()}
    assert groups["int-quantized"]["targets"] == [f"{LAYER}.mlp.down_proj"]
    assert groups["int-quantized"]["weights"]["num_bits"] == 8
    assert groups["int-quantized"]["input_activations"]["dynamic"] is True
    assert set(groups["pack-quantized"]["targets"]) == {f"{LAYER}.self_attn.{x}_proj" for x in "qk"}
    assert "input_activations" not in groups["pack-quantized"]


def test_mixed_formats_are_loaded_as_they_were_quantized(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    rules = {"re:.*down_proj": "W8A8", "Linear": "W4A16"}
    report = bm.quantize_checkpoint(src, tmp_path / "dst", rules)
    loaded = bm.load_checkpoint(tmp_path / "dst")
    for tensor in report.quantized:
        wanted = bm.quantize(llama()[tensor.name], tensor.scheme)
        same_bits(loaded[tensor.name].dequantize(), wanted.dequantize(), tensor.name)
