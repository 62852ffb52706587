# SPDX-License-Identifier: MIT
"""What `compare` says of two checkpoints, and `report` of one that bitmill wrote."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme, quantize_checkpoint
from bitmill.checkpoint.compare import compare_checkpoints
from bitmill.checkpoint.loaded import LoadedCheckpoint
from bitmill.cli import main
from checkpoints import llama, make, weight
from commands import parsed, printed

SCHEME = bm.Affine(4, group_size=128)
LAYERS = [
    LayerScheme(SCHEME),
    LayerScheme(bm.Affine(8), "int8"),
    LayerScheme(bm.Affine(3, symmetric=False, offset=True), format="native"),
]
QUANTIZED = {
    f"model.layers.0.{module}.weight"
    for module in ("mlp.down_proj", "self_attn.k_proj", "self_attn.q_proj")
}


@pytest.fixture
def dst(src: Path, tmp_path: Path) -> Path:
    quantize_checkpoint(src, tmp_path / "dst", SCHEME)
    return tmp_path / "dst"


def floats(folder: Path, **tensors: np.ndarray) -> Path:
    return make(folder, tensors, config=None)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.format)
def test_differences_are_those_of_metrics(src: Path, tmp_path: Path, layer: LayerScheme) -> None:
    quantize_checkpoint(src, tmp_path / "dst", layer)
    found = compare_checkpoints(tmp_path / "dst", src)
    assert {difference.name for difference in found.differences} == QUANTIZED
    for difference in found.differences:
        x = llama()[difference.name]
        assert difference.metrics == bm.metrics(x, bm.quantize(x, layer.weights))
        assert difference.shape == x.shape
        assert difference.kind == layer.weights.describe()
    assert set(found.identical) == llama().keys() - QUANTIZED
    assert (found.incomparable, found.only_judged, found.only_original) == ({}, (), ())


def test_both_orders_give_the_same(src: Path, dst: Path) -> None:
    assert compare_checkpoints(src, dst) == compare_checkpoints(dst, src)


def test_threads_change_nothing(src: Path, dst: Path) -> None:
    one, four = (compare_checkpoints(dst, src, num_threads=n) for n in (1, 4))
    assert one == four


def test_files_are_compared_as_folders_are(src: Path, tmp_path: Path) -> None:
    x = llama()["lm_head.weight"]
    q = bm.quantize(x, SCHEME)
    bm.save({"lm_head.weight": q}, tmp_path / "q.safetensors")
    found = compare_checkpoints(tmp_path / "q.safetensors", src / "model.safetensors")
    assert [difference.metrics for difference in found.differences] == [bm.metrics(x, q)]


def test_two_quantized_checkpoints_are_compared_by_their_values(src: Path, dst: Path) -> None:
    quantize_checkpoint(src, dst.parent / "other", bm.Affine(8))
    found = compare_checkpoints(dst, dst.parent / "other")
    for difference in found.differences:
        x = llama()[difference.name]
        eight, four = (bm.quantize(x, scheme) for scheme in (bm.Affine(8), SCHEME))
        assert difference.metrics == bm.metrics(eight.dequantize(), four)
    assert len(found.differences) == 3


def test_checkpoint_beside_itself_is_exact(dst: Path) -> None:
    found = compare_checkpoints(dst, dst)
    assert {d.name: d.metrics.max_abs for d in found.differences} == dict.fromkeys(QUANTIZED, 0)
    assert set(found.identical) == llama().keys() - QUANTIZED


def test_float_tensors_of_other_dtypes_are_compared_by_their_values(tmp_path: Path) -> None:
    x = weight(4, 8, dtype="float32")
    a = floats(tmp_path / "a", x=x.astype(np.float16))
    (found,) = compare_checkpoints(a, floats(tmp_path / "b", x=x)).differences
    assert (found.kind, found.metrics) == ("float16", bm.metrics(x, x.astype(np.float16)))


def test_tensors_of_one_side_only_are_named(tmp_path: Path) -> None:
    a = floats(tmp_path / "a", both=weight(2), here=weight(2))
    b = floats(tmp_path / "b", both=weight(2), there=weight(2))
    found = compare_checkpoints(a, b)
    assert (found.identical, found.only_judged, found.only_original) == (
        ("both",),
        ("here",),
        ("there",),
    )


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (weight(2, 3), weight(3, 2), "shapes (2, 3) and (3, 2)"),
        (np.arange(3), np.arange(4), "shapes (3,) and (4,)"),
        (np.arange(3), np.zeros(3, np.int64), "other values of int64"),
        (np.zeros(3, np.int8), np.zeros(3, bool), "dtypes int8 and bool"),
        (np.zeros(3, np.float32), np.zeros(3, np.int32), "dtypes float32 and int32"),
        (np.zeros(3, np.int32), np.zeros(3, np.float32), "dtypes int32 and float32"),
    ],
    ids=["float-shapes", "int-shapes", "int-values", "int-dtypes", "float-int", "int-float"],
)
def test_what_cannot_be_compared_is_told_with_its_reason(
    tmp_path: Path, x: np.ndarray, y: np.ndarray, why: str
) -> None:
    found = compare_checkpoints(floats(tmp_path / "a", t=x), floats(tmp_path / "b", t=y))
    assert found.incomparable == {"t": why}
    assert (found.differences, found.identical) == ((), ())


def test_quantized_weight_of_another_shape_cannot_be_compared(dst: Path, tmp_path: Path) -> None:
    (name,) = (name for name in QUANTIZED if "q_proj" in name)
    other = make(tmp_path / "other", {name: weight(256, 128)})
    assert compare_checkpoints(other, dst).incomparable == {
        name: "shapes (256, 256) and (256, 128)"
    }


def test_nan_cannot_be_compared_unless_it_is_identical(tmp_path: Path) -> None:
    x = np.array([1, np.nan], np.float32)
    a = floats(tmp_path / "a", same=x, other=x)
    b = floats(tmp_path / "b", same=x, other=np.ones(2, np.float32))
    found = compare_checkpoints(a, b)
    assert found.identical == ("same",)
    assert "nan" in found.incomparable["other"].lower()


def test_what_load_checkpoint_refuses_is_refused(src: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "gptq", {}, config={"quantization_config": {"quant_method": "gptq"}})
    with pytest.raises(CheckpointError, match="quantized by gptq, which bitmill does not read"):
        compare_checkpoints(src, other)


def test_table_begins_with_the_worst(
    src: Path, dst: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, _, rest = printed(capsys, "compare", dst, src).partition("\n\n")
    header, *rows = (re.split(r" {2,}", line) for line in table.splitlines())
    assert header == ["tensor", "shape", "cosine", "max error", "stored as", "SQNR dB"]
    found = compare_checkpoints(dst, src).differences
    wanted = sorted(found, key=lambda difference: difference.metrics.sqnr_db)
    assert rows == [
        [
            d.name,
            "x".join(map(str, d.shape)),
            f"{d.metrics.cosine:.6f}",
            f"{d.metrics.max_abs:.3g}",
            "int4 sym g128",
            f"{d.metrics.sqnr_db:.2f}",
        ]
        for d in wanted
    ]
    mean = np.average(
        [d.metrics.sqnr_db for d in wanted], weights=[math.prod(d.shape) for d in wanted]
    )
    assert rest == (
        "identical: 6 tensors\n"
        f"compared: 3 tensors, SQNR {mean:.2f} dB (mean by size), least "
        f"{wanted[0].metrics.sqnr_db:.2f} dB ({wanted[0].name})\n"
    )


def test_text_is_the_same_in_both_orders(
    dst: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = {name: x for name, x in llama().items() if name != "model.steps"}
    other = make(tmp_path / "other", tensors | {"new": weight(2)})
    text = printed(capsys, "compare", dst, other)
    assert "only in the quantized checkpoint: model.steps\n" in text
    assert "only in the original checkpoint: new\n" in text
    assert printed(capsys, "compare", other, dst) == text


def test_text_gives_the_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = floats(tmp_path / "a", **{"t\x1b": np.arange(3)})
    b = floats(tmp_path / "b", **{"t\x1b": np.arange(4)})
    assert "not comparable: t\\x1b (shapes (3,) and (4,))\n" in printed(capsys, "compare", a, b)


def test_values_made_of_zeros_are_not_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = floats(tmp_path / "a", x=np.ones(2, np.float32))
    b = floats(tmp_path / "b", x=np.zeros(2, np.float32))
    out = printed(capsys, "compare", a, b)
    assert out.endswith("compared: 1 tensors, 1 of zeros that are none any more\n")
    (found,) = parsed(printed(capsys, "compare", a, b, "--json"))["differences"]
    assert (found["metrics"]["sqnr_db"], found["metrics"]["max_abs"]) == (None, 1.0)


def test_nothing_lost_is_called_exact(dst: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "compare", dst, dst).endswith("compared: 3 tensors, 3 exact\n")


def test_json_is_what_the_function_returns(
    src: Path, dst: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = parsed(printed(capsys, "compare", src, dst, "--json", "--threads", "1"))
    assert found == json.loads(json.dumps(compare_checkpoints(dst, src).to_dict()))
    assert {d["name"] for d in found["differences"]} == QUANTIZED
    measured = {"mse", "sqnr_db", "cosine", "max_abs", "max_at"}
    assert set(found["differences"][0]["metrics"]) == measured


def test_bad_source_is_exit_code_1_and_one_line(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(src), str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"bitmill: {tmp_path}/nowhere: No such file or directory\n"


@pytest.mark.parametrize(
    "options", [["--scheme", "W4A16_ASYM"], ["--bits", "8", "--ignore", "re:.*down_proj"]]
)
def test_report_is_what_quantize_printed_without_the_time(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    said = printed(capsys, "quantize", src, tmp_path / "dst", *options)
    said = re.sub(r", in [\d.]+ s \([\d.]+ GB/s\)\nwritten to .*\n", "\n", said)
    assert printed(capsys, "report", tmp_path / "dst") == said


def test_report_of_a_file_is_that_of_its_folder(
    src: Path, dst: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_folder = printed(capsys, "report", dst)
    assert printed(capsys, "report", dst / "bitmill_report.json") == of_folder


def test_report_as_json_is_what_quantize_printed_without_the_time(
    src: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = parsed(printed(capsys, "quantize", src, tmp_path / "dst", "--json"))
    found = parsed(printed(capsys, "report", tmp_path / "dst", "--json"))
    assert {**found, "seconds": said["seconds"], "unchanged": False} == said
    assert found == parsed((tmp_path / "dst" / "bitmill_report.json").read_text())


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"version": 1}', '{"version": 1, "tensors": 3}']
)
def test_report_of_another_kind_is_exit_code_1_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "bitmill_report.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 1
    assert re.fullmatch(r"bitmill: [^\n]*bitmill_report.json: [^\n]*\n", capsys.readouterr().err)


def test_folder_without_a_report_is_exit_code_1_and_one_line(
    src: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(src)]) == 1
    assert capsys.readouterr().err == (
        f"bitmill: {src}/bitmill_report.json: No such file or directory\n"
    )


def test_names_are_looked_up_without_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = make(tmp_path / "src", llama())
    quantize_checkpoint(src, tmp_path / "dst", bm.Affine(8))
    reads: list[str] = []
    read = LoadedCheckpoint.__getitem__
    monkeypatch.setattr(
        LoadedCheckpoint,
        "__getitem__",
        lambda self, name: reads.append(name) or read(self, name),
    )
    compare_checkpoints(tmp_path / "dst", src)
    assert sorted(reads) == sorted(2 * list(llama()))
