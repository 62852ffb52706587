# SPDX-License-Identifier: MIT
"""Exports: a checkpoint that bitmill made, repacked for other runtimes with no value changed.

`walk` goes through the tensors, one at a time; `onnx`, `mlx` and `gptq` are the formats, each with
its tensors for a weight and its files for a checkpoint; `affine` is what they share.
"""

from bitmill.export.base import Exporter, Files, Weight
from bitmill.export.walk import TARGETS, Exported, export_checkpoint

__all__ = ["TARGETS", "Exported", "Exporter", "Files", "Weight", "export_checkpoint"]
