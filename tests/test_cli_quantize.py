# SPDX-License-Identifier: MIT
"""`bitmill quantize`: dry runs, plans, every option of the scheme, JSON, and the width of lines."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import bitmill as bm
from bitmill.checkpoint import read_plan
from checkpoints import CONFIG, config_of, llama, made, make, weight
from commands import run

LAYER = "model.layers.0"
COMMANDS = ["quantize", "inspect", "compare", "report", "sensitivity", "demo"]


def group_of(folder: Path) -> dict[str, Any]:
    """The only configuration group of a quantized folder."""
    (group,) = config_of(folder)["config_groups"].values()
    return group


# --dry-run and --plan


def test_dry_run_prints_the_plan_and_writes_nothing(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, "--dry-run", "--scale-dtype", "bfloat16") == 0
    out, err = capsys.readouterr()
    assert err == ""
    plan = bm.plan_checkpoint(src, "W4A16", scale_dtype="bfloat16")
    header, *rows = out.partition("\n\n")[0].splitlines()
    assert re.split(r" {2,}", header) == ["tensor", "shape", "rule", "scheme", "before", "after"]
    (row,) = (row for row in rows if "q_proj" in row)
    assert row.split() == [
        *(f"{LAYER}.self_attn.q_proj.weight", "256x256", "Linear", "int4", "sym", "g128"),
        *("131,072", "33,808"),
    ]
    for name, size in plan.files.items():
        assert f"file: {name}, {size:,} bytes\n" in out
    assert "to keep unchanged: 1 tensor, 32.8 kB (lm_head)\n" in out
    assert "to quantize: 3 of 9 tensors\n" in out
    ratio = f"{plan.bytes_before / plan.bytes_after:.2f}x smaller"
    assert out.endswith(
        f"tensor data: {plan.bytes_before:,} -> {plan.bytes_after:,} bytes, {ratio}\n"
    )
    assert list(tmp_path.iterdir()) == [src]


def test_dry_run_as_json_is_the_plan(src: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quantize", src, "--dry-run", "--json", "--scheme", "W8A16") == 0
    plan = bm.plan_checkpoint(src, "W8A16", scale_dtype="auto")
    assert json.loads(capsys.readouterr().out) == plan.to_dict()


def test_dry_run_writes_the_plan_if_asked(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    assert run("quantize", src, "--dry-run", "--plan", path) == 0
    assert "to quantize: 3 of 9 tensors" in capsys.readouterr().out
    plan = bm.plan_checkpoint(src, bm.Affine(4, group_size=128, clip="mse"), scale_dtype="auto")
    assert read_plan(path).tensors == plan.tensors
    assert sorted(tmp_path.iterdir()) == [path, src]


def test_plan_gives_the_bytes_of_the_options_it_was_made_with(src: Path, tmp_path: Path) -> None:
    options = ["--bits", "3", "--group-size", "64", "--ignore", "re:.*down_proj"]
    assert run("quantize", src, "--dry-run", "--plan", tmp_path / "plan.json", *options) == 0
    assert run("quantize", src, tmp_path / "a", "--plan", tmp_path / "plan.json") == 0
    assert run("quantize", src, tmp_path / "b", *options) == 0
    assert made(tmp_path / "a") == made(tmp_path / "b")


def test_plan_that_cannot_be_taken_is_one_line(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make(tmp_path / "other", {"a.weight": weight(4, 128)})
    assert run("quantize", other, "--dry-run", "--plan", tmp_path / "plan.json") == 0
    (tmp_path / "broken.json").write_text("{")
    capsys.readouterr()
    for name, message in [
        ("plan.json", f"{src}: the plan is for other tensors than these, such as "),
        ("broken.json", f"{tmp_path}/broken.json: not the JSON it should be: "),
        ("nowhere.json", f"{tmp_path}/nowhere.json: No such file or directory"),
    ]:
        assert run("quantize", src, tmp_path / "dst", "--plan", tmp_path / name) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"bitmill: {message}")
        assert err.count("\n") == 1
        assert not (tmp_path / "dst").exists()


# Options that exclude each other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dst", "--dry-run"], "--dry-run takes no DST"),
        ([], "DST, the folder to write, is missing"),
        (["--plan", "p"], "DST, the folder to write, is missing"),
        (["--dry-run", "--overwrite"], "--overwrite: goes with writing, not with --dry-run"),
        (["dst", "--plan", ""], "argument --plan: is empty"),
        (["dst", "--rules", ""], "argument --rules: is empty"),
        (
            ["dst", "--rules", "r", "--bits", "4"],
            "argument --bits: not allowed with argument --rules",
        ),
        (
            ["dst", "--rules", "r", "--scheme", "W8A8"],
            "argument --scheme: not allowed with argument --rules",
        ),
        (["dst", "--scheme", "W4A16", "--asymmetric"], "--asymmetric goes with --bits"),
        (
            ["dst", "--activations", "int8"],
            "--activations goes with --bits (and there is --scheme W8A8)",
        ),
        (
            ["dst", "--bits", "8", "--activations", "int8", "--format", "native"],
            "input_activations go with the formats of compressed-tensors",
        ),
        (
            ["dst", "--scheme", "W4A16_ASYM", "--scale-rule", "full_range"],
            "--scale-rule full_range does not go with asymmetric codes",
        ),
        (["dst", "--format", "gguf"], "argument --format: invalid choice: 'gguf'"),
        (["dst", "--on-unsupported", "skip"], "argument --on-unsupported: invalid choice: 'skip'"),
    ],
)
def test_conflict_of_options_is_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("quantize", "nowhere", *options) == 2
    assert f"bitmill quantize: error: {message}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


OPTIONS = [
    ["--bits", "4"],
    ["--bits", "4", "--asymmetric"],
    ["--scheme", "W8A8"],
    ["--group-size", "64"],
    ["--group-size", "none"],
    ["--clip", "minmax"],
    ["--scale-rule", "absmax"],
    ["--format", "native"],
    ["--include", "lm_head"],
]
SELECTION = [
    ["--ignore", "lm_head"],
    ["--on-unsupported", "keep"],
    ["--split-fused"],
    ["--scale-dtype", "float32"],
]


@pytest.mark.parametrize("options", [*OPTIONS, *SELECTION], ids=" ".join)
def test_plan_goes_with_no_option_that_it_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run("quantize", tmp_path, tmp_path / "dst", "--plan", "p", *options) == 2
    assert f"error: {options[0]}: --plan says all that\n" in capsys.readouterr().err


def test_plan_and_rules_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", tmp_path, tmp_path / "dst", "--plan", "p", "--rules", "r") == 2
    assert "error: --rules: --plan says all that\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [options for options in OPTIONS if options[0] not in ("--bits", "--scheme")],
    ids=" ".join,
)
def test_rules_go_with_no_option_of_the_scheme(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run("quantize", tmp_path, tmp_path / "dst", "--rules", "r", *options) == 2
    assert f"error: {options[0]}: --rules says all that\n" in capsys.readouterr().err


@pytest.mark.parametrize("options", SELECTION, ids=" ".join)
def test_rules_go_with_options_of_the_selection(
    src: Path, tmp_path: Path, options: list[str]
) -> None:
    (tmp_path / "rules.toml").write_text('[rules]\nLinear = "W4A16"\n')
    assert run("quantize", src, "--dry-run", "--rules", tmp_path / "rules.toml", *options) == 0


# What the options make


@pytest.mark.parametrize(
    ("name", "bits", "symmetric", "group_size", "format"),
    [
        ("W4A16", 4, True, 128, "pack-quantized"),
        ("W4A16_ASYM", 4, False, 128, "pack-quantized"),
        ("W8A16", 8, True, None, "pack-quantized"),
        ("W8A8", 8, True, None, "int-quantized"),
    ],
)
def test_preset_gives_its_configuration(
    src: Path, tmp_path: Path, name: str, bits: int, symmetric: bool, group_size: Any, format: str
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--scheme", name) == 0
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric}
    weights |= (
        {"strategy": "group", "group_size": group_size} if group_size else {"strategy": "channel"}
    )
    activations = {"num_bits": 8, "type": "int", "symmetric": True}
    activations |= {"strategy": "token", "dynamic": True}
    wanted = {"targets": ["Linear"], "format": format, "weights": weights}
    if name == "W8A8":
        wanted["input_activations"] = activations
    assert group_of(tmp_path / "dst") == wanted
    assert config_of(tmp_path / "dst")["format"] == format


@pytest.mark.parametrize(
    ("options", "bits", "clip"),
    [
        ([], 4, "mse"),
        (["--scheme", "W4A16_ASYM"], 4, "mse"),
        (["--scheme", "W8A16"], 8, "minmax"),
        (["--scheme", "W8A8"], 8, "minmax"),
        *((["--bits", bits], bits, "mse") for bits in range(2, 7)),
        *((["--bits", bits], bits, "minmax") for bits in (7, 8)),
        (["--bits", 3, "--asymmetric", "--group-size", "none"], 3, "mse"),
        (["--clip", "minmax"], 4, "minmax"),
        (["--bits", 4, "--clip", "percentile:99.9"], 4, "percentile:99.9"),
        (["--bits", 8, "--clip", "mse-exact"], 8, "mse-exact"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_few_bits_are_clipped_unless_something_else_is_said(
    src: Path, tmp_path: Path, options: list[object], bits: int, clip: str
) -> None:
    assert run("quantize", src, "--dry-run", "--plan", tmp_path / "plan.json", *options) == 0
    for tensor in read_plan(tmp_path / "plan.json").quantized:
        assert isinstance(tensor.scheme, bm.Affine)
        assert (tensor.scheme.bits, str(tensor.scheme.clip)) == (bits, clip)


def test_minmax_gives_the_bytes_of_the_preset(src: Path, tmp_path: Path) -> None:
    assert run("quantize", src, tmp_path / "cli", "--clip", "minmax") == 0
    plan = bm.plan_checkpoint(src, "W4A16", scale_dtype="auto")
    bm.quantize_checkpoint(src, tmp_path / "api", plan)
    assert made(tmp_path / "cli") == made(tmp_path / "api")


def test_rules_keep_the_range_that_they_say(src: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text('[rules]\nLinear = "W4A16"\n')
    plan = tmp_path / "plan.json"
    rules = ["--rules", tmp_path / "rules.toml"]
    assert run("quantize", src, "--dry-run", "--plan", plan, *rules) == 0
    assert {str(t.scheme.clip) for t in read_plan(plan).quantized} == {"minmax"}


@pytest.mark.parametrize("format", ["pack-quantized", "int-quantized", "native"])
def test_format_is_that_of_the_option(src: Path, tmp_path: Path, format: str) -> None:
    assert run("quantize", src, tmp_path / "dst", "--format", format) == 0
    config = config_of(tmp_path / "dst")
    assert config.get("format", "native") == format
    assert config["quant_method"] == ("bitmill" if format == "native" else "compressed-tensors")
    wanted = bm.Affine(4, group_size=128, clip="mse", scales="bfloat16")
    for name, found in bm.load_checkpoint(tmp_path / "dst").items():
        if isinstance(found, bm.QTensor):
            assert found.codes.tolist() == bm.quantize(llama()[name], wanted).codes.tolist()


def test_activations_are_told_to_the_runtime(src: Path, tmp_path: Path) -> None:
    options = ["--bits", "8", "--activations", "int8"]
    assert run("quantize", src, tmp_path / "dst", *options) == 0
    group = group_of(tmp_path / "dst")
    assert group["format"] == "int-quantized"
    assert group["input_activations"]["num_bits"] == 8


def test_unsupported_weights_are_handled_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(4, 128), "b.weight": weight(4, 96)})
    assert run("quantize", src, "--dry-run") == 1
    assert "--on-unsupported keep or fallback\n" in capsys.readouterr().err
    for choice, said in [("keep", "left unquantized: b.weight"), ("fallback", "fallback to int4")]:
        assert run("quantize", src, "--dry-run", "--on-unsupported", choice) == 0
        assert f"\n{said}" in capsys.readouterr().out


def test_split_layers_are_refused_unless_allowed(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["quantize", src, tmp_path / "dst", "--ignore", "re:.*q_proj"]
    assert run(*options) == 1
    err = capsys.readouterr().err
    assert "(--split-fused goes on, for other runtimes)" in err
    assert not (tmp_path / "dst").exists()
    assert run(*options, "--split-fused") == 0


def test_json_is_the_report_and_the_time(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said.pop("seconds") > 0
    assert said.pop("unchanged") is False
    assert said == json.loads((tmp_path / "dst" / "bitmill_report.json").read_text())


def test_json_holds_no_character_that_a_terminal_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make(tmp_path / "src", {"a\x1b[2J☃.weight": weight(4, 128)})
    assert run("quantize", src, tmp_path / "dst", "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out)["tensors"][0]["name"] == "a\x1b[2J☃.weight"
    assert out.isascii()
    assert "\x1b" not in out


# What it tells


def test_scales_wider_than_the_model_have_a_note(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--scale-dtype", "float32") == 0
    assert (
        "note: scales are float32 in a bfloat16 model: Transformers and vLLM round them to "
        "bfloat16 on loading\n"
    ) in capsys.readouterr().out


def test_default_scales_have_no_note(src: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("quantize", src, "--dry-run") == 0
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--scheme", "W4A16_ASYM"], ["--bits", "8", "--asymmetric"]])
def test_asymmetric_weights_have_a_note(
    src: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert run("quantize", src, "--dry-run", *options) == 0
    assert (
        "note: Transformers with compressed-tensors 0.18 to 0.20 loads asymmetric packed weights "
        "only with dequantize=True\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize("size", [257, 1000000])
def test_group_larger_than_the_row_is_refused(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], size: int
) -> None:
    assert run("quantize", src, tmp_path / "dst", "--group-size", size) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"bitmill: {src}: 3 of 3 selected tensors cannot be stored: ")
    assert (
        f"rows of 256 weights are not a whole number of groups of {size} (choose another size, or "
        f"none): {LAYER}.self_attn.k_proj, {LAYER}.self_attn.q_proj"
    ) in err
    assert not (tmp_path / "dst").exists()


@pytest.mark.parametrize("size", ["9" * 30, "9" * 5000])
def test_group_beyond_every_row_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    assert run("quantize", tmp_path, tmp_path / "dst", "--group-size", size) == 2
    assert "bitmill quantize: error: " in capsys.readouterr().err


def test_missing_path_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for src in (tmp_path / "nowhere", tmp_path / "nowhere.safetensors"):
        assert run("quantize", src, tmp_path / "dst") == 1
        assert capsys.readouterr().err == f"bitmill: {src}: No such file or directory\n"


def test_checkpoint_without_linear_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    src = make(tmp_path / "src", {"model.norm.weight": weight(8)})
    assert run("quantize", src, "--dry-run") == 1
    assert capsys.readouterr().err == (
        f"bitmill: {src}: no Linear weight in it (1 1-D); name others by patterns if they are to "
        "be quantized\n"
    )


def test_routers_are_among_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {f"{LAYER}.mlp.experts.{i}.w1.weight": weight(4, 128) for i in range(2)}
    src = make(tmp_path / "src", {**tensors, f"{LAYER}.mlp.gate.weight": weight(2, 128)})
    assert run("quantize", src, "--dry-run") == 0
    assert "to keep unchanged: 1 tensor, 512 bytes (router)\n" in capsys.readouterr().out


# Width


@pytest.mark.parametrize("command", [None, *COMMANDS])
@pytest.mark.parametrize("width", [None, "80", "100", "200"])
def test_help_fits_100_columns(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str | None,
    width: str | None,
) -> None:
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", width)
    assert run(*filter(None, [command]), "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: bitmill")
    if width != "200":
        assert max(map(len, lines)) <= 100


def test_help_of_the_program_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"\n    {command}\s", out) for command in COMMANDS)


def table(
    monkeypatch: pytest.MonkeyPatch, width: int | None, *args: object
) -> tuple[list[str], list[str]]:
    """The lines of the table, and those below it, on a terminal of this width or in a pipe."""
    stdout = io.StringIO()
    if width is not None:
        monkeypatch.setattr(stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run(*args) == 0
    above, _, below = stdout.getvalue().partition("\n\n")
    return above.splitlines(), below.splitlines()


PLANNED = ["tensor", "shape", "rule", "scheme", "before", "after"]


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (60, PLANNED[:1] + PLANNED[3:]),
        (70, PLANNED[:1] + PLANNED[2:]),
        (80, PLANNED),
        (200, PLANNED),
    ],
)
def test_plan_fits_the_terminal(
    src: Path, monkeypatch: pytest.MonkeyPatch, width: int, columns: list[str]
) -> None:
    lines, _ = table(monkeypatch, width, "quantize", src, "--dry-run")
    assert re.split(r" {2,}", lines[0]) == columns
    assert max(map(len, lines)) <= width
    names = "".join(re.split(r" {2,}", line)[0] for line in lines)
    assert f"{LAYER}.self_attn.q_proj.weight" in names


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("dry", [True, False])
def test_long_names_and_rules_fit_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, dry: bool
) -> None:
    name = "model." + "layers_of_a_name." * 12 + "proj"
    src = make(tmp_path / "src", {f"{name}.weight": weight(4, 128)}, config=CONFIG)
    (tmp_path / "rules.toml").write_text(f"[rules]\n're:{name}' = 'W4A16'\n")
    where = ["--dry-run"] if dry else [tmp_path / "dst"]
    lines, _ = table(
        monkeypatch, width, "quantize", src, *where, "--rules", tmp_path / "rules.toml"
    )
    assert max(map(len, lines)) <= width
    assert name in "".join(re.split(r" {2,}", line)[0] for line in lines)


@pytest.mark.parametrize("dry", [True, False])
def test_pipe_gets_one_whole_line_for_each_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry: bool
) -> None:
    name = "model." + "layers_of_a_name." * 12 + "proj.weight"
    src = make(tmp_path / "src", {name: weight(4, 128), "a.weight": weight(4, 128)})
    monkeypatch.setenv("COLUMNS", "40")
    where = "--dry-run" if dry else tmp_path / "dst"
    lines, below = table(monkeypatch, None, "quantize", src, where)
    assert len(lines) == 3
    assert sum(line.startswith(name) for line in lines) == 1
    assert any(line.startswith(("to quantize: 2", "quantized: 2")) for line in below)
