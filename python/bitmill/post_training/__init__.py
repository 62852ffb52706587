# SPDX-License-Identifier: MIT
"""Post-training quantization of the linear layers of a network: `bitmill.ptq`."""

from bitmill.post_training.layer import QuantizedLayer
from bitmill.post_training.network import QuantizedNetwork
from bitmill.post_training.policy import Policy
from bitmill.post_training.quantize_network import ptq
from bitmill.post_training.refitting import Refitted, refit
from bitmill.post_training.report import LayerReport, PTQReport, Step
from bitmill.post_training.store import load, save
from bitmill.post_training.transforms import Rotate, Smooth, Split

__all__ = [
    "LayerReport",
    "PTQReport",
    "Policy",
    "QuantizedLayer",
    "QuantizedNetwork",
    "Refitted",
    "Rotate",
    "Smooth",
    "Split",
    "Step",
    "load",
    "ptq",
    "refit",
    "save",
]
