# SPDX-License-Identifier: MIT
"""Integer products, twin and kernels, beside numbers worked by hand and in Python's integers."""

from __future__ import annotations

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import cases
import engines
from bitmill import _core, kernels
from bitmill._arguments import MOST_INT8, MOST_W8A8
from bitmill.layouts import Integers, Tiles
from conftest import same_bits


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def weights(codes, scale=1.0, zero_point=128):
    """What `matmul_w8a8` takes of uint8 codes with one scale and zero-point."""
    rows = len(codes)
    zeros = np.full((rows, 1), zero_point, np.uint8)
    sums = codes.sum(axis=1, keepdims=True, dtype=np.int64) - codes.shape[1] * zero_point
    scales = np.full((rows, 1), scale, np.float32)
    return Tiles(16, inner=Integers("uint8")).pack(codes), scales, zeros, sums.astype(np.int32)


def test_int8_by_hand(fn):
    x, w = np.int8([[1, 2, 3], [-4, 5, -6]]), np.int8([[7, 8, 9], [-1, 0, 1]])
    assert fn.matmul_int8(x, w).tolist() == [[50, 2], [-42, -2]]


def test_w8a8_by_hand(fn):
    # (x - 10) is [-9, -8], (w - 128) [[1, 2], [-3, 0]]: sums -25 and 27.
    x, codes = np.uint8([[1, 2]]), np.uint8([[129, 130], [125, 128]])
    given = np.float32([[0.5]]), np.uint8([[10]]), *weights(codes, 0.25)
    assert fn.matmul_w8a8(x, *given).tolist() == [[-25 / 8, 27 / 8]]
    bias = np.float32([1, -2])
    assert fn.matmul_w8a8(x, *given, bias).tolist() == [[-17 / 8, 11 / 8]]


@pytest.mark.parametrize("dtype_name", ["float32", "float16", "bfloat16"])
def test_w8a8_rounds_the_sum_then_each_product_then_the_bias(fn, dtype_name):
    x = np.full((1, 2100), 127, np.int8)
    codes = np.full((1, 2100), 255, np.uint8)
    codes[0, 0] = 254  # 127 * (127 * 2100 - 1) needs 26 bits
    scales, bias = np.float32([[0.1]]), np.float32([1e-3])
    y = np.float32(127 * (127 * 2100 - 1)) * np.float32(0.1) * np.float32(1e-7) + bias
    got = fn.matmul_w8a8(x, scales, None, *weights(codes, 1e-7), bias, dtype_name=dtype_name)
    same_bits(got, y.reshape(1, 1).astype(getattr(ml_dtypes, dtype_name, dtype_name)))


def test_a_zero_keeps_its_sign_without_a_bias(fn):
    x, codes = np.zeros((1, 3), np.int8), np.full((2, 3), 200, np.uint8)
    given = np.float32([[-1]]), None, *weights(codes)
    assert np.signbit(fn.matmul_w8a8(x, *given)).all()
    assert not np.signbit(fn.matmul_w8a8(x, *given, np.zeros(2, np.float32))).any()


def panels(codes, zero_point=128):
    """What `matmul_sums` takes of uint8 codes with one zero-point."""
    tiles, _, zeros, _ = weights(codes, zero_point=zero_point)
    return tiles, zeros


def test_sums_by_hand(fn):
    # (w - 128) is [[1, 2], [-3, 0]], and (w - 125) [[4, 5], [0, 3]].
    x, codes, bias = np.int8([[1, 2]]), np.uint8([[129, 130], [125, 128]]), np.int32([100, -100])
    assert fn.matmul_sums(x, *panels(codes)).tolist() == [[5, -3]]
    assert fn.matmul_sums(x, *panels(codes), bias).tolist() == [[105, -103]]
    assert fn.matmul_sums(x, *panels(codes, 125), bias).tolist() == [[114, -94]]
    unsigned = np.uint8([[129, 130]])
    assert fn.matmul_sums(unsigned, *panels(codes), bias).tolist() == [[105, -103]]


def test_sums_wrap_around(fn):
    x, codes = np.int8([[1]]), np.uint8([[129], [127]])
    bias = np.int32([2**31 - 1, -(2**31)])
    assert fn.matmul_sums(x, *panels(codes), bias).tolist() == [[-(2**31), 2**31 - 1]]


def test_sums_are_requantized_by_hand(fn):
    # Sums 25 and -23: a quarter of the first is 6.25 (by way of 13, 6.5), half of the other -11.5.
    x, codes, bias = np.int8([[1, 2]]), np.uint8([[129, 130], [125, 128]]), np.int32([20, -20])
    factor = np.full(2, 1 << 30, np.int32), np.int32([-1, 0])
    given, full = (x, *panels(codes), bias, *factor), {"qmin": -128, "qmax": 127}
    assert fn.matmul_requantized(*given, **full).tolist() == [[6, -11]]
    assert fn.matmul_requantized(*given, 3, **full, rounding="double").tolist() == [[10, -8]]
    assert fn.matmul_requantized(*given, 3, qmin=3, qmax=8).tolist() == [[8, 3]]
    got = fn.matmul_requantized(*given, 200, qmin=0, qmax=255, dtype_name="uint8")
    assert got.dtype == np.uint8
    assert got.tolist() == [[206, 189]]


@pytest.mark.parametrize("length", [1, 4097, MOST_W8A8])
def test_extreme_sums_are_exact(fn, length):
    for value in (0, 255):
        codes = np.full((2, length), value, np.uint8)
        for x in (np.full((1, length), -128, np.int8), np.full((1, length), 255, np.uint8)):
            signed = int(x[0, 0]) - (128 if x.dtype == np.uint8 else 0)
            wanted = signed * (value - 128) * length
            assert fn.matmul_sums(x, *panels(codes)).tolist() == [[wanted, wanted]]


def extremes(length):
    """Rows of length K that have broken kernels which saturate: name, int8."""
    alternating = np.tile(np.int8([-128, 127]), length // 2 + 1)[:length]
    return {
        "least": np.full(length, -128, np.int8),
        "greatest": np.full(length, 127, np.int8),
        "alternating": alternating,
        "pairs": np.repeat(alternating, 2)[:length],
        "halves": np.sort(alternating),
        "ones": np.full(length, -1, np.int8),
    }


LENGTHS = [1, 2, 3, 4, 5, 255, 1023, 1024, 1025, 4096, 14336, 65535, 65536]


@pytest.mark.parametrize("length", [*LENGTHS, MOST_INT8])
def test_int8_never_saturates(fn, length):
    rows = np.stack(list(extremes(length).values()))
    wanted = rows.astype(np.int64) @ rows.astype(np.int64).T
    assert np.abs(wanted).max() < 2**31
    got = fn.matmul_int8(rows, rows)
    assert got.dtype == np.int32
    assert (got == wanted).all()


@pytest.mark.parametrize("length", [*LENGTHS, MOST_W8A8])
@pytest.mark.parametrize("zero_point", [0, 128, 255])
def test_w8a8_never_saturates(fn, length, zero_point):
    x = np.stack(list(extremes(length).values())).view(np.uint8) ^ np.uint8(128)
    ones = np.ones((len(x), 1), np.float32)
    for x_zero in (0, 128, 255):
        zeros = np.full((len(x), 1), x_zero, np.uint8)
        wanted = (x.astype(np.int64) - x_zero) @ (x.astype(np.int64) - zero_point).T
        got = fn.matmul_w8a8(x, ones, zeros, *weights(x, 1, zero_point))
        same_bits(got, wanted.astype(np.float32))


def test_the_longest_rows_are_those_whose_sums_fit():
    assert MOST_INT8 * 128 * 128 < 2**31 <= (MOST_INT8 + 1) * 128 * 128
    assert MOST_W8A8 * 128 * 255 < 2**31 <= (MOST_W8A8 + 1) * 128 * 255


@pytest.mark.parametrize("b", [0, 1, 127, 128, 255])
def test_every_byte_times_every_byte_at_every_place(fn, b):
    every = np.arange(256, dtype=np.uint8)
    for place in range(4):
        x, w = np.zeros((256, 8), np.int8), np.full((256, 8), b, np.uint8).view(np.int8)
        x[:, place] = x[:, 7] = every.view(np.int8)
        w[:, place] = every.view(np.int8)
        wanted = x.astype(np.int64) @ w.astype(np.int64).T
        assert (fn.matmul_int8(x, w) == wanted).all()


SIZES = [0, 1, 2, 3, 15, 16, 17, 47, 48, 49]


@pytest.mark.parametrize("columns", SIZES)
def test_shapes_that_fit_no_tile(fn, rng, columns):
    for rows in [*range(10), 15, 16, 17, 129]:
        for length in (0, 1, 3, 4, 5, 1023, 1025):
            x = rng.integers(-128, 128, (rows, length)).astype(np.int8)
            w = rng.integers(-128, 128, (columns, length)).astype(np.int8)
            wanted = x.astype(np.int32) @ w.astype(np.int32).T
            same_bits(fn.matmul_int8(x, w), wanted)


def test_what_fills_up_panels_does_not_matter(fn, rng):
    codes = rng.integers(0, 256, (18, 5), np.uint8)
    x = rng.integers(-128, 128, (9, 5)).astype(np.int8)
    given = weights(codes)
    spoiled = given[0].copy()
    spoiled[1, :, 2:] = 99
    spoiled[:, 1, :, 1:] = 98
    scales = np.ones((9, 1), np.float32)
    wanted = fn.matmul_w8a8(x, scales, None, *given)
    same_bits(fn.matmul_w8a8(x, scales, None, spoiled, *given[1:]), wanted)
    wanted = fn.matmul_sums(x, given[0], given[2])
    same_bits(fn.matmul_sums(x, spoiled, given[2]), wanted)


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_nothing(isa, rng, threads):
    before = _core.share_from(0)
    for shape in [(1, 700, 300), (300, 100, 700), (17, 49, 2100)]:
        rows, columns, length = shape
        x = cases._bytes(rng, 0, (rows, length), np.int8)
        w = cases._bytes(rng, 0, (columns, length), np.int8)
        wanted = kernels.matmul_int8(x, w, num_threads=1)
        same_bits(kernels.matmul_int8(x, w, num_threads=threads), wanted)
        given = np.ones((rows, 1), np.float32), None, *weights(w.view(np.uint8))
        wanted = kernels.matmul_w8a8(x, *given, num_threads=1)
        same_bits(kernels.matmul_w8a8(x, *given, num_threads=threads), wanted)
        given = (*panels(w.view(np.uint8)), np.arange(columns, dtype=np.int32))
        wanted = kernels.matmul_sums(x, *given, num_threads=1)
        same_bits(kernels.matmul_sums(x, *given, num_threads=threads), wanted)
        factor = np.full(columns, 1 << 30, np.int32), np.full(columns, -9, np.int32)
        options = {"qmin": -128, "qmax": 127}
        wanted = kernels.matmul_requantized(x, *given, *factor, **options, num_threads=1)
        got = kernels.matmul_requantized(x, *given, *factor, **options, num_threads=threads)
        same_bits(got, wanted)
    _core.share_from(before)


WORK = """
import numpy as np, bitmill as bm
x = np.tile(np.int8([-128, 127]), (5, 32768)); x[0] = -128; x[1] = 127
out = bm.kernels.matmul_int8(x, x)
assert (out == x.astype(np.int64) @ x.astype(np.int64).T).all()
print(bm.isa(), out.tobytes().hex())
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


X, W = np.ones((2, 5), np.int8), np.zeros((1, 2, 16, 4), np.uint8)
ZEROS = np.zeros((3, 1), np.uint8)
FACTOR = np.full(3, 1 << 30, np.int32), np.zeros(3, np.int32)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ((X.astype(np.int16), W, ZEROS), TypeError, "x has dtype int16; wanted int8, uint8"),
        ((X, W[:, :1], ZEROS), ValueError, r"w has shape \(1, 1, 16, 4\); wanted \(1, 2, 16, 4\)"),
        ((X, W, ZEROS[:, 0]), ValueError, r"w_zero_point has shape \(3,\); wanted"),
        ((X, W, ZEROS.T.copy()), ValueError, r"w_zero_point has shape \(1, 3\); wanted \(1, 1\)"),
        ((X, W, ZEROS, np.zeros(2, np.int32)), ValueError, r"bias has shape \(2,\); wanted \(3,\)"),
        ((X, W, ZEROS, np.zeros(3)), TypeError, "bias has dtype float64; wanted int32"),
    ],
)
def test_operands_of_sums_that_do_not_fit_are_refused(fn, given, error, message):
    with pytest.raises(error, match=message):
        fn.matmul_sums(*given)
    with pytest.raises(error, match=message):
        fn.matmul_requantized(*given[:3], given[3] if given[3:] else None, *FACTOR, qmin=0, qmax=1)


@pytest.mark.parametrize(
    ("factor", "options", "message"),
    [
        ((FACTOR[0][:2], FACTOR[1]), {}, r"multiplier has shape \(2,\); wanted \(3,\)"),
        ((FACTOR[0], FACTOR[1] + 31), {}, r"shift has values outside -31\.\.30"),
        ((*FACTOR, 128), {}, "zero_point=128 must be between -128 and 127"),
        (FACTOR, {"rounding": "up"}, "rounding='up' is not one of"),
        (FACTOR, {"out": np.zeros((2, 3), np.uint8)}, "out has dtype uint8; wanted int8"),
    ],
)
def test_factors_of_sums_that_do_not_fit_are_refused(fn, factor, options, message):
    with pytest.raises(ValueError, match=message):
        fn.matmul_requantized(X, W, ZEROS, None, *factor, qmin=-128, qmax=127, **options)
