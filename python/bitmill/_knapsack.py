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

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

MOST_STATES = 200_000
"""Deviations that are kept; with more of them the answer is good, but not proven best."""


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
    return sorted(steps, key=lambda step: (-Fraction(step.gain, step.cost), step.cls))


def _steps(cls: int, items: Class) -> Iterator[Step]:
    at = 0
    while at + 1 < len(items):
        here = items[at]
        steps = [
            Step(here.error - item.error, item.bytes - here.bytes, cls, at + 1 + i)
            for i, item in enumerate(items[at + 1 :])
        ]
        best = max(steps, key=lambda step: (Fraction(step.gain, step.cost), step.to))
        yield best
        at = best.to


def solve(classes: Sequence[Class], budget: int) -> Solution:
    """The best items within a budget that the first item of each class keeps.

    >>> solve([[Item(10, 9), Item(20, 1)], [Item(10, 4), Item(20, 3)]], 35)
    Solution(at=[1, 0], bound=Fraction(9, 2), exact=True)
    """
    at, room = [0] * len(classes), budget - sum(items[0].bytes for items in classes)
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
    before: _State | None
    cls: int
    to: int


class _Search:
    """Everything is scaled by the cost of the step that did not fit, so that prices are integers.

    A solution of `bytes` bytes is worse than the bound by its penalties + price·(budget − bytes).
    """

    def __init__(self, classes: Sequence[Class], at: list[int], room: int, missed: Step) -> None:
        self.classes, self.at, self.room = classes, at, room
        self.scale, self.price = missed.cost, missed.gain
        self.best = _State(0, 0, None, 0, 0)
        self.gap = self.price * room
        self.exact = True

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

    def _deviation(self, cls: int, to: int) -> tuple[int, int]:
        """Bytes and penalty of another item."""
        items, here = self.classes[cls], self.classes[cls][self.at[cls]]
        more = items[to].bytes - here.bytes
        return more, self.scale * (items[to].error - here.error) + self.price * more

    def _take_what_fits(self, steps: Sequence[Step]) -> None:
        at, state = list(self.at), self.best
        blocked = set()
        for step in steps:
            if step.cls in blocked or state.bytes + step.cost > self.room:
                blocked.add(step.cls)
                continue
            more, penalty = self._deviation(step.cls, step.to)
            if at[step.cls] != self.at[step.cls]:  # a step after a step of the same class
                blocked.add(step.cls)
                continue
            at[step.cls] = step.to
            state = _State(state.bytes + more, state.penalty + penalty, state, step.cls, step.to)
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
        """Search all deviations with penalties within the gap, the least first."""
        core = []
        for cls, items in enumerate(self.classes):
            others = [(self._deviation(cls, to), to) for to in range(len(items))]
            others = [(d, to) for d, to in others if to != self.at[cls] and d[1] <= self.gap]
            if others:
                core.append((min(d[1] for d, _ in others), cls, others))
        core.sort(key=lambda entry: entry[:2])
        least, most = [0], [0]  # of bytes, by what follows
        for _, _, others in reversed(core):
            least.append(least[-1] + min(0, *(d[0] for d, _ in others)))
            most.append(most[-1] + max(0, *(d[0] for d, _ in others)))
        states = [_State(0, 0, None, 0, 0)]
        for left, (penalty, cls, others) in zip(range(len(core) - 1, -1, -1), core, strict=True):
            if penalty > self.gap:
                return
            states = self._with(states, cls, others, least[left], most[left])

    def _with(
        self,
        states: list[_State],
        cls: int,
        others: list[tuple[tuple[int, int], int]],
        least: int,
        most: int,
    ) -> list[_State]:
        """The states with and without another item of a class, less those that lead nowhere."""
        made = [
            _State(state.bytes + more, state.penalty + penalty, state, cls, to)
            for (more, penalty), to in others
            for state in states
            if state.penalty + penalty <= self.gap
        ]
        for state in made:
            self._offer(state)
        kept: list[_State] = []
        best: int | None = None
        for state in sorted(states + made, key=lambda s: (s.bytes, s.penalty)):
            error = state.penalty - self.price * state.bytes
            unused = max(0, self.room - state.bytes - most)
            if (best is not None and error >= best) or state.bytes + least > self.room:
                continue
            if state.penalty + self.price * unused <= self.gap:
                kept.append(state)
                best = error
        if len(kept) > MOST_STATES:
            self.exact = False
            kept = sorted(kept, key=lambda s: s.penalty)[:MOST_STATES]
        return kept
