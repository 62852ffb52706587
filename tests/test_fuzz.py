# SPDX-License-Identifier: MIT
"""A few rounds of what `python tests/long/fuzz_kernels.py` does for as long as it is told to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bitmill import _core, kernels

sys.path.insert(0, str(Path(__file__).parent / "long"))
import fuzz_kernels

ROUNDS = range(12)


def counted(name, call, called):
    def kernel(*arguments, **options):
        called.add(name)
        return call(*arguments, **options)

    return kernel


def test_rounds_call_every_kernel_and_find_no_difference(monkeypatch):
    before, called = _core.isa(), set()
    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, counted(name, getattr(kernels, name), called))
    try:
        for seed in ROUNDS:
            fuzz_kernels.play(seed)
    finally:
        _core.use_isa(before)
    assert called == set(kernels.__all__)


def test_a_difference_names_the_round(monkeypatch):
    before = _core.isa()
    monkeypatch.setattr(kernels, "hadamard", lambda *_, **__: None)
    try:
        with pytest.raises(AssertionError, match="--seed 3, rotated"):
            fuzz_kernels.play(3, ["tokens"])
    finally:
        _core.use_isa(before)
