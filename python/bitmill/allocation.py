# SPDX-License-Identifier: MIT
"""Which tensor gets which scheme: the least summed error under a budget of bytes, exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from bitmill import _check
from bitmill._knapsack import Item, hull_steps, solve, useful

Choices = Mapping[str, Sequence[tuple[str, int, float]]]


@dataclass(frozen=True)
class Allocation:
    """What `allocate` chose.

    Attributes
    ----------
    choice
        The label of each name.
    bytes
        What all of it takes: at most the budget.
    error
        The sum of the errors, rounded once; infinite if it is beyond the largest float.
    lower_bound
        No choice within the budget has a smaller sum, by the relaxed problem, where bytes have a
        price λ and no budget: max over λ of Σ min(error + λ·bytes) − λ·budget, rounded once. The
        budget is here the one asked for less what no choice can use: where all choices take even
        numbers of bytes, an odd one is lowered by 1. The bound can be checked without trust in the
        search, and is mostly within one step of one tensor.
    exact
        Whether the search was complete: then no choice within the budget has a smaller error. A
        search is given up, after about a second for 400 names, among more than 100,000 choices that
        are as good as equal, as where errors fall in proportion to bytes; what is then found lies
        between `lower_bound` and a little above it.
    """

    choice: dict[str, str]
    bytes: int
    error: float
    lower_bound: float
    exact: bool


class Point(NamedTuple):
    """A choice on the frontier."""

    bytes: int
    error: float
    changed: dict[str, str]
    """The labels that differ from the point before; of the first point, all."""


def allocate(
    choices: Choices,
    budget_bytes: int,
    *,
    fused: Iterable[Iterable[str]] = (),
    pinned: Mapping[str, str] | None = None,
) -> Allocation:
    """Choose a label for each name: the least summed error of all choices within a budget.

    Parameters
    ----------
    choices
        For each name what it may get: (label, bytes, error), with all side information in the
        bytes, and errors that add up over names, as squared errors do.
    budget_bytes
        What all names together may take.
    fused
        Groups of names that share a label, as the parts of a fused layer do. They get one of the
        labels that all of them have.
    pinned
        Labels that are settled.

    Errors are added as exact numbers, so that the answer is the same on every run and machine. Of
    choices with equal error one with the fewest bytes is taken.

    Raises ValueError for an infeasible budget, naming the reachable interval; for names and labels
    that are unknown or twice there; for bytes or errors below 0, and errors that are not finite.

    The problem is the multiple-choice knapsack (Pisinger 1995, see `bitmill._knapsack`).

    >>> choices = {"a": [("W2", 10, 9.0), ("W4", 20, 1.0)], "b": [("W2", 10, 4.0), ("W4", 20, 3.5)]}
    >>> allocate(choices, 30)
    Allocation(choice={'a': 'W4', 'b': 'W2'}, bytes=30, error=5.0, lower_bound=5.0, exact=True)
    """
    problem = _Problem(choices, fused, pinned or {})
    budget = _check.integer(budget_bytes, "budget_bytes", low=0, high=1 << 62)
    least, most = (sum(items[end].bytes for items in problem.classes) for end in (0, -1))
    if budget < least:
        raise ValueError(
            f"budget_bytes={budget} is too small: the choices take from {least} to {most} bytes"
        )
    found = solve(problem.classes, budget)
    total, error = problem.totals(found.at)
    bound = _rounded(found.bound / problem.scale)
    return Allocation(problem.labels(found.at), total, error, bound, found.exact)


def frontier(
    choices: Choices,
    *,
    fused: Iterable[Iterable[str]] = (),
    pinned: Mapping[str, str] | None = None,
) -> list[Point]:
    """The choices that are best at some price of a byte: from the fewest bytes to the least error.

    They are the corners of the lower convex hull of all (bytes, error): none of them can be beaten
    in both, and at budgets between two of them `allocate` finds what lies above the line. Arguments
    and errors are those of `allocate`.

    >>> choices = {"a": [("W2", 10, 9.0), ("W4", 20, 1.0)], "b": [("W2", 10, 4.0), ("W4", 20, 3.5)]}
    >>> for point in frontier(choices):
    ...     print(*point)
    20 13.0 {'a': 'W2', 'b': 'W2'}
    30 5.0 {'a': 'W4'}
    40 4.5 {'b': 'W4'}
    """
    problem = _Problem(choices, fused, pinned or {})
    at = [0] * len(problem.classes)
    points = [Point(*problem.totals(at), problem.labels(at))]
    steps = hull_steps(problem.classes)
    slopes = [Fraction(step.gain, step.cost) for step in steps]
    changed: dict[str, str] = {}
    for i, step in enumerate(steps):
        at[step.cls] = step.to
        changed |= problem.labels(at, step.cls)
        if i + 1 == len(steps) or slopes[i + 1] != slopes[i]:  # equal slopes are one edge
            points.append(Point(*problem.totals(at), changed))
            changed = {}
    return points


class _Problem:
    """Names that share a label as one class each, and errors as integers: error · scale."""

    def __init__(
        self, choices: Choices, fused: Iterable[Iterable[str]], pinned: Mapping[str, str]
    ) -> None:
        given = {name: dict(_choices(name, options)) for name, options in choices.items()}
        _pin(given, pinned)
        errors = [error for options in given.values() for _, error in options.values()]
        self.scale = max((Fraction(error).denominator for error in errors), default=1)
        self.units = list(_units(given, fused))
        self.names: list[list[str]] = []  # of labels, by class and item
        self.classes: list[list[Item]] = []
        for unit in self.units:
            labels, items = self._items(unit, given)
            kept = useful(items)
            self.names.append([labels[at] for at in kept])
            self.classes.append([items[at] for at in kept])

    def labels(self, at: Sequence[int], only: int | None = None) -> dict[str, str]:
        """The label of each name, or of those of one class."""
        which = range(len(at)) if only is None else (only,)
        return {name: self.names[cls][at[cls]] for cls in which for name in self.units[cls]}

    def totals(self, at: Sequence[int]) -> tuple[int, float]:
        """Bytes and error of a choice."""
        chosen = [items[i] for items, i in zip(self.classes, at, strict=True)]
        error = Fraction(sum(item.error for item in chosen), self.scale)
        return sum(item.bytes for item in chosen), _rounded(error)

    def _items(
        self, unit: Sequence[str], given: dict[str, dict[str, tuple[int, float]]]
    ) -> tuple[list[str], list[Item]]:
        """The labels that all names of a class have, and what they take together."""
        labels = [label for label in given[unit[0]] if all(label in given[name] for name in unit)]
        if not labels:
            raise ValueError(f"no label is among the choices of all of {', '.join(unit)}")
        return labels, [
            Item(
                sum(given[name][label][0] for name in unit),
                sum(int(Fraction(given[name][label][1]) * self.scale) for name in unit),
            )
            for label in labels
        ]


def _rounded(value: Fraction) -> float:
    """The nearest float, or infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _choices(
    name: str, options: Sequence[tuple[str, int, float]]
) -> Iterator[tuple[str, tuple[int, float]]]:
    """What one name may get, by label."""
    seen = set()
    for label, size, error in options:
        where = f"choices[{name!r}], {label!r}"
        if label in seen:
            raise ValueError(f"{where} is there twice")
        seen.add(label)
        size = _check.integer(size, f"{where}: bytes", low=0, high=1 << 62)
        error = _check.number(error, f"{where}: error")
        if not (math.isfinite(error) and error >= 0):
            raise ValueError(f"{where}: error={error}; wanted a finite number from 0 on")
        yield label, (size, error)
    if not seen:
        raise ValueError(f"choices[{name!r}] is empty")


def _pin(given: dict[str, dict[str, Any]], pinned: Mapping[str, str]) -> None:
    for name, label in pinned.items():
        if label not in given.get(name, {}):
            raise ValueError(f"pinned[{name!r}]={label!r} is not among the choices")
        given[name] = {label: given[name][label]}


def _units(given: Mapping[str, Any], fused: Iterable[Iterable[str]]) -> Iterator[list[str]]:
    """Names that share a label, and each other name alone, in the order of their first names."""
    unit_of: dict[str, list[str]] = {}
    for group in fused:
        unit = list(dict.fromkeys(group))
        for name in unit:
            if name not in given:
                raise ValueError(f"fused: {name!r} is not among the choices")
            if name in unit_of:
                raise ValueError(f"fused: {name!r} is in two groups")
            unit_of[name] = unit
    done = set()
    for name in given:
        unit = unit_of.get(name, [name])
        if unit[0] not in done:
            done.add(unit[0])
            yield unit
