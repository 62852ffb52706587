# SPDX-License-Identifier: MIT
"""k-means of 16 million values and of rows; beside others, of as many values as they can take."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from arrays import at_a_line
from bitmill import kernels
from bitmill.kmeans import row_centroids
from ceilings import one_pass
from conftest import DTYPES
from peers import load

SIZE = 1 << 24
ROWS = (4096, 4096)
FEW = {"numpy": 1 << 20, "sklearn": 1 << 18, "kmeans1d": 1 << 17}
"""How many values a peer can take in a second or so."""


@pytest.fixture(scope="module")
def normal():
    """Normal weights in each dtype, and in float32 with few different values."""
    x = np.random.default_rng(0).standard_normal(SIZE, np.float32)
    made = {name: at_a_line(x.astype(of)) for name, of in DTYPES.items()}
    return made | {"few": at_a_line(made["f16"].astype(np.float32))}


def checked(x, k):
    """A codebook with the inertia of its assignments, near what theory says of normal weights."""
    book = bm.kmeans1d(x, k, num_threads=1)
    d = x.astype(np.float64) - book.centroids[book.assignments]
    assert np.isclose(book.inertia, d @ d, rtol=1e-7)
    wanted = bm.lloyd_max("gauss", k.bit_length() - 1).mse
    assert np.isclose(book.inertia / x.size, wanted, rtol=0.1)
    return book


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32", "few"])
@pytest.mark.parametrize("k", [16, 256])
def bench_kmeans1d(race, normal, isa, k, dtype):
    x = normal[dtype]
    checked(x, k)
    race(
        lambda: bm.kmeans1d(x, k, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + x.size,
        ceiling=one_pass(x, x.size),
    )


@pytest.mark.parametrize("peer", FEW)
@pytest.mark.parametrize("k", [16, 256])
def bench_kmeans1d_peers(race, normal, k, peer):
    x = normal["f32"][: FEW[peer]]
    if (peer, k) in (("sklearn", 256), ("kmeans1d", 256)):
        pytest.skip("takes many seconds")
    rival = load(peer).kmeans1d(x, k, checked(x, k).inertia)
    rival.check(rival.run())
    race(
        lambda: bm.kmeans1d(x, k, num_threads=1),
        size=x.size,
        nbytes=x.nbytes + x.size,
        rivals={peer: rival.run},
    )


@pytest.mark.parametrize("pin_zero", [False, True], ids=["free", "pinned"])
def bench_row_centroids(race, normal, isa, pin_zero):
    if isa == "scalar":
        pytest.skip("takes minutes")
    x = normal["f32"].reshape(ROWS)[:256]
    found = row_centroids(x, 16, pin_zero=pin_zero, num_threads=1)
    kernel = kernels.kmeans_edges(np.sort(x.astype(np.float64)), None, 16, pin_zero=pin_zero)
    assert found.tobytes() == kernel.centroids.tobytes()
    race(
        lambda: row_centroids(x, 16, pin_zero=pin_zero, num_threads=1),
        size=x.size,
        nbytes=x.nbytes,
    )


@pytest.mark.parametrize("k", [4, 5, 16, 256])
def bench_kmeans_edges(race, normal, isa, k):
    """The two solvers, on both sides of where one gives way to the other."""
    rows = np.sort(normal["f32"].reshape(ROWS)[:16].astype(np.float64), axis=1)
    costs = kernels.kmeans_edges(rows, None, k).cost
    assert (costs < kernels.kmeans_edges(rows, None, k - 1).cost).all()
    race(
        lambda: kernels.kmeans_edges(rows, None, k, num_threads=1),
        size=rows.size,
        nbytes=rows.nbytes,
    )
