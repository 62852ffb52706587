# SPDX-License-Identifier: MIT
"""Every example in a docstring and in the README runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import bitmill

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(bitmill.__path__, "bitmill.")
    if m.name not in ("bitmill._core", "bitmill.__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_readme_examples_run():
    readme = Path(__file__).parent.parent / "README.md"
    result = doctest.testfile(str(readme), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
