# SPDX-License-Identifier: MIT
"""The header of a safetensors file: parsed with every field checked, and built.

A file is a little-endian uint64 n, n bytes of JSON, and the data: `name -> {"dtype", "shape",
"data_offsets": [begin, end)}` with offsets from the end of the header. Sorted by offset, tensors
tile the data: no gaps, no overlaps, nothing behind the last one.

Whatever is accepted here, the safetensors package accepts, and finds the same in it. It accepts a
little more; refused here alone are
- blanks before the first brace, which the description of the format forbids;
- a name or a field that occurs twice, for readers differ in which of the two they take;
- `__metadata__` that is null, a tensor that is a list of its fields, and a dtype that is an object
  of one name: no writer makes them;
- shapes that NumPy cannot hold, even if they hold nothing: more than 64 dimensions, or sizes that
  without the zeros among them multiply to 2^63 bits or more;
- in fields that have no meaning: numbers of over 300 digits, and lists in lists 100 deep.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bitmill.checkpoint.errors import CheckpointError, shown
from bitmill.checkpoint.lookalike import FIRST, is_json, lookalike
from bitmill.checkpoint.paths import Stamp, failing_at, regular_file

MAX_HEADER = 100_000_000
"""Longest header that the safetensors package accepts, in bytes."""

_MAX_RANK = 64  # of an array in NumPy
_MAX_BITS = 1 << 63
_MAX_DEPTH = 100  # safetensors: 127; json.dumps, by which a config is written again: about 1,000
_TOO_DEEP = f"lists and objects are nested more than {_MAX_DEPTH} deep"
_MAX_DIGITS = 300  # float64 holds them; and turning digits into a number takes quadratic time
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_ODD_INTEGER = re.compile(rb"-0|\d{%d}" % (_MAX_DIGITS + 1))  # without one, numbers parse faster

DTYPES: dict[str, tuple[int, str | None]] = {
    "BOOL": (8, "bool"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "U16": (16, "uint16"),
    "I16": (16, "int16"),
    "U32": (32, "uint32"),
    "I32": (32, "int32"),
    "U64": (64, "uint64"),
    "I64": (64, "int64"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "F32": (32, "float32"),
    "F64": (64, "float64"),
    "C64": (64, "complex64"),
    "F4": (4, None),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, None),
    "F8_E5M2FNUZ": (8, None),
}
"""Bits per element and NumPy name of each dtype. Those without a name are carried as raw bytes."""

NAMES = {numpy: name for name, (_, numpy) in DTYPES.items() if numpy is not None}
"""From the NumPy (or ml_dtypes) name of a dtype to that of safetensors."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: `nbytes` bytes from `begin`, counted from the start of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def numpy(self) -> str | None:
        """The NumPy (or ml_dtypes) name of the dtype; None where there is none."""
        return DTYPES[self.dtype][1]


@dataclass(frozen=True, slots=True)
class Header:
    """One safetensors file: its tensors in the order of their bytes, and its `__metadata__`."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    stamp: Stamp
    """The file as it was when the header was read."""
    sha256: str
    """Of the text of the header, in hexadecimal."""

    @property
    def nbytes(self) -> int:
        """Size of the whole file."""
        return self.stamp.nbytes


class Spec(NamedTuple):
    """A tensor to write: its dtype as safetensors calls it."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return math.prod(self.shape) * DTYPES[self.dtype][0] // 8


def read_header(path: Path) -> Header:
    """The header of the safetensors file at `path`; its data are not read.

    Raises CheckpointError, naming file, tensor and field, unless every size in it agrees with every
    other and with the file. Nothing is allocated for a length that the file does not have.
    """
    with failing_at(path), open(regular_file(path), "rb") as file:
        stamp = Stamp.of(os.fstat(file.fileno()))
        file_size = stamp.nbytes
        first = file.read(FIRST)
        length = int.from_bytes(first[:8], "little")
        if file_size < 8 or not 2 <= length <= min(MAX_HEADER, file_size - 8):
            raise CheckpointError(f"{path}: {_not_safetensors(first, file_size, length)}")
        file.seek(8)
        text = file.read(length)
    return _parse(path, text, 8 + length, stamp)


def build_header(
    specs: Iterable[Spec], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, TensorInfo]]:
    """The first bytes of a file that holds `specs`, and where each tensor goes behind them.

    Larger dtypes come first, then names in order, and the header is a multiple of 8 long: so every
    tensor is aligned to its items, which files that may have no gaps cannot get in another way.
    Raises CheckpointError if two have the same name.

    >>> head, tensors = build_header([Spec("b", "F16", (3,)), Spec("a", "F32", (2, 2))], {})
    >>> len(head) % 8, tensors["a"].begin - len(head), tensors["b"].begin - len(head)
    (0, 0, 16)
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    places = []
    offset = 0
    for spec in sorted(specs, key=lambda spec: (-DTYPES[spec.dtype][0], spec.name)):
        if spec.name in entries:
            raise CheckpointError(f"two tensors of one file have the name {spec.name!r}")
        end = offset + spec.nbytes
        entries[spec.name] = {
            "dtype": spec.dtype,
            "shape": list(spec.shape),
            "data_offsets": [offset, end],
        }
        places.append(TensorInfo(*spec, offset, spec.nbytes))
        offset = end
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    moved = (
        TensorInfo(at.name, at.dtype, at.shape, len(head) + at.begin, at.nbytes) for at in places
    )
    return head, {info.name: info for info in moved}


def parse_json(where: object, text: bytes, *, allow_nan: bool = False) -> dict[str, Any]:
    """The JSON object in `text`: UTF-8, and no key twice in one object. Errors name `where`.

    NaN and Infinity are no JSON, but config.json files hold them: `allow_nan` lets them in. So is
    the byte order mark that Windows editors put first, which is skipped.
    """
    try:
        value = json.loads(
            text.decode("utf-8-sig"),
            object_pairs_hook=_checked_object,
            parse_int=_checked_int if _ODD_INTEGER.search(text) else None,
            parse_float=float if allow_nan else _checked_float,
            parse_constant=float if allow_nan else _refuse_constant,
        )
        _check_depth(value)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # raises at half a pair of surrogates
    except (ValueError, RecursionError) as error:
        fault = _TOO_DEEP if isinstance(error, RecursionError) else error
        kind = None if is_json(text) else lookalike(text[:FIRST])
        told = f"not the JSON it should be: {fault}" if kind is None else f"looks like {kind}"
        raise CheckpointError(f"{where}: {told}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: holds a JSON {type(value).__name__}; wanted an object")
    return value


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values, if no key comes twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {shown(twice)} occurs twice")
    return entries


def _checked_int(digits: str) -> float:
    """The number; a float for -0, as for other parsers, so that it is no size."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits; wanted at most {_MAX_DIGITS}")
    return -0.0 if digits == "-0" else int(digits)


def _checked_float(literal: str) -> float:
    """The number, if float64 can hold it: to other parsers the rest is an error."""
    value = float(literal)
    if math.isinf(value):
        raise ValueError(f"{shown(literal)} is beyond the range of numbers")
    return value


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def _check_depth(value: Any) -> None:
    """Raise if lists and objects are nested deeper than other parsers go."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _not_safetensors(first: bytes, file_size: int, length: int) -> str:
    """What to say of a file that starts with `first` and has no header of the length it tells."""
    kind = lookalike(first)
    if kind is not None:
        return f"looks like {kind}"
    if is_json(first):
        return "looks like JSON text; wanted a safetensors file"
    if file_size < 8:
        return f"{file_size} bytes; wanted 8 bytes of header length first"
    return (
        f"header length {length} in a file of {file_size} bytes; "
        "it is no safetensors file, or not all of one"
    )


def _parse(path: Path, text: bytes, data: int, stamp: Stamp) -> Header:
    """The header in `text`, whose data start at byte `data` of the file that `stamp` tells of."""
    if not text.startswith(b"{"):
        raise CheckpointError(f"{path}: the header starts with {text[:1]!r}; wanted {{")
    entries = parse_json(path, text)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    tensors = []
    for name, entry in entries.items():
        try:
            tensors.append(_tensor(name, entry, data))
        except ValueError as error:
            raise CheckpointError(f"{path}: tensor {shown(name)}: {error}") from None
    tensors.sort(key=lambda info: (info.begin, info.nbytes))
    end = data
    for info in tensors:
        if info.begin != end:
            raise CheckpointError(
                f"{path}: tensor {shown(info.name)}: data_offsets start at "
                f"{shown(info.begin - data)}; wanted {end - data}, where the tensor before it ends"
            )
        end += info.nbytes
    if end != stamp.nbytes:
        raise CheckpointError(f"{path}: {stamp.nbytes} bytes; its tensors end at byte {end}")
    found = {info.name: info for info in tensors}
    return Header(found, metadata, stamp, hashlib.sha256(text).hexdigest())


def _metadata(path: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: __metadata__ is a JSON {type(value).__name__}; wanted an object of strings"
        )
    for key, said in value.items():
        if not isinstance(said, str):
            raise CheckpointError(
                f"{path}: __metadata__ has {shown(said)} under {shown(key)}; wanted a string"
            )
    return value


def _tensor(name: str, entry: Any, data: int) -> TensorInfo:
    """The checked entry of one tensor; `_parse` checks its place against those of the others.

    Raises ValueError, naming the field: its caller names file and tensor.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"is a JSON {type(entry).__name__}; wanted an object")
    missing = [key for key in ("dtype", "shape", "data_offsets") if key not in entry]
    if missing:
        raise ValueError(f"lacks {missing[0]!r}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype {shown(dtype)} is not one of {', '.join(DTYPES)}")
    if not _is_counts(shape):
        raise ValueError(f"shape {shown(shape)} is not a list of sizes")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"data_offsets {shown(offsets)} is not [begin, end]")
    bits = _bits(dtype, shape)
    if bits != 8 * (offsets[1] - offsets[0]):
        wanted = f"{bits} bits" if bits % 8 else f"{bits // 8} bytes"
        raise ValueError(
            f"data_offsets span {shown(offsets[1] - offsets[0])} bytes; "
            f"shape {shown(shape)} of {dtype} takes {wanted}"
        )
    return TensorInfo(name, dtype, tuple(shape), data + offsets[0], offsets[1] - offsets[0])


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _bits(dtype: str, shape: list[int]) -> int:
    """Bits of a tensor. Raises ValueError where NumPy holds no such array, not even an empty one.

    The product stays small: that of a million numbers would take minutes.
    """
    if len(shape) > _MAX_RANK:
        raise ValueError(f"shape has {len(shape)} dimensions; NumPy takes at most {_MAX_RANK}")
    bits = DTYPES[dtype][0] * math.prod(n for n in shape if n)
    if bits >= _MAX_BITS:
        raise ValueError(f"shape {shown(shape)} of {dtype} is more than an array can hold")
    return 0 if 0 in shape else bits
