# SPDX-License-Identifier: MIT
"""Reports without a checkpoint: as many tensors as one likes, under any names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

import bitmill as bm
from bitmill.checkpoint import Health, LayerScheme, Measure, Report, TensorReport
from bitmill.reports import Curve, Details, FullReport, Spot
from bitmill.reports.errors import errors
from bitmill.reports.levels import histogram, scale_range

SCHEME = bm.Affine(4, group_size=128, clip="mse")
LABELS = ("W2", "W3", "W4", "W5", "W6", "W8", "KEEP")


def full_report(names: Iterable[str], **changes: object) -> FullReport:
    """A report with the largest pictures that there are, and all candidates for each tensor."""
    x = np.random.default_rng(0).standard_normal((64, 64 * 128)).astype(np.float32)
    q = bm.quantize(x, SCHEME)
    total, where = errors(x, q.dequantize(), 128)
    alternatives = {
        label: Measure(100_000 * (i + 2), 10.0 ** (3 - i), 6.0 * i)
        for i, label in enumerate(LABELS)
    }
    details = Details(
        histogram(x, q.dequantize(), q), scale_range(q), where, 4.5, alternatives, {}, "W4"
    )
    tensors = tuple(
        TensorReport(
            name, q.shape, LayerScheme(SCHEME), "Linear", 4 * q.size, 400_000,
            replace(total.metrics(q.size), sqnr_db=20.0 + i / 7), Health(clipped=i),
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    kept = TensorReport("norm.weight", (64,), None, "1-D", 256, 256)
    size = len(tensors)
    made = FullReport(
        report=Report((*tensors, kept), size << 21, size * 400_256, ("a note",), ("x.bin",)),
        details={tensor.name: details for tensor in tensors},
        made_by=bm.__version__,
        command="bitmill quantize SRC DST --budget 4.25bpw",
        sources={"model.safetensors": size << 21},
        model="LlamaForCausalLM",
        has_source=True,
        curve=Curve(
            tuple(Spot(size * m.bytes, size * m.error) for m in alternatives.values()),
            {label: Spot(size * m.bytes, size * m.error) for label, m in alternatives.items()},
            Spot(size * 400_000, size * 10.0),
            size * q.size,
            False,
        ),
    )
    return replace(made, **changes)
