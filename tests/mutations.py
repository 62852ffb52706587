# SPDX-License-Identifier: MIT
"""Checkpoints with random faults in their headers, indexes and files; the seed repeats each.

A mutator makes a good checkpoint and then changes it: the JSON as a tree (values, names, numbers,
order, nesting, entries twice), as text (characters), and the file (its length, its bytes). Many
changes keep it good, and some checkpoints get none.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bitmill.checkpoint.header import DTYPES

INDEX, CONFIG = "model.safetensors.index.json", "config.json"


class Raw(str):
    """JSON text as it stands."""


class Pairs(list):
    """A JSON object as a list of [name, value], in which a name may come twice."""


NUMBERS = [0, 1, 2, 3, 4, 7, 8, 16, 255, 2**31, 2**32, 2**53, 2**61, 2**62, 2**63 - 1, 2**63]
NUMBERS += [2**64 - 1, 2**64, 2**64 + 8, -1, -8, 10**30]
LITERALS = ["-0", "0.0", "8.0", "8e0", "1e999", "-1e999", "1e-999", "1E2", "01", "+1", "0x8", ".5"]
LITERALS += [
    "5.",
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    "false",
    "null",
    "nul",
    "True",
    "",
    "8 8",
]
LITERALS += ["1" * 299, "1" * 301, "1" * 400, "1" * 5000, '"\\ud800"', '"\\ude00\\ud83d"', "'t'"]
LITERALS += ['"\\ud83d\\ude00"', '"\\x41"', '"\\u00e9"', '"a\nb"', '"\\/"', '"', "{}", "[]", "[,]"]
LITERALS += ["[" * 99 + "]" * 99, "[" * 126 + "]" * 126, "[" * 9000, '{"a":' * 97 + "1" + "}" * 97]
NAMES = ["", "t", "a", "dtype", "shape", "data_offsets", "__metadata__", "weight_map", "metadata"]
NAMES += ["é", "e\u0301", "\0", "\n", "\U0001f642", "n" * 300, "../a.safetensors", "a/b", "a\\b"]
NAMES += ["a.safetensors", "b.safetensors", "config.json", ".", "F32", "f32", "U8", "I4", "F4"]
CHARACTERS = [*'{}[]",:\\/ \n\t\r\0-+.eE0189tfnu"', "\x1f", "\x7f", "\x80", "é", "\ufeff", "\u2028"]
CHARACTERS += ["{}", "[]", "\\u", "\\ud800", ",,", '"t":', '"dtype"', "null", "//", "\U0010ffff"]


class Mutator:
    """One checkpoint with some faults or none."""

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.count = 0
        """Of tensors so far: their names differ."""
        self.nested = False

    def write(self, folder: Path) -> Path:
        """Write the checkpoint into `folder`, which holds nothing else; the path to open."""
        for path in folder.iterdir():
            path.unlink()
        if self.rng.random() < 0.7:
            path = folder / "x.safetensors"
            path.write_bytes(self.file(self.header()))
            return path
        for name, content in self.files().items():
            (folder / name).write_bytes(content)
        return folder

    # Good checkpoints

    def header(self) -> tuple[Pairs, bytes]:
        """A good header as a tree, and its data."""
        entries, end = Pairs(), 0
        for _ in range(self.rng.randrange(6)):
            dtype = self.rng.choice(list(DTYPES))
            shape = [self.rng.choice((0, 1, 2, 3, 4)) for _ in range(self.rng.randrange(4))]
            if DTYPES[dtype][0] % 8:
                shape.append(8)
            begin, end = end, end + self.nbytes(dtype, shape)
            fields = [["dtype", dtype], ["shape", shape], ["data_offsets", [begin, end]]]
            entries.append([self.name(), Pairs(fields)])
        if self.rng.random() < 0.4:
            said = [[self.rng.choice(NAMES[:6]), "said"]] if self.rng.random() < 0.7 else []
            entries.insert(0, ["__metadata__", Pairs(said)])
        return entries, self.rng.randbytes(end)

    def name(self) -> str:
        """A name that no tensor of this checkpoint has yet."""
        self.count += 1
        odd = self.rng.choice(NAMES) if self.rng.random() < 0.2 else "model.w"
        return f"{odd}{self.count}"

    @staticmethod
    def nbytes(dtype: str, shape: list[int]) -> int:
        """Bytes of a tensor."""
        count = DTYPES[dtype][0]
        for size in shape:
            count *= size
        return count // 8

    def files(self) -> dict[str, bytes]:
        """The files of a sharded checkpoint: shards, an index, perhaps a config; with faults."""
        files, homes = {}, Pairs()
        for i in range(self.rng.randrange(1, 4)):
            shard = f"{'abc'[i]}.safetensors"
            header, data = self.header()
            homes += [[name, shard] for name, _ in header if name != "__metadata__"]
            good = self.rng.random() < 0.8
            files[shard] = self.framed(header, data) if good else self.file((header, data))
        index = Pairs([["metadata", Pairs([["total_size", 8]])], ["weight_map", homes]])
        faults = self.rng.random() < 0.7
        files[INDEX] = self.text(index, faults=faults)
        if self.rng.random() < 0.3:
            config = Pairs([["dtype", "bfloat16"], ["text_config", Pairs([["layers", [1, 2.5]]])]])
            files[CONFIG] = self.text(config, faults=self.rng.random() < 0.5)
        if faults and self.rng.random() < 0.3:
            self.shuffle_files(files)
        return files

    def shuffle_files(self, files: dict[str, bytes]) -> None:
        """Swap two files, drop one, or give one the content of another."""
        first, second = (self.rng.choice(list(files)) for _ in range(2))
        change = self.rng.randrange(3)
        if change == 0:
            files[first], files[second] = files[second], files[first]
        elif change == 1:
            del files[first]
        else:
            files[first] = files[second]

    # Faults

    def file(self, good: tuple[Pairs, bytes]) -> bytes:
        """The bytes of a safetensors file, with faults of every kind or with none."""
        header, data = good
        if self.rng.random() < 0.1:
            self.empty_tensor(header)
        kinds = self.rng.choice(("", "tree", "tree", "text", "file", "tree file", "tree text file"))
        if "tree" in kinds:
            self.change_tree(header)
        text = self.written(header)
        if "text" in kinds:
            text = self.changed_text(text)
        content = self.framed_text(text.encode("utf-8", "surrogatepass"), data)
        return self.changed_file(content) if "file" in kinds else content

    def text(self, tree: Pairs, *, faults: bool) -> bytes:
        """The bytes of a JSON file."""
        if faults and self.rng.random() < 0.8:
            self.change_tree(tree)
        text = self.written(tree)
        if faults and self.rng.random() < 0.3:
            text = self.changed_text(text)
        content = text.encode("utf-8", "surrogatepass")
        return self.flipped(content) if faults and self.rng.random() < 0.05 else content

    def framed(self, header: Pairs, data: bytes) -> bytes:
        """A safetensors file as it should be."""
        return self.framed_text(self.written(header).encode(), data)

    @staticmethod
    def framed_text(text: bytes, data: bytes) -> bytes:
        """A safetensors file of this header."""
        return len(text).to_bytes(8, "little") + text + data

    def empty_tensor(self, header: Pairs) -> None:
        """Add a tensor without data at some place, perhaps a right one; its sizes may be huge."""
        end = self.rng.choice([0, *(number for number in self.numbers(header) if number < 1000)])
        shape = [0, *self.rng.choices(NUMBERS[:18], k=self.rng.randrange(4))]
        if self.rng.random() < 0.2:
            shape += [1] * self.rng.randrange(58, 66)
        self.rng.shuffle(shape)
        fields = [["dtype", "F32"], ["shape", shape], ["data_offsets", [end, end]]]
        header.insert(self.rng.randint(0, len(header)), [self.name(), Pairs(fields)])

    def change_tree(self, tree: Pairs) -> None:
        """Change some nodes of a tree."""
        often: list[Callable[[list[Any], int], None]] = [self.replace, self.tweak, self.shuffle]
        often += [self.insert, self.same_size, self.regroup]
        changes = [*often, *often, self.tweak, self.remove, self.repeat, self.nest, self.swap]
        changes.append(self.rename)
        for _ in range(self.rng.choice((1, 1, 1, 2, 3, 6))):
            places = list(self.places(tree))
            if not places:
                return
            self.swappable = places
            self.rng.choice(changes)(*self.rng.choice(places))

    def places(self, tree: list[Any]) -> Iterator[tuple[list[Any], int]]:
        """Every value of the tree: the list that it is in, and where."""
        for i, item in enumerate(tree):
            holder, at = (item, 1) if isinstance(tree, Pairs) else (tree, i)
            yield holder, at
            if isinstance(holder[at], list):
                yield from self.places(holder[at])

    def numbers(self, tree: list[Any]) -> Iterator[int]:
        """Every number of the tree."""
        for holder, at in self.places(tree):
            if type(holder[at]) is int:
                yield holder[at]

    def value(self) -> Any:
        """Anything."""
        kind = self.rng.randrange(4)
        if kind == 0:
            return self.rng.choice(NUMBERS)
        if kind == 1:
            return self.rng.choice(NAMES)
        if kind == 2:
            return Raw(self.rng.choice(LITERALS))
        return self.rng.choice((list, Pairs))([] if self.rng.random() < 0.5 else [["a", 1]])

    def replace(self, holder: list[Any], at: int) -> None:
        """Another value."""
        holder[at] = self.value()

    def tweak(self, holder: list[Any], at: int) -> None:
        """A number near the one that is there; the negative of zero; another dtype."""
        value = holder[at]
        if type(value) is int:
            near = (value + 1, value - 1, 2 * value, value // 2, -value)
            wrapped = (value + 2**32, value + 2**64, value + 2**61)
            holder[at] = self.rng.choice((*near, *wrapped, self.number_as_text(value)))
        elif isinstance(value, str) and value in DTYPES:
            holder[at] = self.rng.choice(list(DTYPES))

    def number_as_text(self, value: int) -> str:
        """The number as a float, negated, or as a string."""
        return self.rng.choice((Raw(f"{value}.0"), Raw(f"-{value}"), str(value)))

    def same_size(self, holder: list[Any], at: int) -> None:
        """Another dtype of as many bits, or a shape of as many elements."""
        value = holder[at]
        if isinstance(value, str) and value in DTYPES:
            holder[at] = self.rng.choice([d for d in DTYPES if DTYPES[d][0] == DTYPES[value][0]])
        elif holder[0] == "shape" and type(value) is list:
            value.insert(self.rng.randint(0, len(value)), 1)
            self.rng.shuffle(value)

    def regroup(self, holder: list[Any], at: int) -> None:
        """The fields of an object in another order, with blanks and unknown ones."""
        if isinstance(holder[at], Pairs):
            self.rng.shuffle(holder[at])
            if self.rng.random() < 0.6:
                holder[at].append([self.rng.choice(NAMES), self.value()])

    def remove(self, holder: list[Any], at: int) -> None:
        """One entry less."""
        if isinstance(holder[at], list) and holder[at]:
            del holder[at][self.rng.randrange(len(holder[at]))]

    def repeat(self, holder: list[Any], at: int) -> None:
        """One entry twice, or many times."""
        if isinstance(holder[at], list) and holder[at]:
            again = self.rng.choice(holder[at])
            count = 1 if isinstance(again, list) else self.rng.choice((1, 1, 2, 70))
            holder[at][0:0] = [copy.deepcopy(again)] * count

    def shuffle(self, holder: list[Any], at: int) -> None:
        """Another order."""
        if isinstance(holder[at], list):
            self.rng.shuffle(holder[at])

    def nest(self, holder: list[Any], at: int) -> None:
        """The value in lists or objects."""
        depths = (1, 1, 2) if self.nested else (1, 1, 2, 90, 99, 130)
        self.nested = True
        for _ in range(self.rng.choice(depths)):
            inner = holder[at]
            holder[at] = [inner] if self.rng.random() < 0.5 else Pairs([["a", inner]])

    def swap(self, holder: list[Any], at: int) -> None:
        """Two values in each other's places, unless one is inside of the other."""
        other, there = self.rng.choice(self.swappable)
        if not isinstance(holder[at], list) and not isinstance(other[there], list):
            holder[at], other[there] = other[there], holder[at]

    def rename(self, holder: list[Any], at: int) -> None:
        """Another name."""
        if isinstance(holder[at], Pairs) and holder[at]:
            self.rng.choice(holder[at])[0] = self.rng.choice(NAMES)

    def insert(self, holder: list[Any], at: int) -> None:
        """One entry more."""
        if isinstance(holder[at], Pairs):
            holder[at].append([self.rng.choice(NAMES), self.value()])
        elif isinstance(holder[at], list):
            holder[at].insert(self.rng.randint(0, len(holder[at])), self.value())

    def written(self, tree: Any) -> str:
        """The tree as JSON, with blanks here and there."""
        if isinstance(tree, Raw):
            return str(tree)
        if isinstance(tree, Pairs):
            inside = (f"{self.quoted(name)}{self.blank()}:{self.written(v)}" for name, v in tree)
            return "{" + self.blank() + ",".join(inside) + "}" + self.blank()
        if isinstance(tree, list):
            return "[" + ",".join(self.blank() + self.written(item) for item in tree) + "]"
        return self.quoted(tree) if isinstance(tree, str) else json.dumps(tree)

    def quoted(self, text: str) -> str:
        """A JSON string."""
        return json.dumps(text, ensure_ascii=self.rng.random() < 0.5)

    def blank(self) -> str:
        """Nothing, as a rule."""
        return self.rng.choice((" ", "\n", "\t\r", "   ")) if self.rng.random() < 0.05 else ""

    def changed_text(self, text: str) -> str:
        """Some characters more, fewer, others or twice."""
        for _ in range(self.rng.choice((1, 1, 2, 4))):
            at = self.rng.randint(0, len(text))
            size = self.rng.choice((0, 0, 1, 1, 2, 9, 40))
            middle = self.rng.choice(("", self.rng.choice(CHARACTERS), 2 * text[at : at + size]))
            text = text[:at] + middle + text[at + size :]
        return text

    def changed_file(self, content: bytes) -> bytes:
        """Another header length, file length or other bytes."""
        change = self.rng.randrange(5)
        if change == 0:
            length = int.from_bytes(content[:8], "little")
            near = (length + 1, length - 1, length + 8, 0, 1, 2, len(content), len(content) - 8)
            wrong = self.rng.choice((*near, *NUMBERS[:19], length + 2**32, 10**8, 10**8 + 1))
            return (wrong % 2**64).to_bytes(8, "little") + content[8:]
        if change == 1:
            return content[: self.rng.randint(0, len(content))]
        if change == 2:
            return content + self.rng.randbytes(self.rng.choice((1, 2, 8, 100)))
        if change == 3:
            return 2 * content
        return self.flipped(content)

    def flipped(self, content: bytes) -> bytes:
        """Some bytes with other bits, in the data or before them."""
        changed = bytearray(content)
        for _ in range(self.rng.choice((1, 1, 2, 8))):
            if changed:
                changed[self.rng.randrange(len(changed))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)
