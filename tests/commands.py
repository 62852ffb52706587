# SPDX-License-Identifier: MIT
"""The command line, called by the tests in their own process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bitmill.cli import main


def run(*args: object) -> int:
    """The exit code of `bitmill ARGS`, also where argparse ends the program."""
    try:
        return main([str(arg) for arg in args])
    except SystemExit as end:
        return int(end.code or 0)


def printed(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What `bitmill ARGS` prints."""
    assert run(*args) == 0
    return capsys.readouterr().out


def parsed(text: str) -> Any:
    """JSON, without what only Python takes for it."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(literal: str) -> None:
    pytest.fail(f"{literal} is not JSON")
