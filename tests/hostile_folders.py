# SPDX-License-Identifier: MIT
"""Folders that must be refused: hostile indexes, shards that do not fit, broken config.json files.

Beside each folder lies `bait.safetensors`, a good file with the tensor `t`: an index that could
name it from inside would be obeyed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hostile_files import GOOD, WHOLE, Case, framed, nested
from hostile_kinds import LFS_POINTER, PAGE

FOLDERS: dict[str, Case] = {}
"""The folders by name."""

INDEX, CONFIG = "model.safetensors.index.json", "config.json"
SHARD = "a.safetensors"
OTHER = framed({"u": GOOD})
"""A shard with another tensor than WHOLE has."""


class Link(str):
    """A link to this path, in the place of a file's content."""


def filled(files: Mapping[str, Any], folder: Path) -> Path:
    """The folder `m` with these files: bytes, a link, None for a pipe, {} for a folder, or JSON."""
    made = folder / "m"
    made.mkdir()
    (folder / "bait.safetensors").write_bytes(WHOLE)
    for name, content in files.items():
        path = made / name
        if content is None:
            os.mkfifo(path)
        elif isinstance(content, Link):
            path.symlink_to(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, int):
            path.touch()
            os.truncate(path, content)
        else:
            filled_folder(path)
    return made


def filled_folder(path: Path) -> None:
    """A folder with one file in it."""
    path.mkdir()
    (path / SHARD).write_bytes(WHOLE)


def refuse(name: str, error: str, files: Mapping[str, Any]) -> None:
    """Add the folder with these files."""
    if name in FOLDERS:
        raise KeyError(name)
    FOLDERS[name] = Case(partial(filled, files), error)


def refuse_index(name: str, error: str, index: Any, **shards: Any) -> None:
    """Add a folder with this index, an object or bytes, and shards by the stems of their names."""
    content = index if isinstance(index, bytes) else json.dumps(index).encode()
    files = {f"{stem}.safetensors": shard for stem, shard in shards.items()}
    refuse(f"index: {name}", error, {INDEX: content, **(files or {SHARD: WHOLE})})


# The index as JSON

WANTED = "index.json: wanted objects called 'weight_map' and 'metadata'"
HOME = {"t": SHARD}
for name, error, index in (
    ("empty", "index.json: not the JSON", b""),
    ("no end", "index.json: not the JSON", b'{"weight_map": {"t": "a.safetensors"}'),
    ("list", "holds a JSON list", [HOME]),
    ("text", "holds a JSON str", "weight_map"),
    ("null", "holds a JSON NoneType", None),
    ("in UTF-16", "index.json: not the JSON", json.dumps({"weight_map": HOME}).encode("utf-16")),
    ("with NaN", "NaN is not JSON", {"weight_map": HOME, "metadata": {"total": float("nan")}}),
    ("with 5,000 digits", "5000 digits", b'{"metadata":{"total_size":%b}}' % (b"9" * 5000)),
    ("nested", "nested more than", b'{"weight_map":' + nested(100_000) + b"}"),
    ("half of a pair", "surrogates", {"weight_map": {"\ud800": SHARD}}),
    ("tensor twice", "'t' occurs twice", b'{"weight_map":{"t":"a.safetensors","t":"b"}}'),
    ("map twice", "'weight_map' occurs twice", b'{"weight_map":{},"weight_map":{}}'),
    ("no map", WANTED, {"metadata": {}}),
    ("map is a list", WANTED, {"weight_map": [SHARD]}),
    ("map is null", WANTED, {"weight_map": None}),
    ("map is empty", "'weight_map' is empty", {"weight_map": {}}),
    ("metadata are null", WANTED, {"weight_map": HOME, "metadata": None}),
    ("metadata are a list", WANTED, {"weight_map": HOME, "metadata": []}),
    ("Git LFS pointer", "index.json: looks like a Git LFS pointer", LFS_POINTER),
    ("HTML page", "index.json: looks like an HTML", PAGE),
):
    refuse_index(name, error, index)

# The names in it

for name, shard in {
    "up": "../bait.safetensors",
    "down and up": "a/../../bait.safetensors",
    "up with backslashes": "..\\bait.safetensors",
    "absolute": "/etc/a.safetensors",
    "drive": "C:\\a.safetensors",
    "in a folder": "shards/a.safetensors",
    "in this folder": "./a.safetensors",
    "URL": "file:///etc/a.safetensors",
    "home": "~/a.safetensors",
    "empty": "",
    "this folder": ".",
    "folder above": "..",
    "NUL": "a.safetensors\0",
    "NUL before the suffix": "../bait\0.safetensors",
    "newline": "a\n.safetensors",
    "escape sequence": "\x1b[2Ja.safetensors",
    "right to left": "\u202esrotarepo.safetensors",
    "256 bytes": "n" * 244 + ".safetensors",
    "256 bytes in 128 letters": "é" * 122 + ".safetensors",
    "a megabyte": "n" * 10**6 + ".safetensors",
    "no suffix": "a",
    "suffix of PyTorch": "pytorch_model.bin",
    "config": CONFIG,
    "tokenizer": "tokenizer.json",
    "itself": INDEX,
    "number": 3,
    "null": None,
    "list": [SHARD],
    "object": {"file": SHARD},
}.items():
    error = f"{INDEX}: tensor 't': .* is not the plain name of a .safetensors file"
    refuse_index(f"name: {name}", error, {"weight_map": {"t": shard}})

# Shards that are not there, or not files, or not those that the index tells of

BOTH = {"weight_map": {"t": SHARD, "u": "b.safetensors"}}
for name, error, shards in (
    ("missing", "names 'b.safetensors', which is not there", {"a": WHOLE}),
    ("link to nothing", "'b.safetensors', which is not", {"a": WHOLE, "b": Link("nowhere")}),
    ("link to itself", "'b.safetensors', which is not", {"a": WHOLE, "b": Link("b.safetensors")}),
    ("link to a device", "b.safetensors: is a pipe, ", {"a": WHOLE, "b": Link("/dev/zero")}),
    ("pipe", "b.safetensors: is a pipe, ", {"a": WHOLE, "b": None}),
    ("folder", "b.safetensors: is a folder", {"a": WHOLE, "b": {}}),
    ("empty", "b.safetensors: 0 bytes", {"a": WHOLE, "b": b""}),
    ("cut", "b.safetensors: 69 bytes; its tensors end", {"a": WHOLE, "b": OTHER[:-1]}),
    ("Git LFS pointer", "b.safetensors: looks like a Git", {"a": WHOLE, "b": LFS_POINTER}),
    ("same as another", "'t' is in both 'a.safetensors'", {"a": WHOLE, "b": WHOLE}),
    ("link to another", "'t' is in both 'a.safetensors'", {"a": WHOLE, "b": Link(SHARD)}),
    ("swapped", "'t' is listed in 'a.safetensors' but lies in 'b", {"a": OTHER, "b": WHOLE}),
    ("without tensors", "'u' is listed in 'b.* no file", {"a": WHOLE, "b": framed({}, b"")}),
    (
        "with a tensor more",
        "'v' is listed in no file but lies in 'a.safetensors'",
        {"a": framed({"t": GOOD, "v": {**GOOD, "data_offsets": [8, 16]}}, bytes(16)), "b": OTHER},
    ),
):
    refuse_index(f"shard: {name}", error, BOTH, **shards)
refuse_index(
    "tensor of 10 MB that is nowhere",
    r"'nnn[n.]*' is listed in 'a.safetensors' but lies in no file",
    {"weight_map": {"t": SHARD, "n" * 10**7: SHARD}},
)

# config.json

for name, error, config in (
    ("empty", "not the JSON", b""),
    ("list", "holds a JSON list", b"[]"),
    ("text", "holds a JSON str", b'"llama"'),
    ("no end", "not the JSON", b'{"dtype": "bfloat16"'),
    ("not UTF-8", "0xe9", '{"name": "é"}'.encode("latin-1")),
    ("nested", "nested more than", b'{"a":' + nested(100_000) + b"}"),
    ("nested 200 deep", "nested more than 100 deep", b'{"a":' + nested(200) + b"}"),
    ("5,000 digits", "5000 digits", b'{"vocab_size":%b}' % (b"1" * 5000)),
    ("key twice", "'dtype' occurs twice", b'{"dtype":"float16","dtype":"float32"}'),
    ("half of a pair", "surrogates", b'{"a":["\\ud800"]}'),
    ("Git LFS pointer", "looks like a Git LFS pointer", LFS_POINTER),
    ("HTML page", "looks like an HTML or XML page", PAGE),
    ("pickle", "looks like a pickle", b"\x80\4\x95\x0b\0\0\0\0\0\0\0}\x94."),
    ("pipe", "is a pipe, a socket or a device", None),
    ("folder", "is a folder", {}),
    ("a terabyte", "1000000000000 bytes; JSON of at most 100000000 is read", 10**12),
):
    refuse(f"config: {name}", f"{CONFIG}: .*{error}", {"model.safetensors": WHOLE, CONFIG: config})

# Folders without an index

refuse("weights of PyTorch alone", r"holds no \*.safetensors file", {"pytorch_model.bin": WHOLE})
refuse("model.safetensors is a folder", "model.safetensors: is a folder", {"model.safetensors": {}})
refuse("newline in a name", r"'a.n.safetensors' is not the plain name", {"a\n.safetensors": WHOLE})
refuse("two files, one tensor", "'t' is in both", {SHARD: WHOLE, "b.safetensors": WHOLE})
