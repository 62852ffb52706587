# SPDX-License-Identifier: MIT
"""The network of the benches is the model that it is said to be."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minilm
import texts
from conftest import needs
from encoder import Encoder, activations, gelu
from wordpiece import LONGEST


@pytest.fixture(scope="module")
def encoder():
    needs(minilm.PACKAGE)
    return Encoder(minilm.folder())


def test_similarities_are_those_that_the_model_is_known_for(encoder):
    happy, *others = encoder.embed([texts.HAPPY, *texts.OTHERS])
    assert np.array(others) @ happy == pytest.approx([0.9429152, 0.6945775, 0.2568760], abs=2e-5)


def test_a_text_has_its_embedding_whatever_comes_with_it(encoder):
    together = encoder.embed([texts.HAPPY, *texts.OTHERS])
    alone = [encoder.embed([text])[0] for text in (texts.HAPPY, *texts.OTHERS)]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_linear_layers_may_be_others(encoder):
    order = []

    def linear(name, x):
        order.append(name)
        weight, bias = encoder.layers[name]
        return x.astype(np.float64) @ weight.astype(np.float64).T + bias

    got = encoder.embed([texts.HAPPY], linear)
    assert order == list(encoder.layers)
    assert len(order) == 36
    np.testing.assert_allclose(got, encoder.embed([texts.HAPPY]), atol=1e-6)


def test_activations_are_the_inputs_of_the_layers(encoder):
    found = activations(encoder, [texts.HAPPY])
    tokens = len(encoder.tokens(texts.HAPPY))
    for name, (weight, _) in encoder.layers.items():
        assert found[name].shape == (tokens, weight.shape[1])


def test_gelu_is_right_to_float32():
    x = np.linspace(-12, 12, 10_001, dtype=np.float32)
    wanted = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.tolist()])
    np.testing.assert_allclose(gelu(x), wanted, rtol=3e-7, atol=1e-14)
    assert gelu(x).dtype == np.float32


def test_long_texts_are_cut(encoder):
    tokens = encoder.tokens("word " * 1000)
    assert (len(tokens), tokens[-1]) == (LONGEST, encoder.tokens.of["[SEP]"])


def test_texts_are_the_same_every_time_and_differ():
    known = texts.calibration_texts(50)
    assert known == texts.calibration_texts(50) != texts.calibration_texts(50, seed=1)
    needs("sklearn")
    others = texts.other_texts(50)
    assert len(known) == len(others) == 50
    assert not set(known) & set(others)
