# SPDX-License-Identifier: MIT
"""Positions as steps: hand-worked codes, every position comes back, and no data exceed the room."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitmill.schemes.outlier_steps import steps_for, to_positions, to_steps


def round_trip(positions: np.ndarray, length: int) -> np.ndarray:
    """The steps, which give the positions back."""
    steps = to_steps(positions, length)
    assert (steps.dtype.name, steps.shape[1]) == steps_for(length, positions.shape[1])
    found = to_positions(steps, length, positions.shape[1])
    np.testing.assert_array_equal(found, positions, strict=True)
    return steps


def test_gaps_are_counted_from_the_position_before() -> None:
    assert round_trip(np.array([[0, 1, 4]]), 10).tolist() == [[0, 0, 2]]


def test_gap_of_255_is_an_escape_and_none() -> None:
    assert round_trip(np.array([[255]]), 300).tolist() == [[255, 0]]
    assert round_trip(np.array([[254]]), 300).tolist() == [[254, 255]]


def test_ranges_are_coded_each_for_itself() -> None:
    assert round_trip(np.array([[299], [0]]), 300).tolist() == [[255, 44], [0, 255]]


def test_few_positions_far_apart_take_two_bytes_each() -> None:
    assert steps_for(1 << 20, 100) == ("uint16", 100 + 15)
    steps = round_trip(np.array([[65534, 65535, 131071, 1 << 20]]), (1 << 20) + 1)
    assert steps[0, :4].tolist() == [65534, 0, 65535, 0]


@pytest.mark.parametrize("length", [1, 2, 254, 255, 256, 257, 510, 511, 70_000])
@pytest.mark.parametrize("kind", ["first", "last", "all", "even", "ends"])
def test_extreme_positions_fit_into_the_room(length: int, kind: str) -> None:
    wanted = {
        "first": [0],
        "last": [length - 1],
        "all": range(length),
        "even": range(0, length, 2),
        "ends": sorted({0, length - 1}),
    }
    round_trip(np.array([list(wanted[kind])], np.int64), length)


def test_any_positions_come_back(rng: np.random.Generator) -> None:
    for _ in range(300):
        length = int(rng.integers(1, 3000))
        count = int(rng.integers(0, length + 1))
        rows = [np.sort(rng.permutation(length)[:count]) for _ in range(3)]
        round_trip(np.array(rows, np.int64).reshape(3, count), length)


def test_the_room_grows_with_the_count_by_less_than_its_bytes() -> None:
    """So the greatest count within a budget can be found by halving."""
    for length in (1, 300, 100_000):
        counts = range(min(length, 2000) + 1)
        sizes = [
            np.dtype(name).itemsize * room
            for name, room in (steps_for(length, count) for count in counts)
        ]
        assert sizes == sorted(sizes)


@pytest.mark.parametrize("length", [10**5, 10**6, 10**8])
def test_steps_of_two_bytes_are_taken_below_one_in_255(length: int) -> None:
    limit = math.ceil(length / 255)
    assert steps_for(length, 2 * limit)[0] == "uint8"
    assert steps_for(length, limit // 2)[0] == "uint16"


@pytest.mark.parametrize(
    ("steps", "length", "count"),
    [
        ([[255, 255]], 700, 1),  # none
        ([[1, 1]], 700, 1),  # two
        ([[255, 250]], 505, 1),  # beyond the end
        ([[1, 255], [1, 1]], 300, 1),  # two in the second range
    ],
)
def test_steps_that_tell_of_something_else_are_refused(
    steps: list[list[int]], length: int, count: int
) -> None:
    with pytest.raises(ValueError, match="outlier_steps"):
        to_positions(np.array(steps, np.uint8), length, count)
