# SPDX-License-Identifier: MIT
"""`bitmill.sensitivity` of a bfloat16 checkpoint for six schemes, beside the six quantizations.

Both are done by one thread; the checkpoint is in the page cache, the other's weights are in memory.
The aim: at most 1.3 times as long ("x six quantizations" of at least 0.77). Searched ranges meet
it.
With those of minimum and maximum a quantization is as fast as memory, while errors are summed in
double: about twice as long.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint.read import WEIGHTS
from bitmill.checkpoint.write import write_tensors

COUNT = 9
WIDTHS = (2, 3, 4, 5, 6, 8)


@pytest.fixture(scope="module")
def tensors(weights):
    """Weights that differ, by name; of the default shape they are 1.06 GB."""
    x = weights["bf16"]
    return {f"model.layers.{i}.mlp.down_proj.weight": np.roll(x, i, 0) for i in range(COUNT)}


@pytest.fixture(scope="module")
def source(tensors, tmp_path_factory):
    """A folder with the weights as safetensors."""
    folder = tmp_path_factory.mktemp("source")
    write_tensors(folder / WEIGHTS, tensors)
    (folder / "config.json").write_text(json.dumps({"dtype": "bfloat16"}))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("clip", ["mse", "minmax"])
def bench_six_schemes(race, tensors, source, clip):
    """Reading, quantizing, decoding and comparing, beside quantizing alone."""
    schemes = {
        f"int{b}": bm.Affine(b, group_size=128, clip=clip, scales="bfloat16") for b in WIDTHS
    }

    def quantize():
        for x in tensors.values():
            for scheme in schemes.values():
                bm.quantize(x, scheme, num_threads=1)

    def measure():
        return bm.sensitivity(source, schemes, num_threads=1)

    name, x = next(iter(tensors.items()))
    found = {tensor.name: tensor for tensor in measure().tensors}[name]
    for label, scheme in schemes.items():
        mse = bm.metrics(x, bm.quantize(x, scheme)).mse
        assert found.measured[label].error == pytest.approx(mse * x.size, rel=1e-12)
    size = sum(x.size for x in tensors.values())
    nbytes = sum(x.nbytes for x in tensors.values())
    race(measure, size=size * len(schemes), nbytes=nbytes, rivals={"six quantizations": quantize})
