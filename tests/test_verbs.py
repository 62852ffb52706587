# SPDX-License-Identifier: MIT
"""Every verb of the vector layer does on every ISA what its scalar definition does, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from bitmill import _core

VERBS = _core.verb_names()
SPECIAL = np.array(
    [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 2**-149, -(2**-149), 2**-126, 8388607.5, 8388608.5,
     16777216.0, -16777217.0, 2147483520.0, 2147483648.0, -2147483648.0, 3.4e38, -3.4e38, np.inf,
     -np.inf, np.nan, 1e-45],
    np.float32,
).view(np.int32)  # fmt: skip


def operands(rng, verb):
    """Pairs of 16 lanes: all special values against each other, then random bits."""
    first, second = (v.reshape(-1) for v in np.meshgrid(SPECIAL, SPECIAL))
    bits = rng.integers(-(2**31), 2**31, (2, 4096)).astype(np.int32)
    a, b = np.concatenate([first, bits[0]]), np.concatenate([second, bits[1]])
    a, b = a[: a.size // 16 * 16].reshape(-1, 16), b[: b.size // 16 * 16].reshape(-1, 16)
    if verb == "lookup16_u8":  # the same 16 bytes four times by contract
        b = np.tile(b[:, :4], 4)
    if verb in ("rank16", "code16"):  # in ascending order by contract; some equal to what is ranked
        b = np.where(rng.random(b.shape) < 0.3, a, b)
        b = np.sort(np.nan_to_num(b.view(np.float32), nan=1.0, posinf=np.inf, neginf=-np.inf))
        b = b.view(np.int32)
    if verb == "quotient":  # of scales with reciprocals, from 2^-3 to below 2^31 by contract
        steps = np.ldexp(rng.uniform(1, 2, a.shape), rng.integers(-2, 30, a.shape))
        scale = np.ldexp(rng.uniform(-2, 2, a.shape), rng.integers(-80, 80, a.shape))
        ties = rng.random(a.shape) < 0.5  # of halves of scales of few digits: exact ties
        steps = np.where(ties, rng.integers(1, 512, a.shape) / 2, steps)
        scale = np.where(ties, np.ldexp(np.rint(np.ldexp(scale, 90)), -90), scale)
        b = scale.astype(np.float32)
        a, b = (steps * b).astype(np.float32).view(np.int32), b.view(np.int32)
    return a, b


def apply(verb, a, b, n=16):
    out = np.empty(16, np.int32)
    _core.apply_verb(VERBS.index(verb), a, b, n, out)
    return out


@pytest.mark.parametrize("verb", VERBS)
def test_verb_equals_its_scalar_definition(isa, rng, verb):
    a, b = operands(rng, verb)
    got = [apply(verb, *pair) for pair in zip(a, b, strict=True)]
    _core.use_isa("scalar")
    wanted = [apply(verb, *pair) for pair in zip(a, b, strict=True)]
    _core.use_isa(isa)
    got, wanted = np.array(got), np.array(wanted)
    if verb.endswith("_f32") and verb[:3] in ("add", "sub", "mul", "div"):
        nan = np.isnan(wanted.view(np.float32))  # which NaN is the compiler's choice of operands
        assert (np.isnan(got.view(np.float32)) == nan).all()
        got[nan] = wanted[nan] = 0
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("n", range(17))
def test_lanes_beyond_a_partial_load_are_zero(isa, n):
    a = np.arange(1, 17, dtype=np.int32)
    assert apply("add_i32", a, np.zeros(16, np.int32), n).tolist() == [
        *range(1, n + 1),
        *[0] * (16 - n),
    ]


def test_ranks_count_the_thresholds_below(isa):
    thresholds = np.array([*range(13), np.inf, np.inf, 0], np.float32)  # the last is none
    x = np.array([-1, -0.0, 0, 0.5, 1, 3.5, 7, 7.5, 11, 11.5, 12, 12.5, 1e30, np.inf, np.nan, 5.5])
    got = apply("rank16", x.astype(np.float32).view(np.int32), thresholds.view(np.int32))
    assert got.tolist() == [0, 0, 0, 1, 1, 4, 7, 8, 11, 12, 12, 13, 13, 13, 0, 6]


def test_codes_are_those_of_the_ranks(isa, rng):
    """Thresholds far from each other and near, fewer than 15, equal ones, and what lies next."""
    for _ in range(300):
        gaps = rng.uniform(rng.choice([0.02, 0.9]), 1, 15)
        middle = rng.uniform(0, 1) * gaps.sum()
        thresholds = np.append((np.cumsum(gaps) - middle) * 2.0 ** rng.integers(-120, 110), 0)
        thresholds = thresholds.astype(np.float32)
        if rng.random() < 0.3:
            thresholds[3:6] = thresholds[3]
        thresholds[rng.integers(1, 17) :] = np.inf
        near = [np.nextafter(thresholds, np.float32(side)) for side in (-np.inf, np.inf)]
        odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0, -0.0, 1e-45], np.float32)
        x = rng.permutation(np.concatenate([thresholds, *near, odd]))[:16]
        order = x.view(np.int32)  # the verb takes both from one operand
        got = apply("code16", order, thresholds.view(np.int32))
        ranks = (thresholds[:15, None] < x).sum(axis=0)
        assert got.tolist() == order[ranks].tolist()


@pytest.mark.parametrize("verb", ["gather", "lookup16"])
def test_lookups_take_the_lanes_of_a_table(isa, rng, verb):
    table = rng.integers(-(2**31), 2**31, 16).astype(np.int32)
    index = rng.permutation(16).astype(np.int32)
    assert (apply(verb, index + 16 * (verb == "lookup16"), table) == table[index]).all()


def test_lookups_of_bytes_take_the_bytes_of_a_table(isa, rng):
    table = rng.integers(0, 256, 16, np.uint8)
    index = rng.integers(0, 16, 64, np.uint8)
    got = apply("lookup16_u8", index.view(np.int32), np.tile(table, 4).view(np.int32))
    assert (got.view(np.uint8) == table[index]).all()


@pytest.mark.parametrize("verb", ["min_f32", "max_f32"])
def test_extremes_give_the_second_operand_where_either_is_nan(isa, verb):
    nan, one = np.full(16, np.nan, np.float32), np.ones(16, np.float32)
    for a, b in ((nan, one), (one, nan)):
        assert (apply(verb, a.view(np.int32), b.view(np.int32)) == b.view(np.int32)).all()


def test_rounding_is_to_nearest_even(isa):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5] * 2, np.float32)
    got = apply("to_i32", x.view(np.int32), x.view(np.int32))
    assert got[:8].tolist() == [0, 2, 2, 0, -2, -2, 126, 128]
