# SPDX-License-Identifier: MIT
"""Checkpoints: read, plan, convert, write.

`read` and `header` know what lies on disk, `patterns` and `plan` decide from headers alone what
becomes of each tensor, `convert` does it, `write` and `copy` fill the target folder.
"""

from bitmill.checkpoint.convert import Progress, quantize_checkpoint
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.plan import Plan, PlannedTensor, plan_checkpoint
from bitmill.checkpoint.read import Checkpoint, open_checkpoint, read_tensor
from bitmill.checkpoint.report import Report, TensorReport
from bitmill.checkpoint.store import load, save

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Plan",
    "PlannedTensor",
    "Progress",
    "Report",
    "TensorReport",
    "load",
    "open_checkpoint",
    "plan_checkpoint",
    "quantize_checkpoint",
    "read_tensor",
    "save",
]
