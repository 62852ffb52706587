# SPDX-License-Identifier: MIT
"""bitmill quantizes the weights of large language models on a CPU: exact, fast, bounded, honest."""

from importlib.metadata import version as _version

from bitmill import clip, kernels, reference
from bitmill._core import isa, isas
from bitmill._threads import get_num_threads, set_num_threads
from bitmill.layouts import pack, unpack
from bitmill.metrics import Metrics, metrics
from bitmill.qtensor import QTensor
from bitmill.quantize import dequantize, fake_quantize, quantize
from bitmill.schemes import Affine

__version__ = "0.1.0"

__all__ = [
    "Affine",
    "Metrics",
    "QTensor",
    "clip",
    "dequantize",
    "fake_quantize",
    "get_num_threads",
    "isa",
    "isas",
    "kernels",
    "metrics",
    "pack",
    "quantize",
    "reference",
    "set_num_threads",
    "unpack",
]
