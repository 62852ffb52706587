# SPDX-License-Identifier: MIT
"""Rules: which scheme each tensor gets, or why it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bitmill import _check
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.patterns import LINEAR, check_pattern, matches, why_not_linear
from bitmill.schemes import Scheme

Rules = Scheme | Mapping[str, Scheme]
"""A scheme for `Linear`, or a scheme for each of several patterns."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Checked rules: schemes by pattern, first match first, and the patterns that beat them."""

    schemes: dict[str, Scheme]
    ignored: list[str]

    def decide(self, info: TensorInfo) -> tuple[Scheme | None, str]:
        """The scheme of a tensor and the rule it comes from, or None and why it is kept."""
        for pattern in self.ignored:
            if matches(pattern, info):
                return None, f"ignored: {pattern}"
        for pattern, scheme in self.schemes.items():
            if matches(pattern, info):
                return scheme, pattern
        return None, why_not_linear(info) or "no rule matches"

    def unmatched(self, infos: list[TensorInfo]) -> list[str]:
        """The patterns that select none of these tensors."""
        patterns = [*self.schemes, *self.ignored]
        return [p for p in patterns if not any(matches(p, info) for info in infos)]


def choose(rules: Rules, *, ignore: Iterable[str] = (), include: Iterable[str] = ()) -> Chosen:
    """Check what was given as `rules`, `ignore` and `include`; errors name the argument."""
    ignored, included = _patterns(ignore, "ignore"), _patterns(include, "include")
    if not isinstance(rules, Mapping):
        schemes = dict.fromkeys([LINEAR, *included], rules)
    elif included:
        raise ValueError("include goes with one scheme; add the patterns to the rules instead")
    elif not rules:
        raise ValueError("rules is empty; wanted a scheme, or {pattern: scheme}")
    else:
        schemes = {check_pattern(pattern, "rules"): scheme for pattern, scheme in rules.items()}
    for pattern, scheme in schemes.items():
        try:
            _check.scheme(scheme)
        except TypeError as error:
            raise TypeError(f"rules: {pattern!r}: {error}") from None
    return Chosen(schemes, ignored)


def _patterns(patterns: Iterable[str], name: str) -> list[str]:
    if isinstance(patterns, str):
        raise TypeError(f"{name}={patterns!r} is one string; {name} takes a list of patterns")
    return [check_pattern(pattern, name) for pattern in patterns]
