# SPDX-License-Identifier: MIT
"""Checkpoints: read, plan, convert, write, look into.

`read` and `header` know what lies on disk; `patterns`, `rules` and `planner` decide from headers
alone what becomes of each tensor; `plan` holds the decision, `output` the files that follow.
`convert` and `conversion` do it: `pieces` cuts tensors, `job` does a piece, `pool` says where,
`run` puts them together, `journal` and `target` see to it that nothing is lost, `manifest` and
`changed` that nothing is done twice. `candidates` are measured by `measure`: `subjects` are the
weights, a `trial` is one piece, `measured` what came of all, of which `budget` makes a plan.
`loaded`, `inspect` and `compare` look at what is there.
"""

from bitmill.checkpoint.budget import plan_budget
from bitmill.checkpoint.convert import quantize_checkpoint
from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.loaded import LoadedCheckpoint, load_checkpoint
from bitmill.checkpoint.measure import sensitivity
from bitmill.checkpoint.measured import (
    Measure,
    Sensitivity,
    TensorSensitivity,
    read_sensitivity,
)
from bitmill.checkpoint.plan import Plan, PlannedTensor, read_plan
from bitmill.checkpoint.planner import plan_checkpoint
from bitmill.checkpoint.read import Checkpoint, open_checkpoint
from bitmill.checkpoint.report import Health, Report, TensorReport, read_report
from bitmill.checkpoint.rules import read_rules
from bitmill.checkpoint.run import Progress
from bitmill.checkpoint.store import load, save
from bitmill.formats import LayerScheme

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Health",
    "LayerScheme",
    "LoadedCheckpoint",
    "Measure",
    "Plan",
    "PlannedTensor",
    "Progress",
    "Report",
    "Sensitivity",
    "TensorReport",
    "TensorSensitivity",
    "load",
    "load_checkpoint",
    "open_checkpoint",
    "plan_budget",
    "plan_checkpoint",
    "quantize_checkpoint",
    "read_plan",
    "read_report",
    "read_rules",
    "read_sensitivity",
    "read_tensor",
    "save",
    "sensitivity",
]
