# SPDX-License-Identifier: MIT
"""scikit-learn's digits, told apart by a small network in integers alone, and by one of 4 bits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import bitmill as bm

TESTED = 500


def trained(seed):
    """A float network 64-64-32-10, and the images that it has not seen."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    digits = datasets.load_digits()
    images = (digits.data / 16).astype(np.float32)
    seen, unseen, labels, wanted = train_test_split(
        images, digits.target, test_size=TESTED, random_state=seed, stratify=digits.target
    )
    network = MLPClassifier((64, 32), random_state=seed, max_iter=300).fit(seen, labels)
    layers = [
        (np.ascontiguousarray(w.T, np.float32), b.astype(np.float32))
        for w, b in zip(network.coefs_, network.intercepts_, strict=True)
    ]
    return layers, seen, unseen, wanted


def activations(layers, x):
    """What goes into each layer, and what comes out of the last."""
    all_of_them = [x]
    for i, (w, b) in enumerate(layers):
        y = all_of_them[-1] @ w.T + b
        all_of_them.append(np.maximum(y, 0) if i < len(layers) - 1 else y)
    return all_of_them


def in_integers(layers, seen, **options):
    """The layers as integer ones, and the parameters of the images."""
    scheme = bm.Affine(8, axis=None, symmetric=False)
    params = [bm.calibrate([values], scheme) for values in activations(layers, seen)]
    return params[0], [
        bm.integer.QLinear.from_floats(
            w, b, x=x, y=y, activation="relu" if i < len(layers) - 1 else "none", **options
        )
        for i, ((w, b), (x, y)) in enumerate(zip(layers, pairwise(params), strict=True))
    ]


@pytest.fixture(scope="module")
def networks():
    return [trained(seed) for seed in range(5)]


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_digits_in_integers_are_those_in_floats(networks, rounding):
    agreed, right, right_in_floats = [], [], []
    for layers, seen, unseen, wanted in networks:
        params, integer_layers = in_integers(layers, seen, rounding=rounding)
        x = params.quantize(unseen)
        for layer in integer_layers:
            x = layer(x)
        answers = x.codes.argmax(axis=1)
        in_floats = activations(layers, unseen)[-1].argmax(axis=1)
        agreed.append((answers == in_floats).mean())
        right.append((answers == wanted).mean())
        right_in_floats.append((in_floats == wanted).mean())
    assert np.mean(agreed) >= 0.995
    assert np.mean(right) >= np.mean(right_in_floats) - 0.004


def test_digits_by_weights_of_4_bits_are_those_in_floats(networks):
    scheme = bm.Affine(4, symmetric=False, offset=True, group_size=32)
    agreed = []
    for layers, _, unseen, _ in networks:
        few_bits = [(bm.fake_quantize(w, scheme), b) for w, b in layers]
        answers, in_floats = (activations(all_, unseen)[-1] for all_ in (few_bits, layers))
        agreed.append((answers.argmax(axis=1) == in_floats.argmax(axis=1)).mean())
    assert np.mean(agreed) >= 0.99
