# SPDX-License-Identifier: MIT
"""The header of a safetensors file: what is accepted, what is refused and how it is built."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from bitmill.checkpoint import CheckpointError, open_checkpoint, read_tensor
from bitmill.checkpoint.header import DTYPES, NAMES, Spec, build_header, read_header
from bitmill.checkpoint.write import write_tensors
from checkpoints import by_hand
from conftest import needs

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def entry(**changes: Any) -> dict[str, Any]:
    """A header with one tensor of 8 bytes, with some fields replaced (None: left out)."""
    fields = {**GOOD, **changes}
    return {"t": {key: value for key, value in fields.items() if value is not None}}


def test_tensors_are_found_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    header = {
        "late": {"dtype": "U8", "shape": [3], "data_offsets": [4, 7]},
        "__metadata__": {"format": "pt"},
        "early": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [0, 4]},
    }
    found = read_header(by_hand(tmp_path / "x", header, bytes(7)))
    assert list(found.tensors) == ["early", "late"]
    assert found.metadata == {"format": "pt"}
    early = found.tensors["early"]
    assert (early.dtype, early.shape, early.nbytes, early.numpy) == ("BF16", (2, 1), 4, "bfloat16")
    assert found.tensors["late"].begin == early.begin + 4


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "header length 0"),
        (b" {}", "starts with b' '"),
        (b"[1]", "starts with b'['"),
        (b"{\xff}", "not the JSON"),
        (b"{} {}", "not the JSON"),
        (b'{"t": NaN}', "NaN is not JSON"),
        (b'{"a": {}, "a": {}}', "'a' occurs twice"),
        (b'{"t": {"dtype": "F32", "dtype": "F32"}}', "'dtype' occurs twice"),
        (b'{"\\ud800": {}}', "surrogates"),
        (b'{"t": ' + b"[" * 100_000, "not the JSON"),
        (b'{"t": ' + b"1" * 5000 + b"}", "not the JSON"),
        ({"__metadata__": {"format": 1}}, "__metadata__"),
        ({"__metadata__": []}, "__metadata__"),
        ({"t": 3}, "'t': is a JSON int"),
        (entry(dtype=None), "'t': lacks 'dtype'"),
        (entry(shape=None), "'t': lacks 'shape'"),
        (entry(data_offsets=None), "'t': lacks 'data_offsets'"),
        (entry(dtype="F31"), "dtype 'F31' is not one of BOOL"),
        (entry(dtype=["F32"]), "is not one of"),
        (entry(shape=[-2]), "shape [-2]"),
        (entry(shape=[2.0]), "shape [2.0]"),
        (entry(shape=[True, 2]), "shape [True, 2]"),
        (entry(shape=[2**64]), "shape"),
        (entry(shape=2), "shape 2"),
        (entry(shape=[2**32, 2**32]), "is more than an array can hold"),
        (entry(shape=[3]), "span 8 bytes"),
        (entry(data_offsets=[8, 0]), "data_offsets"),
        (entry(data_offsets=[0]), "data_offsets"),
        (entry(data_offsets=[8, 16]), "start at 8; wanted 0"),
        ({"a": GOOD, "b": GOOD}, "'b': data_offsets start at 0; wanted 8"),
        ({"a": GOOD, "b": {**GOOD, "data_offsets": [8, 16]}}, "end at byte"),
        ({}, "end at byte"),
    ],
)
def test_wrong_header_is_refused_naming_file_and_field(
    tmp_path: Path, header: Any, message: str
) -> None:
    path = by_hand(tmp_path / "bad.safetensors", header, bytes(8))
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("length", [0, 1, 9, 100_000_001, 2**63, 2**64 - 1])
def test_header_length_that_the_file_has_not_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match=f"header length {length} in a file of 10 bytes"):
        read_header(path)


@pytest.mark.parametrize("size", [0, 7])
def test_file_shorter_than_a_header_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(size))
    with pytest.raises(CheckpointError, match=f"x: {size} bytes; wanted 8 bytes of header length"):
        read_header(path)


@pytest.mark.parametrize("size", [7, 9])
def test_file_one_byte_short_or_long_is_refused(tmp_path: Path, size: int) -> None:
    path = by_hand(tmp_path / "x", entry(), bytes(size))
    with pytest.raises(CheckpointError, match="its tensors end at byte"):
        read_header(path)


def test_odd_names_scalars_and_empty_tensors_are_read(tmp_path: Path) -> None:
    tensors = {
        "": np.float32(2.5).reshape(()),
        "new\nline": np.zeros((0, 3), np.float16),
        "Gewicht π": np.arange(3, dtype=np.int8),
    }
    path = tmp_path / "x"
    write_tensors(path, tensors)
    found = {info.name: read_tensor(at, info) for at, info in open_checkpoint(path).tensors()}
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_header_is_padded_and_every_tensor_aligned_to_its_items() -> None:
    specs = [Spec("b", "U8", (3,)), Spec("a", "U8", (1,)), Spec("c", "F64", (1,))]
    head, places = build_header([*specs, Spec("d", "BF16", (5,))], {"format": "pt"})
    assert len(head) % 8 == 0
    assert list(places) == ["c", "d", "a", "b"]
    assert all(at.begin % (DTYPES[at.dtype][0] // 8) == 0 for at in places.values())
    assert json.loads(head[8:])["__metadata__"] == {"format": "pt"}


def test_header_with_one_name_twice_is_refused() -> None:
    with pytest.raises(CheckpointError, match="two tensors of one file have the name 'a'"):
        build_header([Spec("a", "U8", (3,)), Spec("b", "U8", (3,)), Spec("a", "F32", (1,))], {})


def test_files_are_those_of_the_safetensors_package(tmp_path: Path) -> None:
    numpy = needs("safetensors.numpy")
    tensors = {
        name: np.arange(1, 7).reshape(2, 3).astype(getattr(ml_dtypes, name, name)) for name in NAMES
    }
    # It writes floats of 8 bits, but does not read them.
    readable = {name: array for name, array in tensors.items() if not name.startswith("float8")}
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_tensors(ours, readable)
    numpy.save_file(tensors, theirs, {"format": "pt"})
    for path, load, wanted in ((ours, numpy.load_file, readable), (theirs, _load, tensors)):
        found = load(path)
        assert found.keys() == wanted.keys()
        for name, array in found.items():
            np.testing.assert_array_equal(array, tensors[name], strict=True)


def test_dtypes_that_numpy_lacks_are_bytes(tmp_path: Path) -> None:
    header = {
        "fp8": {"dtype": "F8_E4M3FNUZ", "shape": [2, 3], "data_offsets": [0, 6]},
        "fp4": {"dtype": "F4", "shape": [4], "data_offsets": [6, 8]},
    }
    found = _load(by_hand(tmp_path / "x", header, bytes(range(8))))
    np.testing.assert_array_equal(found["fp8"], np.arange(6, dtype=np.uint8), strict=True)
    np.testing.assert_array_equal(found["fp4"], np.arange(6, 8, dtype=np.uint8), strict=True)


def _load(path: Path) -> dict[str, np.ndarray]:
    return {info.name: read_tensor(at, info) for at, info in open_checkpoint(path).tensors()}
