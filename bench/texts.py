# SPDX-License-Identifier: MIT
"""English to run a network on: some to calibrate with, and others to measure on."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np

MISSING = "no texts to measure on: pip install scikit-learn"
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
HAPPY = "That is a happy person"
OTHERS = ("That is a very happy person", "That is a happy dog", "Today is a sunny day")
"""The model's own example: what is compared with HAPPY."""
SHORTEST = 40  # letters of a paragraph


def sentences() -> tuple[list[str], list[str]]:
    """Some to calibrate on, and others, with other subjects."""
    parts = SUBJECTS[:8], SUBJECTS[8:]
    return tuple([" ".join(pair) for pair in itertools.product(s, PREDICATES)] for s in parts)


def calibration_texts(count: int = 192, seed: int = 0) -> list[str]:
    """Paragraphs of Python's own help, which differ a little from version to version."""
    return _some([topics[name] for name in sorted(topics)], count, seed)


def other_texts(count: int = 128, seed: int = 0) -> list[str] | None:
    """Paragraphs on the data sets of scikit-learn; None where it is not installed."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "datasets" / "descr").glob("*.rst"))
    return _some([file.read_text(encoding="utf-8") for file in files], count, seed)


def _some(documents: list[str], count: int, seed: int) -> list[str]:
    """Paragraphs at random, in the order that they have."""
    every = [" ".join(part.split()) for text in documents for part in text.split("\n\n")]
    every = [paragraph for paragraph in every if len(paragraph) >= SHORTEST]
    chosen = np.random.default_rng(seed).permutation(len(every))[:count]
    return [every[i] for i in sorted(chosen)]
