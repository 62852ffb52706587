# SPDX-License-Identifier: MIT
"""Text as the tokens of BERT."""

from __future__ import annotations

import unicodedata
from pathlib import Path

LONGEST = 128


class Tokens:
    """WordPiece of lower-case text; what is longer than LONGEST tokens is cut."""

    def __init__(self, vocabulary: Path) -> None:
        words = vocabulary.read_text(encoding="utf-8").splitlines()
        self.of = {word: i for i, word in enumerate(words)}

    def __call__(self, text: str) -> list[int]:
        """[CLS], the pieces of all words, [SEP]."""
        pieces = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self.of[piece] for piece in ("[CLS]", *pieces[: LONGEST - 2], "[SEP]")]

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
