# SPDX-License-Identifier: MIT
"""A transformer whose linear layers are integers gives the embeddings that it gave in floats."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
import minilm
import texts
from conftest import needs
from encoder import Encoder
from policies import POLICIES

KNOWN, OTHERS = 16, 16  # texts; `python bench/minilm_integers.py` takes more


@pytest.fixture(scope="module")
def encoder():
    needs(minilm.PACKAGE)
    return Encoder(minilm.folder())


@pytest.fixture(scope="module")
def quantized(encoder):
    """Networks by the names of their policies, each made once."""
    known, made = texts.calibration_texts(KNOWN), {}

    def network(name):
        if name not in made:
            made[name] = bm.ptq(encoder.layers, lambda it: encoder.embed(known, it), POLICIES[name])
        return made[name]

    return network


@pytest.fixture(scope="module")
def cosines(encoder, quantized):
    """By the name of a policy: the cosine of each embedding to that of the float network."""
    needs("sklearn")
    others = texts.other_texts(OTHERS)
    wanted = encoder.embed(others)
    return lambda name: (encoder.embed(others, quantized(name).linear) * wanted).sum(axis=1)


@pytest.mark.parametrize(
    ("policy", "mean", "least"),
    [
        ("W8A8", 0.9985, 0.995),
        ("W8A8 static", 0.990, 0.96),
        ("W4A8, learned", 0.98, 0.96),
    ],
)
def test_embeddings_stay(cosines, policy, mean, least):
    found = cosines(policy)
    assert found.mean() >= mean
    assert found.min() >= least


def test_all_layers_run_in_integers(quantized):
    for name, kernel in (("W8A8", "matmul_w8a8"), ("W4A8, learned", "matmul_w4a8")):
        layers = quantized(name).layers.values()
        assert len(layers) == 36
        assert {layer.linear.kernel for layer in layers} == {kernel}


def test_a_refit_brings_outputs_nearer_on_other_texts_too(encoder):
    needs("sklearn")
    known, others = texts.calibration_texts(KNOWN), texts.other_texts(OTHERS)
    first = "re:encoder.layer.0."  # one of six: seconds
    layers = {
        name: bm.ptq(encoder.layers, lambda it: encoder.embed(known, it), {first: POLICIES[name]})
        for name in ("W4A8, rounded", "W4A8, rounded, refitted")
    }
    wanted = encoder.embed(others)
    lost = [1 - (encoder.embed(others, it.linear) * wanted).sum(axis=1) for it in layers.values()]
    assert lost[1].mean() < 0.8 * lost[0].mean()
    for layer in layers["W4A8, rounded, refitted"].report.layers:
        assert layer.last.name == "refit"


def test_similarities_stay(encoder, quantized):
    linear = quantized("W8A8").linear
    happy, *others = encoder.embed([texts.HAPPY, *texts.OTHERS], linear)
    assert np.array(others) @ happy == pytest.approx([0.943, 0.695, 0.257], abs=0.01)
