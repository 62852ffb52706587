# SPDX-License-Identifier: MIT
"""What other packages take for the same work, one module for each, under the package's name.

A module has a function for each job it can do; it prepares everything that need not be timed and
returns a `Rival`. All have one thread, and their better setting where there are two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import cycle
from types import ModuleType
from typing import Any, NamedTuple

import pytest

BENCH, BENCH_TORCH = "pip install 'bitmill[bench]'", "pip install 'bitmill[bench-torch]'"
LLAMA = "pip install llama-cpp-python (which compiles it)"
REMEDY = {
    "fbgemm": BENCH_TORCH,
    "ggml": LLAMA,
    "ggml_products": LLAMA,
    "gguf": BENCH,
    "hqq": BENCH_TORCH,
    "mlx": BENCH,
    "onnxruntime": BENCH,
    "torch": BENCH_TORCH,
    "torch_compile": BENCH_TORCH,
    "torch_int4": BENCH_TORCH,
    "torch_int8": BENCH_TORCH,
    "torch_observer": BENCH_TORCH,
    "torchao": BENCH_TORCH,
    "bitsandbytes": BENCH_TORCH,
}


class Rival(NamedTuple):
    """A call to time, and what checks its answer: by how much a format may differ, it says."""

    run: Callable[[], Any]
    check: Callable[[Any], None]


def load(name: str) -> ModuleType:
    """The module of a peer; without its package the bench is skipped."""
    try:
        return import_module(f"peers.{name}")
    except ImportError as error:
        pytest.skip(f"no {name} ({error}): {REMEDY.get(name, BENCH)}")


def in_turn(calls: Sequence[Callable[[], Any]]) -> Callable[[], Any]:
    """A call that makes them one after another: caches keep no copy of weights."""
    turns = cycle(calls)
    return lambda: next(turns)()
