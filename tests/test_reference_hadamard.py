# SPDX-License-Identifier: MIT
"""Products with Hadamard matrices, twin and kernel, beside the matrices themselves."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import engines
from bitmill import kernels, reference
from bitmill._hadamard import order_of, sign_matrix
from conftest import same_bits


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def whole(n):
    """H of order n as the Kronecker product that defines it, int64."""
    matrix = sign_matrix(order_of(n)).astype(np.int64)
    while len(matrix) < n:
        matrix = np.kron(matrix, [[1, 1], [1, -1]])
    return matrix


@pytest.mark.parametrize("order", [1, 12, 20])
def test_the_rows_of_a_sign_matrix_are_orthogonal_and_it_is_symmetric(order):
    signs = sign_matrix(order)
    assert (np.abs(signs) == 1).all()
    assert (signs @ signs.T == order * np.eye(order)).all()
    assert (signs == signs.T).all()


def test_orders():
    assert [n for n in range(101) if order_of(n)] == [
        1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96,
    ]  # fmt: skip


def test_by_hand(fn):
    x = np.float32([[1, 2, 3, 4], [0, 0, 0, 8]])
    assert fn.hadamard(x).tolist() == [[5, -1, -2, 0], [4, -4, -4, 4]]
    sign = np.int8([1, -1, 1, 1])
    assert fn.hadamard(x, sign=sign).tolist() == [[3, 1, -4, 2], [4, -4, -4, 4]]


@pytest.mark.parametrize("n", [4**k for k in range(7)])
def test_whole_numbers_give_exact_sums(fn, rng, n):
    x = rng.integers(-99, 100, (5, n))
    got = fn.hadamard(x.astype(np.float32))
    same_bits(got, (x @ whole(n) / np.sqrt(n)).astype(np.float32) + np.float32(0))


@pytest.mark.parametrize("n", [n for n in cases.ROTATED if n <= 1536])
def test_is_a_product_with_the_matrix(fn, rng, n):
    x = rng.standard_normal((7, n), np.float32)
    sign = rng.choice(np.array([-1, 1], np.int8), n)
    exact = (x.astype(np.float64) * sign) @ whole(n) / np.sqrt(n)
    off = np.abs(fn.hadamard(x, sign=sign) - exact).max()
    assert off <= 1e-6 * np.linalg.norm(x, axis=1).max()


@pytest.mark.parametrize("n", [1, 2, 12, 40, 1536, 2560, 4096])
def test_twice_is_what_it_was(fn, rng, n):
    x = rng.standard_normal((3, n), np.float32)
    again = fn.hadamard(fn.hadamard(x))
    assert np.abs(again - x).max() <= 1e-5 * np.abs(x).max()
    norms = np.linalg.norm(fn.hadamard(x), axis=1) / np.linalg.norm(x, axis=1)
    assert np.abs(norms - 1).max() < 1e-6


def test_rows_with_nan_or_infinity_do_not_reach_others(fn, rng):
    x = rng.standard_normal((3, 48), np.float32)
    clean = fn.hadamard(x)
    x[1, 5] = np.inf
    got = fn.hadamard(x)
    assert not np.isfinite(got[1]).any()
    same_bits(got[::2].copy(), clean[::2].copy())


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(5000, 384), (3, 12 << 16)])
def test_rows_shared_by_threads_equal_the_twin(isa, rng, shape, name):
    x = reference.from_float32(rng.standard_normal(shape, np.float32), name)
    wanted = reference.hadamard(x)
    for threads in (1, 3):
        same_bits(kernels.hadamard(x, num_threads=threads), wanted)
