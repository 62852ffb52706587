# SPDX-License-Identifier: MIT
"""Golden files: what other packages made of the inputs in golden/input (see golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from bitmill._dtypes import Array

GOLDEN = Path(__file__).parent / "golden"


class GoldenFile(NamedTuple):
    """The input [R, C], the maker's arguments, and what it made, by name; bfloat16 as such."""

    x: Array
    args: dict[str, Any]
    arrays: dict[str, Array]


def read(path: str) -> GoldenFile:
    """The golden file at golden/<path>.npz."""
    arrays = {}
    with np.load(GOLDEN / f"{path}.npz") as file:
        for name, array in file.items():
            bf16 = name.endswith("__bf16")
            arrays[name.removesuffix("__bf16")] = array.view(ml_dtypes.bfloat16) if bf16 else array
    args, source = json.loads(str(arrays.pop("args"))), str(arrays.pop("input"))
    x = np.load(GOLDEN / "input" / f"{source.removesuffix('(transposed)').split(' ')[0]}.npy")
    if source.endswith("(cast to bf16 RNE)"):
        x = x.astype(ml_dtypes.bfloat16)
    if source == "w_bf16_bits":
        x = x.view(ml_dtypes.bfloat16)
    if source == "w_ort_KN_f32":  # stored as ONNX has it
        x = np.ascontiguousarray(x.T)
    return GoldenFile(x, args, arrays)


def names(folder: str) -> list[str]:
    """The names, without .npz, of the golden files in a folder."""
    return sorted(path.stem for path in (GOLDEN / folder).glob("*.npz"))


def bits_of(array: Array) -> Array:
    """Its elements as unsigned integers, so that comparing them compares bytes."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def zero_groups(x: Array, group_size: int | None) -> Array:
    """Which groups of `x` hold nothing but zeros, in the shape of their scales."""
    rows, columns = x.shape
    size = group_size or columns
    padded = np.zeros((rows, -(-columns // size) * size), np.float32)
    padded[:, :columns] = x
    return ~padded.reshape(rows, -1, size).any(axis=2)
