# SPDX-License-Identifier: MIT
"""Safetensors files that must be refused, each with what the error must say.

Most are a header written by hand, as an object or as the very bytes, before eight bytes of data.
Files of other kinds are in hostile_kinds.py, folders in hostile_folders.py; test_hostile_files.py
opens them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple


class Case(NamedTuple):
    """A file or folder that `build` makes in an empty folder, and what must become of it."""

    build: Callable[[Path], Path]
    """Returns the path to open."""
    error: str
    """A pattern for the text of the CheckpointError; empty if the checkpoint is good."""


REFUSED: dict[str, Case] = {}
"""The files by name."""

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DATA = bytes(range(8))
FIELDS = b'"dtype":"F32","shape":[2],"data_offsets":[0,8]'


def framed(header: Any, data: bytes = DATA) -> bytes:
    """A safetensors file of this header, an object or its bytes, and these data."""
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    return len(text).to_bytes(8, "little") + text + data


def written(content: bytes, folder: Path, name: str = "x.safetensors") -> Path:
    """The path of a new file with this content."""
    path = folder / name
    path.write_bytes(content)
    return path


def refuse(name: str, error: str, content: bytes) -> None:
    """Add the file with this content."""
    if name in REFUSED:
        raise KeyError(name)
    REFUSED[name] = Case(partial(written, content), error)


def refuse_header(name: str, error: str, header: Any, data: bytes = DATA) -> None:
    """Add the file with this header."""
    refuse(name, error, framed(header, data))


def refuse_tensor(name: str, error: str, **changes: Any) -> None:
    """Add a file with one tensor `t`, some of whose fields are replaced (None: left out)."""
    fields = {**GOOD, **changes}
    entry = {key: value for key, value in fields.items() if value is not None}
    refuse_header(name, f"tensor 't': {error}", {"t": entry})


def nested(depth: int) -> bytes:
    """Lists in lists."""
    return b"[" * depth + b"]" * depth


WHOLE = framed({"t": GOOD})
HEAD = WHOLE[:-8]

# The header length, and the length of the file

refuse("empty file", "x.safetensors: 0 bytes; wanted 8", b"")
refuse("seven bytes", "7 bytes; wanted 8", WHOLE[:7])
refuse("nothing but a length", "header length 54 in a file of 8 bytes", WHOLE[:8])
refuse("length 0", "header length 0 ", bytes(8) + WHOLE[8:])
refuse("length 1", "header length 1 ", framed(b"{", b"}"))
for name, length in {
    "one too many": len(WHOLE) - 7,
    "with its own eight bytes": 2**16 + len(WHOLE),
    "2^31": 2**31,
    "2^32 over the true one": 2**32 + len(HEAD) - 8,
    "2^63": 2**63,
    "2^64 - 1": 2**64 - 1,
    "big-endian": int.from_bytes((len(HEAD) - 8).to_bytes(8, "big"), "little"),
}.items():
    refuse(f"length {name}", f"header length {length} ", length.to_bytes(8, "little") + WHOLE[8:])
refuse("length of less than the header", "not the JSON", b"\x20" + WHOLE[1:])
refuse("length that takes in data", "not the JSON", b"\x3a" + WHOLE[1:])
refuse("cut in the header", r"header length \d+ in a file of 40 bytes", WHOLE[:40])
for name, length in {"{": 0x7B, "[": 0x5B, "a blank and {": 0x7B20, "a pickle": 0x0480}.items():
    cut = length.to_bytes(8, "little") + WHOLE[8:]
    refuse(f"cut, length as of {name}", f"header length {length} in a file of 70 bytes", cut)
refuse("cut where the data start", r"62 bytes; its tensors end at byte 70", HEAD)
refuse("cut by one byte", "69 bytes; its tensors end at byte 70", WHOLE[:-1])
refuse("one byte more", "71 bytes; its tensors end at byte 70", WHOLE + b"\0")
refuse("twice the same file", "140 bytes; its tensors end at byte 70", 2 * WHOLE)
refuse("zip archive behind the data", "its tensors end at", WHOLE + b"PK\5\6" + bytes(18))

# The header as text

refuse_header("text not UTF-8", "0xff in position 1", b"{\xff" + b"}")
refuse_header("text in UTF-16", "starts with b'.xff'", '{"a": 1}'.encode("utf-16"))
refuse_header("text in overlong UTF-8", "0xc0", b'{"\xc0\x80":{' + FIELDS + b"}}")
refuse_header("text with an encoded surrogate", "0xed", b'{"\xed\xa0\x80":{' + FIELDS + b"}}")
refuse_header("text behind a byte order mark", "starts with", b"\xef\xbb\xbf{}")
refuse_header("text behind a blank", "starts with b' '", b' {"t":{' + FIELDS + b"}}")
refuse_header("text of blanks", "starts with b' '", b" " * 1000)
refuse_header("text of zeros", r"starts with b'.x00'", bytes(1000))
refuse_header("list", r"starts with b'\['", [{"t": GOOD}])
refuse_header("string", "starts with b'\"'", "t")
refuse_header("number", "starts with b'1'", 12)
refuse_header("null", "starts with b'n'", None)
refuse_header("two objects", "Extra data", b'{"t":{' + FIELDS + b"}} {}")
refuse_header("NUL behind the object", "Extra data", b'{"t":{' + FIELDS + b"}}\0")
refuse_header("no end", "not the JSON", b'{"t":{' + FIELDS + b"}")
refuse_header("trailing comma", "not the JSON", b'{"t":{' + FIELDS + b"},}")
refuse_header("comment", "not the JSON", b'{/* */"t":{' + FIELDS + b"}}")
refuse_header("single quotes", "not the JSON", b"{'t':{" + FIELDS + b"}}")
refuse_header("name without quotes", "not the JSON", b"{t:{" + FIELDS + b"}}")
refuse_header("raw newline in a name", "control character", b'{"a\nb":{' + FIELDS + b"}}")
refuse_header("escape that JSON lacks", "escape", b'{"\\x41":{' + FIELDS + b"}}")
refuse_header("half an escape", "escape", b'{"\\u12":{' + FIELDS + b"}}")
refuse_header("first half of a pair in a name", "surrogates", b'{"\\ud83d":{' + FIELDS + b"}}")
refuse_header("second half of a pair in a name", "surrogates", b'{"\\uDE00":{' + FIELDS + b"}}")
refuse_header("halves of a pair swapped", "surrogates", b'{"\\ude00\\ud83d":{' + FIELDS + b"}}")

# Fields without a meaning are passed over, but not if other parsers refuse the header for them

for name, error, literal in (
    ("half of a pair in a list", "surrogates", b'["\\ud800"]'),
    ("NaN", "NaN is not JSON", b"NaN"),
    ("Infinity", "-Infinity is not JSON", b"-Infinity"),
    ("leading zero", "not the JSON", b"01"),
    ("hexadecimal", "not the JSON", b"0x10"),
    ("point without digits", "not the JSON", b"1."),
    ("400 digits", "a number has 400 digits", b"1" * 400),
    ("5,000 digits", "a number has 5000 digits", b"1" * 5000),
    ("a million digits", "a number has 1000000 digits", b"1" * 10**6),
    ("number beyond float64", "'1e999' is beyond", b"1e999"),
    ("lists nested 99 deep", "nested more than 100 deep", nested(99)),
    ("lists nested 100,000 deep", "nested more than 100 deep", nested(100_000)),
    ("brackets without end", "nested more than 100 deep", b"[" * 100_000),
    ("objects nested 500 deep", "nested more than 100 deep", b'{"x":' * 500 + b"1" + b"}" * 500),
    ("field twice", "key 'y' occurs twice", b'{"y":1,"y":2}'),
):
    refuse_header(f"unknown: {name}", error, b'{"t":{' + FIELDS + b',"x":' + literal + b"}}")

# One name twice

for name, twice, text in (
    ("tensor", "t", b'{"t":{%b},"t":{%b}}' % (FIELDS, FIELDS)),
    ("tensor, once in escapes", "t", b'{"t":{%b},"\\u0074":{%b}}' % (FIELDS, FIELDS)),
    ("dtype", "dtype", b'{"t":{"dtype":"I32",%b}}' % FIELDS),
    ("shape", "shape", b'{"t":{%b,"shape":[2]}}' % FIELDS),
    ("data_offsets", "data_offsets", b'{"t":{%b,"data_offsets":[0,8]}}' % FIELDS),
    ("metadata", "__metadata__", b'{"__metadata__":{},"t":{%b},"__metadata__":{}}' % FIELDS),
    ("key of the metadata", "a", b'{"__metadata__":{"a":"1","a":"2"},"t":{%b}}' % FIELDS),
):
    refuse_header(f"twice: {name}", f"key '{twice}' occurs twice", text)
refuse_header("twice: long name", "occurs twice", b'{"%b":1,"%b":1}' % (b"n" * 10**6, b"n" * 10**6))

# What a tensor is

for name, error, entry in (
    ("number", "is a JSON int", 3),
    ("null", "is a JSON NoneType", None),
    ("text", "is a JSON str", "F32"),
    ("list of its fields", "is a JSON list", ["F32", [2], [0, 8]]),
    ("empty object", "lacks 'dtype'", {}),
):
    refuse_header(f"tensor: {name}", f"tensor 't': {error}", {"t": entry})
for field in GOOD:
    refuse_tensor(f"tensor without {field}", f"lacks '{field}'", **{field: None})
refuse_tensor("field with a capital", "lacks 'shape'", Shape=[2], shape=None)
refuse_header("name of 10 MB", r"tensor 'nnn[n.]*': lacks 'dtype'", {"n" * 10**7: {}})
refuse_header("name that obeys a terminal", r"tensor '.x1b\[2J.n': lacks", {"\x1b[2J\n": {}})

for name, dtype in {
    "of nobody": "F31",
    "lower case": "f32",
    "of NumPy": "float32",
    "with a blank": "F32 ",
    "of PyTorch": "F8_E4M3FN",
    "a number": 5,
    "a list": ["F32"],
    "an object": {"F32": None},
    "a megabyte": "F" * 10**6,
}.items():
    refuse_tensor(f"dtype {name}", r"dtype .* is not one of BOOL, U8", dtype=dtype)

for name, shape in {
    "negative": [-2],
    "of float": [2.0],
    "of true": [True, 2],
    "of text": ["2"],
    "of null": [None],
    "of lists": [[2]],
    "a number": 2,
    "text": "[2]",
    "an object": {"0": 2},
    "of 300,000 texts": ["2"] * 300_000,
}.items():
    refuse_tensor(f"shape {name}", r"shape .* is not a list of sizes", shape=shape)
refuse_header("shape -0", "shape .* is not", b'{"t":{%b}}' % FIELDS.replace(b"[2]", b"[-0]"))
refuse_header("shape 2e0", "shape .* is not", b'{"t":{%b}}' % FIELDS.replace(b"[2]", b"[2e0]"))
for name, shape in {
    "2^64": [2**64],
    "2^64 + 2, which is 2 in 64 bits": [2**64 + 2],
    "2^62 + 2, with 8 bytes in 64 bits": [2**62 + 2],
    "product 2^64": [2, 2**63],
    "product 2^64 of equals": [2**32, 2**32],
    "empty, product beyond 64 bits": [2**62, 4, 0],
    "empty, product beyond 64 bits behind the zero": [0, 2**62, 2**62],
    "empty, one size of 2^62": [0, 2**62],
    "empty, one size of 2^63": [0, 2**63],
}.items():
    refuse_tensor(f"shape {name}", r"shape \[.* of F32 is more than an array can hold", shape=shape)
for name, shape in {"65 ones": [1] * 64 + [2], "300,000 twos": [2] * 300_000}.items():
    refuse_tensor(f"shape of {name}", r"shape has \d+ dimensions; NumPy takes", shape=shape)
for name, shape in {
    "30 dimensions": [2] * 30,
    "too small": [1],
    "empty": [0],
    "scalar": [],
}.items():
    refuse_tensor(
        f"shape {name}", r"data_offsets span 8 bytes; shape \[.* of F32 takes", shape=shape
    )
refuse_tensor(
    "half a byte",
    "data_offsets span 8 bytes; shape .15. of F4 takes 60 bits",
    dtype="F4",
    shape=[15],
)
refuse_tensor(
    "quarter of a byte", ".* shape .11. of F6_E2M3 takes 66 bits", dtype="F6_E2M3", shape=[11]
)

# Where a tensor lies

for name, offsets in {
    "one": [0],
    "three": [0, 8, 8],
    "none": [],
    "an object": {"begin": 0, "end": 8},
    "text": "0:8",
    "of floats": [0.0, 8.0],
    "of booleans": [False, 8],
    "negative": [-8, 0],
    "swapped": [8, 0],
}.items():
    refuse_tensor(
        f"offsets: {name}", r"data_offsets .* is not \[begin, end\]", data_offsets=offsets
    )
refuse_header("offsets: -0", "data_offsets", b'{"t":{%b}}' % FIELDS.replace(b"[0,", b"[-0,"))
refuse_tensor(
    "offsets from the start of the file",
    "data_offsets start at 62; wanted 0",
    data_offsets=[62, 70],
)
refuse_tensor("offsets of 2^64", "data_offsets start at 1844", data_offsets=[2**64, 2**64 + 8])
refuse_tensor(
    "offsets beyond the file", "data_offsets span 16 bytes; .* takes 8 bytes", data_offsets=[0, 16]
)
for name, error, places in (
    ("gap", "'b': data_offsets start at 4; wanted 2", [[0, 2], [4, 8]]),
    ("overlap", "'b': data_offsets start at 2; wanted 4", [[0, 4], [2, 8]]),
    ("two at one place", "'b': data_offsets start at 0; wanted 8", [[0, 8], [0, 8]]),
    ("data in no tensor before", "'a': data_offsets start at 2; wanted 0", [[2, 4], [4, 8]]),
    ("data in no tensor behind", "its tensors end at byte", [[0, 4], [4, 6]]),
    ("empty one inside another", "'b': data_offsets start at 4; wanted 8", [[0, 8], [4, 4]]),
    ("empty one behind the end", "'b': data_offsets start at 9; wanted 8", [[0, 8], [9, 9]]),
    ("two beyond the file", "its tensors end at byte", [[0, 8], [8, 16]]),
):
    tensors = {
        name: {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        for name, (begin, end) in zip("ab", places, strict=True)
    }
    refuse_header(name, error, tensors)
refuse_header("data and no tensors", "its tensors end at byte 10", {})
refuse_header("data and metadata alone", "its tensors end", {"__metadata__": {"format": "pt"}})

# Metadata

for name, error, value in (
    ("list", "is a JSON list", []),
    ("null", "is a JSON NoneType", None),
    ("text", "is a JSON str", "pt"),
    ("a tensor", r"has \[2\] under 'shape'; wanted a string", GOOD),
    ("number inside", "has 1 under 'epoch'; wanted a string", {"epoch": 1}),
    ("null inside", "has None under 'a'", {"a": None}),
    ("object inside", "has {'b': 'c'} under 'a'", {"a": {"b": "c"}}),
    ("long list inside", r"has \[0, 0.* under 'a'", {"a": [0] * 10**5}),
):
    refuse_header(f"metadata: {name}", f"__metadata__ {error}", {"__metadata__": value, "t": GOOD})
