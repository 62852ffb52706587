# SPDX-License-Identifier: MIT
"""Outliers in checkpoints, rules files and on the command line."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import pieces, read_rules
from bitmill.cli import main
from bitmill.formats import NATIVE, LayerScheme
from bitmill.schemes.base import Cut
from checkpoints import contents, make, weight
from conftest import same_bits
from outlier_schemes import AMOUNTS, name_of, values


def test_describe_says_what_is_kept() -> None:
    said = [bm.Outliers(bm.Affine(4), **amount).describe() for amount in AMOUNTS]
    assert said == [
        "int4 sym row + 1% f16",
        "int4 sym row + 1% f16",
        "int4 sym row + 3% f16",
        "int4 sym row + >20 f16",
        "int4 sym row + percentile:99 f16",
        "int4 sym row + mad:6 f16",
        "int4 sym row + 5 f16",
        "int4 sym row + to 33 bits f16",
        "int4 sym row + >6 columns f16",
        "int4 sym row + 5% columns f16",
    ]


def test_only_equal_counts_of_rows_can_be_cut() -> None:
    shape = (8, 64)
    assert bm.Outliers(bm.Affine(4), 0.1).cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), 0.1, mode="column").cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), budget_bits=6, per="row").cut(shape) == Cut(None)
    assert bm.Outliers(bm.Affine(4), 0.1, per="row").cut(shape) == Cut(0)
    assert bm.Outliers(bm.Affine(4), 0.1, per="row").cut((2, 8, 64)) == Cut(1)
    assert bm.Outliers(bm.Affine(4, axis=None), 0.1, per="row").cut(shape) == Cut(0, shared=True)
    offsets = bm.Affine(4, axis=1, symmetric=False, offset=True)
    assert offsets.cut(shape) == Cut(0, shared=True)
    assert bm.Outliers(offsets, 0.1, per="row").cut(shape) == Cut(None)


SCHEMES = [
    bm.Outliers(bm.Affine(4, group_size=32), 0.01),
    bm.Outliers(bm.Affine(4, group_size=32), 0.01, by="loss"),
    bm.Outliers(bm.Affine(4, group_size=32), budget_bits=5.5),
    bm.Outliers(bm.Affine(4), 0.05, per="row"),
    bm.Outliers(bm.Affine(4, axis=None), 0.05, per="row"),
    bm.Outliers(bm.Affine(4, symmetric=False, offset=True, axis=1), 0.05, per="row"),
    bm.Outliers(bm.Affine(8), 0.05, mode="column", values="bfloat16"),
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=name_of)
def test_checkpoints_hold_what_quantize_makes(
    scheme: bm.Outliers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE", 1 << 10)  # many pieces, where there may be
    x = values(50, 96).astype(ml_dtypes.bfloat16)
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": x})
    report = bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", scheme)
    (q,) = bm.load_checkpoint(tmp_path / "dst").values()
    layer = report.tensors[0].layer
    assert layer is not None
    assert layer.format == NATIVE
    wanted = bm.quantize(x, layer.weights)
    assert isinstance(q, bm.QTensor)
    assert q.scheme == layer.weights
    for name, array in wanted.arrays.items():
        same_bits(q.arrays[name], array, name)
    assert report.tensors[0].metrics == bm.metrics(x, wanted)
    assert report.tensors[0].bytes_after == wanted.nbytes
    again = bm.quantize_checkpoint(tmp_path / "src", tmp_path / "dst", scheme)
    assert again.unchanged


def test_a_number_that_data_decide_is_refused_by_the_plan(tmp_path: Path) -> None:
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": weight(8, 64)})
    for options, message in (
        ({"threshold": "mad:6"}, "how much is kept depends on the data"),
        ({"budget_bits": 4.0}, "budget_bits=4.0 is less than"),
        ({"count": 600}, "count=600 is more than 512 values"),
    ):
        with pytest.raises(ValueError, match=message):
            bm.plan_checkpoint(tmp_path / "src", bm.Outliers(bm.Affine(4), **options))


def test_the_command_line_keeps_a_fraction(tmp_path: Path) -> None:
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": weight(40, 128)})
    command = ["quantize", str(tmp_path / "src")]
    assert main([*command, str(tmp_path / "dst"), "--outliers", "0.01", "--bits", "4"]) == 0
    (q,) = bm.load_checkpoint(tmp_path / "dst").values()
    assert isinstance(q, bm.QTensor)
    assert q.scheme.describe() == "int4 sym g128 + 1% f16"
    assert "bitmill_report.json" in contents(tmp_path / "dst")


def test_a_rules_file_keeps_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text("[rules]\nLinear = { bits = 4, outliers = 0.005 }")
    rules, _ = read_rules(tmp_path / "rules.toml")
    assert rules == {"Linear": LayerScheme(bm.Outliers(bm.Affine(4, group_size=128), 0.005))}


def test_only_the_native_format_has_a_place_for_outliers() -> None:
    scheme = bm.Outliers(bm.Affine(4), 0.1)
    assert LayerScheme(scheme).format == NATIVE
    q = bm.quantize(np.ones((2, 64), np.float32), scheme)
    assert q.bits_per_weight("native") == q.bits_per_weight()
    with pytest.raises(ValueError, match="Outliers"):
        q.bits_per_weight("compressed_tensors")
