# SPDX-License-Identifier: MIT
"""The machine, in one line to go under figures."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np

import bitmill
from bitmill import _core

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def describe() -> str:
    """CPU, ISA, compiler, NumPy, kernel and huge pages.

    >>> "NumPy" in describe()
    True
    """
    facts = [
        f"{cpu()} ({', '.join(_core.isas())}; {_core.isa()} in use)",
        compiler(),
        f"NumPy {np.__version__}",
        f"bitmill {bitmill.__version__}",
        f"{platform.system()} {platform.release()}",
        f"transparent huge pages: {huge_pages()}",
    ]
    return ", ".join(fact for fact in facts if fact)


def cpu() -> str:
    """The CPU's name, with family and model where the name says little."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    facts: dict[str, str] = {}
    for line in info.read_text().splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    name = facts.get("model name", platform.machine())
    if "cpu family" in facts:
        name += f" family {facts['cpu family']} model {facts.get('model', '?')}"
    return name


def compiler() -> str:
    """What compiled `_core`, as GCC and Clang leave it in the file; empty where nothing is."""
    if not (readelf := shutil.which("readelf")) or platform.system() != "Linux":
        return ""
    run = subprocess.run(
        [readelf, "-p", ".comment", _core.__file__], capture_output=True, text=True, check=False
    )
    lines = [line.split("]", 1)[1].strip() for line in run.stdout.splitlines() if "]" in line]
    return " + ".join(sorted(set(lines)))


def huge_pages() -> str:
    """What /sys says: always, madvise (which NumPy asks for) or never."""
    if not _HUGE_PAGES.is_file():
        return "unknown"
    return _HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]
