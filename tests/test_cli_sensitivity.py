# SPDX-License-Identifier: MIT
"""`bitmill sensitivity`, and `bitmill quantize --budget`."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import read_plan, read_sensitivity
from checkpoints import llama, made, make
from commands import parsed, printed, run

LAYER = "model.layers.0"
NAMES = ["W2", "W3", "W4", "W8A8", "KEEP"]
CANDIDATES = ["--candidates", ",".join(NAMES)]


def lines_of(table: str) -> list[list[str]]:
    return [re.split(r" {2,}", line) for line in table.splitlines()]


def test_table_has_the_worst_first_and_totals(
    src: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bm.sensitivity(src, NAMES, scale_dtype="auto")
    tensors, totals = printed(capsys, "sensitivity", src, *CANDIDATES).split("\n\n")
    header, *rows = lines_of(tensors)
    assert header == ["SQNR in dB", "shape", "W2", "W3", "W4", "W8A8"]
    worst = sorted(found.tensors, key=lambda t: t.measured["W2"].sqnr_db)
    assert [row[0] for row in rows] == [tensor.name for tensor in worst]
    assert rows[0][2] == f"{worst[0].measured['W2'].sqnr_db:.2f}"
    header, *rows = lines_of(totals)
    assert header == ["candidate", "scheme", "tensors", "bytes", "bits/weight", "error"]
    nbytes = sum(tensor.measured["W3"].bytes for tensor in found.tensors)
    assert rows[1][:4] == ["W3", "int3 sym g128", "3", f"{nbytes:,}"]
    assert rows[4][:1] + rows[4][4:] == ["KEEP", "16.000", "0"]
    assert rows[5] == [f"measured: 3 tensors, {found.size:,} weights"]


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit_the_terminal(src: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", stdout)
    assert run("sensitivity", src) == 0
    lines = stdout.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert {"W2", "W3", "W4", "W5", "W6", "W8"} <= set(lines[0].split())


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src = make(tmp_path / "src", {"a.weight": np.zeros((8, 96), np.float32)})
    out = printed(capsys, "sensitivity", src, "--candidates", "W4,W4g32")
    assert re.search(r"^no W4 for a\.weight \(.*128.*\)$", out, re.MULTILINE)
    assert lines_of(out)[1] == ["a.weight", "8x96", "-", "exact"]


def test_json_and_file_are_what_was_measured(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    wanted = bm.sensitivity(src, NAMES, scale_dtype="bfloat16", ignore=["re:.*down_proj"])
    options = ["--scale-dtype", "bfloat16", "--ignore", "re:.*down_proj", "--out", path]
    out = printed(capsys, "sensitivity", src, *CANDIDATES, "--json", *options)
    assert parsed(out) == wanted.to_dict()
    assert read_sensitivity(path) == wanted
    assert f"written to {path}" in printed(capsys, "sensitivity", src, "--out", path)


def test_importance_is_taken(src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {name: np.arange(256) for name in ("self_attn.q_proj", "self_attn.k_proj")}
    given["mlp.down_proj"] = np.arange(384)
    path = tmp_path / "i.npz"
    np.savez(path, **{f"{LAYER}.{name}": x.astype(np.float32) for name, x in given.items()})
    out = printed(capsys, "sensitivity", src, *CANDIDATES, "--importance", path)
    assert out.endswith("weights, weighed by importance\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--candidates", "W4,W9"], "candidates: 'W9' is not one of: W2 to W8"),
        (["--candidates", "W4,W4"], "'W4' is there twice"),
        (["--candidates", ""], "'' is not one of"),
        (["--max-memory", "x"], "no size"),
    ],
)
def test_wrong_arguments_of_sensitivity(
    src: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert run("sensitivity", src, *args) == 2
    assert message in capsys.readouterr().err


# quantize --budget


def test_budget_is_kept_and_told(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = bm.plan_budget(src, "3.2bpw", NAMES, scale_dtype="auto")
    chosen = plan.allocation
    assert chosen is not None
    options = ["--budget", "3.2bpw", *CANDIDATES]
    dry = printed(capsys, "quantize", src, "--dry-run", *options)
    wet = printed(capsys, "quantize", src, tmp_path / "a", *options)
    size = sum(tensor.info.size for tensor in plan.tensors if tensor.name in chosen.choice)
    said = (
        f"allocation: {chosen.bytes:,} bytes, {8 * chosen.bytes / size:.4f} bits per weight, "
        f"summed error {chosen.error:.6g} (none is less within the budget)\n"
    )
    assert said in dry
    assert said in wet
    bm.quantize_checkpoint(src, tmp_path / "b", plan)
    assert made(tmp_path / "a") == made(tmp_path / "b")


def test_measured_file_and_plan_file_give_the_same_bytes(src: Path, tmp_path: Path) -> None:
    sensitivity, plan = tmp_path / "s.json", tmp_path / "plan.json"
    budget = ["--budget", "100kB", "--pin", "re:.*down_proj=W2"]
    assert run("quantize", src, tmp_path / "a", *budget, *CANDIDATES) == 1  # too little
    budget[1] = "200kB"
    assert run("quantize", src, tmp_path / "a", *budget, *CANDIDATES) == 0
    assert run("sensitivity", src, *CANDIDATES, "--out", sensitivity) == 0
    measured = [*budget, "--sensitivity", sensitivity]
    assert run("quantize", src, tmp_path / "b", *measured) == 0
    assert run("quantize", src, "--dry-run", *measured, "--plan", plan) == 0
    assert run("quantize", src, tmp_path / "c", "--plan", plan) == 0
    assert made(tmp_path / "a") == made(tmp_path / "b") == made(tmp_path / "c")
    layers = {t.module: t.layer for t in read_plan(plan).quantized}
    down = layers[f"{LAYER}.mlp.down_proj"]
    assert down is not None
    assert down.weights.bits == 2  # type: ignore[attr-defined]


def test_the_first_of_pins_for_one_pattern_wins(src: Path, tmp_path: Path) -> None:
    budget, plan = ["--budget", "9bpw", *CANDIDATES], tmp_path / "plan.json"
    pins = ["--pin", "Linear=W4", "--pin", "re:.*down_proj=W2", "--pin", "Linear=W2"]
    assert run("quantize", src, "--dry-run", *budget, *pins, "--plan", plan) == 0
    assert {t.layer.weights.bits for t in read_plan(plan).quantized if t.layer} == {4}  # type: ignore[attr-defined]


def test_rules_by_hand_give_the_same_weights(src: Path, tmp_path: Path) -> None:
    """As a file of rules would, which says it in other words."""
    pins = ["--pin", "re:.*down_proj=W3", "--pin", "Linear=W6"]
    assert run("quantize", src, tmp_path / "a", "--budget", "9bpw", *pins) == 0
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[rules]\n"re:.*down_proj" = { bits = 3, clip = "mse" }\n'
        'Linear = { bits = 6, clip = "mse" }\n'
    )
    assert run("quantize", src, tmp_path / "b", "--rules", rules) == 0
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    for name in ("model.safetensors", "config.json", "bitmill_manifest.json"):
        assert a[name] == b[name]


def test_infeasible_budget_names_what_can_be_reached(
    src: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("quantize", src, "--dry-run", "--budget", "1.5bpw", *CANDIDATES) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"bitmill: {re.escape(str(src))}: --budget 1.5bpw is too little: the candidates take "
        r"from 2\.\d+bpw to 16bpw",
        err,
    )


def test_measuring_takes_options_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = llama()
    tensors[f"{LAYER}.mlp.down_proj.weight"][0] = np.nan
    src = make(tmp_path / "src", tensors)
    budget = ["--dry-run", "--budget", "16bpw", "--candidates", "W4"]
    assert run("quantize", src, *budget) == 1
    assert "--on-nonfinite keep" in capsys.readouterr().err
    out = printed(
        capsys, "quantize", src, *budget, "--on-nonfinite", "keep", "--max-memory", "64MiB"
    )
    assert "chosen: KEEP for 1, W4 for 2\n" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--budget", "much"], "it='much' is no size"),
        (["--budget", "4bpw", "--bits", "4"], "--bits: goes with one scheme, not with --budget"),
        (["--budget", "4bpw", "--rules", "x"], "--budget: --rules says all that"),
        (["--budget", "4bpw", "--on-unsupported", "keep"], "--on-unsupported: goes with one"),
        (["--budget", "4bpw", "--pin", "x"], "'x' is not PATTERN=NAME"),
        (["--budget", "4bpw", "--pin", "re:(=W4"], "is not a regex"),
        (["--budget", "4bpw", "--sensitivity", "x", "--include", "a"], "--include: --sensitivity"),
        (["--budget", "4bpw", "--sensitivity", "x", "--importance", "a"], "goes with writing"),
        (["--candidates", "W4"], "--candidates: goes with --budget"),
        (["--sensitivity", "x"], "--sensitivity: goes with --budget"),
        (["--pin", "a=W4"], "--pin: goes with --budget"),
    ],
)
def test_wrong_options_of_budgets(
    src: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert run("quantize", src, "--dry-run", *args) == 2
    assert message in capsys.readouterr().err


def test_sensitivity_of_another_kind_is_refused(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"version": 1}))
    budget: list[Any] = ["--budget", "4bpw", "--sensitivity", path]
    assert run("quantize", src, "--dry-run", *budget) == 1
    assert "no sensitivity of this bitmill" in capsys.readouterr().err
