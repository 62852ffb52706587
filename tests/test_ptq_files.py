# SPDX-License-Identifier: MIT
"""Quantized networks in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bitmill as bm
from bitmill.post_training import Policy, Rotate, Smooth, Split, load, save

STATIC = bm.Affine(8, axis=None, symmetric=False)


def network(policy, bias=True):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 64), np.float32)
    x[:, [3, 40]] *= 80
    w = rng.standard_normal((48, 64), np.float32)
    b = rng.standard_normal(48, np.float32) if bias else None
    return bm.ptq({"model.up": (w, b)}, {"model.up": x}, policy), x


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.safetensors"


@pytest.mark.parametrize("activations", ["dynamic", "dynamic_asymmetric", STATIC, None], ids=str)
@pytest.mark.parametrize("transform", [None, Smooth(), Rotate(seed=4), Split()], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_network_comes_back_as_it_was(path, activations, transform, bias):
    transforms = [] if transform is None else [transform]
    scheme = bm.Affine(4, group_size=32)
    made, x = network(Policy(scheme, activations, transforms, refit=bias), bias)
    save(made, path)
    again = load(path)
    assert np.array_equal(again.linear("model.up", x), made.linear("model.up", x))
    assert again.report == made.report
    assert str(again.report) == str(made.report)
    assert again.nbytes == made.nbytes
    weights = bm.load(path)["model.up"]
    assert np.array_equal(weights.codes, made.layers["model.up"].weights.codes)


def test_layers_that_stayed_in_float_are_not_in_the_file(path):
    made, x = network(Policy())
    save(made, path)
    with pytest.raises(ValueError, match=r"no layer 'model\.down'"):
        load(path).linear("model.down", x)


class Flipped(bm.post_training.moved.Moved):
    """A transformation of one's own."""

    def inputs(self, x, num_threads=None):
        return -x

    def weight(self, w):
        return -w


class Flip:
    name = "flip"

    def fit(self, w, x):
        return Flipped()


def test_transformations_of_ones_own_work_but_are_not_for_files(path):
    made, _ = network(Policy(bm.Affine(4, scale_rule="signed_max"), transforms=[Flip()]))
    assert [step.name for step in made.report["model.up"].steps][-1] == "flip"
    made.layers["model.up"].moved = Flipped()
    with pytest.raises(ValueError, match="has a Flipped"):
        save(made, path)


def test_infinite_ratios_come_back(path):
    silent, x = np.zeros((4, 8), np.float32), np.ones((10, 8), np.float32)
    made = bm.ptq({"silent": silent}, {"silent": x}, Policy())
    save(made, path)
    assert load(path).report == made.report
    for sqnr, cosine in ((np.inf, 1.0), (-np.inf, 0.0)):
        step = bm.post_training.Step("weights", sqnr, cosine)
        assert bm.post_training.Step.from_dict(json.loads(json.dumps(step.to_dict()))) == step


def test_what_is_no_network_is_refused(path):
    with pytest.raises(TypeError, match="wanted what"):
        save({}, path)
    bm.save({"w": bm.quantize(np.ones((2, 8), np.float32), bm.Affine(8))}, path)
    with pytest.raises(bm.CheckpointError, match="holds no network"):
        load(path)


def spoiled(change):
    """A change to the JSON of the one layer."""

    def spoil(arrays, metadata):
        layers = json.loads(metadata["bitmill_layers"])
        change(layers["model.up"])
        metadata["bitmill_layers"] = json.dumps(layers)

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, metadata: arrays.pop("model.up.bias"),
        lambda arrays, metadata: arrays.pop("model.up.scale"),
        lambda arrays, metadata: arrays.update({"model.up.bias": np.ones(3, np.float32)}),
        lambda arrays, metadata: arrays.update({"model.up.bias": np.full(48, np.nan, np.float32)}),
        lambda arrays, metadata: arrays.update({"model.up.input_scale": -np.ones(64, np.float32)}),
        lambda arrays, metadata: arrays.update({"model.up.input_scale": np.ones(64, np.int8)}),
        lambda arrays, metadata: metadata.update(bitmill_layers="[]"),
        lambda arrays, metadata: metadata.update(bitmill_layers='{"model.up": 3}'),
        lambda arrays, metadata: metadata.update(bitmill_layers='{"other": {}}'),
        spoiled(lambda layer: layer.pop("activations")),
        spoiled(lambda layer: layer.update(activations="static")),
        spoiled(lambda layer: layer.update(activations={"scheme": {}})),
        spoiled(lambda layer: layer.update(activations=8)),
        spoiled(lambda layer: layer.update(moved=None)),
        spoiled(lambda layer: layer["moved"].update(kind="split")),
        spoiled(lambda layer: layer["moved"].update(kind="rotate", options={"n": 32, "seed": 0})),
        spoiled(lambda layer: layer["moved"].update(kind="rotate", options={"n": "64", "seed": 0})),
        spoiled(lambda layer: layer["moved"].update(kind="rotate")),
        spoiled(lambda layer: layer["moved"].update(kind=["smooth"])),
        spoiled(lambda layer: layer.update(steps=[{}])),
        spoiled(lambda layer: layer.update(steps=[])),
        spoiled(lambda layer: layer.update(steps=3)),
        spoiled(lambda layer: layer["steps"][0].update(sqnr_db="much")),
        spoiled(lambda layer: layer.update(arrays=["bias", "none"])),
    ],
)
def test_spoiled_files_are_checkpoint_errors(path, spoil):
    made, _ = network(Policy(bm.Affine(8), transforms=["smooth"]))
    save(made, path)
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    metadata = json.loads(header[8 : 8 + size])["__metadata__"]
    arrays = load_file(path)
    spoil(arrays, metadata)
    save_file(arrays, path, metadata)
    with pytest.raises(bm.CheckpointError, match=r"network\.safetensors"):
        load(path)


def test_outliers_of_a_file_are_columns_of_its_weights(path):
    made, _ = network(Policy(bm.Affine(8), transforms=["split"]))
    assert made.layers["model.up"].moved.kind == "split"
    for outliers in ([40, 3], [3, 3], [3, 64], [-1, 3]):
        made.layers["model.up"].moved.arrays["outliers"] = np.array(outliers)
        save(made, path)
        with pytest.raises(bm.CheckpointError, match="no ascending columns"):
            load(path)
