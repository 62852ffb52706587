# SPDX-License-Identifier: MIT
"""bitmill quantizes the weights of large language models on a CPU: exact, fast, bounded, honest."""

from typing import TYPE_CHECKING as _CHECKING

from bitmill import clip, kernels, observers, reference
from bitmill._core import isa, isas
from bitmill._threads import get_num_threads, set_num_threads
from bitmill.allocation import Allocation, allocate, frontier
from bitmill.bias_correction import bias_shift, correct_bias
from bitmill.calibrate import calibrate
from bitmill.kmeans import Codebook, kmeans1d
from bitmill.layouts import pack, unpack
from bitmill.lloyd_max import lloyd_max
from bitmill.metrics import ChannelMetrics, Metrics, metrics
from bitmill.percentile import percentile
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.quantize import dequantize, fake_quantize, quantize
from bitmill.schemes import (
    FP4,
    IQ4_NL,
    NF4,
    Affine,
    Float,
    KMeans,
    LearnedTable,
    Outliers,
    Scales,
    Table,
)

if _CHECKING:
    from bitmill.checkpoint import (
        CheckpointError,
        Sensitivity,
        load,
        load_checkpoint,
        plan_budget,
        plan_checkpoint,
        quantize_checkpoint,
        save,
        sensitivity,
    )
    from bitmill.reports import FullReport, report

__version__ = "0.1.0"

__all__ = [
    "FP4",
    "IQ4_NL",
    "NF4",
    "Affine",
    "Allocation",
    "ChannelMetrics",
    "CheckpointError",
    "Codebook",
    "Float",
    "FullReport",
    "KMeans",
    "LearnedTable",
    "Metrics",
    "Outliers",
    "QParams",
    "QTensor",
    "Scales",
    "Sensitivity",
    "Table",
    "allocate",
    "bias_shift",
    "calibrate",
    "clip",
    "correct_bias",
    "dequantize",
    "fake_quantize",
    "frontier",
    "get_num_threads",
    "isa",
    "isas",
    "kernels",
    "kmeans1d",
    "lloyd_max",
    "load",
    "load_checkpoint",
    "metrics",
    "observers",
    "pack",
    "percentile",
    "plan_budget",
    "plan_checkpoint",
    "quantize",
    "quantize_checkpoint",
    "reference",
    "report",
    "save",
    "sensitivity",
    "set_num_threads",
    "unpack",
]


_OF_REPORTS = ("FullReport", "report")
_OF_CHECKPOINT = (
    "CheckpointError",
    "Sensitivity",
    "load",
    "load_checkpoint",
    "plan_budget",
    "plan_checkpoint",
    "quantize_checkpoint",
    "save",
    "sensitivity",
)


def __getattr__(name: str) -> object:
    """Names of `bitmill.checkpoint` and what lies above it, imported when first used: it costs as
    much as all the rest."""
    if name in (*_OF_CHECKPOINT, *_OF_REPORTS):
        from bitmill import checkpoint, reports

        home = checkpoint if name in _OF_CHECKPOINT else reports
        globals()[name] = value = getattr(home, name)
        return value
    raise AttributeError(f"module 'bitmill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
