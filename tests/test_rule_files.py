# SPDX-License-Identifier: MIT
"""Rules in TOML files: what they mean, and that every error names the file and the pattern."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, read_rules
from bitmill.formats import PRESETS
from checkpoints import llama, made, make, weight
from commands import run

LAYER = "model.layers.0"


def written(tmp_path: Path, text: str) -> Path:
    """A file of rules."""
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_rules_are_read_in_their_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [rules]
        "re:.*z" = "W8A8"
        Linear = "W4A16"
        "a.b" = "keep"
        "re:.*a" = "W4A16_ASYM"
        """,
    )
    rules, ignore = read_rules(path)
    assert list(rules.items()) == [
        ("re:.*z", "W8A8"),
        ("Linear", "W4A16"),
        ("a.b", "keep"),
        ("re:.*a", "W4A16_ASYM"),
    ]
    assert ignore == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_rule(tmp_path: Path, name: str) -> None:
    assert read_rules(written(tmp_path, f'[rules]\nLinear = "{name}"')).rules == {"Linear": name}


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ("{ bits = 4 }", LayerScheme(bm.Affine(4, group_size=128))),
        ("{ bits = 8 }", LayerScheme(bm.Affine(8))),
        ('{ bits = 4, group_size = "none" }', LayerScheme(bm.Affine(4))),
        (
            "{ bits = 6, group_size = 64, symmetric = false }",
            LayerScheme(bm.Affine(6, group_size=64, symmetric=False)),
        ),
        (
            '{ bits = 8, input_activations = "int8" }',
            LayerScheme(bm.Affine(8), "int8", format="int-quantized"),
        ),
        (
            '{ bits = 4, format = "native", axis = 0, clip = "minmax" }',
            LayerScheme(bm.Affine(4, axis=0), format="native"),
        ),
        (
            '{ bits = 4, scale_rule = "full_range" }',
            LayerScheme(bm.Affine(4, group_size=128, scale_rule="full_range")),
        ),
    ],
)
def test_table_is_a_scheme(tmp_path: Path, table: str, rule: LayerScheme) -> None:
    assert read_rules(written(tmp_path, f"[rules]\nLinear = {table}")).rules == {"Linear": rule}


def test_table_may_have_a_heading(tmp_path: Path) -> None:
    path = written(tmp_path, '[rules."re:.*v_proj"]\nbits = 5\n[rules.Linear]\nbits = 4\n')
    assert read_rules(path).rules == {
        "re:.*v_proj": LayerScheme(bm.Affine(5, group_size=128)),
        "Linear": LayerScheme(bm.Affine(4, group_size=128)),
    }


def test_ignore_is_a_list_of_patterns(tmp_path: Path) -> None:
    path = written(tmp_path, 'ignore = ["re:.*gate$", "lm_head"]\n[rules]\nLinear = "W4A16"')
    assert read_rules(path).ignore == ["re:.*gate$", "lm_head"]


def test_first_rule_that_matches_wins(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    path = written(
        tmp_path,
        """
        ignore = ["re:.*k_proj"]
        [rules]
        "model.layers.0.mlp.down_proj" = "keep"
        "re:.*proj" = { bits = 3 }
        Linear = "W8A16"
        lm_head = "W8A16"
        """,
    )
    rules, ignore = read_rules(path)
    plan = bm.plan_checkpoint(src, rules, ignore=ignore, split_fused=True)
    assert {tensor.module: tensor.scheme for tensor in plan.quantized} == {
        f"{LAYER}.self_attn.q_proj": bm.Affine(3, group_size=128),
        "lm_head": bm.Affine(8),
    }
    kept = {tensor.module: tensor.reason for tensor in plan.tensors}
    assert kept[f"{LAYER}.mlp.down_proj"] == "kept by rule: model.layers.0.mlp.down_proj"
    assert kept[f"{LAYER}.self_attn.k_proj"] == "ignored: re:.*k_proj"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "wanted a table 'rules' of patterns and schemes"),
        ("[rules]", "wanted a table 'rules' of patterns and schemes"),
        ('rules = "W4A16"', "wanted a table 'rules' of patterns and schemes"),
        ("[[rules]]\nbits = 4", "wanted a table 'rules' of patterns and schemes"),
        ('Linear = "W4A16"', "'Linear' is not one of: rules, ignore"),
        ('[rules]\nLinear = "W4A16"\n[rule]', "'rule' is not one of: rules, ignore"),
        (
            '[rules]\nLinear = "W3A16"',
            "rules: 'Linear': 'W3A16' is not one of: W4A16, W4A16_ASYM, W8A16, W8A8, FP8, "
            "FP8_DYNAMIC, MXFP4, MXFP8, NVFP4, NF4, IQ4_NL, LEARNED4, KMEANS4, keep; nor a table "
            "such as { bits = 4, group_size = 64 }",
        ),
        ("[rules]\nLinear = 4", "rules: 'Linear': 4 is not one of: W4A16"),
        ("[rules]\nLinear = false", "rules: 'Linear': False is not one of: W4A16"),
        ('[rules]\nLinear = ["W4A16"]', "rules: 'Linear': ['W4A16'] is not one of: W4A16"),
        (
            "[rules]\nLinear = { group_size = 64 }",
            "rules: 'Linear': a table with 'group_size' has no 'bits'",
        ),
        ("[rules]\nLinear = {}", "rules: 'Linear': a table with nothing has no 'bits'"),
        (
            '[rules]\nmodel.layers.q_proj = "W4A16"',
            "rules: 'model': a table with 'layers' has no 'bits'; a pattern with dots must stand "
            "in quotes",
        ),
        (
            "[rules]\nLinear = { bits = 4, groupsize = 64 }",
            "rules: 'Linear': 'groupsize' is not one of: axis, bits, clip, format, group_size, ",
        ),
        ('[rules]\nLinear = { bits = "4" }', "rules: 'Linear': bits"),
        ("[rules]\nLinear = { bits = 4.5 }", "rules: 'Linear': bits"),
        ("[rules]\nLinear = { bits = 9 }", "rules: 'Linear': bits=9"),
        ("[rules]\nLinear = { bits = 4, group_size = 0 }", "rules: 'Linear': group_size=0"),
        ("[rules]\nLinear = { bits = 4, symmetric = 1 }", "rules: 'Linear': symmetric"),
        ('[rules]\nLinear = { bits = 4, clip = "best" }', "rules: 'Linear': clip='best'"),
        ('[rules]\nLinear = { bits = 4, format = "gguf" }', "rules: 'Linear': format='gguf'"),
        (
            '[rules]\nLinear = { bits = 8, input_activations = "fp8" }',
            "rules: 'Linear': input_activations='fp8'",
        ),
        (
            '[rules]\nLinear = { bits = 8, input_activations = "int8", format = "native" }',
            "rules: 'Linear': input_activations go with the formats of compressed-tensors",
        ),
        ("[rules]\n're:[' = 'W4A16'", "rules: 're:[' is not a regex: "),
        ("[rules]\n're:a{99999999999}' = 'W4A16'", "rules: 're:a{99999999999}' is not a regex: "),
        ("ignore = ['re:(']\n[rules]\nLinear = 'W4A16'", "ignore: 're:(' is not a regex: "),
        ("ignore = 'lm_head'\n[rules]\nLinear = 'W4A16'", "ignore is no list of patterns"),
        ("ignore = [3]\n[rules]\nLinear = 'W4A16'", "ignore: 3 is a int; patterns are strings"),
        ("[rules]\nLinear = W4A16", "not the TOML it should be: "),
        ('[rules]\nLinear = "W4A16"\nLinear = "W8A8"', "not the TOML it should be: "),
        ('{"rules": {"Linear": "W4A16"}}', "not the TOML it should be: "),
        ("[rules]\nLinear = " + "[" * 100_000, "not the TOML it should be: "),
    ],
    ids=lambda text: re.sub(r"\W+", "-", text)[:40],
)
def test_wrong_rules_name_file_and_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CheckpointError) as caught:
        read_rules(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert run("quantize", tmp_path / "nowhere", tmp_path / "dst", "--rules", path) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"bitmill: {path}: ")
    assert err.count("\n") == 1


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b'[rules]\n"\xff" = "keep"')
    with pytest.raises(CheckpointError, match=r"rules\.toml: not the TOML it should be: 'utf-8'"):
        read_rules(path)


def test_missing_file_is_an_error_of_the_system(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError, match=r"rules\.toml"):
        read_rules(tmp_path / "rules.toml")
    assert run("quantize", tmp_path, tmp_path / "dst", "--rules", tmp_path / "rules.toml") == 1
    assert capsys.readouterr().err == (
        f"bitmill: {tmp_path / 'rules.toml'}: No such file or directory\n"
    )


def test_command_does_what_the_rules_say(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    path = written(
        tmp_path,
        'ignore = ["re:.*q_proj", "re:.*k_proj"]\n[rules]\nlm_head = "W8A8"\nLinear = "W4A16"\n',
    )
    assert (
        run("quantize", src, tmp_path / "dst", "--rules", path, "--ignore", "model.embed_tokens")
        == 0
    )
    config = json.loads((tmp_path / "dst" / "config.json").read_text())["quantization_config"]
    targets: dict[str, Any] = {g["format"]: g["targets"] for g in config["config_groups"].values()}
    assert targets == {
        "int-quantized": ["lm_head"],
        "pack-quantized": [f"{LAYER}.mlp.down_proj"],
    }


def test_command_and_python_write_the_same_bytes(tmp_path: Path) -> None:
    src = make(tmp_path / "src", llama())
    path = written(tmp_path, '[rules]\n"re:.*down" = "W8A16"\nLinear = "W4A16"\n')
    assert run("quantize", src, tmp_path / "a", "--rules", path) == 0
    plan = bm.plan_checkpoint(src, read_rules(path).rules, scale_dtype="auto")
    bm.quantize_checkpoint(src, tmp_path / "b", plan)
    assert made(tmp_path / "a") == made(tmp_path / "b")


def test_rule_that_matches_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make(tmp_path / "src", llama())
    path = written(tmp_path, '[rules]\n"re:.*o_proj" = "W8A16"\nLinear = "W4A16"\n')
    assert run("quantize", src, tmp_path / "dst", "--rules", path) == 1
    assert f"bitmill: {src}: nothing matches 're:.*o_proj'; " in capsys.readouterr().err


def test_several_schemes_have_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = make(tmp_path / "src", llama())
    path = written(tmp_path, '[rules]\n"re:.*down" = "W8A16"\nLinear = "W4A16"\n')
    assert run("quantize", src, "--dry-run", "--rules", path) == 0
    assert "note: several schemes: " in capsys.readouterr().out


@pytest.mark.parametrize("where", ["README", "help", "docstring"])
def test_rules_in_the_documentation_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    if where == "README":
        text = (Path(__file__).parent.parent / "README.md").read_text().partition("```toml\n")[2]
    elif where == "help":
        run("quantize", "--help")
        text = capsys.readouterr().out.partition("pattern that matches wins:\n")[2]
    else:
        text = str(read_rules.__doc__).partition("scale per row.\n\n")[2]
    shown = textwrap.dedent(text.partition("```")[0].partition("\n\n")[0])
    names = ("mlp.down_proj", "self_attn.o_proj", "self_attn.v_proj", "mlp.gate")
    tensors = {f"m.{name}.weight": weight(8, 256) for name in names}
    found = read_rules(written(tmp_path, shown))
    plan = bm.plan_checkpoint(make(tmp_path / "src", tensors), found.rules)
    bits = {tensor.module: tensor.scheme.bits for tensor in plan.quantized}
    assert bits == dict(zip([f"m.{name}" for name in names], (8, 6, 4, 4), strict=True))
