# SPDX-License-Identifier: MIT
"""kmeans1d: every dtype and size, bounds that hold, and what else is there to compare with."""

from __future__ import annotations

import hashlib
import math

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import _core
from bitmill._dtypes import FLOATS, dtype
from bitmill._sizes import MOST_DISTINCT as FEW
from bitmill.kmeans import centroids, row_centroids
from conftest import needs


def inertia(x, book, weights=1.0):
    """Σw(x − centroid)² of a codebook, element by element."""
    d = x.astype(np.float64) - book.centroids[book.assignments]
    return float((weights * d * d).sum())


def check(x, book, k, weights=1.0):
    """What holds for every codebook."""
    assert book.centroids.shape == book.counts.shape == (k,)
    assert book.centroids.dtype == np.float64
    assert (np.diff(book.centroids) >= 0).all()
    assert book.assignments.shape == x.shape
    assert book.assignments.dtype == (np.uint8 if k <= 256 else np.uint16)
    assert (np.bincount(book.assignments.reshape(-1), minlength=k) == book.counts).all()
    assert book.inertia == pytest.approx(inertia(x, book, weights), rel=1e-7, abs=1e-300)
    assert book.exact == (book.bound == 0)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("k", [1, 2, 7, 16, 300])
def test_codebooks_of_every_dtype(isa, rng, name, k):
    x = rng.standard_normal((3, 50, 7)).astype(dtype(name))
    book = bm.kmeans1d(x, k)
    check(x.astype(np.float32), book, k)
    assert book.exact
    wanted = bm.kernels.kmeans_edges(
        np.sort(x.astype(np.float32).astype(np.float64).reshape(1, -1)), None, k
    )
    np.testing.assert_allclose(book.centroids, wanted.centroids[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_weights_per_element_and_per_column(isa, rng, name):
    x = rng.standard_normal((40, 25)).astype(dtype(name))
    columns = rng.random(25).astype(np.float32) * 8
    book = bm.kmeans1d(x, 5, columns)
    check(x, book, 5, columns.astype(np.float64))
    again = bm.kmeans1d(x, 5, np.broadcast_to(columns, x.shape))
    assert again.centroids.tobytes() == book.centroids.tobytes()
    assert book.inertia < inertia(x, bm.kmeans1d(x, 5), columns)


@pytest.mark.parametrize("exponent", [-1060, -300, 990, 1010])
def test_only_ratios_of_weights_matter(rng, exponent):
    x, w = rng.standard_normal(90).astype(np.float32), rng.integers(1, 8, 90).astype(float)
    plain, scaled = bm.kmeans1d(x, 3, w), bm.kmeans1d(x, 3, np.ldexp(w, exponent))
    assert scaled.centroids.tobytes() == plain.centroids.tobytes()
    assert scaled.inertia == math.ldexp(plain.inertia, exponent)


def test_an_inertia_that_float64_cannot_hold_is_refused():
    x = np.array([0, 1e20], np.float32)
    with pytest.raises(ValueError, match=r"weights are so large that Σw.* overflows float64: div"):
        bm.kmeans1d(x, 1, [1e300, 1e300])
    assert bm.KMeans(1).quantize(x.reshape(1, -1)).arrays["codebook"].shape == (1, 2)


def test_weights_that_are_all_zero_count_as_one(rng):
    x = rng.standard_normal(90).astype(np.float32)
    assert bm.kmeans1d(x, 3, np.zeros(90)).inertia == bm.kmeans1d(x, 3).inertia


@pytest.mark.parametrize("k", [3, 16, 200])
def test_many_values_are_within_the_bound(isa, rng, k):
    x = rng.standard_normal(3 * FEW).astype(np.float32)
    x[:1000] *= 30
    near, best = bm.kmeans1d(x, k), bm.kmeans1d(x, k, exact=True)
    check(x, near, k)
    check(x, best, k)
    assert (near.exact, best.exact) == (False, True)
    error, least = (math.sqrt(book.inertia / x.size) for book in (near, best))
    assert least <= error * (1 + 1e-12)
    assert error - least <= near.bound
    assert near.inertia <= best.inertia * 1.005


def test_many_weighted_values_are_within_the_bound(rng):
    x = rng.standard_normal((3, FEW)).astype(np.float32)
    w = rng.random(x.shape).astype(np.float32)
    near, best = bm.kmeans1d(x, 16, w), bm.kmeans1d(x, 16, w, exact=True)
    check(x, near, 16, w.astype(np.float64))
    total = w.astype(np.float64).sum()
    assert math.sqrt(near.inertia / total) - math.sqrt(best.inertia / total) <= near.bound


@pytest.mark.parametrize("of", [np.float32, np.float64])
def test_many_elements_of_few_values_are_exact(rng, of):
    halves = rng.standard_normal(2 * FEW).astype(ml_dtypes.bfloat16)
    few = rng.integers(0, 3000, 2 * FEW) / np.float32(700)
    for x, same in ((halves.astype(of), bm.kmeans1d(halves, 16)), (few.astype(of), None)):
        book = bm.kmeans1d(x, 16)
        check(x.astype(np.float32), book, 16)
        assert book.exact
        if same is not None:
            assert same.centroids.tobytes() == book.centroids.tobytes()
            assert same.assignments.tobytes() == book.assignments.tobytes()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_more_clusters_than_values(name):
    x = np.array([3, 1, 1, -2, 3], dtype(name))
    book = bm.kmeans1d(x, 6)
    assert book.centroids.tolist() == [-2, 1, 3, 3, 3, 3]
    assert book.assignments.tolist() == [2, 1, 1, 0, 2]
    assert book.counts.tolist() == [1, 2, 2, 0, 0, 0]
    assert (book.inertia, book.exact, book.bound) == (0, True, 0)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_zeros_of_both_signs_are_one_value(name):
    x = np.array([-0.0, 0.0, 1, -0.0], dtype(name))
    book = bm.kmeans1d(x, 2)
    assert book.centroids.tobytes() == np.array([0.0, 1.0]).tobytes()
    assert book.assignments.tolist() == [0, 0, 1, 0]


def test_subnormal_huge_and_constant_values():
    for values in ([2.0**-149, 3 * 2.0**-149, 9 * 2.0**-149], [-3e38, 3e38, 3.3e38], [5, 5, 5]):
        x = np.array(values, np.float32)
        check(x, bm.kmeans1d(x, 2), 2)
    assert bm.kmeans1d(x, 2).inertia == 0
    assert bm.kmeans1d(np.array([7], np.float32), 1).centroids.tolist() == [7]


@pytest.mark.parametrize("k", [2, 4, 256])
def test_zeros_of_both_signs_lie_in_one_cluster(isa, rng, k):
    """Of buckets, two end or begin with them, and an even number of clusters meet there."""
    x = np.concatenate([np.arange(-(1 << 18), 1 << 18), np.zeros(200)]) * 2.0**-149
    x = np.where((x == 0) & (rng.random(x.size) < 0.5), -0.0, x).astype(np.float32)
    for weights in (None, np.ones(x.size)):
        check(x, bm.kmeans1d(x, k, weights), k)


def test_an_offset_costs_no_accuracy(rng):
    x = (rng.integers(-500, 500, 3 * FEW) / 64 + 2.0**14).astype(np.float32)
    plain = bm.kmeans1d((x - np.float32(2.0**14)).astype(np.float32), 9)
    book = bm.kmeans1d(x, 9)
    check(x, book, 9)
    np.testing.assert_allclose(book.centroids - 2.0**14, plain.centroids, atol=1e-9)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("size", [50, 2 * FEW])
def test_values_that_are_not_finite_are_named(isa, name, size):
    x = np.ones(size, dtype(name))
    x[[7, 30]] = np.nan, -np.inf
    with pytest.raises(ValueError, match=r"x has 2 values .* the first, x.flat\[7\], is nan"):
        bm.kmeans1d(x, 2)
    with pytest.raises(ValueError, match=r"x has 2 values .* the first, x.flat\[7\], is nan"):
        centroids(x, 2)


def test_what_kmeans_refuses():
    x = np.ones((2, 3), np.float32)
    for call, message in {
        "no values": (lambda: bm.kmeans1d(x[:0], 2), r"x has shape \(0, 3\); no values have no"),
        "k": (lambda: bm.kmeans1d(x, 0), "k=0 must be between 1 and 4096"),
        "shape": (lambda: bm.kmeans1d(x, 2, np.ones(2)), r"weights has shape \(2,\); wanted"),
        "sign": (lambda: bm.kmeans1d(x, 2, -np.ones(3)), r"weights.flat\[0\] is -1.0; wanted"),
        "2-D": (lambda: row_centroids(x[0], 2), r"x has shape \(3,\); wanted 2-D"),
        "rows": (lambda: row_centroids(x, 2, rows_per_codebook=0), "rows_per_codebook=0"),
    }.values():
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="x has dtype int64"):
        bm.kmeans1d(np.ones(3, np.int64), 2)
    with pytest.raises(TypeError, match="exact=1 is a int; exact takes True or False"):
        bm.kmeans1d(x, 2, exact=1)


@pytest.mark.parametrize("span", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("pin_zero", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_have_the_centroids_of_their_pieces(isa, rng, span, pin_zero, weighted):
    x = rng.standard_normal((11, 60)).astype(np.float32)
    w = rng.random(60).astype(np.float32) if weighted else None
    found = row_centroids(x, 4, w, rows_per_codebook=span, pin_zero=pin_zero)
    pieces = [x[i : i + span] for i in range(0, 11, span)]
    wanted = [centroids(piece, 4, w, pin_zero=pin_zero) for piece in pieces]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    assert (found == 0).any(axis=1).all() == pin_zero


def test_pieces_of_many_values_are_clustered_as_tensors(rng):
    x = rng.standard_normal((5, FEW // 2)).astype(np.float32)
    found = row_centroids(x, 4, rows_per_codebook=2)
    for i, piece in enumerate((x[:2], x[2:4], x[4:])):
        assert found[i].tobytes() == centroids(piece, 4).tobytes()


def test_one_digest_for_every_isa_and_thread_count(isa):
    i = np.arange(300_000, dtype=np.uint64)
    mixed = (i * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20) & np.uint64(0xFFFFF)
    x = (mixed.astype(np.float32) / np.float32(1 << 20) - np.float32(0.5)).reshape(-1, 100)
    x *= x
    w = x[0] + np.float32(0.01)
    share_from = _core.share_from(0)
    try:
        digests = set()
        for threads in (1, 2, 5):
            sha = hashlib.sha256()
            for kind in (np.float32, ml_dtypes.bfloat16):
                for k, weights in ((4, None), (16, w), (200, None)):
                    book = bm.kmeans1d(x.astype(kind), k, weights, num_threads=threads)
                    sha.update(book.centroids.tobytes() + book.assignments.tobytes())
                    sha.update(row_centroids(x[:50].astype(kind), k, weights).tobytes())
            digests.add(sha.hexdigest())
    finally:
        _core.share_from(share_from)
    assert digests == {DIGEST}


DIGEST = "d9b74e564ef4c65aa0fe838978a5126f4bd40c639012c3da9420a0c229a99343"


def skewed(rng):
    return np.exp(2 * rng.standard_normal(400))


def bimodal(rng):
    return np.concatenate([rng.standard_normal(300), 5 + 0.1 * rng.standard_normal(100)])


def ties(rng):
    return np.rint(8 * rng.standard_normal(400)) / 8


def subnormal(rng):
    return np.rint(300 * rng.standard_normal(400)) * 2.0**-149


def far_away(rng):
    return 2.0**14 + rng.standard_normal(400)


def in_buckets(rng):
    return rng.standard_normal(FEW + 4000)


@pytest.mark.parametrize(
    ("values", "k", "starts"),
    [*((f, k, 10) for f in (skewed, bimodal, ties, subnormal, far_away) for k in (4, 16)),
     (bimodal, 50, 10), (in_buckets, 256, 1)],
)  # fmt: skip
def test_no_start_of_scikit_learn_does_better(rng, values, k, starts):
    cluster = needs("sklearn.cluster")
    x = values(rng).astype(np.float32)
    unit = np.float64(np.abs(x).max())
    wide = (x / unit)[:, np.newaxis]
    fitted = cluster.KMeans(k, n_init=starts, max_iter=50, random_state=0).fit(wide)
    assert bm.kmeans1d(x, k).inertia / unit / unit <= fitted.inertia_ * (1 + 1e-12)


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1, 200_000, 1_200_000])
@pytest.mark.parametrize("weighted", [False, True])
def test_few_different_values_are_solved_exactly_however_many_they_fill(isa, size, weighted):
    rng = np.random.default_rng(5)
    x = np.resize(rng.standard_normal(FEW).astype(np.float32), size)
    w = rng.integers(1, 9, size) * 0.125 if weighted else None
    books = [bm.kmeans1d(x, 8, w, num_threads=threads) for threads in (1, 3)]
    assert books[0].exact
    assert books[0].centroids.tobytes() == books[1].centroids.tobytes()
    assert books[0].counts.tolist() == books[1].counts.tolist()
    best = bm.kmeans1d(x, 8, w, exact=True)
    np.testing.assert_allclose(books[0].centroids, best.centroids, rtol=1e-12)
    assert (books[0].assignments == best.assignments).all()


def test_one_value_more_is_put_into_buckets():
    x = np.resize(np.arange(FEW + 1, dtype=np.float32), 200_000)
    assert not bm.kmeans1d(x, 8).exact
    x[x == FEW] = -0.0
    assert bm.kmeans1d(x, 8).exact


def test_few_values_that_are_pinned_to_zero_are_solved_exactly(rng):
    pool = np.sort(rng.standard_normal(5000).astype(np.float32))
    x = rng.permutation(np.repeat(pool, 40))
    best = bm.kernels.kmeans_edges(pool[np.newaxis].astype(np.float64), None, 8, pin_zero=True)
    np.testing.assert_allclose(centroids(x, 8, pin_zero=True), best.centroids[0], rtol=1e-12)
