# SPDX-License-Identifier: MIT
"""Whole checkpoints by other packages, each in a process of its own: `... NAME SOURCE TARGET`."""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import ctypes
import os
import sys
from pathlib import Path

import numpy as np

from bitmill import load_checkpoint

GGUF = "weights.gguf"
GROUP = 128


def llama_cpp(source: Path, target: Path) -> None:
    """llama-quantize to Q4_0, in blocks of 32; it reads what `write_gguf` wrote."""
    import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.nthread, options.ftype = 1, llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    paths = (os.fsencode(path) for path in (source / GGUF, target))
    assert llama_cpp.llama_model_quantize(*paths, ctypes.byref(options)) == 0


def torch(source: Path, target: Path) -> None:
    """All weights loaded, each quantized by plain operations, int4 in groups, all saved."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(1)
    made = {}
    for name, x in load_file(source / "model.safetensors").items():
        groups = x.float().reshape(x.shape[0], -1, GROUP)
        scale = groups.abs().amax(-1, keepdim=True) / 7
        codes = (groups / scale).round().clamp(-8, 7).to(torch.int32).reshape(*x.shape) + 8
        words = torch.zeros(x.shape[0], x.shape[1] // 8, dtype=torch.int32)
        for i in range(8):
            words |= codes[:, i::8] << (4 * i)
        made |= {f"{name}_packed": words, f"{name}_scale": scale.squeeze(-1).bfloat16()}
    save_file(made, target)


def write_gguf(source: Path) -> None:
    """The weights as float16 in a file that llama.cpp takes for a Llama."""
    import gguf

    weights = list(load_checkpoint(source).values())
    columns = weights[0].shape[1]
    writer = gguf.GGUFWriter(source / GGUF, "llama")
    writer.add_block_count(len(weights))
    writer.add_context_length(128)
    writer.add_embedding_length(columns)
    writer.add_feed_forward_length(weights[0].shape[0])
    writer.add_head_count(32)
    writer.add_layer_norm_rms_eps(1e-5)
    for i, x in enumerate(weights):
        writer.add_tensor(f"blk.{i}.ffn_down.weight", x.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    _, name, given, wanted = sys.argv
    {"llama_cpp": llama_cpp, "torch": torch}[name](Path(given), Path(wanted))
