# SPDX-License-Identifier: MIT
"""The NumPy twins and the kernels of every ISA in turn, for numbers that must hold for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import pytest

from bitmill import _core, _importance, kernels, reference
from bitmill.clip import extremes, minmax, mse
from bitmill.clip import percentile as clip_percentile
from bitmill.layouts import words
from bitmill.schemes import affine, float_scales, floats

PERCENTILE = import_module("bitmill.percentile")  # bitmill.percentile is the function
ENGINES = ("twin", *_core.isas())


@contextmanager
def engine(name: str) -> Iterator[ModuleType]:
    """`bitmill.reference` for "twin", else `bitmill.kernels` while that ISA is in use."""
    if name == "twin":
        yield reference
        return
    before = _core.isa()
    _core.use_isa(name)
    try:
        yield kernels
        assert _core.isa() == name, "the test switched to another ISA"
    finally:
        _core.use_isa(before)


@contextmanager
def api(name: str) -> Iterator[None]:
    """The public functions on that engine; on "twin", no compiled kernel can be called."""
    with engine(name) as module, pytest.MonkeyPatch.context() as patch:
        if module is reference:
            ranges = (extremes, minmax, mse, clip_percentile, PERCENTILE)
            users = (_importance, affine, float_scales, floats, words)
            for user in (*ranges, *users):
                patch.setattr(user, "kernels", reference)
            for kernel in _core.kernel_names():
                patch.setattr(_core, kernel, None)
        yield
