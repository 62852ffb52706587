# SPDX-License-Identifier: MIT
"""Allocation under a budget: equal to enumeration, and to its own bound where that is too long."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from bitmill import _knapsack
from bitmill.allocation import allocate, frontier

LABELS = ("W2", "W3", "W4", "W8")
WIDTHS = (2, 2.5, 3, 3.5, 4, 5, 6, 8)


def instance(rng):
    """A few names with some labels each; small numbers, so that many choices are as good."""

    def error():
        return rng.choice([rng.random(), float(rng.randint(0, 5)), rng.random() * 1e-9])

    choices = {
        f"t{i}": [
            (label, rng.randint(0, 9), error()) for label in rng.sample(LABELS, rng.randint(1, 4))
        ]
        for i in range(rng.randint(1, 5))
    }
    fused = [["t0", "t2"]] if len(choices) > 2 and rng.random() < 0.5 else []
    return choices, fused


def enumerated(choices, fused, budget):
    """The least error, exactly, and the fewest bytes that it takes; None if nothing fits."""
    best = None
    for picked in itertools.product(*choices.values()):
        labels = dict(zip(choices, (label for label, _, _ in picked), strict=True))
        if any(len({labels[name] for name in group}) > 1 for group in fused):
            continue
        size = sum(size for _, size, _ in picked)
        found = sum(Fraction(error) for _, _, error in picked), size
        if size <= budget and (best is None or found < best):
            best = found
    return best


@pytest.mark.parametrize("seed", range(800))
def test_equals_enumeration(seed):
    rng = random.Random(seed)
    choices, fused = instance(rng)
    budget = rng.randint(0, 35)
    best = enumerated(choices, fused, budget)
    if best is None:
        with pytest.raises(ValueError, match=r"too small: the choices take from|no label"):
            allocate(choices, budget, fused=fused)
        return
    found = allocate(choices, budget, fused=fused)
    assert (found.error, found.bytes) == (float(best[0]), best[1])
    assert found.exact
    assert found.lower_bound <= found.error
    taken = {name: {label: rest for label, *rest in options} for name, options in choices.items()}
    chosen = [taken[name][label] for name, label in found.choice.items()]
    assert sum(size for size, _ in chosen) == found.bytes
    assert float(sum(Fraction(error) for _, error in chosen)) == found.error


@pytest.mark.parametrize("seed", range(100))
def test_points_of_the_frontier_are_allocations(seed):
    choices, fused = instance(random.Random(seed))
    labels = {}
    for point in frontier(choices, fused=fused) if enumerated(choices, fused, 99) else []:
        labels |= point.changed
        found = allocate(choices, point.bytes, fused=fused)
        assert (found.bytes, found.error) == point[:2]
        assert labels.keys() == choices.keys()


def model(tensors, seed):
    """Tensors of a few shapes, with errors that fall by about 6 dB a bit."""
    rng = random.Random(seed)
    choices = {}
    for i in range(tensors):
        size = rng.choice([4096 * 4096, 4096 * 11008, 4096 * 1024])
        least = rng.lognormvariate(0, 1) * size
        choices[f"layer.{i}"] = [
            (f"W{b}", int(size * b / 8), least * 4.0**-b * rng.uniform(0.8, 1.25)) for b in WIDTHS
        ]
    return choices


@pytest.mark.parametrize("seed", range(5))
def test_a_large_model_is_close_to_its_bound_and_the_same_on_every_run(seed):
    choices = model(400, seed)
    least, most = (frontier(choices)[end].bytes for end in (0, -1))
    for share in (0.1, 0.4, 0.8):
        budget = int(least + share * (most - least))
        found = allocate(choices, budget)
        assert found.exact
        assert found.bytes <= budget
        assert found.error * 0.998 <= found.lower_bound <= found.error
        assert allocate(dict(choices), budget) == found


def proportional(rng):
    """Errors that fall by 1 a byte: all choices of the same bytes are as good as each other."""
    sizes = sorted(2 * rng.randint(1, 10**6) for _ in range(8))
    return [(float(4 * 10**6 - size), size) for size in sizes]


def correlated(rng):
    sizes = sorted(rng.randint(1, 10**6) for _ in range(8))
    return [(4e6 - size + 1000 * i, size) for i, size in enumerate(sizes)]


def six_decibels_a_bit(rng):
    """The same gain per byte at each step in all tensors, whose sizes have no common factor."""
    size = rng.randint(10**6, 10**8)
    return [(size * 4.0**-b, size * b + rng.randint(0, 100)) for b in (2, 3, 4, 5, 6, 7, 8, 16)]


def concave(rng):
    """No choice but the first and the last is on the hull."""
    size = rng.randint(10**5, 10**7)
    return [(size * (1 - (b / 16) ** 2), size * b) for b in (2, 3, 4, 5, 6, 7, 8, 16)]


@pytest.mark.parametrize("kind", [proportional, correlated, six_decibels_a_bit, concave])
def test_the_search_ends_where_millions_of_choices_are_as_good_as_equal(kind, monkeypatch):
    made = []
    search = _knapsack._Search._with
    monkeypatch.setattr(
        _knapsack._Search,
        "_with",
        lambda self, *given: (made.append(self), search(self, *given))[1],
    )
    rng = random.Random(0)
    choices = {}
    for i in range(400):
        options = kind(rng)
        choices[f"t{i}"] = [(f"W{at}", size, error) for at, (error, size) in enumerate(options)]
    least, most = (frontier(choices)[end].bytes for end in (0, -1))
    found = allocate(choices, (least + most) // 2)
    assert found.error * (1 - 1e-5) <= found.lower_bound <= found.error
    assert made[-1].made < 5 * _knapsack.MOST_MADE  # and with each the time and the memory


def test_equal_tensors_are_allocated_without_a_search_through_all_of_their_orders():
    options = [(f"W{b}", b * 2**21, 4.0**-b) for b in (2, 3, 4, 5, 6, 8)]
    choices = {f"t{i}": options for i in range(400)}
    found = allocate(choices, 400 * 2**21 * 4 + 2**20)  # the half step is of no use
    assert found.exact
    assert found.lower_bound == found.error == 400 * 4.0**-4


def test_a_sum_beyond_the_largest_float_is_infinite():
    choices = {name: [("W2", 1, 1.7e308), ("W4", 2, 1.0)] for name in "ab"}
    assert [point.error for point in frontier(choices)] == [float("inf"), 2.0]
    found = allocate(choices, 2)
    assert (found.error, found.lower_bound) == (float("inf"), float("inf"))


def test_a_smaller_budget_never_has_a_smaller_error():
    choices = model(12, 1)
    points = frontier(choices)
    budgets = range(points[0].bytes, points[-1].bytes, (points[-1].bytes - points[0].bytes) // 40)
    errors = [allocate(choices, budget).error for budget in budgets]
    assert errors == sorted(errors, reverse=True)


def test_pinned_labels_stay():
    choices = {"a": [("W2", 1, 5.0), ("W4", 2, 1.0)], "b": [("W2", 1, 9.0), ("W4", 2, 1.0)]}
    assert allocate(choices, 3).choice == {"a": "W2", "b": "W4"}
    assert allocate(choices, 3, pinned={"a": "W4"}).choice == {"a": "W4", "b": "W2"}
    with pytest.raises(ValueError, match="from 3 to 4 bytes"):
        allocate(choices, 2, pinned={"a": "W4"})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "is empty"),
        ([("W2", -1, 0.0)], "bytes=-1"),
        ([("W2", 1, float("nan"))], "error=nan"),
        ([("W2", 1, float("inf"))], "error=inf"),
        ([("W2", 1, -1.0)], "error=-1"),
        ([("W2", 1, 1.0), ("W2", 2, 0.5)], "there twice"),
    ],
)
def test_bad_choices_are_named(options, problem):
    with pytest.raises(ValueError, match=problem):
        allocate({"layer": options}, 10)


def test_bad_groups_and_pins_are_named():
    choices = {"a": [("W2", 1, 5.0)], "b": [("W4", 2, 1.0)]}
    with pytest.raises(ValueError, match="no label is among the choices of all of a, b"):
        allocate(choices, 3, fused=[["a", "b"]])
    with pytest.raises(ValueError, match="fused: 'c'"):
        allocate(choices, 3, fused=[["a", "c"]])
    with pytest.raises(ValueError, match="'a' is in two groups"):
        allocate(choices, 3, fused=[["a"], ["a", "b"]])
    with pytest.raises(ValueError, match=r"pinned\['a'\]='W9'"):
        allocate(choices, 3, pinned={"a": "W9"})
    with pytest.raises(TypeError, match="budget_bytes"):
        allocate(choices, "4GB")


def test_nothing_to_choose():
    assert allocate({}, 0).choice == {}
    assert [point.bytes for point in frontier({})] == [0]
