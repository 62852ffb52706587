# SPDX-License-Identifier: MIT
"""What `bitmill inspect` prints: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bitmill as bm
from bitmill.checkpoint import quantize_checkpoint
from bitmill.cli import main
from checkpoints import llama, make, weight
from commands import parsed, printed
from golden_checkpoints import MODULE, make_golden


def test_table_of_a_pipe_names_every_tensor_and_the_totals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "src", llama())
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", bm.Affine(4, group_size=128))
    table, _, rest = printed(capsys, "inspect", tmp_path / "dst").partition("\n\n")
    rows = [re.split(r" {2,}", line) for line in table.splitlines()]
    assert rows[0] == ["tensor", "bits/weight", "bytes", "shape", "stored as"]
    assert {row[0] for row in rows[1:]} == llama().keys()
    q_proj = ["model.layers.0.self_attn.q_proj.weight", "4.252", "34,832", "256x256"]
    assert [*q_proj, "int4 sym g128"] in rows
    size = (tmp_path / "dst" / "model.safetensors").stat().st_size
    assert "format: pack-quantized\n" in rest
    assert f"file: model.safetensors, {size:,} bytes\n" in rest
    assert rest.endswith("quantized by compressed-tensors: 3 int4 sym g128\n")


def test_table_fits_a_terminal_of_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "src", llama())
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", bm.Affine(4, group_size=128))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["inspect", str(tmp_path / "dst")]) == 0
    table = terminal.getvalue().partition("\n\n")[0].splitlines()
    assert re.split(r" {2,}", table[0]) == ["tensor", "bits/weight", "bytes", "shape", "stored as"]
    assert max(map(len, table)) <= 80
    names = "".join(re.split(r" {2,}", line)[0] for line in table)
    assert "model.layers.0.self_attn.q_proj.weight" in names


def test_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    make(tmp_path / "src", {f"t{i}": weight(1) for i in range(20_000)})
    command = f"{sys.executable} -m bitmill inspect {tmp_path}/src | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_checkpoint_that_is_not_quantized_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "src", llama())
    assert printed(capsys, "inspect", tmp_path / "src").endswith("not quantized: 9 tensors\n")


def test_control_characters_of_files_are_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"quantization_config": {"quant_method": "a\x1b[2J", "b\x1b": "c\x1b"}}
    make(tmp_path / "src", {"t\x1b[2J": weight(1)}, config=config)
    assert "\x1b" not in printed(capsys, "inspect", tmp_path / "src")
    assert "\x1b" not in printed(capsys, "inspect", tmp_path / "src", "--tensor", "t\x1b[2J")


def test_json_holds_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_golden(tmp_path, "mlx/affine_w4_g64", MODULE, config=True)
    found = json.loads(printed(capsys, "inspect", tmp_path, "--json"))
    assert found["method"] == "MLX"
    assert found["tensors"] == [
        {
            "name": f"{MODULE}.weight",
            "shape": [32, 256],
            "kind": "affine 4 bits g64",
            "method": "MLX",
            "bytes": 5120,
            "bits_per_weight": 5.0,
            "parts": [f"{MODULE}.{part}" for part in ("weight", "scales", "biases")],
        }
    ]


def test_json_has_null_for_what_is_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"quantization_config": {"quant_method": "x", "damp": float("nan")}}
    make(tmp_path / "src", llama(), config=config)
    text = printed(capsys, "inspect", tmp_path / "src", "--json")
    assert parsed(text)["facts"]["damp"] is None


def test_details_are_printed_as_text_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    q = bm.quantize(weight(4, 128), bm.Affine(4, group_size=32))
    bm.save({"w": q}, tmp_path / "q.safetensors")
    args = (tmp_path / "q.safetensors", "--tensor", "w")
    lines = printed(capsys, "inspect", *args).splitlines()
    found = json.loads(printed(capsys, "inspect", *args, "--json"))
    assert {"name: w", "shape: 4x128", "kind: int4 sym g32", "method: bitmill"} <= set(lines)
    assert f"levels_used: {found['levels_used']}" in lines
    assert sum(found["codes"].values()) == q.size


def test_error_is_exit_code_1_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "src", llama())
    for args in (["nowhere"], [str(tmp_path / "src"), "--tensor", "no\nthing"]):
        assert main(["inspect", *args]) == 1
        assert re.fullmatch(r"bitmill: [^\n]*\n", capsys.readouterr().err)
