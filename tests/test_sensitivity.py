# SPDX-License-Identifier: MIT
"""Sensitivity: the errors and bytes of a conversion, measured without one."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import float_modes
from bitmill._dtypes import Array
from bitmill.checkpoint import CheckpointError, data, job, pieces, read_sensitivity
from bitmill.checkpoint.candidates import resolve
from bitmill.formats import PRESETS, LayerScheme
from bounded import Weights, write_checkpoint
from checkpoints import arrays, llama, make, weight

LAYER = "model.layers.0"
Q, K, DOWN = (
    f"{LAYER}.{part}.weight" for part in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
)
LABELS = ["W2", "W4", "W8", "W4row", "W8A8", "KEEP"]
SHARED = {
    "tensor": LayerScheme(bm.Affine(8, axis=None), format="native"),
    "columns": LayerScheme(bm.Affine(4, axis=1), format="native"),
    "rows": LayerScheme(bm.Affine(4, clip="mse"), format="native"),
}


def by_name(found: bm.Sensitivity) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in found.tensors}


def test_equals_what_conversions_report(src: Path, tmp_path: Path) -> None:
    found = by_name(bm.sensitivity(src, LABELS))
    assert list(found) == [DOWN, K, Q]
    for label, layer in resolve(LABELS).items():
        if layer is None:
            continue
        report = bm.quantize_checkpoint(src, tmp_path / label, layer)
        for tensor in report.quantized:
            measure = found[tensor.name].measured[label]
            assert measure.bytes == tensor.bytes_after
            assert measure.sqnr_db == tensor.sqnr_db
            assert measure.error / tensor.size == tensor.metrics.mse


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_what_conversions_report(src: Path, tmp_path: Path, name: str) -> None:
    found = by_name(bm.sensitivity(src, [name]))
    report = bm.quantize_checkpoint(src, tmp_path / "dst", name)
    assert len(report.quantized) == len(found) == 3
    for tensor in report.quantized:
        measure = found[tensor.name].measured[name]
        assert measure.bytes == tensor.bytes_after
        assert measure.sqnr_db == tensor.sqnr_db
        assert measure.error / tensor.size == tensor.metrics.mse


def test_keeping_takes_the_bytes_of_the_weight_and_loses_nothing(src: Path) -> None:
    found = bm.sensitivity(src, LABELS)
    for tensor in found.tensors:
        kept = tensor.measured["KEEP"]
        assert (kept.bytes, kept.error, kept.sqnr_db) == (2 * tensor.size, 0, math.inf)
        assert list(tensor.measured) == LABELS
    assert found.choices()[K][-1] == ("KEEP", 2 * 64 * 256, 0.0)


def test_arrays_are_measured_as_a_checkpoint_is(src: Path) -> None:
    found = bm.sensitivity(src, LABELS, scale_dtype="auto")
    given = arrays(bm.checkpoint.open_checkpoint(src))
    chosen = {tensor.name: given[tensor.name] for tensor in found.tensors}
    assert bm.sensitivity(chosen, LABELS, scale_dtype="auto") == found


def test_scale_dtype_counts(src: Path) -> None:
    plain, auto = (bm.sensitivity(src, ["W4"], scale_dtype=s) for s in (None, "auto"))
    groups = 256 * 2
    for found, size in ((plain, 4), (auto, 2)):
        packed = 256 * 256 // 2 + 16
        assert by_name(found)[Q].measured["W4"].bytes == packed + size * groups


def test_selection_is_that_of_plans(src: Path) -> None:
    found = bm.sensitivity(src, ["W4"], ignore=["re:.*_proj$"], include=["lm_head"])
    assert list(by_name(found)) == ["lm_head.weight"]
    with pytest.raises(CheckpointError, match="nothing matches 'lm_heat'"):
        bm.sensitivity(src, ["W4"], include=["lm_heat"])
    with pytest.raises(CheckpointError, match="nothing to measure: all is ignored"):
        bm.sensitivity(src, ["W4"], ignore=["Linear"])
    with pytest.raises(ValueError, match="ignore and include go with a checkpoint"):
        bm.sensitivity({"a": weight(4, 4)}, ["W4row"], ignore=["a"])


def test_what_a_format_cannot_hold_is_left_out_with_the_reason(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(8, 96), "b.weight": weight(8, 128)})
    a, b = bm.sensitivity(src, ["W4", "W4g32"]).tensors
    assert list(a.measured) == ["W4g32"]
    assert "128" in a.left_out["W4"]
    assert list(b.measured) == ["W4", "W4g32"]
    assert b.left_out == {}
    # the native format holds short groups
    a, _ = bm.sensitivity(src, ["W4", "W4o"]).tensors
    assert list(a.measured) == ["W4", "W4o"]


def test_scales_that_overflow_are_left_out_with_the_reason() -> None:
    x = np.full((4, 64), 1e6, np.float32)
    candidates = {"half": bm.Affine(2, scales="float16"), "single": bm.Affine(2)}
    (found,) = bm.sensitivity({"x": x}, candidates).tensors
    assert list(found.measured) == ["single"]
    assert "float16" in found.left_out["half"]


def test_weights_are_read_once_for_all_candidates(
    src: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[int] = Counter()

    def counted(path: Path, begin: int, nbytes: int, **options: Any) -> Array:
        read[begin] += nbytes
        return real(path, begin, nbytes, **options)

    real = data.read_bytes
    monkeypatch.setattr(job, "read_bytes", counted)
    monkeypatch.setattr(pieces, "PIECE", 1 << 14)
    found = bm.sensitivity(src, LABELS)
    assert len(read) > len(found.tensors)
    assert sum(read.values()) == 2 * found.size


@pytest.mark.parametrize("candidates", [LABELS, SHARED], ids=["own", "shared"])
def test_neither_pieces_nor_threads_nor_memory_matter(
    src: Path, monkeypatch: pytest.MonkeyPatch, candidates: Any
) -> None:
    whole = bm.sensitivity(src, candidates)
    monkeypatch.setattr(pieces, "PIECE", 1 << 13)
    for threads, memory in ((1, "1GiB"), (3, "1GiB"), (2, "5MiB")):
        found = bm.sensitivity(src, candidates, num_threads=threads, max_memory=memory)
        assert found == whole


def test_weights_that_share_parameters_are_scanned_where_they_do_not_fit(
    src: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []

    def counted(trial: Any, gate: Any = None) -> Any:
        scans.append(list(trial.schemes))
        return real(trial, gate)

    from bitmill.checkpoint import measure

    real = measure.scan_trial
    monkeypatch.setattr(measure, "scan_trial", counted)
    monkeypatch.setattr(pieces, "PIECE", 1 << 13)
    bm.sensitivity(src, SHARED)
    assert scans == []
    bm.sensitivity(src, SHARED, max_memory="4400KiB")
    assert scans
    assert set(map(tuple, scans)) == {("tensor", "columns")}


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("candidates", [LABELS, SHARED], ids=["own", "shared"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_memory_is_bounded(tmp_path: Path, candidates: Any, weighed: bool, dtype: str) -> None:
    given = Weights("m.weight", (8192, 2048), dtype, kind="ends")
    src = write_checkpoint(tmp_path / "src", [given])
    path = tmp_path / "i.npz" if weighed else None
    if path is not None:
        np.savez(path, **{"m.weight": np.arange(2048.0)})
    budget = 32 << 20
    tracemalloc.start()
    bm.sensitivity(src, candidates, path, max_memory=budget, num_threads=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert given.nbytes >= budget
    assert peak <= budget


def test_too_little_memory_is_named(src: Path) -> None:
    with pytest.raises(CheckpointError, match=r"max_memory=1000 is too little: a piece of tensor"):
        bm.sensitivity(src, LABELS, max_memory=1000)


def test_nonfinite_weights_are_an_error_or_kept(tmp_path: Path) -> None:
    tensors = llama()
    tensors[K][3, 5] = np.nan
    src = make(tmp_path / "src", tensors)
    where = rf"tensor '{K}': x has 1 value .* x.flat\[{3 * 256 + 5}\], is nan"
    for candidates in (["W4", "W8"], SHARED):
        with pytest.raises(CheckpointError, match=where):
            bm.sensitivity(src, candidates)
    found = by_name(bm.sensitivity(src, ["W4", "W8"], on_nonfinite="keep"))
    assert list(found[K].measured) == ["KEEP"]
    assert found[K].left_out == dict.fromkeys(["W4", "W8"], "values that are not finite in float32")
    assert list(found[Q].measured) == ["W4", "W8"]
    with pytest.raises(CheckpointError, match=r"^tensor 'a': x has 1 value"):
        bm.sensitivity({"a": np.array([[1, np.inf]], np.float32)}, ["W4row"])


def test_nonfinite_weights_are_found_while_scanning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = llama()
    tensors[Q][200, 5] = np.inf
    src = make(tmp_path / "src", tensors)
    monkeypatch.setattr(pieces, "PIECE", 1 << 13)
    options = {"max_memory": "4400KiB", "on_nonfinite": "keep"}
    found = by_name(bm.sensitivity(src, SHARED, **options))
    assert [list(t.measured) for t in found.values()] == [list(SHARED), list(SHARED), ["KEEP"]]
    with pytest.raises(CheckpointError, match=f"tensor '{Q}'"):
        bm.sensitivity(src, SHARED, max_memory="4400KiB")


def test_importance_weighs_errors_and_clips(src: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    columns = {Q: 256, K: 256, DOWN: 384}
    given = {name: rng.lognormal(0, 3, n).astype(np.float32) for name, n in columns.items()}
    np.savez(tmp_path / "i.npz", **given)
    labels = {"searched": "W3", "plain": bm.Affine(4, group_size=128)}
    found = bm.sensitivity(src, labels, tmp_path / "i.npz")
    assert found.weighed
    tensors = arrays(bm.checkpoint.open_checkpoint(src))
    for tensor in found.tensors:
        x, weights = tensors[tensor.name], given[tensor.name].astype(np.float64)
        for label, layer in found.candidates.items():
            assert layer is not None
            scheme = layer.weights
            taken = weights if scheme.takes_importance else None
            y = bm.quantize(x, scheme, importance=taken).dequantize().astype(np.float64)
            lost = (x.astype(np.float64) - y) ** 2
            measure = tensor.measured[label]
            assert measure.error == pytest.approx((weights * lost).sum(), rel=1e-6)
            signal = (x.astype(np.float64) ** 2).sum()
            assert measure.sqnr_db == pytest.approx(10 * np.log10(signal / lost.sum()))
    chosen = {tensor.name: tensors[tensor.name] for tensor in found.tensors}
    assert bm.sensitivity(chosen, labels, given) == found


@pytest.mark.skipif(not float_modes.HERE, reason="sets MXCSR")
@pytest.mark.parametrize("mode", float_modes.MODES)
def test_mode_of_the_caller_changes_no_bit(rng: np.random.Generator, mode: str) -> None:
    x = {"a": rng.standard_normal((9, 300)).astype(np.float32)}
    weights = {"a": rng.lognormal(0, 2, 300)}
    labels = ["W2", "W4o", "W8"]
    wanted = [bm.sensitivity(x, labels, given) for given in (None, weights)]
    with float_modes.mode(float_modes.MODES[mode]):
        got = [bm.sensitivity(x, labels, given) for given in (None, weights)]
    assert [f.choices() for f in got] == [f.choices() for f in wanted]


def test_importance_must_be_there_for_each_weight(src: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "i.npz", **{Q: np.ones(256), K: np.ones(256)})
    with pytest.raises(CheckpointError, match=f"no importance of 1 of 3 weights, such as '{DOWN}'"):
        bm.sensitivity(src, ["W4"], tmp_path / "i.npz")
    x = {"a": weight(4, 8)}
    with pytest.raises(ValueError, match="importance has nothing for 'a'"):
        bm.sensitivity(x, ["W4row"], {})
    with pytest.raises(ValueError, match="a: importance has shape"):
        bm.sensitivity(x, ["W4row"], {"a": np.ones(9)})
    with pytest.raises(TypeError, match="importance is a ndarray; with arrays as source"):
        bm.sensitivity(x, ["W4row"], np.ones(8))


def test_quantized_checkpoints_are_refused(src: Path, tmp_path: Path) -> None:
    bm.quantize_checkpoint(src, tmp_path / "dst", "W4A16")
    with pytest.raises(CheckpointError, match="quantized already"):
        bm.sensitivity(tmp_path / "dst", ["W4"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_memory": "a lot"}, "max_memory='a lot' is no size"),
        ({"num_threads": 0}, "num_threads=0"),
        ({"scale_dtype": "int8"}, "scale_dtype='int8'"),
        ({"on_nonfinite": "drop"}, "on_nonfinite='drop'"),
    ],
)
def test_wrong_options_are_named(options: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        bm.sensitivity({"a": weight(4, 8)}, ["W4row"], **options)


def test_all_dtypes_and_ranks(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 6, 256))
    for dtype in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16):
        given = {"3-D": x.astype(dtype), "1-D": x[0, 0].astype(dtype), "empty": x[:0].astype(dtype)}
        found = by_name(bm.sensitivity(given, ["W4", "W4o"]))
        for name, array in given.items():
            q = bm.quantize(array, bm.Affine(4, group_size=128, clip="mse"))
            error = bm.metrics(array, q).mse * array.size
            assert found[name].measured["W4"].error == pytest.approx(error)


def test_zeros_lose_nothing() -> None:
    (found,) = bm.sensitivity({"zeros": np.zeros((4, 128), np.float32)}, ["W2"]).tensors
    assert (found.measured["W2"].error, found.measured["W2"].sqnr_db) == (0, math.inf)


def test_file_gives_back_what_was_saved(src: Path, tmp_path: Path) -> None:
    found = bm.sensitivity(src, LABELS, scale_dtype="auto")
    path = tmp_path / "sensitivity.json"
    found.save(path)
    assert read_sensitivity(path) == found
    assert bm.Sensitivity.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert list(tmp_path.glob("*.partial")) == []


def tensor_said(**measure: Any) -> dict[str, Any]:
    measured = {"W4": {"bytes": 1, "error": 0, "sqnr_db": None} | measure}
    return {"dtype": "F32", "name": "a", "shape": [], "measured": measured}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 2}, "wanted 'version' 1"),
        ({"tensors": [{}]}, "KeyError"),
        ({"candidates": {"W4": {}}}, "weights=None"),
        ({"tensors": [{"dtype": "X", "name": "a"}]}, "dtype 'X'"),
        ({"tensors": 2 * [{"dtype": "F32", "name": "a", "shape": [], "measured": {}}]}, "twice"),
        ({"tensors": [tensor_said(error=-1)]}, "error=-1.0; wanted a finite number"),
        ({"tensors": [tensor_said(error="nan")]}, "error=nan"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: Any, problem: str) -> None:
    said = bm.sensitivity({"a": weight(4, 8)}, ["W4row"]).to_dict()
    path = tmp_path / "s.json"
    path.write_text(json.dumps(said | change))
    with pytest.raises(CheckpointError, match=f"no sensitivity of this bitmill: .*{problem}"):
        read_sensitivity(path)


def test_progress_comes_to_an_end(src: Path) -> None:
    seen: list[Any] = []
    found = bm.sensitivity(src, LABELS, progress=seen.append)
    assert [p.bytes_done for p in seen] == sorted(p.bytes_done for p in seen)
    assert seen[-1].bytes_done == seen[-1].bytes_total == 2 * found.size


def test_fused_layers_are_told(src: Path) -> None:
    assert bm.sensitivity(src, ["W4"]).fused() == [[K, Q]]
