# SPDX-License-Identifier: MIT
"""Exports to look at: quantized checkpoints, and what becomes of a single weight."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bitmill as bm
from bitmill.checkpoint import open_checkpoint, quantize_checkpoint
from bitmill.formats import NATIVE, LayerScheme
from checkpoints import arrays, make, weight

NAME = "model.layers.0.mlp.up_proj"
CONFIG = {"model_type": "llama", "dtype": "float32"}


def quantized(folder: Path, rules: Any, shape: tuple[int, int] = (64, 384)) -> Path:
    """A checkpoint with one weight under a scheme, in the format that can hold it."""
    src = make(folder / "src", {f"{NAME}.weight": weight(*shape, dtype="float32")}, config=CONFIG)
    if isinstance(rules, bm.Affine):
        rules = LayerScheme(rules, format=NATIVE)
    quantize_checkpoint(src, folder / "q", {NAME: rules})
    return folder / "q"


def exported(folder: Path, rules: Any, to: str, shape: tuple[int, int] = (64, 384)) -> Any:
    """The folder of an export, the tensors of its one module, and the weight as we read it."""
    src = quantized(folder, rules, shape)
    bm.export_checkpoint(src, folder / to, to=to)
    return folder / to, tensors(folder / to), bm.load_checkpoint(src)[f"{NAME}.weight"]


def tensors(folder: Path) -> Mapping[str, np.ndarray]:
    """The tensors of the module in a folder of safetensors, by what their names have behind it."""
    if not list(folder.glob("*.safetensors")):
        return {}
    found = arrays(open_checkpoint(folder))
    return {name.removeprefix(f"{NAME}."): array for name, array in found.items()}
