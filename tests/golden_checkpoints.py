# SPDX-License-Identifier: MIT
"""Checkpoints made of golden files: a module's tensors as others have them, with a config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bitmill.checkpoint.header import NAMES
from checkpoints import by_hand
from golden_files import GOLDEN

MODULE = "model.layers.0.mlp.up_proj"
DTYPES = {"bf16": "BF16", "f8e4m3": "F8_E4M3"}


class Golden(NamedTuple):
    """A golden file as a checkpoint has it: its tensors by local name, its maker's arguments."""

    args: dict[str, Any]
    tensors: dict[str, tuple[str, np.ndarray]]
    """The safetensors dtype and the bytes in an array of the right shape."""
    shape: tuple[int, int]
    """Of the weight."""


def golden(file: str) -> Golden:
    tensors = {}
    with np.load(GOLDEN / f"{file}.npz") as arrays:
        args, source = json.loads(str(arrays["args"])), str(arrays["input"])
        for key, array in arrays.items():
            name, _, kind = key.partition("__")
            if "bitsandbytes" in key:
                name, kind = key, ""
            if name not in ("args", "input", "dequant", "dequant_KN"):
                tensors[name] = (DTYPES.get(kind) or NAMES[array.dtype.name], array)
    return Golden(args, tensors, (20, 100) if source == "w_odd_f32" else (32, 256))


def config_for(file: str, args: dict[str, Any]) -> dict[str, Any]:
    """The config.json that goes with a golden file."""
    folder, _, name = file.partition("/")
    if folder == "mlx":
        said = {"group_size": args["group_size"], "bits": args["bits"], "mode": args["mode"]}
        return {"quantization": said, "quantization_config": said}
    if folder == "compressed_tensors":
        weights = {key: value for key, value in args.items() if key != "format"}
        group = {"targets": ["Linear"], "format": args["format"], "weights": weights}
        said = {
            "quant_method": "compressed-tensors",
            "format": args["format"],
            "quantization_status": "compressed",
            "config_groups": {"group_0": group},
            "ignore": ["lm_head"],
        }
    elif name.startswith("awq"):
        said = {"quant_method": "awq", "bits": 4, "group_size": args["group_size"]}
        said |= {"zero_point": True, "version": "gemm", "modules_to_not_convert": None}
    elif name.startswith("gptq"):
        said = {"quant_method": "gptq", "bits": 4, "group_size": args["group_size"]}
        said |= {"desc_act": False, "sym": False, "checkpoint_format": "gptq"}
    elif name.startswith("int8"):
        said = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    else:
        said = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        said |= {"bnb_4bit_quant_type": args["quant_type"], "bnb_4bit_quant_storage": "uint8"}
        said |= {"bnb_4bit_use_double_quant": args["double_quant"]}
    return {"quantization_config": said}


def make_golden(folder: Path, file: str, module: str, *, config: bool) -> Golden:
    """Write the checkpoint that a golden file is a part of."""
    found = golden(file)
    prefix = f"{module}." if module else ""
    entries, data = {}, b""
    for name, (dtype, array) in found.tensors.items():
        entries[prefix + name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + array.nbytes],
        }
        data += array.tobytes()
    by_hand(folder / "model.safetensors", entries, data)
    if config:
        (folder / "config.json").write_text(json.dumps(config_for(file, found.args)))
    return found
