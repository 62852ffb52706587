# SPDX-License-Identifier: MIT
"""Which options of the outlier scheme there are, and which exclude each other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bitmill import _check
from bitmill._dtypes import STORAGES
from bitmill.schemes import outlier_threshold
from bitmill.schemes.base import from_dict

if TYPE_CHECKING:
    from bitmill.schemes.outliers import Outliers

AMOUNTS = ("fraction", "threshold", "budget_bits", "count")
"""Each says how many weights are kept, and so goes without the others."""
_LLM_INT8 = 6.0
"""The threshold for columns of activations in LLM.int8()."""


def check_options(scheme: Outliers) -> None:
    """Raise for options out of range or excluding each other; settle the spelling of the others."""

    def settle(name: str, value: object) -> None:
        object.__setattr__(scheme, name, value)

    if _keeps_outliers(scheme.inner, type(scheme)):
        raise ValueError("inner=Outliers(...) keeps outliers already; wanted another scheme")
    if isinstance(scheme.inner, Mapping):
        settle("inner", from_dict(scheme.inner))
    _check.scheme(scheme.inner)
    _check.choice(scheme.mode, "mode", ("element", "column"))
    _check.choice(scheme.by, "by", ("magnitude", "loss"))
    _check.choice(scheme.per, "per", ("tensor", "row"))
    _check.choice(scheme.values, "values", STORAGES)
    given = [name for name in AMOUNTS if getattr(scheme, name) is not None]
    if not given and scheme.mode == "column":
        settle("threshold", _LLM_INT8)
        given = ["threshold"]
    if len(given) != 1:
        what = " and ".join(given) + " exclude each other" if given else "nothing is kept"
        raise ValueError(f"{what}: give one of {', '.join(AMOUNTS)}")
    if scheme.fraction is not None:
        settle("fraction", _check.between(scheme.fraction, "fraction", 0, 1))
    if scheme.budget_bits is not None:
        settle("budget_bits", _check.positive(scheme.budget_bits, "budget_bits"))
    if scheme.count is not None:
        settle("count", _check.integer(scheme.count, "count", low=0, high=sys.maxsize))
    if scheme.threshold is not None and not isinstance(scheme.threshold, str):
        settle("threshold", _check.positive(scheme.threshold, "threshold"))
    elif scheme.threshold is not None:
        outlier_threshold.parse(scheme.threshold)
    _check_pairs(scheme)


def _keeps_outliers(inner: object, kind: type[Outliers]) -> bool:
    """Whether it is such a scheme, or describes one: a file may hold thousands in each other."""
    if isinstance(inner, Mapping):
        return bool(inner.get("scheme") == kind.__name__)
    return isinstance(inner, kind)


def _check_pairs(scheme: Outliers) -> None:
    reasons = {
        "by='loss'": (scheme.by == "loss", "it is for elements, and a number of them"),
        "per='row'": (scheme.per == "row", "every row has as many elements"),
    }
    for option, (is_given, why) in reasons.items():
        if is_given and scheme.mode == "column":
            raise ValueError(f"{option} goes with mode='element': {why}")
        if is_given and scheme.threshold is not None:
            raise ValueError(f"{option} goes without a threshold: {why}")
    if scheme.by == "loss" and scheme.per == "row":
        raise ValueError("by='loss' and per='row' exclude each other: it shares out among rows")
