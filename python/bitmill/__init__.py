# SPDX-License-Identifier: MIT
"""bitmill quantizes the weights of large language models on a CPU: exact, fast, bounded, honest."""

from typing import TYPE_CHECKING as _CHECKING

from bitmill import clip, integer, kernels, layouts, observers, reference, targets, transform
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
    from bitmill import plot, post_training
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
    from bitmill.export import export_checkpoint
    from bitmill.post_training import ptq
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
    "export_checkpoint",
    "fake_quantize",
    "frontier",
    "get_num_threads",
    "integer",
    "isa",
    "isas",
    "kernels",
    "kmeans1d",
    "layouts",
    "lloyd_max",
    "load",
    "load_checkpoint",
    "metrics",
    "observers",
    "pack",
    "percentile",
    "plan_budget",
    "plan_checkpoint",
    "plot",
    "post_training",
    "ptq",
    "quantize",
    "quantize_checkpoint",
    "reference",
    "report",
    "save",
    "sensitivity",
    "set_num_threads",
    "targets",
    "transform",
    "unpack",
]


_LATER = {
    "CheckpointError": "checkpoint",
    "FullReport": "reports",
    "Sensitivity": "checkpoint",
    "export_checkpoint": "export",
    "load": "checkpoint",
    "load_checkpoint": "checkpoint",
    "plan_budget": "checkpoint",
    "plan_checkpoint": "checkpoint",
    "plot": "plot",
    "post_training": "post_training",
    "ptq": "post_training",
    "quantize_checkpoint": "checkpoint",
    "report": "reports",
    "save": "checkpoint",
    "sensitivity": "checkpoint",
}
"""Names of parts of the package that are imported when one is first used: they cost as much as all
the rest."""


def __getattr__(name: str) -> object:
    """What is imported when it is first used."""
    if name in _LATER:
        from importlib import import_module

        part = import_module(f"bitmill.{_LATER[name]}")
        globals()[name] = value = part if _LATER[name] == name else getattr(part, name)
        return value
    raise AttributeError(f"module 'bitmill' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
