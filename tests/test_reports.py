# SPDX-License-Identifier: MIT
"""bm.report: what it finds in the tensors, in files that tell no more and no less."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill import _core
from bitmill.checkpoint import CheckpointError, open_checkpoint, quantize_checkpoint
from bitmill.checkpoint.manifest import MANIFEST
from bitmill.checkpoint.report import REPORT
from bitmill.reports.errors import errors
from bitmill.reports.levels import histogram
from checkpoints import contents, llama, make, weight
from commands import parsed

Q_PROJ = "model.layers.0.self_attn.q_proj.weight"
START = '"version": 1, "bitmill": "0"'
SCHEMES = [
    bm.Affine(4, group_size=100),
    bm.Affine(2, group_size=64, clip="mse"),
    bm.Affine(3, group_size=32, symmetric=False),
    bm.Affine(4, group_size=32, symmetric=False, offset=True),
    bm.Affine(8, axis=0),
    bm.Affine(8, axis=1),
    bm.Affine(5, axis=None),
    bm.Affine(4, group_size=32, scale_rule="signed_max", scales=bm.Scales("float16")),
    bm.NF4(),
    bm.LearnedTable(3),
    bm.Float("mxfp4"),
    bm.Float("fp8_e4m3"),
    bm.KMeans(3),
    bm.Outliers(bm.Affine(4, group_size=64), 0.01),
]


@pytest.fixture
def folder(src: Path, tmp_path: Path) -> Path:
    """The small Llama, quantized."""
    quantize_checkpoint(src, tmp_path / "dst", bm.Affine(4, group_size=128))
    return tmp_path / "dst"


# What is found in a tensor


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.describe())
def test_histogram_counts_every_value_and_every_code(scheme: Any) -> None:
    x = weight(70, 300, dtype=np.float32)
    q = bm.quantize(x, scheme)
    found = histogram(x, q.dequantize(), q)
    assert sum(found.counts) + found.below + found.above == x.size
    assert 64 <= len(found.counts) <= 128
    assert sum(found.level_counts) == x.size
    assert len(found.levels) == len(np.unique(q.codes))
    assert list(found.levels) == sorted(found.levels)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.describe())
def test_reconstructed_values_lie_on_the_levels(scheme: Any) -> None:
    x = weight(70, 300, dtype=np.float32)
    q = bm.quantize(x, scheme)
    found = histogram(q.dequantize(), q.dequantize(), q)
    for level, count in zip(found.levels, found.level_counts, strict=True):
        at = round((level - found.low) / found.width - 0.5)
        near = found.counts[max(0, at - 1) : at + 2]
        assert sum(near) >= 0.9 * count


def test_levels_of_affine_codes_are_the_codes() -> None:
    x = weight(8, 256, dtype=np.float32)
    q = bm.quantize(x, bm.Affine(3, group_size=64, symmetric=False))
    assert histogram(x, q.dequantize(), q).levels == tuple(range(8))


def test_clipped_values_lie_beyond_the_last_level() -> None:
    x = np.float32([[-1, 0, 1, 2, 3, 40]])
    q = bm.quantize(x, bm.Affine(3, clip="percentile:60"))
    found = histogram(x, q.dequantize(), q)
    assert found.above == 1
    assert found.low + len(found.counts) * found.width > found.levels[-1] + 1


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.describe())
@pytest.mark.parametrize("factor", [2e-42, 1, 1e37])
def test_histogram_bears_zeros_and_all_magnitudes(scheme: Any, factor: float) -> None:
    x = weight(70, 300, dtype=np.float32) * np.float32(20 * factor)
    x[3] = 0
    x[:, 32:64] = 0
    try:
        q = bm.quantize(x, scheme)
    except ValueError:
        pytest.skip("scales cannot hold it")
    found = histogram(x, q.dequantize(), q)
    assert sum(found.counts) + found.below + found.above == x.size


def test_histogram_of_a_table_without_zero() -> None:
    x = weight(8, 256, dtype=np.float32)
    x[:, :64] = 0  # their scale is 0
    q = bm.quantize(x, bm.Table((-3, -1, 1, 3), group_size=64))
    found = histogram(x, q.dequantize(), q)
    assert sum(found.counts) + found.below + found.above == x.size


def test_level_that_no_sampled_row_has_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x = weight(64, 256, dtype=np.float32)
    x[37, 5] = 40
    q = bm.quantize(x, bm.Affine(4, axis=None))
    found = histogram(x, q.dequantize(), q)
    monkeypatch.setattr("bitmill.reports.levels._SAMPLE", 256)
    assert histogram(x, q.dequantize(), q) == found
    assert found.levels[-1] == 7


def test_codebooks_of_rows_have_no_common_levels() -> None:
    x = weight(8, 256, dtype=np.float32) * np.float32(np.arange(1, 9)[:, None])
    q = bm.quantize(x, bm.KMeans(2, "row"))
    found = histogram(x, q.dequantize(), q)
    assert (found.levels, found.unit) == ((), "value")
    assert sum(found.counts) == x.size


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (70, 300), (33, 64 * 70 + 1), (2, 3, 40)])
@pytest.mark.parametrize("group_size", [None, 32, 100])
def test_map_of_errors_has_the_mean_of_each_part(
    shape: tuple[int, ...], group_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = weight(*shape, dtype=np.float32)
    y = x + weight(*shape, seed=1, dtype=np.float32)
    total, found = errors(x, y, group_size)
    assert found is not None
    squares = np.square(x.astype(np.float64) - y).reshape(-1, shape[-1])
    mean, r, c = squares.mean(), found.rows_per_cell, found.columns_per_cell
    assert len(found.cells) <= 32
    assert len(found.cells[0]) <= 64
    assert group_size is None or c % min(group_size, shape[-1]) == 0
    for i, j in itertools.product(range(len(found.cells)), range(len(found.cells[0]))):
        part = squares[i * r : (i + 1) * r, j * c : (j + 1) * c]
        assert found.cells[i][j] == pytest.approx(math.sqrt(part.mean() / mean), rel=1e-6)
    worst = found.worst_rows[0]
    assert worst.begin == squares.mean(axis=1).argmax()
    assert worst.ratio == pytest.approx(math.sqrt(squares.mean(axis=1).max() / mean), rel=1e-6)
    group = found.worst_groups[0]
    assert squares[:, group.begin : group.end].mean() == pytest.approx(
        group.ratio**2 * mean, rel=1e-6
    )
    assert total.metrics(x.size) == bm.metrics(x, y)
    monkeypatch.setattr("bitmill.reports.errors._BLOCK", 700)
    assert errors(x, y, group_size) == (total, found)


# What is told


def test_report_tells_what_the_conversion_told(folder: Path, src: Path) -> None:
    found = bm.report(folder, source=src)
    assert [t.name for t in found.tensors] == [i.name for _, i in open_checkpoint(src).tensors()]
    totals = found.totals
    assert (totals.tensors, totals.quantized) == (9, 3)
    assert totals.bytes_after == (folder / "model.safetensors").stat().st_size
    assert totals.worst == found.worst_first[0].name
    said = parsed(found.to_json())
    assert sum(t["error_share"] for t in said["tensors"]) == pytest.approx(1)
    assert (said["command"], said["has_source"], said["frontier"]) == (None, True, None)


def test_without_the_source_nothing_is_said_of_errors_by_row(folder: Path) -> None:
    details = bm.report(folder).details[Q_PROJ]
    assert details.errors is None
    assert details.histogram is not None
    assert sum(details.histogram.counts) == 256 * 256


def test_files_are_the_same_on_every_isa_and_for_any_threads(
    folder: Path, src: Path, tmp_path: Path
) -> None:
    before, texts = _core.isa(), set()
    try:
        for isa, threads in itertools.product(_core.isas(), (1, 3)):
            _core.use_isa(isa)
            found = bm.report(folder, source=src, num_threads=threads)
            texts.add((found.to_html(), found.to_csv(), found.to_json()))
    finally:
        _core.use_isa(before)
    assert len(texts) == 1
    for text in texts.pop():
        assert tmp_path.name not in text


def test_csv_and_json_lie_beside_the_page(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    found = bm.report(folder, html=tmp_path / "out" / "r.html")
    assert contents(tmp_path / "out") == {
        "r.html": found.to_html().encode(),
        "r.csv": found.to_csv().encode(),
        "r.json": found.to_json().encode(),
    }


def test_csv_has_the_worst_first_and_no_formulas(tmp_path: Path) -> None:
    tensors = {"=1+1.weight": weight(64, 128), "b.weight": 3 * weight(64, 128)}
    make(tmp_path / "src", tensors)
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", bm.Affine(4, group_size=128))
    rows = list(csv.DictReader(io.StringIO(bm.report(tmp_path / "dst").to_csv())))
    assert {row["name"] for row in rows} == {"'=1+1.weight", "b.weight"}
    assert float(rows[0]["sqnr_db"]) <= float(rows[1]["sqnr_db"])
    assert rows[0]["shape"] == "64x128"


def test_budget_tells_what_else_was_measured(src: Path, tmp_path: Path) -> None:
    names = ["W2", "W3", "W4", "KEEP"]
    plan = bm.plan_budget(src, "3.2bpw", names, scale_dtype="auto")
    quantize_checkpoint(src, tmp_path / "dst", plan)
    found = bm.report(tmp_path / "dst")
    assert plan.allocation is not None
    assert found.curve is not None
    assert found.curve.chosen is not None
    assert found.curve.chosen.bytes == plan.allocation.bytes
    assert found.curve.chosen.error == pytest.approx(plan.allocation.error)
    assert list(found.curve.uniform) == names
    for name, label in plan.allocation.choice.items():
        assert found.details[name].label == label
        assert list(found.details[name].alternatives) == names
    sizes = [spot.bytes for spot in found.curve.points]
    assert sizes == sorted(sizes)


def test_sensitivity_gives_alternatives_to_any_folder(
    folder: Path, src: Path, tmp_path: Path
) -> None:
    measured = bm.sensitivity(src, ["W2", "W6"], scale_dtype="auto")
    measured.save(tmp_path / "s.json")
    found = bm.report(folder, sensitivity=tmp_path / "s.json")
    assert found.to_json() == bm.report(folder, sensitivity=measured).to_json()
    details = found.details[Q_PROJ]
    assert (details.label, list(details.alternatives)) == (None, ["W2", "W6"])
    assert found.curve is not None
    assert found.curve.chosen is not None
    low, high = (found.curve.uniform[label] for label in ("W2", "W6"))
    assert low.bytes < found.curve.chosen.bytes < high.bytes
    assert low.error > found.curve.chosen.error > high.error


def test_zero_size_and_zero_error_are_no_trouble(tmp_path: Path) -> None:
    tensors = {"a.weight": np.zeros((64, 128), np.float32), "b.weight": weight(64, 128)}
    make(tmp_path / "src", tensors)
    quantize_checkpoint(tmp_path / "src", tmp_path / "dst", bm.Affine(8))
    found = bm.report(tmp_path / "dst", source=tmp_path / "src")
    assert found.details["a.weight"].errors is None
    parsed(found.to_json())
    assert found.to_html()


# What is refused


def test_folder_that_is_none_of_ours_is_refused(src: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no folder that 'bitmill quantize' wrote"):
        bm.report(src)
    with pytest.raises(CheckpointError, match="is no folder"):
        bm.report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (MANIFEST, "{"),
        (MANIFEST, "{}"),
        (MANIFEST, '{"version": 1}'),
        (MANIFEST, f'{{{START}, "sources": [], "tensors": {{}}}}'),
        (MANIFEST, '{"version": 1, "bitmill": "0", "sources": {"a": {}}, "tensors": {}}'),
        (MANIFEST, '{"version": 1, "bitmill": "0", "sources": {}, "tensors": {}}'),
        (
            MANIFEST,
            '{"version": 1, "bitmill": "0", "sources": {}, "tensors": {}, "sensitivity": 1}',
        ),
        (REPORT, "{}"),
    ],
)
def test_damaged_files_are_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        bm.report(folder)


def test_other_source_is_refused(folder: Path, src: Path, tmp_path: Path) -> None:
    make(tmp_path / "other", {"a.weight": weight(4, 128)})
    with pytest.raises(CheckpointError, match=r"was not made of it: 'model\.safetensors'"):
        bm.report(folder, source=tmp_path / "other")
    tensors = llama()
    tensors[Q_PROJ] = tensors[Q_PROJ][::-1].copy()
    make(tmp_path / "tuned", tensors)
    with pytest.raises(CheckpointError, match=rf"tensor '{Q_PROJ}' has other values than"):
        bm.report(folder, source=tmp_path / "tuned")
    with pytest.raises(CheckpointError, match="sensitivity is of other tensors"):
        bm.report(folder, sensitivity=bm.sensitivity({"a": weight(4, 128)}, ["W4"]))


def test_target_without_a_tensor_is_refused(folder: Path, src: Path) -> None:
    shutil.copy(src / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="is not there as the report tells of it"):
        bm.report(folder)


def test_two_files_of_one_name_are_refused_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="html and csv are one file"):
        bm.report(folder, html=tmp_path / "a", csv=tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["model", "config", "bitmill_report", "bitmill_manifest"])
def test_files_of_checkpoints_are_not_replaced(folder: Path, src: Path, name: str) -> None:
    (src / "model.json").touch()
    before = contents(folder), contents(src)
    for place in (folder, src):
        page = place / f"{name}.html"
        page.write_text("mine")
        with pytest.raises(CheckpointError, match=r"is a file of .*, which no report replaces"):
            bm.report(folder, html=page, source=src)
        page.unlink()
    assert (contents(folder), contents(src)) == before


def test_earlier_report_is_replaced_wherever_it_lies(folder: Path, src: Path) -> None:
    for place in (folder, src):
        bm.report(folder, html=place / "page.html", source=src)
        bm.report(folder, html=place / "page.html", source=src)


def test_place_that_cannot_be_written_to_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        bm.report(folder, html=tmp_path / "page.html", csv=tmp_path / "nowhere" / "a.csv")
    with pytest.raises(IsADirectoryError):
        bm.report(folder, html=tmp_path / "page.html", csv=folder)
    with pytest.raises(ValueError, match="wanted the name of a file"):
        bm.report(folder, html=".")
    assert not (tmp_path / "page.html").exists()


def test_report_that_has_a_tensor_twice_is_refused(folder: Path) -> None:
    said = parsed((folder / REPORT).read_text())
    said["tensors"].append(said["tensors"][0])
    (folder / REPORT).write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="is of other tensors than the report"):
        bm.report(folder)
