# SPDX-License-Identifier: MIT
"""all-MiniLM-L6-v2 in NumPy, with linear layers that may be others: embeddings of texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import bitmill as bm
from wordpiece import Tokens

HEADS = 12

Linear = Callable[[str, np.ndarray], np.ndarray]
"""What a linear layer of this name makes of its inputs [tokens, K]: outputs [tokens, N]."""


class Encoder:
    """A BERT encoder with mean pooling; the tokens of all texts are rows of one matrix.

    `layers` are its 36 linear layers, {name: (weight [N, K], bias [N])}, in the order in which
    they run.
    """

    def __init__(self, folder: Path) -> None:
        loaded = bm.load_checkpoint(folder)
        self.weights = {name: np.asarray(loaded[name]) for name in loaded}
        self.tokens = Tokens(folder / "vocab.txt")
        self.depth = 1 + max(int(n.split(".")[2]) for n in loaded if n.startswith("encoder."))
        self.layers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.embed(["in order"], self._list)

    def embed(self, texts: Sequence[str], linear: Linear | None = None) -> np.ndarray:
        """Embeddings of length 1, [texts, 384]; `linear` is all linear layers, those of the float
        model if it is None."""
        linear = linear or self.linear
        tokens, w = [self.tokens(text) for text in texts], self.weights
        ends = np.cumsum([len(some) for some in tokens])[:-1]
        at = np.concatenate([np.arange(len(some)) for some in tokens])
        x = w["embeddings.word_embeddings.weight"][np.concatenate(tokens)]
        x = x + w["embeddings.position_embeddings.weight"][at]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(self.depth):
            x = self._layer(x, ends, f"encoder.layer.{i}.", linear)
        means = np.stack([rows.mean(axis=0) for rows in np.split(x, ends)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """x·Wᵀ + b of the float model."""
        weight, bias = self.layers[name]
        return x @ weight.T + bias

    def _list(self, name: str, x: np.ndarray) -> np.ndarray:
        self.layers[name] = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return self.linear(name, x)

    def _layer(self, x: np.ndarray, ends: np.ndarray, at: str, linear: Linear) -> np.ndarray:
        qkv = [linear(f"{at}attention.self.{name}", x) for name in ("query", "key", "value")]
        each = zip(*(np.split(rows, ends) for rows in qkv), strict=True)
        mixed = np.concatenate([attention(*one) for one in each])
        x = x + linear(f"{at}attention.output.dense", mixed)
        x = self._norm(x, f"{at}attention.output.LayerNorm")
        inner = gelu(linear(f"{at}intermediate.dense", x))
        x = x + linear(f"{at}output.dense", inner)
        return self._norm(x, f"{at}output.LayerNorm")

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def attention(*qkv: np.ndarray) -> np.ndarray:
    """Of the tokens of one text to each other."""
    rows = len(qkv[0])
    q, k, v = (part.reshape(rows, HEADS, -1).transpose(1, 0, 2) for part in qkv)
    weights = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(rows, -1)


_STEPS, _END = 64, 8  # a unit; Φ(−8) is 6e-16
_AT = np.arange(-_END * _STEPS, _END * _STEPS + 1) / _STEPS
_PHI = np.array([math.erfc(-x / math.sqrt(2)) / 2 for x in _AT], np.float32)
_DENSITY = np.float32(np.exp(-_AT * _AT / 2) / math.sqrt(2 * math.pi))


def gelu(x: np.ndarray) -> np.ndarray:
    """x·Φ(x), float32: Φ by its Taylor series, to the third power, about the nearest 64th.

    It is right to 3e-7 of itself from −6 on; below, where it is nearly 0, to 1e-14.
    """
    near = np.clip(x, -_END, _END)
    step = np.rint(near * _STEPS)
    i = step.astype(np.intp) + _END * _STEPS
    at = step / np.float32(_STEPS)
    d = near - at
    slope = _DENSITY[i] * (1 - d * (at / 2 + d * ((1 - at * at) / 6)))
    return x * (_PHI[i] + d * slope)


def activations(encoder: Encoder, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """The inputs of all linear layers of the float model."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, x: np.ndarray) -> np.ndarray:
        found[name] = x
        return encoder.linear(name, x)

    encoder.embed(texts, keep)
    return found
