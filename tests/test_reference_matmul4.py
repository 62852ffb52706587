# SPDX-License-Identifier: MIT
"""Products with weights of 4 bits, twin and kernels, beside numbers worked by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

import cases
import engines
from bitmill import _core, kernels
from bitmill._arguments import MOST_W8A8
from bitmill.layouts import Nibbles, Tiles
from bitmill.schemes.tables import IQ4_NL, NF4
from conftest import same_bits

PANELS = Tiles(16, inner=Nibbles(8, signed=False))


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def per_group(columns, length, size, value, dtype=np.float32):
    """Parameters of all groups of so many rows, of one value."""
    return np.full((-(-columns // 16), -(-length // (size or length)), 16), value, dtype)


def ones(rows):
    return np.ones((rows, 1), np.float32)


def test_w4a8_by_hand(fn):
    # (x - 10) is [-9, -8], (w - 8) [[1, 2], [-3, 0]]: sums -25 and 27.
    x, w = np.uint8([[1, 2]]), PANELS.pack(np.uint8([[9, 10], [5, 8]]))
    given = np.float32([[0.5]]), np.uint8([[10]]), w, per_group(2, 2, None, 0.25)
    assert fn.matmul_w4a8(x, *given, rows=2).tolist() == [[-25 / 8, 27 / 8]]
    bias = np.float32([1, -2])
    assert fn.matmul_w4a8(x, *given, None, None, bias, rows=2).tolist() == [[-17 / 8, 11 / 8]]
    zero = per_group(2, 2, None, 9, np.uint8)
    assert fn.matmul_w4a8(x, *given, zero, rows=2).tolist() == [[-8 / 8, 44 / 8]]


def test_w4a8_with_a_table_by_hand(fn):
    values = np.int8([-128, 127, *range(14)])
    x, w = np.int8([[-128, 127, 1]]), PANELS.pack(np.uint8([[0, 1, 5], [1, 0, 15]]))
    given = ones(1), None, w, per_group(2, 3, None, 1), None, values
    wanted = [[128 * 128 + 127 * 127 + 3, -2 * 128 * 127 + 13]]
    assert fn.matmul_w4a8(x, *given, rows=2).tolist() == wanted


def test_w4a16_by_hand(fn):
    x, w = np.float32([[0.5, 3]]), PANELS.pack(np.uint8([[9, 10], [5, 8]]))
    scale = per_group(2, 2, None, 0.25)
    assert fn.matmul_w4a16(x, w, scale, rows=2).tolist() == [[6.5 / 4, -1.5 / 4]]
    zero = per_group(2, 2, None, 9, np.uint8)
    assert fn.matmul_w4a16(x, w, scale, zero, rows=2).tolist() == [[3 / 4, -5 / 4]]
    values = np.float32([*range(8), 0.5, -1, 7, *range(5)])
    got = fn.matmul_w4a16(x, w, scale, None, values, np.float32([1, 2]), rows=2)
    assert got.tolist() == [[20.5 / 4 + 1, 4 / 4 + 2]]


def test_groups_are_added_in_their_order(fn):
    # 2^24 + 1 is a tie that goes to 2^24; 1 + 1 first would reach 2^24 + 2.
    x, w = np.ones((1, 24), np.int8), np.full((1, 24), 8, np.uint8)
    w[0, ::8] = 9
    scale = per_group(1, 24, 8, 1)
    scale[0, 0] = 2.0**24
    packed = PANELS.pack(w)
    assert fn.matmul_w4a8(x, ones(1), None, packed, scale, rows=1, group_size=8) == 2.0**24
    assert fn.matmul_w4a16(x.astype(np.float32), packed, scale, rows=1, group_size=8) == 2.0**24
    scale = scale[:, ::-1].copy()
    assert fn.matmul_w4a8(x, ones(1), None, packed, scale, rows=1, group_size=8) == 2.0**24 + 2
    assert fn.matmul_w4a16(x.astype(np.float32), packed, scale, rows=1, group_size=8) == 2.0**24 + 2


def test_products_of_floats_are_not_rounded_before_they_are_added(fn):
    # 3 * (2^24 - 1) by itself would be 3 * 2^24 - 4, and the sum a tie.
    x = np.zeros((1, 16), np.float32)
    x[0, :2] = 2.0**26 - 2.0**3, 2.0**24 - 1
    w = PANELS.pack(np.uint8([[9, 11] + [8] * 14]))
    exact = 2**26 - 2**3 + 3 * (2**24 - 1)
    rounded = np.float32(2**26 - 2**3) + np.float32(3) * np.float32(2**24 - 1)
    assert fn.matmul_w4a16(x, w, per_group(1, 16, None, 1), rows=1) == np.float32(exact) != rounded


@pytest.mark.parametrize("power", range(2, 24))
@pytest.mark.parametrize("sign", [-1, 1])
def test_sums_that_are_nearly_ties_are_rounded_once(fn, power, sign):
    # total + a * b, where a * b is half of the last bit of total but for its part 2^(-2 power).
    a, b = np.float32(1 - 2.0**-power), np.float32(sign * 2.0**-24 * (1 + 2.0**-power))
    for last in range(4):
        total = np.float32(1.5 + last * 2.0**-23)
        values = np.zeros(16, np.float32)
        values[:2] = total, b
        given = np.float32([[1, a]]), PANELS.pack(np.uint8([[0, 1]])), per_group(1, 2, None, 1)
        exact = Fraction(float(total)) + Fraction(float(a)) * Fraction(float(b))
        near = [np.nextafter(total, np.float32(side)) for side in (0, 2)] + [total]
        wanted = min(near, key=lambda v: abs(Fraction(float(v)) - exact))
        assert fn.matmul_w4a16(*given, None, values, rows=1) == wanted


def extremes(length, low, high):
    """Rows that have broken kernels which saturate."""
    alternating = np.tile([low, high], length // 2 + 1)[:length]
    rows = [np.full(length, low), np.full(length, high), alternating]
    return np.stack([*rows, np.repeat(alternating, 2)[:length], np.sort(alternating)])


LENGTHS = [1, 2, 7, 8, 9, 255, 1023, 1024, 1032, 4096, 14336, 65536]


@pytest.mark.parametrize("length", [*LENGTHS, MOST_W8A8])
@pytest.mark.parametrize("size", [None, 32, 128])
def test_w4a8_never_saturates(fn, length, size):
    x, codes = extremes(length, 0, 255).astype(np.uint8), extremes(length, 0, 15).astype(np.uint8)
    w, scale = PANELS.pack(codes), per_group(5, length, size, 1)
    for x_zero in (0, 128, 255):
        centred = x.astype(np.int64) - x_zero
        zeros = np.full((5, 1), x_zero, np.uint8)
        for zero in (0, 8, 15):
            given = w, scale, per_group(5, length, size, zero, np.uint8)
            got = fn.matmul_w4a8(x, ones(5), zeros, *given, rows=5, group_size=size)
            wanted = in_groups(centred, codes.astype(np.int64) - zero, size)
            same_bits(got, wanted)


@pytest.mark.parametrize("length", [*LENGTHS, MOST_W8A8])
@pytest.mark.parametrize("size", [None, 32])
def test_tables_of_extremes_never_saturate(fn, length, size):
    x, codes = extremes(length, -128, 127).astype(np.int8), extremes(length, 0, 1).astype(np.uint8)
    values = np.int8([-128, 127] + [0] * 14)
    given = ones(5), None, PANELS.pack(codes), per_group(5, length, size, 1), None, values
    got = fn.matmul_w4a8(x, *given, rows=5, group_size=size)
    same_bits(got, in_groups(x.astype(np.int64), values.astype(np.int64)[codes], size))


def in_groups(x, w, size):
    """Exact sums of each group, rounded to float32 and added."""
    total = np.zeros((len(x), len(w)), np.float32)
    for k in range(0, x.shape[1], size or x.shape[1]):
        part = slice(k, k + (size or x.shape[1]))
        total = total + (x[:, part] @ w[:, part].T).astype(np.float32)
    return total


@pytest.mark.parametrize("columns", [0, 1, 15, 16, 17, 48, 49])
def test_shapes_that_fit_no_tile(fn, rng, columns):
    for rows in [*range(10), 16, 17, 129]:
        for length in (0, 1, 4, 7, 8, 9, 33, 1031):
            x = rng.integers(-128, 128, (rows, length)).astype(np.int8)
            codes = rng.integers(0, 16, (columns, length), np.uint8)
            for size in (None, 32) if length else (None,):
                scale = (
                    per_group(columns, length, size, 1)
                    if length
                    else np.ones((-(-columns // 16), 0, 16), np.float32)
                )
                wanted = (
                    in_groups(x.astype(int), codes.astype(int) - 8, size)
                    if length
                    else (np.zeros((rows, columns), np.float32))
                )
                options = {"rows": columns, "group_size": size}
                w = PANELS.pack(codes)
                same_bits(fn.matmul_w4a8(x, ones(rows), None, w, scale, **options), wanted)
                got = fn.matmul_w4a16(x.astype(np.float32), w, scale, **options)
                same_bits(got, wanted)  # whole numbers below 2^24


@pytest.mark.parametrize("values", [NF4.VALUES, IQ4_NL.VALUES])
def test_w4a16_is_near_the_exact_sum(fn, rng, values):
    table = np.array(values, np.float32)
    x, codes = rng.standard_normal((3, 100), np.float32), rng.integers(0, 16, (20, 100), np.uint8)
    scale = rng.uniform(0.5, 2, (2, 4, 16)).astype(np.float16)
    given = PANELS.pack(codes), scale, None, table
    got = fn.matmul_w4a16(x, *given, rows=20, group_size=32)
    per_row = scale.swapaxes(1, 2).reshape(32, 4)
    for m, n in ((0, 0), (2, 19), (1, 17)):
        terms = [
            Fraction(float(x[m, k])) * Fraction(float(table[codes[n, k]]))
            * Fraction(float(per_row[n, k // 32]))
            for k in range(100)
        ]  # fmt: skip
        most = sum(map(abs, terms))
        assert abs(Fraction(float(got[m, n])) - sum(terms)) <= most * 30 * Fraction(2) ** -24


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_nothing(isa, rng, threads):
    before = _core.share_from(0)
    for rows, columns, length in [(1, 700, 300), (300, 100, 700), (17, 49, 2100)]:
        x = cases._bytes(rng, 0, (rows, length), np.int8)
        w = PANELS.pack(rng.integers(0, 16, (columns, length), np.uint8))
        scale = per_group(columns, length, 32, 0.1, np.float16)
        options = {"rows": columns, "group_size": 32}
        for call in (
            lambda n: kernels.matmul_w4a8(x, ones(rows), None, w, scale, **options, num_threads=n),  # noqa: B023
            lambda n: kernels.matmul_w4a16(x / np.float32(3), w, scale, **options, num_threads=n),  # noqa: B023
        ):
            same_bits(call(threads), call(1))
    _core.share_from(before)


def test_what_fills_up_panels_does_not_matter(fn, rng):
    codes = rng.integers(0, 16, (18, 13), np.uint8)
    x = rng.integers(-128, 128, (9, 13)).astype(np.int8)
    zeros = rng.integers(-128, 128, (9, 1)).astype(np.int8)
    scale = per_group(18, 13, 8, 1)
    options = {"rows": 18, "group_size": 8}
    packed = [Tiles(16, inner=Nibbles(8, signed=False, pad=p)).pack(codes) for p in (0, 15)]
    got = [fn.matmul_w4a8(x, ones(9), zeros, w, scale, **options) for w in packed]
    same_bits(*got)
    same_bits(*(fn.matmul_w4a16(x.astype(np.float32), w, scale, **options) for w in packed))


WORK = """
import numpy as np, bitmill as bm
from bitmill.layouts import Nibbles, Tiles
x = np.tile(np.int8([-128, 127]), (5, 32768)); x[0] = -128; x[1] = 127
w = np.tile(np.uint8([0, 15]), (5, 32768)); w[0] = 15; w[1] = 0
packed = Tiles(16, inner=Nibbles(8, signed=False)).pack(w)
scale, one = np.ones((1, 1, 16), np.float32), np.ones((5, 1), np.float32)
out = bm.kernels.matmul_w4a8(x, one, None, packed, scale, rows=5)
assert (out == (x.astype(np.int64) @ (w.astype(np.int64) - 8).T).astype(np.float32)).all()
more = bm.kernels.matmul_w4a16(x / np.float32(3), packed, scale, rows=5)
print(bm.isa(), out.tobytes().hex() + more.tobytes().hex())
"""


def test_every_isa_in_its_own_process_gives_the_same():
    found = set()
    for isa in _core.isas():
        command = [sys.executable, "-W", "error", "-c", WORK]
        env = os.environ | {"BITMILL_ISA": isa}
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        name, out = run.stdout.split()
        assert name == isa
        found.add(out)
    assert len(found) == 1
