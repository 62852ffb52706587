# SPDX-License-Identifier: MIT
"""Exact k-means: no partition costs less, in rational arithmetic; and it is what it says it is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import engines
from bitmill import kernels
from bitmill.reference.divide import divided
from bitmill.reference.penalty import Path, penalized, spliced
from bitmill.reference.points import Costs, Points
from kmeans_oracle import Line

INSTANCES = 1200


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def instances():
    """Values and weights: many ties, clumps, far from 0, all magnitudes, weights of 0."""
    rng = np.random.default_rng(7)
    for i in range(INSTANCES):
        n = int(rng.integers(1, 13))
        values = [
            rng.integers(-4, 5, n).astype(float),
            rng.standard_normal(n),
            np.repeat(rng.integers(0, 5, n), 3)[:n] + rng.integers(-1, 2, n) / 64,
            rng.integers(-20, 20, n) + 2.0**20,
            np.ldexp(rng.integers(1, 9, n) * rng.choice([-1.0, 1.0], n), rng.integers(-9, 9, n)),
        ][i % 5]
        weights = [np.ones(n), rng.integers(0, 4, n) * 1.0, rng.random(n), rng.integers(1, 3, n)][
            i % 4
        ].astype(float)
        yield np.sort(values), weights if weights.any() else np.ones(n)


def test_no_partition_costs_less():
    for values, weights in instances():
        line = Line(values.tolist(), weights.tolist())
        for k, least in enumerate(line.optima(len(values)), 1):
            found = kernels.kmeans_edges(values[np.newaxis], weights[np.newaxis], k)
            assert line.partition(found.edges[0].tolist()) == least, (values, weights, k)


def test_both_solvers_find_the_optimum():
    for values, weights in instances():
        points = Points.of(values, weights)
        line = Line(points.x.tolist(), points.w.tolist())
        costs = Costs(points)
        for k, least in enumerate(line.optima(len(points.x)), 1):
            assert line.partition(divided(costs, k)) == least, (values, weights, k)
            if 1 < k < len(points.x):
                assert line.partition(penalized(costs, k)) == least, (values, weights, k)


def test_no_partition_around_zero_costs_less():
    for i, (values, weights) in enumerate(instances()):
        values = values - (2.0**20 if i % 5 == 3 else 0)
        line = Line(values.tolist(), weights.tolist())
        for k, least in enumerate(line.optima(len(values) + 1, pin_zero=True), 1):
            found = kernels.kmeans_edges(values[np.newaxis], weights[np.newaxis], k, pin_zero=True)
            edges, zero = found.edges[0].tolist(), int(found.zero[0])
            assert line.partition(edges, zero) == least, (values, weights, k)
            assert found.centroids[0, zero] == 0
            centroids = found.centroids[0, : zero + 1], found.centroids[0, zero:]
            assert all((np.diff(part) >= 0).all() for part in centroids)


def test_a_splice_has_the_number_of_clusters_asked_for():
    few, many = [0, 4, 9], [0, 1, 2, 3, 5, 9]
    for k in (3, 4):
        places = spliced(Path(few, 0.0, 0.0), Path(many, 0.0, 0.0), k)
        assert len(places) == k + 1
        assert len(set(pairwise(places)) - set(pairwise(few)) - set(pairwise(many))) <= 1


def test_clusters_by_hand(fn):
    found = fn.kmeans_edges(np.array([[0.0, 1, 1, 5, 6, 20]]), None, 3)
    assert found.edges.tolist() == [[0, 3, 5, 6]]
    assert found.centroids.tolist() == [[2 / 3, 5.5, 20]]
    assert found.cost[0] == pytest.approx(2 / 3 + 0.5, rel=1e-15)
    assert found.zero.tolist() == [-1]


def test_weights_move_centroids_and_edges(fn):
    values = np.array([[0.0, 1, 2, 3]])
    found = fn.kmeans_edges(values, np.array([[1.0, 9, 1, 1]]), 2)
    assert found.edges.tolist() == [[0, 2, 4]]
    assert found.centroids.tolist() == [[0.9, 2.5]]


def test_equal_costs_end_early(fn):
    assert fn.kmeans_edges(np.array([[0.0, 1, 2]]), None, 2).edges.tolist() == [[0, 1, 3]]


def test_more_clusters_than_values(fn):
    found = fn.kmeans_edges(np.array([[1.0, 1, 4]]), None, 5)
    assert found.edges.tolist() == [[0, 2, 3, 3, 3, 3]]
    assert found.centroids.tolist() == [[1, 4, 4, 4, 4]]
    assert found.cost.tolist() == [0]


def test_values_without_weight_follow_the_one_below(fn):
    values = np.array([[-9.0, 1, 1, 3, 4, 4, 7]])
    weights = np.array([[0.0, 0, 1, 0, 0, 2, 0]])
    found = fn.kmeans_edges(values, weights, 2)
    assert found.edges.tolist() == [[0, 4, 7]]
    assert found.centroids.tolist() == [[1, 4]]
    none = fn.kmeans_edges(values, np.zeros((1, 7)), 2)
    assert none.edges.tolist() == fn.kmeans_edges(values, None, 2).edges.tolist()


@pytest.mark.parametrize("offset", [0.0, 2.0**30, -(2.0**60), 2.0**127])
def test_an_offset_changes_no_partition(fn, offset):
    step = max(1.0, abs(offset) * 2.0**-20)
    values = np.sort(np.random.default_rng(1).integers(-99, 100, (1, 40)), axis=1) * step
    for k in (3, 11):
        wanted = fn.kmeans_edges(values, None, k)
        found = fn.kmeans_edges(values + offset, None, k)
        assert found.edges.tolist() == wanted.edges.tolist()
        np.testing.assert_allclose(found.centroids - offset, wanted.centroids, atol=step * 1e-7)


@pytest.mark.parametrize("scale", [2.0**-149, 1e-38, 1e30])
def test_any_magnitude(fn, scale):
    values = np.array([[-3.0, -1, 0, 2, 7, 7.5]]) * scale
    assert fn.kmeans_edges(values, None, 3).edges.tolist() == [[0, 2, 4, 6]]


def test_constant_rows_and_single_values(fn):
    for values in (np.full((2, 5), -3.25), np.array([[7.0]])):
        for k in (1, 2):
            found = fn.kmeans_edges(values, None, k)
            assert (found.centroids == values[:, :1]).all()
            assert (found.cost == 0).all()


def test_zero_centroids_are_positive(fn):
    values = np.array([[-1.0, -0.0, 1.0]])
    for pin_zero in (False, True):
        for k in (1, 2, 3):
            found = fn.kmeans_edges(values, None, k, pin_zero=pin_zero).centroids
            assert not np.signbit(found[found == 0]).any()


def test_pinned_to_zero_by_hand(fn):
    values = np.array([[-8.0, -1, 1, 2, 9]])
    found = fn.kmeans_edges(values, None, 3, pin_zero=True)
    assert found.edges.tolist() == [[0, 1, 4, 5]]
    assert (found.centroids.tolist(), found.zero.tolist()) == ([[-8, 0, 9]], [1])
    assert found.cost.tolist() == [6]


def test_the_cluster_of_zero_may_be_empty(fn):
    found = fn.kmeans_edges(np.array([[5.0, 6, 9]]), None, 3, pin_zero=True)
    assert found.edges.tolist() == [[0, 0, 2, 3]]
    assert (found.centroids.tolist(), found.zero.tolist()) == ([[0, 5.5, 9]], [0])


@pytest.mark.parametrize("k", [3, 16])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_chunks_change_nothing(isa, rng, k, threads):
    values = np.sort(rng.standard_normal((70, 300)), axis=1)
    weights = rng.random(values.shape)
    whole = kernels.kmeans_edges(values, weights, k, num_threads=threads)
    parts = [
        kernels.kmeans_edges(values[i : i + 7], weights[i : i + 7], k) for i in range(0, 70, 7)
    ]
    for field, column in enumerate(whole):
        assert column.tobytes() == np.concatenate([part[field] for part in parts]).tobytes()
