# SPDX-License-Identifier: MIT
"""Imports point down only, nothing heavy is imported, and importing changes nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bitmill

PACKAGE = Path(bitmill.__file__).parent
LAYERS = [
    {"_dtypes", "_hadamard", "_lookup", "_minifloats", "_results", "_core"},
    {"_check", "_floats", "_sizes"},
    {"_arguments"},
    {"_threads"},
    {"kernels", "reference"},
    {"_importance", "grid", "summaries"},
    {"population"},
    {"clip", "kmeans", "layouts", "lloyd_max", "percentile"},
    {"schemes"},
    {"qtensor"},
    {"channels", "code_usage", "measures", "output_error", "quantized_facts"},
    {"integer", "quantize", "metrics", "qparams"},
    {"transform"},
    {"bias_correction"},
    {"observers"},
    {"calibrate"},
    {"_knapsack"},
    {"allocation", "targets"},
    {"formats"},
    {"checkpoint"},
    {"export", "plot", "post_training", "reports"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    """First-level modules of bitmill that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "bitmill":
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("bitmill.")}
    return found


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path) - {own}:
        if name in LEVEL:
            assert LEVEL[name] <= LEVEL[own], f"{path} imports {name}"
        else:
            assert path.parts[-2] == "cli" or name in ("__version__",), f"{path} imports {name}"


def test_kernels_and_reference_do_not_know_each_other():
    for path in PACKAGE.glob("kernels/*.py"):
        assert "reference" not in imports(path)
    for path in PACKAGE.glob("reference/*.py"):
        assert not imports(path) & {"kernels", "_core"}


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_import_is_light():
    heavy = "{'torch', 'rich', 'argparse', 'scipy', 'matplotlib'}"
    found = run(f"import sys, bitmill; print(sorted({heavy} & set(sys.modules)))")
    assert found == "[]"


def test_import_creates_no_thread_and_changes_no_state():
    code = """
import os, signal, threading, numpy, ml_dtypes
def state():
    return (sorted(os.listdir('/proc/self/task')) if os.path.isdir('/proc/self/task') else 0,
            signal.getsignal(signal.SIGINT), os.getcwd(), dict(os.environ), os.umask(os.umask(0)),
            float(numpy.finfo('f4').smallest_subnormal))
before = state()
import bitmill
print(before == state())
"""
    assert run(code) == "True"
