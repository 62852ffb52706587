# SPDX-License-Identifier: MIT
"""Shared by all benches: options, the weights, the ISA, and the table at the end."""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import ml_dtypes
import numpy as np
import pytest

import machine
from arrays import at_a_line
from bitmill import _core
from race import Racing

DTYPES = {
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f16": np.dtype(np.float16),
    "f64": np.dtype(np.float64),
}


def pytest_addoption(parser):
    group = parser.getgroup("bitmill")
    group.addoption("--shape", default="4096x14336", help="ROWSxCOLS of the weight")
    group.addoption("--rounds", type=int, default=0, help="rounds of each bench (0: by the clock)")
    group.addoption("--alone", action="store_true", help="time bitmill without ceilings and rivals")
    group.addoption("--named", action="append", help="benches alone whose names start so")


def pytest_collection_modifyitems(config, items):
    """Leaves the benches that --named asks for, which is given once for each start of a name."""
    starts = tuple(config.getoption("named") or ())
    left_out = [item for item in items if starts and not item.name.startswith(starts)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    benches = [bench for bench in getattr(session, "benchmarks", []) if bench.extra_info]
    if not benches:
        return
    terminalreporter.section("rates")
    width = max(len(bench.name) for bench in benches)
    for bench in benches:
        facts = "  ".join(_show(name, fact) for name, fact in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name:{width}s} {facts}")
    terminalreporter.write_line(machine.describe())


def _show(name: str, fact: object) -> str:
    return f"{name} {fact}" if isinstance(fact, str) else f"{fact:.4g} {name}"


class Weights:
    """Normal weights, one in a thousand twenty times as large, in each dtype once asked for."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        rng = np.random.default_rng(0)
        x = rng.standard_normal(shape, np.float32) * np.float32(0.02)
        x[rng.random(shape, np.float32) < 1e-3] *= 20
        self._made = {"f32": at_a_line(x)}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._made:
            self._made[name] = at_a_line(self._made["f32"].astype(DTYPES[name]))
        return self._made[name]


@pytest.fixture(scope="session")
def weights(request):
    rows, columns = map(int, request.config.getoption("shape").split("x"))
    return Weights((rows, columns))


@pytest.fixture(params=_core.isas())
def isa(request):
    """Every ISA of this machine in turn."""
    before = _core.isa()
    _core.use_isa(request.param)
    yield request.param
    _core.use_isa(before)


@pytest.fixture
def race(benchmark, request):
    """`race(ours, ...)` times ours against a ceiling and rivals; see race.py."""
    options = request.config.option
    return Racing(benchmark, rounds=options.rounds, alone=options.alone)
