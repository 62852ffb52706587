# SPDX-License-Identifier: MIT
"""The report as plain markup, for what shows no scripts: previews in mail programs, for one."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 100
"""Tensors that are told of, the worst first."""
_HEADINGS = ("Tensor", "SQNR dB", "Scheme", "Bytes")


def plain(said: Mapping[str, Any], order: Sequence[str]) -> str:
    """What `FullReport.to_dict` says, in short; `order` has the tensors, the worst first."""
    totals, by_name = said["totals"], {tensor["name"]: tensor for tensor in said["tensors"]}
    worst = [by_name[name] for name in order[:_MOST] if by_name[name]["scheme"] is not None]
    lines = [
        f"{totals['quantized']:,} of {totals['tensors']:,} tensors are quantized: "
        f"{totals['bytes_before']:,} bytes became {totals['bytes_after']:,}.",
        f"Made by: {said['command'] or 'quantize_checkpoint'}",
    ]
    rows = "".join(f"<tr>{_cells('td', _row(tensor))}</tr>" for tensor in worst)
    head = f"<caption>The worst tensors</caption><tr>{_cells('th', _HEADINGS)}</tr>"
    table = f"<table>{head}{rows}</table>" if rows else ""
    return f'<div class="short">{"".join(f"<p>{_text(line)}</p>" for line in lines)}{table}</div>'


def _row(tensor: Mapping[str, Any]) -> Sequence[object]:
    metrics = tensor["metrics"] or {}
    sqnr, nothing = metrics.get("sqnr_db"), "−∞" if metrics.get("max_abs") else "exact"
    told = nothing if sqnr is None else f"{sqnr:.2f}"
    return tensor["name"], told, tensor["scheme"], f"{tensor['bytes_after']:,}"


def _cells(tag: str, texts: Sequence[object]) -> str:
    return "".join(f"<{tag}>{_text(text)}</{tag}>" for text in texts)


def _text(text: object) -> str:
    """Text that is no markup; characters that are not seen, or turn others around, as escapes.

    >>> _text("<b>\\u202e")
    '&lt;b&gt;\\\\u{202e}'
    """
    seen = (c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in str(text))
    return html.escape("".join(seen))
