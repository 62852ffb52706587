# SPDX-License-Identifier: MIT
"""The header of a GGUF file: read whole, or refused by the name of the file."""

from __future__ import annotations

import re
import struct
import tracemalloc
from pathlib import Path

import pytest

from bitmill.checkpoint import CheckpointError
from bitmill.checkpoint.gguf import read_gguf
from golden_files import GOLDEN

TINY = (GOLDEN / "gguf" / "tiny.gguf").read_bytes()
HUGE = [1 << 31, 1 << 40, (1 << 64) - 1]
U8, I32, STRING, ARRAY = 0, 5, 8, 9
F32, Q4_0, Q4_K = 0, 2, 12


def u32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


def string(text: bytes) -> bytes:
    return u64(len(text)) + text


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    """A metadata entry."""
    return string(key) + u32(kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    """What the header says of a tensor; the shape is as GGUF has it, the fastest axis first."""
    return string(name) + u32(len(shape)) + u64(*shape) + u32(kind) + u64(offset)


def file(
    path: Path,
    entries: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: int = 0,
) -> Path:
    """Write a GGUF file with `data` bytes of data; `counts` are told instead of the real ones."""
    entries, tensors = entries or [], tensors or []
    head = b"GGUF" + u32(version) + u64(*(counts or (len(tensors), len(entries))))
    head += b"".join((*entries, *tensors))
    path.write_bytes(head + bytes(-len(head) % 32 + data))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.gguf"


def refused(path: Path, message: str) -> None:
    """Fail unless reading raises, and names the file."""
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + ": .*" + message):
        read_gguf(path)


def test_metadata_of_every_type_are_read() -> None:
    header = read_gguf(GOLDEN / "gguf" / "tiny.gguf")
    assert (header.version, header.nbytes) == (3, len(TINY))
    assert header.metadata == {
        "general.architecture": "llama",
        "x.u32": 7,
        "x.str": "hé",
        "x.arr": "i[3]",
        "x.f": 1.5,
        "x.b": True,
    }


def test_tensors_are_read_with_numpys_order_of_axes(path: Path) -> None:
    file(path, [], [tensor(b"a", (32, 3), Q4_0), tensor(b"b", (), F32, 64)], data=68)
    assert [(t.name, t.shape, t.type, t.offset, t.nbytes) for t in read_gguf(path).tensors] == [
        ("a", (3, 32), "Q4_0", 0, 54),
        ("b", (), "F32", 64, 4),
    ]


def test_version_2_is_read(path: Path) -> None:
    assert read_gguf(file(path, version=2)).version == 2


@pytest.mark.parametrize("version", [0, 1, 4, 3 << 24])
def test_other_version_is_refused(path: Path, version: int) -> None:
    refused(file(path, version=version), f"GGUF version {version}; bitmill reads 2 and 3")


@pytest.mark.parametrize("data", [b"", b"GGU", b"GGML" + TINY[4:]])
def test_file_of_another_kind_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    refused(path, "")


@pytest.mark.parametrize("length", [*range(4, 512), *range(512, len(TINY), 64), 4672 - 33])
def test_file_that_ends_too_soon_is_refused(path: Path, length: int) -> None:
    path.write_bytes(TINY[:length])
    refused(path, "no GGUF file, or not all of one|beyond the end")


def test_nested_arrays_are_skipped(path: Path) -> None:
    inner = u32(U8) + u64(3) + b"abc"
    strings = u32(STRING) + u64(2) + string(b"x") + string(b"")
    value = u32(ARRAY) + u64(2) + inner + strings
    file(path, [entry(b"a", ARRAY, value), entry(b"b", U8, b"\7")])
    assert read_gguf(path).metadata == {"a": "array[2]", "b": 7}


def test_arrays_nested_too_deep_are_refused(path: Path) -> None:
    value = (u32(ARRAY) + u64(1)) * 10_000 + u32(U8) + u64(0)
    refused(file(path, [entry(b"a", ARRAY, value)]), "metadata arrays in more than 4 others")


@pytest.mark.parametrize("value", [u32(13), u32(ARRAY, 13) + u64(1)], ids=["value", "array"])
def test_value_of_unknown_type_is_refused(path: Path, value: bytes) -> None:
    refused(file(path, [string(b"a") + value]), "metadata value of unknown type 13")


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("which", ["tensors", "entries"])
def test_count_beyond_the_file_is_refused(path: Path, which: str, count: int) -> None:
    counts = (count, 0) if which == "tensors" else (0, count)
    refused(file(path, counts=counts), "bytes wanted at byte 32 of 32: no GGUF file, or not all")


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("kind", [U8, I32, STRING, ARRAY])
def test_array_longer_than_the_file_is_refused(path: Path, kind: int, count: int) -> None:
    refused(file(path, [entry(b"a", ARRAY, u32(kind) + u64(count))]), "bytes wanted at byte")


@pytest.mark.parametrize("length", HUGE)
@pytest.mark.parametrize("what", ["key", "value", "name"])
def test_string_longer_than_the_file_is_refused(path: Path, what: str, length: int) -> None:
    long = u64(length) + b"abc"
    entries = {"key": [long], "value": [entry(b"a", STRING, long)], "name": []}[what]
    tensors = [long] if what == "name" else []
    refused(file(path, entries, tensors), f"{length} bytes wanted at byte")


def test_long_array_is_skipped_and_not_read(path: Path) -> None:
    size = 64 << 20
    file(path, [entry(b"a", ARRAY, u32(U8) + u64(size))], data=size)
    tracemalloc.start()
    try:
        assert read_gguf(path).metadata == {"a": f"B[{size}]"}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_zeros_are_not_read_as_endless_tensors(path: Path) -> None:
    with open(file(path, counts=(1 << 63, 0)), "r+b") as sparse:
        sparse.truncate(1 << 32)
    refused(path, "tensor '' occurs twice")


def test_key_that_occurs_twice_is_refused(path: Path) -> None:
    refused(file(path, [entry(b"a", U8, b"\1")] * 2), "metadata key 'a' occurs twice")


def test_tensor_that_occurs_twice_is_refused(path: Path) -> None:
    refused(file(path, [], [tensor(b"t", (2,), F32)] * 2, data=32), "tensor 't' occurs twice")


@pytest.mark.parametrize("offset", [0, 1, 32, (1 << 64) - 1])
def test_tensor_beyond_the_end_is_refused(path: Path, offset: int) -> None:
    made = [tensor(b"t", (64,), F32, offset)]
    refused(file(path, [], made, data=255), "tensor 't' goes beyond the end of the file")


@pytest.mark.parametrize("shape", [(1 << 63,), (1 << 32,) * 4, ((1 << 64) - 32, (1 << 64) - 1)])
def test_tensor_larger_than_any_file_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    refused(file(path, [], [tensor(b"t", shape, Q4_0)], data=64), "'t' goes beyond the end")


def test_alignment_of_the_metadata_says_where_data_start(path: Path) -> None:
    aligned = entry(b"general.alignment", 4, u32(4096))
    made = [tensor(b"t", (8,), F32)]
    head = 24 + len(aligned) + len(made[0])
    file(path, [aligned], made, data=4096 - head - -head % 32 + 32)
    assert path.stat().st_size == 4096 + 32
    assert read_gguf(path).tensors[0].nbytes == 32
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "tensor 't' goes beyond the end of the file")


@pytest.mark.parametrize(
    ("kind", "value"), [(4, u32(0)), (5, b"\xff" * 4), (7, b"\1"), (8, string(b"32"))]
)
def test_alignment_that_is_none_is_refused(path: Path, kind: int, value: bytes) -> None:
    refused(file(path, [entry(b"general.alignment", kind, value)]), "general.alignment is .*want")


@pytest.mark.parametrize(
    ("shape", "kind", "rows"),
    [((31,), Q4_0, 31), ((128, 2), Q4_K, 128), ((16, 32), Q4_0, 16), ((), Q4_0, 1)],
)
def test_rows_that_are_no_whole_blocks_are_refused(
    path: Path, shape: tuple[int, ...], kind: int, rows: int
) -> None:
    made = file(path, [], [tensor(b"t", shape, kind)], data=4096)
    refused(made, f"tensor 't': rows of {rows} are no whole blocks of Q4")


@pytest.mark.parametrize("rank", [5, 1000, (1 << 32) - 1])
def test_more_than_4_dimensions_are_refused(path: Path, rank: int) -> None:
    made = string(b"t") + u32(rank) + u64(*[1] * 5) + u32(F32) + u64(0)
    refused(file(path, [], [made], data=4096), f"tensor 't' has {rank} dimensions")


def test_tensor_of_unknown_type_is_told_without_its_size(path: Path) -> None:
    file(path, [], [tensor(b"t", (5, 3), 99)], data=32)
    (found,) = read_gguf(path).tensors
    assert (found.shape, found.type, found.nbytes) == ((3, 5), "type 99", None)


def test_text_that_is_not_unicode_is_escaped(path: Path) -> None:
    file(path, [entry(b"a\xff", STRING, string(b"\xfe"))])
    assert read_gguf(path).metadata == {"a\\xff": "\\xfe"}
