# SPDX-License-Identifier: MIT
"""save and load give back what was saved, and refuse what is not theirs."""

from __future__ import annotations

import json
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import open_checkpoint
from bitmill.checkpoint.write import write_tensors
from checkpoints import arrays, file_size_limit
from conftest import needs, same_bits

SCHEMES = [
    bm.Affine(4, group_size=32),
    bm.Affine(3, symmetric=False, group_size=100, scales="bfloat16"),
    bm.Affine(5, symmetric=False, offset=True, scales="float16"),
    bm.Affine(8, axis=None, scale_rule="signed_max"),
    bm.Affine(16, axis=1, narrow_range=True),
]


def quantized(rng):
    x = rng.standard_normal((6, 3, 130)).astype(ml_dtypes.bfloat16)
    made = {f"layer.{i}.weight": bm.quantize(x, scheme) for i, scheme in enumerate(SCHEMES)}
    return made | {"empty": bm.quantize(np.zeros((0, 7), np.float16), bm.Affine(4))}


def assert_equal(got, wanted):
    assert (got.scheme, got.shape, got.dtype) == (wanted.scheme, wanted.shape, wanted.dtype)
    assert got.arrays.keys() == wanted.arrays.keys()
    for name in wanted.arrays:
        same_bits(got.arrays[name], wanted.arrays[name], name)


def test_load_gives_what_was_saved(tmp_path, rng):
    wanted = quantized(rng)
    bm.save(wanted, tmp_path / "q.safetensors")
    got = bm.load(tmp_path / "q.safetensors")
    assert list(got) == list(wanted) or sorted(got) == sorted(wanted)
    for name in wanted:
        assert_equal(got[name], wanted[name])
        same_bits(np.asarray(got[name]), np.asarray(wanted[name]))


def test_pickle_gives_what_was_pickled(rng):
    for q in quantized(rng).values():
        assert_equal(pickle.loads(pickle.dumps(q)), q)


def test_same_tensors_same_bytes(tmp_path, rng):
    made = quantized(rng)
    bm.save(made, tmp_path / "a")
    bm.save(made, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_file_is_a_safetensors_file(tmp_path, rng):
    made = quantized(rng)
    bm.save(made, tmp_path / "q.safetensors")
    with needs("safetensors").safe_open(tmp_path / "q.safetensors", "numpy") as file:
        described = json.loads(file.metadata()["bitmill"])
        same_bits(file.get_tensor("layer.0.weight.packed"), made["layer.0.weight"].packed)
    assert described["tensors"]["layer.0.weight"]["scheme"] == SCHEMES[0].to_dict()


def test_save_replaces_a_file_only_when_the_new_one_is_complete(tmp_path, rng, monkeypatch):
    path = tmp_path / "q.safetensors"
    bm.save(quantized(rng), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        bm.save({}, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_save_takes_only_qtensors(tmp_path):
    with pytest.raises(TypeError, match=r"tensors\['w'\] is a ndarray; save takes QTensors"):
        bm.save({"w": np.ones(3)}, tmp_path / "q")
    assert os.listdir(tmp_path) == []


def test_load_refuses_files_that_save_did_not_write(tmp_path, rng):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"w": np.ones((2, 2), np.float32)})
    with pytest.raises(bm.CheckpointError, match=r"no 'bitmill' entry: bm\.save did not write it"):
        bm.load(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("[]", "'bitmill' entry: holds a JSON list; wanted an object"),
        ('{"version": 1, "tensors": []}', "'tensors' is a JSON list; wanted an object"),
        ('{"version": 1, "tensors": {"w": 3}}', "tensor 'w': its description 3 cannot be read"),
        ('{"version": 9, "tensors": {}}', "version is 9; this bitmill reads 1"),
        ('{"version": 1, "tensors": {"w": {"scheme": {"scheme": "Cube"}, "shape": [2], '
         '"dtype": "float32"}}}', "'Cube' is not one of: Affine"),
        ('{"version": 1, "tensors": {"w": {"scheme": {"scheme": "Affine", "bits": 99}, '
         '"shape": [2], "dtype": "float32"}}}', "bits=99 must be 2 to 8, or 16"),
        ('{"version": 1, "tensors": {"w": {"scheme": {"scheme": "Affine"}, "shape": [2], '
         '"dtype": "float32"}}}', "tensor 'w': codes is missing; found scale"),
        ("{", "Expecting property name"),
    ],
)  # fmt: skip
def test_load_names_what_is_wrong_with_the_description(tmp_path, entry, message):
    path = tmp_path / "q.safetensors"
    write_tensors(path, {"w.scale": np.ones(1, np.float32)}, {"bitmill": entry})
    with pytest.raises(bm.CheckpointError, match=message) as error:
        bm.load(path)
    assert str(path) in str(error.value)


def test_load_names_an_array_of_the_wrong_shape(tmp_path, rng):
    path = tmp_path / "q.safetensors"
    bm.save({"w": bm.quantize(rng.standard_normal((2, 64)).astype(np.float32), bm.Affine(8))}, path)
    checkpoint = open_checkpoint(path)
    changed = arrays(checkpoint) | {"w.scale": np.ones((3, 1), np.float32)}
    write_tensors(path, changed, checkpoint.files[path.name].metadata)
    with pytest.raises(bm.CheckpointError, match=r"'w': scale has shape \(3, 1\); wanted \(2, 1\)"):
        bm.load(path)


def test_what_is_no_mapping_of_names_to_qtensors_is_a_type_error(tmp_path):
    q = bm.quantize(np.ones((2, 64), np.float32), bm.Affine(8))
    for given, message in [
        ([q], r"tensors is a list; save takes \{name: QTensor\}"),
        (q, r"tensors is a QTensor; save takes \{name: QTensor\}"),
        ({1: q}, r"tensors has the name 1, a int; wanted a str"),
    ]:
        with pytest.raises(TypeError, match=message):
            bm.save(given, tmp_path / "q")
    assert list(tmp_path.iterdir()) == []


def test_empty_path_is_refused():
    with pytest.raises(ValueError, match="path is empty; wanted a path"):
        bm.save({}, "")
    with pytest.raises(ValueError, match="path is empty; wanted a path"):
        bm.load("")


def test_failure_of_the_system_names_the_file(tmp_path):
    q = bm.quantize(np.ones((64, 64), np.float32), bm.Affine(8))
    with file_size_limit(1000), pytest.raises(OSError, match="File too large") as caught:
        bm.save({"w": q}, tmp_path / "q.safetensors")
    assert caught.value.filename.startswith(str(tmp_path / ".q.safetensors."))
    assert list(tmp_path.iterdir()) == []
