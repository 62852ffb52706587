# SPDX-License-Identifier: MIT
"""Searched scales of tables: never worse than those of the rule, whatever is asked for beside."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill._dtypes import dtype

TABLES = [
    (bm.NF4, "absmax"), (bm.NF4, "signed_max"), (bm.FP4, "absmax"), (bm.IQ4_NL, "absmax"),
    (bm.IQ4_NL, "signed_max"),
]  # fmt: skip
GROUPS = [16, 32, 96, 256, 4096, None]


def weights(of: str) -> np.ndarray:
    """Six rows of 4,440, of which the last group is short for every size of groups."""
    rng = np.random.default_rng(0)
    x = rng.standard_t(4, (6, 4440)) * 0.02
    x[1, :96] = 0  # groups of zeros, and one beside others
    x[2] = 0
    x[3] = np.abs(x[3])
    x[4] = -np.abs(x[4])
    x[5, ::7] *= 30
    return x.astype(dtype(of))


def importance_of(kind: str | None) -> np.ndarray | None:
    rng = np.random.default_rng(1)
    if kind is None:
        return None
    column = np.exp(rng.standard_normal(4440))
    column[:32] = 0  # groups that do not count
    return column if kind == "columns" else column * np.exp(rng.standard_normal((6, 4440)))


def errors(x: np.ndarray, q: bm.QTensor, w: np.ndarray | None) -> np.ndarray:
    """Sums of squared errors, weighed, of each group."""
    size = q.scheme.group_size or x.shape[1]
    squares = (x.astype(np.float64) - np.asarray(q)) ** 2 * (1 if w is None else w)
    return np.add.reduceat(squares, np.arange(0, x.shape[1], size), axis=1)


@pytest.mark.parametrize("kind", [None, "columns", "weights"])
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize(("table", "rule"), TABLES)
def test_no_group_is_worse_than_by_the_rule(table, rule, group_size, kind):
    x, w = weights("float32"), importance_of(kind)
    plain = bm.quantize(x, table(group_size, scale_rule=rule))
    found = bm.quantize(x, table(group_size, scale_rule=rule, clip="mse"), importance=w)
    ours, theirs = errors(x, found, w), errors(x, plain, w)
    assert (ours <= theirs * (1 + 1e-6)).all()
    assert ours.sum() < theirs.sum()
    assert not np.asarray(found)[2].any()


@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("of", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize(("table", "rule"), TABLES)
def test_no_group_is_worse_for_any_dtype(table, rule, of, scales):
    x = weights(of)
    plain = bm.quantize(x, table(64, scale_rule=rule, scales=scales))
    found = bm.quantize(x, table(64, scale_rule=rule, scales=scales, clip="mse"))
    x = x.astype(np.float32)
    assert (errors(x, found, None) <= errors(x, plain, None) * (1 + 1e-6)).all()
    assert found.scale.dtype == dtype(scales)


@pytest.mark.parametrize("kind", [None, "columns"])
@pytest.mark.parametrize("scales", ["float16", "bfloat16"])
@pytest.mark.parametrize("group_size", [16, 32, 128])
@pytest.mark.parametrize(("table", "rule"), TABLES)
def test_scales_of_two_levels_gain_by_a_search(table, rule, group_size, scales, kind):
    x, w = weights("float32"), importance_of(kind)
    levels = bm.Scales(scales, bits=6, super_block=384)
    plain = bm.quantize(x, table(group_size, scale_rule=rule, scales=levels))
    found = bm.quantize(x, table(group_size, scale_rule=rule, scales=levels, clip="mse"),
                        importance=w)  # fmt: skip
    assert errors(x, found, w).sum() < errors(x, plain, w).sum()
    assert not np.asarray(found)[2].any()


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("group_size", [16, 64, 4096])
def test_learned_tables_are_no_worse_with_searched_scales(bits, group_size):
    x = weights("float32").astype(ml_dtypes.bfloat16)
    plain = bm.quantize(x, bm.LearnedTable(bits, group_size, clip="minmax"))
    found = bm.quantize(x, bm.LearnedTable(bits, group_size))
    assert (found.arrays["table"] == plain.arrays["table"]).all()
    x = x.astype(np.float32)
    assert (errors(x, found, None) <= errors(x, plain, None) * (1 + 1e-6)).all()
