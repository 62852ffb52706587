# SPDX-License-Identifier: MIT
"""Shared by all tests: the ISA under test, seeded random numbers, canaries, needs(), pieces."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitmill import _core
from bitmill.checkpoint import job
from checkpoints import llama, make

SEED = int(os.environ.get("BITMILL_TEST_SEED", "20261123"))


def needs(module: str) -> Any:
    """Import an optional package; without it the test is skipped, or fails if all are required."""
    if os.environ.get("BITMILL_REQUIRE_ALL") == "1":
        return importlib.import_module(module)
    return pytest.importorskip(module)


@pytest.fixture(params=_core.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every ISA of this machine in turn; the test fails if another one was active at its end."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    assert _core.isa() == request.param, "the test switched to another ISA"
    _core.use_isa(before)


@pytest.fixture
def rng(record_property: Any) -> np.random.Generator:
    """Random numbers; BITMILL_TEST_SEED repeats a run."""
    record_property("seed", SEED)
    return np.random.default_rng(SEED)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    """The folder of a small Llama."""
    return make(tmp_path / "src", llama())


class Guarded:
    """An output array between painted zones, at any byte offset from a 64-byte boundary."""

    ZONE = 256

    def __init__(self, shape: tuple[int, ...], dtype: Any, paint: int, offset: int = 0) -> None:
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        raw = np.full(size + 2 * self.ZONE + 128, paint, np.uint8)
        start = self.ZONE + (-(raw.ctypes.data + self.ZONE) % 64) + offset * dtype.itemsize
        self.paint, self.raw, self.span = paint, raw, slice(start, start + size)
        self.array = raw[self.span].view(dtype).reshape(shape)

    def check(self) -> None:
        """Fail if a byte outside the array was written."""
        outside = np.concatenate([self.raw[: self.span.start], self.raw[self.span.stop :]])
        assert (outside == self.paint).all(), "bytes outside the output were written"


def same_bits(got: Any, wanted: Any, what: object = "") -> None:
    """Fail unless two arrays (or None) have the same dtype, shape and bytes."""
    if wanted is None:
        assert got is None, what
        return
    assert got.dtype == wanted.dtype, what
    assert got.shape == wanted.shape, what
    if got.tobytes() != wanted.tobytes():
        bad = np.flatnonzero(
            np.ascontiguousarray(got).reshape(-1).view(np.uint8)
            != np.ascontiguousarray(wanted).reshape(-1).view(np.uint8)
        )
        at = int(bad[0]) // got.dtype.itemsize
        raise AssertionError(
            f"{what}: {bad.size} bytes differ, first at element {at}: "
            f"{got.reshape(-1)[at]!r} instead of {wanted.reshape(-1)[at]!r}"
        )


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tensors of the pieces that are worked on, and not just looked at."""
    seen = []

    def work(piece: job.Piece, *rest: Any) -> Any:
        seen.append(piece.tensor)
        return real(piece, *rest)

    real = job._work
    monkeypatch.setattr(job, "_work", work)
    return seen
