# SPDX-License-Identifier: MIT
"""Weights that the format cannot hold under their rule: refused, kept, or given another scheme."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, read_report
from bitmill.cli import main
from bitmill.cli.show import plan_lines, report_lines
from checkpoints import make, weight

W4 = bm.Affine(4, group_size=128)
ROWS_300 = (
    "rows of 300 weights are not a whole number of groups of 128 (choose another size, or none)"
)
ONE_D = "the format holds 2- and 3-D weights only, not 1-D"


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """One weight that fits, one that does not, and two that nothing can be made of."""
    tensors = {
        "fits.weight": weight(4, 256),
        "odd.weight": weight(4, 300),
        "line.weight": weight(128),
        "count.weight": np.ones((4, 128), np.int32),
    }
    return make(tmp_path / "src", tensors)


def group_sizes(plan: Any) -> dict[str, Any]:
    """By module, the group size of its scheme; "kept" where there is none."""
    return {t.module: t.scheme.group_size if t.scheme else "kept" for t in plan.tensors}


def reasons(tensors: Any) -> dict[str, Any]:
    """By name, why a tensor did not get what its rule asked for; not those that did."""
    return {t.name: t.unsupported for t in tensors if t.unsupported is not None}


@pytest.mark.parametrize(
    ("row", "asked", "given"),
    [
        (300, 128, None),
        (96, 128, 32),
        (192, 128, 64),
        (48, 32, None),
        (48, 64, None),
        (320, 256, 64),
        (384, 256, 128),
        (384, 1000, 128),
        (64, 128, 64),
        (7, 2, None),
        (256, 128, 128),
        (200, 40, 40),
    ],
)
@pytest.mark.parametrize("symmetric", [True, False])
def test_fallback_is_the_largest_smaller_group_that_divides_the_row(
    tmp_path: Path, row: int, asked: int, given: int | None, symmetric: bool
) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(4, row)})
    scheme = bm.Affine(4, symmetric=symmetric, group_size=asked, scales="float16")
    (tensor,) = bm.plan_checkpoint(src, scheme, on_unsupported="fallback").tensors
    wanted = bm.Affine(4, symmetric=symmetric, group_size=given, scales="float16")
    assert tensor.scheme == wanted
    assert (tensor.unsupported is None) == (asked == given)
    assert tensor.reason == "Linear"


def test_fallback_keeps_activations_and_format(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(4, 96)})
    layer = LayerScheme(bm.Affine(8, group_size=128), "int8")
    (tensor,) = bm.plan_checkpoint(src, layer, on_unsupported="fallback").tensors
    assert tensor.layer == LayerScheme(bm.Affine(8, group_size=32), "int8")


def test_what_fits_is_the_same_whatever_becomes_of_the_rest(src: Path) -> None:
    for choice in ("keep", "fallback"):
        plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported=choice)
        assert group_sizes(plan)["fits"] == 128
        assert "fits.weight" not in reasons(plan.tensors)


def test_error_names_all_of_them(src: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, {"re:.": W4})
    text = str(caught.value)
    assert text.startswith(f"{src}: 3 of 4 selected tensors cannot be stored: ")
    assert f"{ROWS_300}: odd" in text
    assert f"{ONE_D}: line" in text
    assert "dtype I32: count" in text


def test_keep_copies_them_and_tells_why(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported="keep")
    assert group_sizes(plan) == {"fits": 128, "odd": "kept", "line": "kept", "count": "kept"}
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    wanted = {"odd.weight": ROWS_300, "line.weight": ONE_D, "count.weight": "dtype I32"}
    assert reasons(plan.tensors) == reasons(report.tensors) == wanted
    assert {t.name: t.reason for t in report.kept} == {
        name: f"unsupported: {reason}" for name, reason in wanted.items()
    }


def test_fallback_keeps_what_no_scheme_fits(src: Path) -> None:
    plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported="fallback")
    assert group_sizes(plan) == {"fits": 128, "odd": None, "line": "kept", "count": "kept"}
    assert reasons(plan.tensors) == {
        "odd.weight": ROWS_300,
        "line.weight": ONE_D,
        "count.weight": "dtype I32",
    }


@pytest.mark.parametrize("scheme", [bm.Affine(4), bm.Affine(16), bm.Affine(8, axis=1)])
def test_scheme_without_groups_has_no_fallback(tmp_path: Path, scheme: bm.Affine) -> None:
    src = make(tmp_path / "src", {"fits.weight": weight(4, 256), "line.weight": weight(128)})
    rules = {"fits": W4, "line": scheme}
    plan = bm.plan_checkpoint(src, rules, on_unsupported="fallback")
    assert group_sizes(plan)["line"] == "kept"


@pytest.mark.parametrize("format", ["pack-quantized", "int-quantized", "native"])
@pytest.mark.parametrize("choice", ["keep", "fallback"])
def test_scalar_that_a_regex_selects_is_kept(tmp_path: Path, format: str, choice: str) -> None:
    tensors = {"a.weight": weight(4, 256), "one.weight": np.ones((), np.float32)}
    src = make(tmp_path / "src", tensors)
    layer = LayerScheme(W4, format=format)
    plan = bm.plan_checkpoint(src, {"re:.": layer}, on_unsupported=choice)
    assert reasons(plan.tensors) == {"one.weight": "it is a single number"}


@pytest.mark.parametrize("format", ["pack-quantized", "int-quantized", "native"])
def test_axis_that_a_tensor_lacks_is_unsupported(tmp_path: Path, format: str) -> None:
    tensors = {"a.weight": weight(4, 256), "b.weight": weight(4, 256)}
    src = make(tmp_path / "src", tensors)
    rules = {"a": LayerScheme(bm.Affine(8), format=format)}
    rules["b"] = LayerScheme(bm.Affine(8, axis=2), format=format)
    with pytest.raises(CheckpointError, match="axis=2 is out of range for 2 dimensions: b"):
        bm.plan_checkpoint(src, rules)
    plan = bm.plan_checkpoint(src, rules, on_unsupported="keep")
    assert group_sizes(plan) == {"a": None, "b": "kept"}


@pytest.mark.parametrize("choice", ["keep", "fallback"])
def test_nothing_left_to_quantize_is_an_error(tmp_path: Path, choice: str) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(128), "b.weight": weight(64)})
    with pytest.raises(CheckpointError) as caught:
        bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported=choice)
    assert str(caught.value) == f"{src}: all that the rules select cannot be stored ({ONE_D})"


def test_wrong_choice_says_which_there_are(src: Path) -> None:
    with pytest.raises(ValueError, match="on_unsupported='skip' is not one of: error, keep, fall"):
        bm.plan_checkpoint(src, W4, on_unsupported="skip")


# In the reports


@pytest.mark.parametrize("choice", ["keep", "fallback"])
def test_report_counts_one_for_each(src: Path, tmp_path: Path, choice: str) -> None:
    plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported=choice)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    said = json.loads((tmp_path / "dst" / "bitmill_report.json").read_text())
    counts = {tensor["name"]: tensor["health"]["fallbacks"] for tensor in said["tensors"]}
    assert counts == {"fits.weight": 0, "odd.weight": 1, "line.weight": 1, "count.weight": 1}
    assert {t["name"]: t["unsupported"] for t in said["tensors"] if t["unsupported"]} == reasons(
        report.tensors
    )
    assert reasons(read_report(tmp_path / "dst").tensors) == reasons(report.tensors)


def test_plan_file_tells_why(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported="fallback")
    plan.save(tmp_path / "plan.json")
    said = json.loads((tmp_path / "plan.json").read_text())
    assert {t["name"]: t["unsupported"] for t in said["tensors"]}["odd.weight"] == ROWS_300


def test_summary_tells_what_was_left_and_what_fell_back(src: Path, tmp_path: Path) -> None:
    plan = bm.plan_checkpoint(src, {"re:.": W4}, on_unsupported="fallback")
    lines = [
        f"fallback to int4 sym row: odd.weight ({ROWS_300})",
        f"left unquantized: line.weight ({ONE_D})",
        "left unquantized: count.weight (dtype I32)",
    ]
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    for printed in (list(plan_lines(plan)), list(report_lines(report))):
        found = [line for line in printed if line.startswith(("fallback", "left unquantized"))]
        assert sorted(found) == sorted(lines)


def test_summary_names_those_with_one_reason_together(tmp_path: Path) -> None:
    tensors = {name: weight(4, 300) for name in ("a.weight", "b\x07.weight")}
    src = make(tmp_path / "src", {**tensors, "c.weight": weight(4, 256)})
    plan = bm.plan_checkpoint(src, W4, on_unsupported="keep")
    printed = list(plan_lines(plan))
    assert f"left unquantized: a.weight, b\\x07.weight ({ROWS_300})" in printed
    kept = next(line for line in printed if line.startswith("to keep unchanged"))
    assert kept == f"to keep unchanged: 2 tensors, 4.8 kB (unsupported: {ROWS_300})"


def test_command_line_offers_the_choice(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["quantize", str(src), str(tmp_path / "dst"), "--include", "re:.*"]
    assert main(args) == 1
    err = capsys.readouterr().err
    assert err.endswith("Ignore them, or pass --on-unsupported keep or fallback\n")
    assert main([*args, "--on-unsupported", "fallback"]) == 0
    out = capsys.readouterr().out
    assert f"left unquantized: line.weight ({ONE_D})\n" in out
    assert f"fallback to int4 sym row: odd.weight ({ROWS_300})\n" in out
