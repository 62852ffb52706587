# SPDX-License-Identifier: MIT
"""Checkpoints that look odd and are good: bitmill and the safetensors package must read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bitmill.checkpoint.header import DTYPES
from hostile_files import DATA, FIELDS, GOOD, WHOLE, Case, framed, nested, written
from hostile_folders import CONFIG, INDEX, OTHER, SHARD, Link, filled

ACCEPTED: dict[str, Case] = {}
"""The files and folders by name."""


def accept(name: str, build: Callable[[Path], Path]) -> None:
    """Add what `build` makes."""
    if name in ACCEPTED:
        raise KeyError(name)
    ACCEPTED[name] = Case(build, "")


def accept_header(name: str, header: Any, data: bytes = DATA) -> None:
    """Add the file with this header, an object or its bytes."""
    accept(name, partial(written, framed(header, data)))


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    """The entry of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


accept_header("nothing", {}, b"")
accept_header("metadata alone", {"__metadata__": {"format": "pt"}}, b"")
accept_header("empty metadata", {"__metadata__": {}, "t": GOOD})
accept_header("odd metadata", {"__metadata__": {"": "", "a\nb": "é" * 10**5}, "t": GOOD})

BYTES = sum(bits for bits, _ in DTYPES.values())  # of 8 elements each
EVERY, AT = {}, 0
for dtype, (bits, _) in DTYPES.items():
    EVERY[dtype] = tensor(dtype, [2, 4], AT, AT + bits)
    AT += bits
accept_header("every dtype", EVERY, bytes(i % 251 for i in range(AT)))
accept_header("all bits set in every dtype", EVERY, b"\xff" * AT)
accept_header("parts of bytes", {"t": tensor("F6_E2M3", [4], 0, 3), "u": tensor("F4", [10], 3, 8)})
accept_header(
    "wide numbers at odd places",
    {"a": tensor("U8", [3], 0, 3), "b": tensor("F64", [1], 3, 11)},
    bytes(11),
)

accept_header("tensors out of order", {"b": tensor("U8", [3], 5, 8), "a": tensor("U8", [5], 0, 5)})
accept_header(
    "empty tensors between others",
    {
        "z": tensor("F64", [3, 0], 8, 8),
        "b": tensor("U8", [4], 4, 8),
        "y": tensor("BOOL", [0], 4, 4),
        "a": tensor("U8", [4], 0, 4),
        "x": tensor("F4", [0], 0, 0),
        "w": tensor("F32", [0, 0], 4, 4),
    },
)
accept_header(
    "only empty tensors", {"a": tensor("F32", [0], 0, 0), "b": tensor("I8", [0], 0, 0)}, b""
)
accept_header("empty tensor of 2^56 columns", {"t": tensor("F64", [0, 2**56], 0, 0)}, b"")
accept_header("scalar", {"t": tensor("F64", [], 0, 8)})
accept_header("64 dimensions", {"t": tensor("F32", [1] * 63 + [2], 0, 8)})
accept_header("30 dimensions", {"t": tensor("U8", [2] * 3 + [1] * 27, 0, 8)})

for name, text in {
    "empty": "",
    "newline": "a\nb",
    "NUL": "a\0b",
    "quotes": "\"'\\/",
    "Greek": "Gewicht π",
    "beyond 16 bits": "\U0001f642",
    "terminal": "\x1b[2J",
    "path": "../../etc/passwd",
    "10 kB": "n" * 10_000,
    "almost metadata": "__metadata",
    "of an index": "weight_map",
}.items():
    accept_header(f"name: {name}", {text: GOOD})
accept_header(
    "names that differ in normal form",
    {"\xe9": tensor("U8", [4], 0, 4), "e\u0301": tensor("U8", [4], 4, 8)},
)
accept_header("name in UTF-8", '{"π\U0001f642":{%s}}'.encode().replace(b"%s", FIELDS))
accept_header("field in escapes", b'{"t":{%b}}' % FIELDS.replace(b"dtype", b"\\u0064type"))

accept_header("blanks behind", b'{"t":{%b}}   \n\t\r ' % FIELDS)
accept_header("a megabyte of blanks", b'{"t":{%b}}' % FIELDS + b" " * 10**6)
accept_header("indented", json.dumps({"t": GOOD}, indent=4).encode())
accept_header("header of odd length", b'{"t":{%b}} ' % FIELDS)
accept_header("fields in another order", {"t": dict(reversed(GOOD.items()))})
for name, literal in {
    "null": b"null",
    "negative": b"-0",
    "small": b"1e-999",
    "300 digits": b"1" * 300,
    "lists nested 90 deep": nested(90),
    "objects": b'{"a":{"b":[{"c":"\\ud83d\\ude42"}]}}',
    "an escape that is none": b'"\\\\ud800"',
}.items():
    accept_header(f"unknown field: {name}", b'{"t":{%b,"x":%b}}' % (FIELDS, literal))


def accept_folder(name: str, files: Mapping[str, Any]) -> None:
    """Add the folder with these files."""
    accept(f"folder: {name}", partial(filled, files))


INDEXED = {SHARD: WHOLE, "b.safetensors": OTHER}
BOTH = json.dumps({"weight_map": {"t": SHARD, "u": "b.safetensors"}}).encode()
LONG = "n" * 243 + ".safetensors"
accept_folder("no index", INDEXED)
accept_folder("index without metadata", {INDEX: BOTH, **INDEXED})
accept_folder("index behind a byte order mark", {INDEX: b"\xef\xbb\xbf" + BOTH, **INDEXED})
accept_folder(
    "index of one of two files", {INDEX: b'{"weight_map":{"t":"a.safetensors"}}', **INDEXED}
)
accept_folder(
    "shard of 255 bytes", {INDEX: json.dumps({"weight_map": {"t": LONG}}).encode(), LONG: WHOLE}
)
accept_folder("shard is a link that leads outside", {SHARD: Link("../bait.safetensors")})
accept_folder("index is a pipe and not needed", {INDEX: None, "model.safetensors": WHOLE})
accept_folder(
    "config with NaN", {SHARD: WHOLE, CONFIG: b'\xef\xbb\xbf{"a": [NaN, -Infinity, 1e999]}'}
)
