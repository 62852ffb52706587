# SPDX-License-Identifier: MIT
"""The page: a template with its style and script, and the report as compact JSON in it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from bitmill.reports.plain import plain

_SCRIPTS = ("text.js", "charts.js", "table.js", "details.js", "page.js")
_PICTURES = 600
"""Tensors whose pictures are in the page: of more, those that lost most."""
_DIGITS = 5
"""Of a number in the page."""


def page(said: Mapping[str, Any], order: Sequence[str]) -> str:
    """The page of what `FullReport.to_dict` says; `order` has the tensors, the worst first."""
    pictured = set(order[:_PICTURES])
    compact = dict(said) | {
        "tensors": [_compact(tensor, tensor["name"] in pictured) for tensor in said["tensors"]],
        "pictures": min(_PICTURES, len(order)),
    }
    text = _template("page.html")
    for mark, content in (
        ("/*plain*/", plain(said, order)),
        ("/*style*/", _template("page.css")),
        ("/*script*/", "\n".join(map(_template, _SCRIPTS))),
        ("/*data*/", _in_script(_rounded(compact))),
    ):
        before, _, after = text.partition(mark)
        text = f"{before}{content.strip()}{after}"
    return text


def _template(name: str) -> str:
    return files("bitmill.reports").joinpath(name).read_text("utf-8")


def _in_script(value: Any) -> str:
    """JSON that ends no script, begins no comment, and is plain ASCII.

    >>> _in_script("</script><!--")
    '"\\\\u003c/script\\\\u003e\\\\u003c!--"'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _compact(tensor: Mapping[str, Any], pictured: bool) -> dict[str, Any]:
    """What the page shows of a tensor: cells of the map as bytes, 255 for the largest."""
    found = {key: value for key, value in tensor.items() if key not in ("layer", "errors")}
    if not pictured:
        found.pop("histogram", None)
        return found
    if "errors" in tensor:
        found["errors"] = _map(tensor["errors"])
    return found


def _map(errors: Mapping[str, Any]) -> dict[str, Any]:
    cells = errors["cells"]
    most = max(max(row) for row in cells)
    shades = bytes(round(255 * ratio / most) for row in cells for ratio in row)
    more = {"cells": base64.b64encode(shades).decode(), "columns": len(cells[0]), "max": most}
    return {**errors, **more}


def _rounded(value: Any) -> Any:
    """The same with a few digits to each number: what is shown has fewer."""
    if isinstance(value, float):
        short = float(f"{value:.{_DIGITS}g}")
        return int(short) if short.is_integer() and abs(short) < 1e6 else short
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
