# SPDX-License-Identifier: MIT
"""A table of rates after the benchmarks, with the machine under it."""

from __future__ import annotations

import platform
from pathlib import Path


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    benches = [b for b in getattr(session, "benchmarks", []) if b.extra_info]
    if not benches:
        return
    terminalreporter.section("rates")
    for bench in benches:
        rates = "  ".join(f"{value:8.2f} {unit}" for unit, value in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name:60s}{rates}")
    terminalreporter.write_line(f"{_cpu()}, {platform.platform()}, one thread")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
