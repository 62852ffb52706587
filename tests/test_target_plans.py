# SPDX-License-Identifier: MIT
"""Plans for a target: it chooses, or checks and refuses; in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.formats import LayerScheme
from checkpoints import config_of, llama, make, weight
from commands import printed, run

LAYER = "model.layers.0"
DOWN, Q = f"{LAYER}.mlp.down_proj", f"{LAYER}.self_attn.q_proj"


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """A Llama in miniature."""
    return make(tmp_path / "model", llama())


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """One with rows of 300 and of 100 weights, besides those of 256."""
    changed = {f"{DOWN}.weight": weight(256, 300), f"{Q}.weight": weight(64, 100)}
    return make(tmp_path / "odd", llama() | changed)


def layers(plan: Any) -> dict[str, LayerScheme]:
    """The layers of the weights to quantize."""
    return {tensor.module: tensor.layer for tensor in plan.quantized}


@pytest.mark.parametrize("name", bm.targets.names())
def test_the_target_chooses_scheme_and_format(src, name):
    target = bm.targets.get(name)
    found = layers(bm.plan_checkpoint(src, target=name))
    assert len(found) == 3
    for layer in found.values():
        assert layer.weights == target.scheme((256, 256))
        assert layer.format == target.formats[0]


@pytest.mark.parametrize("name", ["vllm", "mlx", "gguf-q4_0", "onnxruntime"])
def test_scales_are_of_the_models_dtype_where_the_target_takes_it(src, name):
    found = layers(bm.plan_checkpoint(src, target=name, scale_dtype="auto"))
    wanted = {"vllm": "bfloat16", "mlx": "bfloat16", "gguf-q4_0": "float16"}.get(name, "float32")
    assert {layer.weights.scales for layer in found.values()} == {wanted}


def test_scales_that_were_asked_for_are_refused_if_the_target_does_not_take_them(src):
    with pytest.raises(bm.CheckpointError, match="gguf-q4_0 takes float16 scales, not float32"):
        bm.plan_checkpoint(src, target="gguf-q4_0", scale_dtype="float32")


def test_a_target_is_a_rule_among_others(src):
    custom = bm.targets.Target((4, 8), alignment=32, max_groups=2, target_bits=6)
    rules = {"re:.*q_proj": custom, "re:.*down_proj": custom.fitting(4, clip="mse")}
    found = layers(bm.plan_checkpoint(src, rules))
    assert found[Q] == LayerScheme(bm.Affine(8, group_size=128), format="native")
    wanted = bm.Affine(4, group_size=192, clip="mse")
    assert found[DOWN] == LayerScheme(wanted, format="native")


def test_a_target_is_all_that_a_conversion_needs(src, tmp_path):
    bm.quantize_checkpoint(src, tmp_path / "q", bm.targets.get("mlx"))
    scheme = bm.load_checkpoint(tmp_path / "q")[f"{Q}.weight"].scheme
    assert scheme == bm.targets.get("mlx").scheme((256, 256))


def test_all_weights_that_nothing_fits_are_named_in_one_error(odd):
    with pytest.raises(bm.CheckpointError) as caught:
        bm.plan_checkpoint(odd, target="mlx")
    message = str(caught.value)
    assert "2 of 3 selected tensors do not fit the target" in message
    for module, length in ((DOWN, 300), (Q, 100)):
        assert f"mlx takes groups of 32, 64 or 128, with rows of whole groups: none fits rows of "\
            f"{length} weights: {module}" in message  # fmt: skip


def test_weights_that_nothing_fits_are_kept_if_asked(odd):
    plan = bm.plan_checkpoint(odd, target="mlx", on_unsupported="keep")
    assert list(layers(plan)) == [f"{LAYER}.self_attn.k_proj"]
    kept = {tensor.module: tensor.reason for tensor in plan.kept}
    assert "none fits rows of 300 weights" in kept[DOWN]
    assert kept[DOWN].startswith("unsupported: ")


def test_the_target_checks_the_schemes_of_other_rules(odd):
    with pytest.raises(bm.CheckpointError) as caught:
        bm.plan_checkpoint(odd, "W4A16", target="vllm")
    message = str(caught.value)
    assert f"not 300 weights in groups of 128: {DOWN}; vllm takes" in message
    assert f"not 100 weights in groups of 128: {Q}" in message
    assert "Ignore them, choose another scheme, or pass on_unsupported='keep'" in message


@pytest.mark.parametrize(
    ("rule", "target", "says"),
    [
        (bm.NF4(), "vllm", "takes affine codes, fp8_e4m3 or nvfp4, not NF4"),
        (
            LayerScheme(bm.Affine(8, group_size=64), format="int-quantized"),
            "mlx",
            "mlx takes the format native or pack-quantized, not int-quantized",
        ),
        ("W4A16", "gguf-q8_0", "gguf-q8_0 takes 8 bits, not 4"),
        ("W4A16_ASYM", "transformers", "takes symmetric codes, not asymmetric ones"),
        ("W8A8", "mlx", "takes groups of 32, 64 or 128, not one scale per row"),
        ("W8A8", "avx2", "avx2 takes no input activations"),
        (LayerScheme(bm.Affine(8), format="int-quantized"), "vllm", "not int-quantized"),
        (
            LayerScheme(bm.Affine(8, group_size=64), "int8"),
            "vllm",
            "takes int8 activations with symmetric 8-bit weights of one scale per row only",
        ),
        (bm.Outliers(bm.Affine(4), 0.01), "onnxruntime", "takes affine codes, not Outliers"),
        (bm.Affine(3), "vllm", "takes 4 or 8 bits, not 3"),
    ],
)
def test_the_broken_constraint_is_said(src, rule, target, says):
    with pytest.raises(bm.CheckpointError, match=f"3 of 3 selected tensors .*{says}: {DOWN}"):
        bm.plan_checkpoint(src, rule, target=target)


@pytest.mark.parametrize("name", ["mlx", "onnxruntime"])
def test_packed_weights_are_what_exports_are_made_of(src, name):
    plan = bm.plan_checkpoint(src, "W4A16", target=name)
    assert {layer.format for layer in layers(plan).values()} == {"pack-quantized"}


@pytest.mark.parametrize("preset", ["W4A16", "W4A16_ASYM", "W8A16", "W8A8", "FP8", "FP8_DYNAMIC"])
def test_what_vllm_reads_passes(src, preset):
    plan = bm.plan_checkpoint(src, preset, target="vllm")
    assert plan == bm.plan_checkpoint(src, preset)


def test_a_single_number_does_not_fit_a_target(tmp_path):
    folder = make(tmp_path / "model", llama() | {"scale.weight": np.ones((), np.float32)})
    target = bm.targets.Target((4, 8), name="a board")
    with pytest.raises(bm.CheckpointError, match=r"a board takes .* no single number: scale"):
        bm.plan_checkpoint(folder, {"scale": bm.Affine(4)}, target=target)


def test_other_than_rules_and_targets_is_refused(src):
    with pytest.raises(ValueError, match="rules are missing; wanted a scheme, "):
        bm.plan_checkpoint(src)
    with pytest.raises(ValueError, match="target='tpu' is not one of: vllm, transformers"):
        bm.plan_checkpoint(src, target="tpu")
    with pytest.raises(TypeError, match="target=4 is a int"):
        bm.plan_checkpoint(src, target=4)


def test_a_stack_of_experts_is_refused_where_rank_2_is_wanted(tmp_path):
    tensors = llama() | {"model.layers.0.mlp.experts.weight": np.ones((2, 64, 64), np.float32)}
    folder = make(tmp_path / "experts", tensors)
    with pytest.raises(bm.CheckpointError, match=r"vllm takes 2-D weights, not 3-D: .*experts"):
        bm.plan_checkpoint(folder, target="vllm", include=["re:.*experts"])


# The command line


@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_command_writes_compressed_tensors_for_those_that_load_it(src, tmp_path, capsys, name):
    out = printed(capsys, "quantize", src, tmp_path / "q", "--target", name)
    assert "bitmill export" not in out
    config = config_of(tmp_path / "q")
    assert (config["quant_method"], config["format"]) == ("compressed-tensors", "pack-quantized")
    (group,) = config["config_groups"].values()
    assert (group["weights"]["num_bits"], group["weights"]["group_size"]) == (4, 128)


@pytest.mark.parametrize(("name", "to"), [("onnxruntime", "onnx"), ("mlx", "mlx")])
def test_command_says_what_makes_the_files_of_others(src, tmp_path, capsys, name, to):
    out = printed(capsys, "quantize", src, tmp_path / "q", "--target", name, "--bits", "8")
    assert out.endswith(f"for {name}: bitmill export {tmp_path / 'q'} OUT --to {to}\n")
    assert config_of(tmp_path / "q")["quant_method"] == "bitmill"
    target, loaded = bm.targets.get(name), bm.load_checkpoint(tmp_path / "q")
    wanted = target.scheme((256, 384), 8, **({"scales": "bfloat16"} if name == "mlx" else {}))
    assert loaded[f"{DOWN}.weight"].scheme == wanted


def test_command_gives_the_target_what_the_options_say(src, capsys):
    options = ["--bits", "6", "--group-size", "32", "--asymmetric", "--clip", "aciq"]
    out = printed(
        capsys, "quantize", src, "--dry-run", "--json", "--target", "onnxruntime", *options
    )
    found = [tensor["layer"] for tensor in json.loads(out)["tensors"] if tensor["layer"]]
    wanted = bm.Affine(8, symmetric=False, group_size=32, clip="aciq")
    assert found == [LayerScheme(wanted, format="native").to_dict()] * 3


def test_command_searches_clips_of_few_bits_and_takes_rows(src, capsys):
    out = printed(capsys, "quantize", src, "--dry-run", "--json", "--target", "vllm")
    found = [tensor["layer"] for tensor in json.loads(out)["tensors"] if tensor["layer"]]
    assert {layer["weights"]["clip"] for layer in found} == {"mse"}
    options = ["--group-size", "none", "--scale-rule", "full_range"]
    out = printed(capsys, "quantize", src, "--dry-run", "--json", "--target", "vllm", *options)
    weights = [
        tensor["layer"]["weights"] for tensor in json.loads(out)["tensors"] if tensor["layer"]
    ]
    assert all("group_size" not in said for said in weights)
    assert {said["scale_rule"] for said in weights} == {"full_range"}


def test_command_refuses_what_does_not_fit(odd, tmp_path, capsys):
    assert run("quantize", odd, tmp_path / "q", "--target", "vllm", "--scheme", "W4A16") == 1
    err = capsys.readouterr().err
    assert DOWN in err
    assert Q in err
    assert "or pass --on-unsupported keep\n" in err
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "native"], "--format: with --target, this goes with --scheme"),
        (["--outliers", "0.01"], "--outliers: with --target, this goes with --scheme"),
        (["--activations", "int8"], "--activations: with --target, this goes with --scheme"),
        (["--budget", "4.5bpw"], "--target: goes with one scheme, not with --budget"),
        (["--plan", "FILE"], "--target: --plan says all that"),
        (["--rules", "FILE", "--bits", "4"], "--bits: not allowed with argument --rules"),
    ],
)
def test_command_refuses_options_that_exclude_each_other(src, tmp_path, capsys, options, says):
    assert run("quantize", src, tmp_path / "q", "--target", "vllm", *options) == 2
    assert says in capsys.readouterr().err


def test_command_checks_rules_of_a_file(src, tmp_path, capsys):
    rules = tmp_path / "rules.toml"
    rules.write_text('[rules]\n"re:.*down_proj" = { bits = 3 }\nLinear = "W4A16"\n')
    arguments = ["quantize", src, "--dry-run", "--rules", rules]
    assert run(*arguments) == 0
    assert run(*arguments, "--target", "vllm") == 1
    assert "vllm takes 4 or 8 bits, not 3" in capsys.readouterr().err
