# SPDX-License-Identifier: MIT
"""The options of a target, each with the check of its values."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from bitmill import _check
from bitmill._dtypes import STORAGES
from bitmill.layouts.base import check_multiple

KINDS = ("symmetric", "asymmetric", "offset")
SCALE_RULES = ("absmax", "full_range", "signed_max")
Check = Callable[[Any, str], Any]
"""Takes a value and the name of the option; returns the value as it is kept, or raises."""


def positive(value: Any, name: str) -> int:
    """`value` as an int from 1 on."""
    return _check.integer(value, name, low=1, high=sys.maxsize)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; {name} takes a string")
    return value


def _function(value: Any, name: str) -> Any:
    if not callable(value):
        raise TypeError(f"{name}={value!r} cannot be called; wanted a function")
    return value


def _width(value: Any, name: str) -> int:
    return _check.code_width(value)


def _group_size(value: Any, name: str) -> int | None:
    return _check.group_size(value)


def _one_of(known: tuple[str, ...]) -> Check:
    return lambda value, name: _check.choice(value, name, known)


def _or_none(check: Check) -> Check:
    return lambda value, name: None if value is None else check(value, name)


def _several(check: Check, *, least: int = 0) -> Check:
    """A tuple of at least so many."""

    def checked(given: Any, name: str) -> tuple[Any, ...]:
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"{name}={given!r} is a {type(given).__name__}; {name} takes a tuple")
        found = tuple(check(each, name) for each in given)
        if len(found) < least:
            raise ValueError(f"{name} is empty; wanted at least one")
        return found

    return checked


CHECKS: dict[str, Check] = {
    "supported_bits": _several(_width, least=1),
    "alignment": check_multiple,
    "max_groups": _or_none(positive),
    "target_bits": positive,
    "group_size": _group_size,
    "group_sizes": _several(_group_size),
    "whole_groups": _check.flag,
    "row_scales_from": _or_none(positive),
    "kinds": _several(_one_of(KINDS), least=1),
    "scale_rules": _several(_one_of(SCALE_RULES), least=1),
    "scales": _several(_one_of(STORAGES), least=1),
    "ranks": _several(positive),
    "others": _several(_text),
    "formats": _several(_text, least=1),
    "activation_formats": _several(_text),
    "row_activations": _check.flag,
    "export": _or_none(_text),
    "packing": _function,
    "name": _text,
    "about": _text,
}
