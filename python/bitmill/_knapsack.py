# SPDX-License-Identifier: MIT
"""The multiple-choice knapsack problem in exact integers, after Pisinger (1995).

One item of each class is taken: the least sum of errors with a sum of bytes within the budget.
With a price per byte instead of a budget the classes are independent; the price at which the budget
is just used gives a bound, and for each item a penalty: how much worse than the bound any solution
with it must be. What is not excluded by that is searched, class by class, for the deviations from
the priced solution, of which few have penalties below the gap.

D. Pisinger, "A minimal algorithm for the multiple-choice knapsack problem", European Journal of
Operational Research 83 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cmp_to_key
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

MOST_STATES, MOST_MADE = 20_000, 100_000
"""Deviations that are kept at a time, and made in all, which takes less than a second; where these
do not suffice, the answer is good, but not proven best."""
FEW_STATES = 20
"""Deviations that are kept when `MOST_MADE` were made."""


class Item(NamedTuple):
    """What may be taken. Those of a class: bytes go up, errors go down."""

    bytes: int
    error: int


Class = Sequence[Item]


class Solution(NamedTuple):
    """Which item of each class, the bound on all sums of errors, and whether it is the best."""

    at: list[int]
    bound: Fraction
    exact: bool


class Step(NamedTuple):
    """From one corner of the lower convex hull of a class to the next."""

    gain: int
    cost: int
    cls: int
    to: int


def useful(items: Sequence[Item]) -> list[int]:
    """Where the items are that no other beats in both, in the order of bytes.

    >>> useful([Item(2, 9), Item(1, 9), Item(3, 9), Item(3, 4)])
    [1, 3]
    """
    kept: list[int] = []
    for at in sorted(range(len(items)), key=lambda at: (*items[at], at)):
        if not kept or items[at].error < items[kept[-1]].error:
            kept.append(at)
    return kept


def hull_steps(classes: Sequence[Class]) -> list[Step]:
    """The steps of all hulls, the greatest gain per byte first; those of a class are in order.

    >>> hull_steps([[Item(0, 9), Item(1, 8), Item(2, 1)]])
    [Step(gain=8, cost=2, cls=0, to=2)]
    """
    steps = [step for at, items in enumerate(classes) for step in _steps(at, items)]
    return sorted(steps, key=lambda step: (_BY_RATIO((-step.gain, step.cost)), step.cls))


def _steps(cls: int, items: Class) -> Iterator[Step]:
    hull: list[int] = []
    for at, item in enumerate(items):
        while len(hull) > 1 and not _is_corner(items[hull[-2]], items[hull[-1]], item):
            hull.pop()
        hull.append(at)
    for at, to in pairwise(hull):
        yield Step(items[at].error - items[to].error, items[to].bytes - items[at].bytes, cls, to)


def _is_corner(a: Item, b: Item, c: Item) -> bool:
    """Whether b lies below the line from a to c."""
    return (a.error - b.error) * (c.bytes - b.bytes) > (b.error - c.error) * (b.bytes - a.bytes)


def solve(classes: Sequence[Class], budget: int) -> Solution:
    """The best items within a budget that the first item of each class keeps.

    >>> solve([[Item(10, 9), Item(20, 1)], [Item(10, 4), Item(20, 3)]], 35)
    Solution(at=[1, 0], bound=Fraction(5, 1), exact=True)
    """
    at, room = [0] * len(classes), budget - sum(items[0].bytes for items in classes)
    unit = math.gcd(*(item.bytes - items[0].bytes for items in classes for item in items))
    room -= room % max(1, unit)  # what is left can not be used
    steps = hull_steps(classes)
    for done, step in enumerate(steps):
        if step.cost > room:
            return _Search(classes, at, room, step).run(steps[done:])
        at[step.cls], room = step.to, room - step.cost
    errors = sum(items[-1].error for items in classes)
    return Solution(at, Fraction(errors), True)


class _State(NamedTuple):
    """Deviations from the priced solution, in bytes and in penalty, and the last of them."""

    bytes: int
    penalty: int
    cls: int
    to: int
    before: _State | None


class _Deviation(NamedTuple):
    """Another item of a class: how many bytes more, and the penalty."""

    bytes: int
    penalty: int
    to: int


class _Rest(NamedTuple):
    """What the classes that are still to come can do, at most, about bytes unused or too many.

    Each byte more, or less, has a penalty of at least num/den, whichever deviations add up to it.
    """

    more: int
    less: int
    up: tuple[int, int]
    down: tuple[int, int]

    def after(self, others: Sequence[_Deviation]) -> _Rest:
        """The same with one class more, which has these deviations."""
        ups = [(d.penalty, d.bytes) for d in others if d.bytes > 0]
        downs = [(d.penalty, -d.bytes) for d in others if d.bytes < 0]
        return _Rest(
            self.more + max((bytes for _, bytes in ups), default=0),
            self.less + max((bytes for _, bytes in downs), default=0),
            min([self.up, *ups], key=_BY_RATIO),
            min([self.down, *downs], key=_BY_RATIO),
        )


def _compare_ratios(a: tuple[int, int], b: tuple[int, int]) -> int:
    return a[0] * b[1] - b[0] * a[1]


_BY_RATIO = cmp_to_key(_compare_ratios)


class _Search:
    """Everything is scaled by the cost of the step that did not fit, so that prices are integers.

    A solution of `bytes` bytes is worse than the bound by its penalties + price·(budget − bytes).
    """

    def __init__(self, classes: Sequence[Class], at: list[int], room: int, missed: Step) -> None:
        self.classes, self.at, self.room = classes, at, room
        self.scale, self.price = missed.cost, missed.gain
        self.best = _State(0, 0, 0, 0, None)
        self.gap = self.price * room
        self.exact = True
        self.made = 0

    def run(self, missed: Sequence[Step]) -> Solution:
        """The solution; the steps that were `missed` give a first one."""
        error = sum(items[at].error for items, at in zip(self.classes, self.at, strict=True))
        bound = Fraction(self.scale * error - self.price * self.room, self.scale)
        self._take_what_fits(missed)
        self._deviate()
        at, state = list(self.at), self.best
        while state.before is not None:
            at[state.cls], state = state.to, state.before
        return Solution(at, bound, self.exact)

    def _deviation(self, cls: int, to: int) -> _Deviation:
        items, here = self.classes[cls], self.classes[cls][self.at[cls]]
        more = items[to].bytes - here.bytes
        return _Deviation(more, self.scale * (items[to].error - here.error) + self.price * more, to)

    def _take_what_fits(self, steps: Sequence[Step]) -> None:
        """Offer the first step of each class that fits after those before it."""
        state = self.best
        seen = set()
        for step in steps:
            if step.cls in seen:
                continue
            seen.add(step.cls)
            if state.bytes + step.cost <= self.room:
                more, penalty, to = self._deviation(step.cls, step.to)
                state = _State(state.bytes + more, state.penalty + penalty, step.cls, to, state)
        self._offer(state)

    def _offer(self, state: _State) -> None:
        """Keep a solution that is better, or as good with fewer bytes."""
        left = self.room - state.bytes
        if left < 0:
            return
        gap = state.penalty + self.price * left
        if (gap, state.bytes) < (self.gap, self.best.bytes):
            self.gap, self.best = gap, state

    def _deviate(self) -> None:
        """Search all deviations with penalties within the gap, the cheapest per byte first.

        A gap of 0 ends it: all that is as good takes the same bytes, the whole budget.
        """
        core = sorted(self._core(), key=lambda entry: (_BY_RATIO(entry[0]), entry[1]))
        rests = [_Rest(0, 0, (self.price, 1), (1, 0))]  # unused bytes cost the price
        for _, _, others in reversed(core):
            rests.append(rests[-1].after(others))
        states = [_State(0, 0, 0, 0, None)]
        for _, cls, others in core:
            rests.pop()
            states = self._with(states, cls, others, rests[-1])
            if self.gap == 0:
                return
            if len(states) > MOST_STATES or self.made > MOST_MADE:
                self.exact = False
                states = self._limited(states)

    def _core(self) -> Iterator[tuple[tuple[int, int], int, list[_Deviation]]]:
        """The least penalty per byte of each class that may deviate, the class, its deviations."""
        for cls, items in enumerate(self.classes):
            others = [self._deviation(cls, to) for to in range(len(items)) if to != self.at[cls]]
            others = [other for other in others if other.penalty <= self.gap]
            if others:
                ratios = ((other.penalty, abs(other.bytes)) for other in others)
                yield min(ratios, key=_BY_RATIO), cls, others

    def _with(
        self, states: list[_State], cls: int, others: Sequence[_Deviation], rest: _Rest
    ) -> list[_State]:
        """The states with and without another item of a class, less those that lead nowhere."""
        made = [
            _State(state.bytes + more, penalty, cls, to, state)
            for more, extra, to in others
            for state in states
            if (penalty := state.penalty + extra) <= self.gap
        ]
        self.made += len(made)
        for state in made:
            self._offer(state)
        kept: list[_State] = []
        best: int | None = None
        for state in sorted(states + made, key=itemgetter(0, 1)):
            error = state.penalty - self.price * state.bytes
            if (best is None or error < best) and self._may_lead_to_a_better(state, rest):
                kept.append(state)
                best = error
        return kept

    def _may_lead_to_a_better(self, state: _State, rest: _Rest) -> bool:
        """Whether the classes to come can end within the gap."""
        left = self.room - state.bytes
        if left < 0:
            penalty, per = rest.down
            return -left <= rest.less and state.penalty + -left * penalty // per <= self.gap
        filled = min(left, rest.more)
        penalty, per = rest.up
        unused = self.price * (left - filled)
        return state.penalty + unused + filled * penalty // per <= self.gap

    def _limited(self, states: list[_State]) -> list[_State]:
        """The most promising: the least penalties, then what is closest to the budget."""
        most = MOST_STATES if self.made < MOST_MADE else FEW_STATES
        return sorted(states, key=lambda s: (s.penalty, abs(self.room - s.bytes)))[:most]
