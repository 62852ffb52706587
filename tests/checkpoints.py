# SPDX-License-Identifier: MIT
"""Small checkpoints for the tests to read: a Llama in miniature, and safetensors files by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.manifest import MANIFEST
from bitmill.checkpoint.read import Checkpoint
from bitmill.checkpoint.write import write_tensors

CONFIG = {"model_type": "llama", "dtype": "bfloat16", "hidden_size": 256}


def weight(*shape: int, seed: int = 0, dtype: Any = ml_dtypes.bfloat16) -> np.ndarray:
    """Normal weights of about the size that trained ones have."""
    return (0.02 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def llama(dtype: Any = ml_dtypes.bfloat16) -> dict[str, np.ndarray]:
    """The tensors of a one-layer Llama with rows of 256, and one buffer of integers."""
    shapes = {
        "model.embed_tokens": (64, 256),
        "model.layers.0.self_attn.q_proj": (256, 256),
        "model.layers.0.self_attn.k_proj": (64, 256),
        "model.layers.0.mlp.down_proj": (256, 384),
        "model.layers.0.input_layernorm": (256,),
        "model.norm": (256,),
        "lm_head": (64, 256),
    }
    tensors = {
        f"{module}.weight": weight(*shape, seed=seed, dtype=dtype)
        for seed, (module, shape) in enumerate(shapes.items())
    }
    tensors["model.layers.0.self_attn.q_proj.bias"] = weight(256, dtype=dtype)
    tensors["model.steps"] = np.arange(7)
    return tensors


def make(
    folder: Path, tensors: Mapping[str, np.ndarray], *, shards: int = 1, config: Any = CONFIG
) -> Path:
    """Write a Hugging Face folder with the tensors dealt out to `shards` files; the folder."""
    folder.mkdir(parents=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        write_tensors(folder / "model.safetensors", tensors)
        return folder
    homes = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[i::shards])
        write_tensors(folder / file, part)
        homes |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def by_hand(path: Path, header: Any, data: bytes = b"") -> Path:
    """Write a safetensors file from a header (an object, or its bytes) and data, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def arrays(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint."""
    return {info.name: read_tensor(path, info) for path, info in checkpoint.tensors()}


def config_of(folder: Path) -> dict[str, Any]:
    """The quantization_config of a quantized folder."""
    said: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return said["quantization_config"]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, and of those in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def made(folder: Path) -> dict[str, bytes]:
    """The same, but for how it was asked for, of which the manifest tells."""
    found = contents(folder)
    manifest = json.loads(found[MANIFEST])
    told = {"command": None, "sensitivity": None}
    return found | {MANIFEST: json.dumps(manifest | told).encode()}


@contextmanager
def file_size_limit(nbytes: int) -> Iterator[None]:
    """Writing a file beyond this size fails, as it does on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
