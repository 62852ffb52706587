# SPDX-License-Identifier: MIT
"""What each layer of a checkpoint lost."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

from bitmill.checkpoint.report import Report, TensorReport, read_report
from bitmill.plot.style import INK, MARKERS, SERIES, add_legend, figure, name_axes, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")
_MOST_TICKS = 20


def error_by_layer(report: Report | str | os.PathLike[str]) -> Figure:
    """The signal to quantization noise of every quantized tensor, in dB, over the layer's number.

    `report` is what `quantize_checkpoint` returned, or the folder that it wrote. Tensors whose
    names differ in numbers alone are of one kind, with a colour and a marker; kinds beyond the
    first eight are grey. Those without a number stand at the right. Tensors that lost nothing are
    left out.

    Raises ValueError if nothing was lost at all, ImportError without matplotlib, and what
    `read_report` raises.
    """
    made, (axes,) = figure()
    known = report if isinstance(report, Report) else read_report(report)
    lossy = [tensor for tensor in known.quantized if math.isfinite(tensor.sqnr_db)]
    if not lossy:
        raise ValueError("no tensor in the report lost anything")
    kinds: dict[str, list[tuple[int | None, float]]] = {}
    for tensor in lossy:
        kinds.setdefault(kind_of(tensor), []).append((layer_of(tensor), tensor.sqnr_db))
    numbers = [n for points in kinds.values() for n, _ in points if n is not None]
    beyond = max(numbers, default=-1) + 1
    for place, (kind, points) in enumerate(kinds.items()):
        placed = sorted((beyond if n is None else n, db) for n, db in points)
        x, y = zip(*placed, strict=True)
        is_named = place < len(SERIES)
        axes.plot(
            x,
            y,
            MARKERS[place % len(MARKERS)],
            color=SERIES[place] if is_named else INK,
            linestyle="-" if len({*x}) == len(x) else "none",
            linewidth=1,
            markersize=5,
            label=kind if is_named else None,
        )
    whole_numbers(axes)
    if any(n is None for points in kinds.values() for n, _ in points):
        ticks = sorted({*numbers})
        ticks = ticks[:: -(-len(ticks) // _MOST_TICKS) or 1]
        axes.set_xticks([*ticks, beyond], [*map(str, ticks), "none"])
    name_axes(axes, "layer", "signal to noise, dB")
    add_legend(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    return made


def kind_of(tensor: TensorReport) -> str:
    """The name without what all of a model's have, and `*` for numbers.

    >>> from bitmill.checkpoint import TensorReport
    >>> kind_of(TensorReport("model.layers.3.mlp.up_proj.weight", (8, 8), None, "", 0, 0))
    'mlp.up_proj'
    """
    name = tensor.name.removesuffix(".weight")
    found = _NUMBER.search(name)
    own = name if found is None else name[found.end() :].lstrip(".") or name
    return _NUMBER.sub("*", own)


def layer_of(tensor: TensorReport) -> int | None:
    """The first number in the name.

    >>> from bitmill.checkpoint import TensorReport
    >>> layer_of(TensorReport("model.layers.3.mlp.up_proj.weight", (8, 8), None, "", 0, 0))
    3
    """
    found = _NUMBER.search(tensor.name)
    return None if found is None else int(found[0])
