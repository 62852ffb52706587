# SPDX-License-Identifier: MIT
"""Outliers in checkpoints, rules files and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, pieces, read_rules
from bitmill.checkpoint.write import write_tensors
from bitmill.cli import main
from bitmill.formats import NATIVE, LayerScheme
from bitmill.schemes.base import Cut
from checkpoints import contents, make, weight
from conftest import same_bits
from outlier_schemes import AMOUNTS, kept, name_of, values


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
    bm.Outliers(bm.KMeans(3), 0.01),
    bm.Outliers(bm.KMeans(2, "row"), 0.05, per="row"),
    bm.Outliers(bm.LearnedTable(3), 0.01),
    bm.Outliers(bm.Float("nvfp4"), 0.01),
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


@pytest.mark.parametrize("scheme", SCHEMES[:4], ids=name_of)
def test_memory_and_threads_change_no_byte_of_them(scheme: bm.Outliers, tmp_path: Path) -> None:
    make(tmp_path / "src", {"model.layers.0.mlp.up_proj.weight": values(300, 96)})
    made = []
    for i, (memory, threads) in enumerate((("64MiB", 1), ("1GiB", 1), ("1GiB", 3))):
        options: Any = {"max_memory": memory, "num_threads": threads}
        bm.quantize_checkpoint(tmp_path / "src", tmp_path / f"{i}", scheme, **options)
        made.append({n: b for n, b in contents(tmp_path / f"{i}").items() if "report" not in n})
    assert made[0] == made[1] == made[2]


# Files that someone else made


def file_of(folder: Path, steps: Any = None, **changes: Any) -> Path:
    """A checkpoint of 8 rows of 64 weights of which 3 are kept, with other steps or arrays, or
    with other options in the scheme that it tells of."""
    made = bm.quantize(weight(8, 64), bm.Outliers(bm.Affine(4), count=3))
    described = {**made.scheme.to_dict(), **{n: v for n, v in changes.items() if n != "arrays"}}
    given = {**made.arrays, **changes.get("arrays", {})}
    if steps is not None:
        given["outlier_steps"] = np.array(steps, np.uint8)
    folder.mkdir()
    write_tensors(folder / "model.safetensors", {f"m.{n}": a for n, a in given.items()})
    tensors = {"m": {"scheme": described, "shape": [8, 64], "dtype": "bfloat16"}}
    config = {"quant_method": "bitmill", "version": 1, "tensors": tensors}
    (folder / "config.json").write_text(json.dumps({"quantization_config": config}))
    return folder


def test_steps_up_to_the_last_weight_are_read(tmp_path: Path) -> None:
    (q,) = bm.load_checkpoint(file_of(tmp_path / "it", [0, 255, 0, 254])).values()
    assert isinstance(q, bm.QTensor)
    assert kept(q) == [0, 256, 511]
    found = q.dequantize().reshape(-1)[[0, 256, 511]]
    same_bits(found, q.arrays["outlier_values"].astype(np.float32))


@pytest.mark.parametrize(
    ("steps", "changes", "message"),
    [
        ([0, 255, 0, 255], {}, "no 3 positions below 512"),
        ([0, 0, 0, 0], {}, "no 3 positions below 512"),
        ([255, 255, 255, 255], {}, "no 3 positions below 512"),
        ([1, 255, 0, 254], {}, "no 3 positions below 512"),
        ([254, 254, 254, 255], {}, "no 3 positions below 512"),
        ([0, 0, 0], {}, "outlier_steps has"),
        ([0, 0, 0, 255, 255], {}, "outlier_steps has"),
        (None, {"arrays": {"outlier_steps": np.zeros(4, np.uint16)}}, "outlier_steps has"),
        (None, {"arrays": {"outlier_steps": np.zeros(4, np.int8)}}, "outlier_steps has"),
        (None, {"arrays": {"outlier_values": np.zeros(4, np.float16)}}, "outlier_values has"),
        (None, {"arrays": {"outlier_values": np.zeros(3, np.float32)}}, "outlier_values has"),
        (None, {"count": 4}, "outlier_values has"),
        (None, {"count": 513}, "count=513 is more than 512"),
        (None, {"count": 10**18}, "is more than 512"),
        (None, {"count": -1}, "count=-1 must be at least 0"),
        (None, {"count": 3.0}, "count takes an int"),
        (None, {"per": "row"}, "outlier_values has"),
        (None, {"mode": "column"}, "outlier_values has"),
        (None, {"values": "float64"}, "values='float64' is not one of"),
        (None, {"fraction": 0.1}, "exclude each other"),
        (None, {"count": None, "threshold": 6}, "depends on the data"),
        (None, {"inner": {"scheme": "Outliers"}}, "keeps outliers already"),
        (None, {"inner": 4}, "scheme is a int"),
        (None, {"more": 4}, "cannot be made from"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    steps: Any, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = file_of(tmp_path / "it", steps, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        dict(bm.load_checkpoint(folder))
    assert str(folder) in str(caught.value)


def test_files_of_save_are_held_to_the_same(tmp_path: Path) -> None:
    q = bm.quantize(weight(8, 64), bm.Outliers(bm.Affine(4), count=3))
    q.arrays["outlier_steps"][:] = 255
    bm.save({"w": q}, tmp_path / "it.safetensors")
    with pytest.raises(CheckpointError, match="tensor 'w': outlier_steps"):
        bm.load(tmp_path / "it.safetensors")
