# SPDX-License-Identifier: MIT
"""Exports to ONNX: the bytes of golden files, and graphs that ONNX Runtime runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import CheckpointError
from bitmill.export import onnx
from checkpoints import contents, llama, make
from conftest import needs, same_bits
from exports import NAME, exported, quantized
from test_golden_matmulnbits import DIFFERING, Peer

GOLDEN = [name for name in golden_files.names("ort") if name.startswith("nbits")]
KEYS = {"weight_codes": "B", "weight_scales": "scales", "weight_points": "zero_points"}


@pytest.mark.parametrize("name", GOLDEN)
def test_same_codes_and_scales_give_the_peers_bytes(name: str) -> None:
    peer = Peer(name)
    made = onnx.encode(peer.q)
    assert len(made) == 2 + (not peer.symmetric)
    for part, array in made.items():
        wanted = peer.arrays[KEYS[part]]
        assert np.ascontiguousarray(array).tobytes() == wanted.tobytes(), part
        assert array.dtype == wanted.dtype


@pytest.mark.parametrize("name", GOLDEN)
def test_same_inputs_give_the_peers_bytes_but_for_ties_and_zero_groups(name: str) -> None:
    peer = Peer(name)
    made = onnx.encode(peer.ours)
    same_bits(np.ascontiguousarray(made["weight_scales"])[~peer.zero], peer.q.scale[~peer.zero])
    if not peer.symmetric:
        assert made["weight_points"].tobytes() == peer.arrays["zero_points"].tobytes()
    ours, theirs = (
        np.unpackbits(blobs, bitorder="little").reshape(-1, peer.bits)
        for blobs in (made["weight_codes"], peer.arrays["B"])
    )
    assert int((ours != theirs).any(axis=1).sum()) == DIFFERING[name]


def outputs(folder: Path) -> dict[str, np.ndarray]:
    """What each node makes of the identity, transposed: the weights, in the graph's dtype."""
    onnxruntime = needs("onnxruntime")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    dtypes = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    feeds = {i.name: np.eye(i.shape[1], dtype=dtypes[i.type]) for i in session.get_inputs()}
    names = [output.name for output in session.get_outputs()]
    found = zip(names, session.run(names, feeds), strict=True)
    return {name.removesuffix(".output"): y.T for name, y in found}


SCHEMES: list[tuple[bm.Affine, tuple[int, int]]] = [
    *((bm.Affine(bits, group_size=64), (48, 384)) for bits in (2, 4, 8)),
    *((bm.Affine(bits, symmetric=False, group_size=32), (48, 384)) for bits in (2, 4, 8)),
    *((bm.Affine(4, group_size=128, scales=s), (48, 384)) for s in ("float16", "bfloat16")),
    (bm.Affine(4, symmetric=False, group_size=128, scales="float16"), (48, 384)),
    (bm.Affine(4, group_size=128), (48, 300)),  # a short last group
    (bm.Affine(4, symmetric=False, group_size=512), (48, 1100)),
    (bm.Affine(4, group_size=96), (48, 384)),  # blocks of 32, the scales three times each
    (bm.Affine(4, group_size=32, scales=bm.Scales("float16", bits=6, super_block=128)), (48, 384)),
    (bm.Affine(4, group_size=64, scale_rule="signed_max"), (48, 384)),
    (bm.Affine(8), (48, 384)),
    (bm.Affine(8, symmetric=False), (48, 100)),
    (bm.Affine(4, axis=None), (48, 100)),
    (bm.Affine(2), (1, 5)),
]


@pytest.mark.parametrize(("scheme", "shape"), SCHEMES)
def test_onnx_runtime_computes_our_values(
    tmp_path: Path, scheme: bm.Affine, shape: tuple[int, int]
) -> None:
    needs("onnx")
    folder, _, q = exported(tmp_path, scheme, "onnx", shape)
    found = outputs(folder)
    assert found.keys() == {NAME}
    assert np.array_equal(found[NAME], q.dequantize(dtype=found[NAME].dtype.name))


def test_graph_has_a_node_and_initializers_for_each_weight_and_nothing_else(tmp_path: Path) -> None:
    package = needs("onnx")
    src = make(tmp_path / "src", llama("float32"), config={"dtype": "float32"})
    bm.quantize_checkpoint(src, tmp_path / "q", "W4A16_ASYM")
    done = bm.export_checkpoint(tmp_path / "q", tmp_path / "onnx", to="onnx")
    q = bm.load_checkpoint(tmp_path / "q")
    assert contents(tmp_path / "onnx").keys() == done.files.keys() == {*done.files}
    assert done.kept == ()
    assert done.notes == (
        "6 tensors that are not quantized are left out: the graph has no place for them",
    )
    package.checker.check_model(str(tmp_path / "onnx" / "model.onnx"))
    model = package.load(str(tmp_path / "onnx" / "model.onnx"), load_external_data=False)
    assert [node.name for node in model.graph.node] == [*done.weights] == sorted(done.weights)
    assert len(model.graph.initializer) == 3 * len(done.weights)
    offsets = [
        int(entry.value)
        for one in model.graph.initializer
        for entry in one.external_data
        if entry.key == "offset"
    ]
    assert all(offset % 4096 == 0 for offset in offsets)
    assert len({*offsets}) == len(offsets)
    for module, found in outputs(tmp_path / "onnx").items():
        assert np.array_equal(found, q[f"{module}.weight"].dequantize()), module


def test_several_rows_are_multiplied_at_once(tmp_path: Path, rng: np.random.Generator) -> None:
    onnxruntime = needs("onnxruntime")
    needs("onnx")
    folder, _, q = exported(tmp_path, bm.Affine(4, group_size=64), "onnx")
    x = rng.standard_normal((5, q.shape[1]), np.float32)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    (y,) = session.run(None, {f"{NAME}.input": x})
    np.testing.assert_allclose(y, x @ q.dequantize().T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        (bm.Affine(3), "the format holds 2, 4 or 8 bits, not 3"),
        (bm.Affine(16), "the format holds 2, 4 or 8 bits, not 16"),
        (bm.Affine(4, symmetric=False, offset=True), "integer zero-points only, no real offsets"),
        (bm.Affine(4, group_size=24), "groups of 24 cannot be cut into blocks of 16, 32, 64, 128"),
        (bm.KMeans(4, "row"), "the format holds affine codes only, no KMeans"),
    ],
)
def test_what_onnx_cannot_hold_is_refused(tmp_path: Path, scheme: Any, why: str) -> None:
    src = quantized(tmp_path, scheme)
    with pytest.raises(CheckpointError, match=f"onnx cannot hold just these values: {NAME}.*{why}"):
        bm.export_checkpoint(src, tmp_path / "onnx", to="onnx")
    assert not (tmp_path / "onnx").exists()


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = quantized(tmp_path, bm.Affine(4))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match=r"pip install 'bitmill\[onnx\]'"):
        bm.export_checkpoint(src, tmp_path / "onnx", to="onnx")
    assert not (tmp_path / "onnx").exists()
