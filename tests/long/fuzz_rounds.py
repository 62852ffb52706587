# SPDX-License-Identifier: MIT
"""What a round of fuzz_kernels.py draws, and how results are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

import bitmill as bm
from bitmill import kernels, reference
from bitmill._dtypes import FLOATS, STORAGES, dtype

GROUPS = [None, 1, 15, 16, 17, 31, 32, 33, 48, 64, 96, 100, 128, 256, 300, 384, 896, 1024]
GROUPS += [2047, 2048, 2049, 2176]
WIDTHS = [2, 3, 4, 5, 6, 7, 8, 16]
EXPONENTS = [-140, -91, -90, -89, -20, -3, 0, 3, 89, 90, 91, 120]
CANARY, AROUND = 0xA5, 256


class Round:
    """The draws of one round, and what its kernels are called with."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.isa = self.one_of(bm.isas())
        self.threads = {"num_threads": self.number(1, 4)}
        self.type, self.to = self.one_of(FLOATS), self.one_of(FLOATS)
        self.rows = self.number(0, 10)
        self.cols = self.number(*self.one_of([(0, 70), (100, 700), (2000, 5000)]))
        if self.chance(0.04):  # several pieces, which threads share; of a row, or of rows
            self.rows, self.cols = self.one_of([(1, 300_000), (2, 270_001), (150, 2999)])
        self.group = self.one_of(GROUPS)
        if self.group and self.rows * self.cols / self.group > 10_000:
            self.group = None
        self.draw_codes()

    def draw_codes(self) -> None:
        bits, symmetric = self.one_of(WIDTHS), self.chance(0.5)
        rules = ["absmax", "full_range", "signed_max"] if symmetric else ["asymmetric", "offset"]
        self.rule, self.scales = self.one_of(rules), self.one_of(STORAGES)
        low = -(1 << bits - 1) if symmetric else 0
        high = low + (1 << bits) - 1
        if symmetric and self.rule != "signed_max" and self.chance(0.3):
            low += 1
        self.range = {"qmin": low, "qmax": high}
        self.packed = bits if bits <= 8 and self.chance(0.6) else None

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, choices: Any) -> Any:
        return choices[self.number(0, len(choices))]

    def but(self, **draws: Any) -> Round:
        """This round with other draws."""
        made = copy.copy(self)
        vars(made).update(draws)
        return made

    def placed(self, like: np.ndarray) -> np.ndarray:
        """A copy at any address of its dtype."""
        step = like.itemsize
        raw = np.empty(like.nbytes + 128, np.uint8)
        start = -raw.ctypes.data % 64 + self.number(0, 64) // step * step
        made = raw[start : start + like.nbytes].view(like.dtype).reshape(like.shape)
        made[...] = like
        return made

    def values(self, shape: tuple[int, ...], of: str, finite: bool = False) -> np.ndarray:
        rng, normal = self.rng, self.rng.standard_normal(shape).astype(np.float32)
        kinds: list[Callable[[], np.ndarray]] = [
            lambda: normal,
            lambda: rng.integers(-255, 256, shape) / 2,
            lambda: rng.integers(-300, 301, shape) * 2.0**-149,
            lambda: rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32),
            lambda: np.where(rng.random(shape) < 0.9, 0, normal),
            lambda: np.ldexp(normal, rng.integers(-130, 120, shape)),
            lambda: -np.abs(normal) - 1,
            lambda: np.abs(normal) + 1,
        ]
        x = self.one_of(kinds)().astype(np.float32).astype(dtype(of))
        if finite:
            x[~np.isfinite(x.astype(np.float32))] = 1
        elif x.size and self.chance(0.2):
            x.flat[self.number(0, x.size)] = self.one_of([np.nan, -np.nan, np.inf, -np.inf])
        return self.placed(x)

    def parameters(self, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
        """A scale of any size and sign, and a zero-point or an offset where the rule has one."""
        low, high = (min(EXPONENTS), max(EXPONENTS)) if self.chance(0.1) else (-12, 3)
        exponents = self.rng.integers(low, high, shape)
        if self.chance(0.4):
            exponents = self.rng.choice(EXPONENTS, shape)
        scale = np.ldexp(self.rng.uniform(1, 2, shape), exponents)
        scale = (scale * self.rng.choice([1, -1], shape)).astype(np.float32)
        scale = scale.astype(dtype(self.scales))
        wide = scale.astype(np.float32)
        scale[~np.isfinite(wide) | (wide == 0)] = 1
        if self.rule == "asymmetric":
            high = self.range["qmax"]
            of = np.uint16 if high > 255 else np.uint8
            return scale, self.rng.integers(0, high + 1, shape).astype(of), None
        if self.rule == "offset":
            return scale, None, self.values(shape, self.scales, finite=True)
        return scale, None, None

    def offset(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """float32, where the rule has one."""
        return self.values(shape, "float32", finite=True) if self.rule == "offset" else None

    def importance(self, shape: tuple[int, int]) -> np.ndarray | None:
        """None, or what kernels take: float32, 0 or from 2^-40 to 1."""
        weights = self.rng.random(self.one_of([shape[1:], shape]), np.float32) ** self.number(0, 9)
        weights[self.rng.random(weights.shape) < self.one_of([0, 0.2, 0.95])] = 0
        weights[weights < 2.0**-40] = 0
        return weights if self.chance(0.5) else None

    def into(self, like: np.ndarray, call: Callable[[np.ndarray], Any]) -> None:
        """call(out) with an `out` at any address of its dtype must make it `like`, and no more."""
        size, step = like.nbytes, like.itemsize
        raw = np.full(size + 2 * AROUND, CANARY, np.uint8)
        start = -raw.ctypes.data % 64 + self.number(0, 64) // step * step + 64
        out = raw[start : start + size].view(like.dtype).reshape(like.shape)
        call(out)
        same(out, like)
        raw[start : start + size] = CANARY
        assert (raw == CANARY).all(), "written outside of out"


def same(a: Any, b: Any) -> None:
    """Equal bits, or NaN in the same places."""
    if isinstance(b, tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    elif isinstance(b, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        if a.tobytes() != b.tobytes():
            assert b.dtype.kind not in "iu", "codes differ"
            nan = np.isnan(b.astype(np.float64))
            assert (np.isnan(a.astype(np.float64)) == nan).all(), "NaNs differ"
            assert a[~nan].tobytes() == b[~nan].tobytes(), "values differ"
    else:
        assert a == b


def both(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A kernel and its twin."""
    return getattr(kernels, name), getattr(reference, name)
