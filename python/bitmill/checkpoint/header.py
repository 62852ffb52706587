# SPDX-License-Identifier: MIT
"""The header of a safetensors file: parsed with every field checked, and built.

A file is a little-endian uint64 n, n bytes of JSON, and the data: `name -> {"dtype", "shape",
"data_offsets": [begin, end)}` with offsets from the end of the header. Sorted by offset, tensors
tile the data: no gaps, no overlaps, nothing behind the last one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.paths import failing_at, regular_file

MAX_HEADER = 100_000_000
"""Longest header that the safetensors package accepts, in bytes."""

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
    "F8_E5M2": (8, None),
    "F8_E4M3": (8, None),
    "F8_E8M0": (8, None),
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
    nbytes: int
    """Size of the whole file."""


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
        file_size = file.seek(0, 2)
        file.seek(0)
        if file_size < 8:
            raise CheckpointError(
                f"{path}: {file_size} bytes; wanted 8 bytes of header length first"
            )
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, file_size - 8):
            raise CheckpointError(
                f"{path}: header length {length} in a file of {file_size} bytes; "
                "it is no safetensors file, or not all of one"
            )
        text = file.read(length)
    return _parse(path, text, 8 + length, file_size)


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
    constant = float if allow_nan else _refuse_constant
    try:
        value = json.loads(
            text.decode("utf-8-sig"), object_pairs_hook=_checked_object, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: not the JSON it should be: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: holds a JSON {type(value).__name__}; wanted an object")
    return value


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values, if no key comes twice and all strings are Unicode."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {twice!r} occurs twice")
    for key, value in pairs:
        (key + value if isinstance(value, str) else key).encode()  # a lone surrogate raises
    return entries


def _refuse_constant(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not JSON")


def _parse(path: Path, text: bytes, data: int, file_size: int) -> Header:
    """The header in `text`, whose data start at byte `data` of a file of `file_size` bytes."""
    if not text.startswith(b"{"):
        raise CheckpointError(f"{path}: the header starts with {text[:1]!r}; wanted {{")
    entries = parse_json(path, text)
    metadata = _metadata(path, entries.pop("__metadata__", {}))
    tensors = [_tensor(path, name, entry, data) for name, entry in entries.items()]
    tensors.sort(key=lambda info: (info.begin, info.nbytes))
    end = data
    for info in tensors:
        if info.begin != end:
            raise CheckpointError(
                f"{path}: tensor {info.name!r}: data_offsets start at {info.begin - data}; wanted "
                f"{end - data}, where the tensor before it ends"
            )
        end += info.nbytes
    if end != file_size:
        raise CheckpointError(f"{path}: {file_size} bytes; its tensors end at byte {end}")
    return Header({info.name: info for info in tensors}, metadata, file_size)


def _metadata(path: Path, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise CheckpointError(f"{path}: __metadata__ must be an object of strings")
    return value


def _tensor(path: Path, name: str, entry: Any, data: int) -> TensorInfo:
    """The checked entry of one tensor; `_parse` checks its place against those of the others."""
    where = f"{path}: tensor {name!r}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where} is a JSON {type(entry).__name__}; wanted an object")
    missing = [key for key in ("dtype", "shape", "data_offsets") if key not in entry]
    if missing:
        raise CheckpointError(f"{where} lacks {missing[0]!r}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{where}: dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    if not _is_counts(shape):
        raise CheckpointError(f"{where}: shape {shape!r} is not a list of sizes")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{where}: data_offsets {offsets!r} is not [begin, end]")
    bits = math.prod(shape) * DTYPES[dtype][0]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise CheckpointError(
            f"{where}: data_offsets span {offsets[1] - offsets[0]} bytes; "
            f"shape {shape} of {dtype} takes another number"
        )
    return TensorInfo(name, dtype, tuple(shape), data + offsets[0], offsets[1] - offsets[0])


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value)
