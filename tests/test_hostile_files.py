# SPDX-License-Identifier: MIT
"""Hostile, broken and odd checkpoints: an error that names the file, or what safetensors reads.

The checkpoints are in hostile_*.py and odd_files.py; mutations.py makes more of them, of which
`python tests/long/mutate_checkpoints.py` tries some hundred thousand.
"""

from __future__ import annotations

import os
import re
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitmill.checkpoint import CheckpointError, open_checkpoint
from bitmill.checkpoint.header import read_header
from conftest import SEED, needs
from hostile_files import REFUSED as FILES
from hostile_files import WHOLE, framed, written
from hostile_folders import FOLDERS, INDEX
from hostile_kinds import KINDS, Trap
from mutations import Mutator
from odd_files import ACCEPTED
from second_reader import STRICTER, refusal, they_accept

REFUSED = {**FILES, **KINDS, **FOLDERS}

_OPENED: list[str] = []
_WATCHING = [False]


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _WATCHING[0] and event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        _OPENED.append(os.fsdecode(args[0]))


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """The paths of all files that are opened meanwhile, by whatever function of Python."""
    if not hasattr(_watch, "added"):
        sys.addaudithook(_watch)  # there is no way to remove one
        _watch.added = True  # type: ignore[attr-defined]
    _OPENED.clear()
    _WATCHING[0] = True
    try:
        yield _OPENED
    finally:
        _WATCHING[0] = False


def test_there_are_many_of_them() -> None:
    assert len(REFUSED) == len(FILES) + len(KINDS) + len(FOLDERS) >= 120
    assert len(ACCEPTED) >= 25


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_checkpoint_is_refused_in_one_line_and_a_second(name: str, tmp_path: Path) -> None:
    src = REFUSED[name].build(tmp_path)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=REFUSED[name].error) as caught:
        open_checkpoint(src)
    assert time.perf_counter() - start < 1
    text = str(caught.value)
    assert type(caught.value) is CheckpointError
    assert text.startswith(str(src))
    assert text.isprintable()
    assert len(text) - len(str(src)) < 500
    assert Trap.SPRUNG == []


@pytest.mark.parametrize("name", REFUSED)
def test_memory_is_bounded_by_the_size_of_the_file(name: str, tmp_path: Path) -> None:
    src = REFUSED[name].build(tmp_path)
    files = [path for path in (src, *src.glob("*")) if path.is_file()]
    size = sum(os.stat(path).st_blocks * 512 for path in files)  # what a sparse file really has
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            open_checkpoint(src)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * size + 2**20


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_checkpoint_is_read_as_safetensors_reads_it(name: str, tmp_path: Path) -> None:
    assert refusal(ACCEPTED[name].build(tmp_path)) is None


@pytest.mark.parametrize("name", FILES)
def test_what_bitmill_alone_refuses_is_documented(name: str, tmp_path: Path) -> None:
    if they_accept(FILES[name].build(tmp_path).read_bytes()):
        assert STRICTER.search(FILES[name].error.replace("\\", "")) or STRICTER.search(
            refusal(tmp_path / "x.safetensors") or ""
        )


def test_metadata_are_those_that_safetensors_reads(tmp_path: Path) -> None:
    safetensors = needs("safetensors")
    said = {"": "", "a\nb": "\U0001f642\0", "format": "pt"}
    path = written(framed({"__metadata__": said}, b""), tmp_path)
    with safetensors.safe_open(path, framework="np") as file:
        assert read_header(path).metadata == file.metadata() == said


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_outside_of_the_folder_is_opened(name: str, tmp_path: Path) -> None:
    src = FOLDERS[name].build(tmp_path)
    with opened_files() as opened, pytest.raises(CheckpointError):
        open_checkpoint(src)
    assert {os.path.dirname(path) for path in opened} <= {str(src)}
    if name.startswith("name: "):
        assert opened == [str(src / INDEX)]


def test_opened_files_are_seen(tmp_path: Path) -> None:
    path = written(WHOLE, tmp_path)
    with opened_files() as opened:
        read_header(path)
    assert opened == [str(path)]


def test_links_in_a_circle_are_an_error_of_the_system_with_their_path(tmp_path: Path) -> None:
    for name in ("x.safetensors", "model.safetensors"):
        path = tmp_path / name
        path.symlink_to(path)
        with pytest.raises(OSError, match=name):
            open_checkpoint(path)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        open_checkpoint(tmp_path)


def test_200_000_tensors_take_seconds(tmp_path: Path) -> None:
    count = 200_000
    tensors = {
        f"model.layers.{i}.weight": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]}
        for i in range(count)
    }
    path = written(framed(tensors, bytes(count)), tmp_path)
    start = time.perf_counter()
    header = read_header(path)
    assert time.perf_counter() - start < 20
    assert list(header.tensors) == list(tensors)


def test_header_of_99_megabytes_of_blanks_is_read(tmp_path: Path) -> None:
    path = written(framed(WHOLE[8:-8] + b" " * 99_000_000), tmp_path)
    start = time.perf_counter()
    assert list(read_header(path).tensors) == ["t"]
    assert time.perf_counter() - start < 20


def test_shortened_names_keep_their_beginning(tmp_path: Path) -> None:
    path = written(framed({"model.layers.0." * 100: 1}), tmp_path)
    with pytest.raises(CheckpointError, match=r"tensor 'model\.layers\.0\..*\.\.\..*': is a JSON"):
        read_header(path)


def test_mutations_are_refused_or_read_as_safetensors_reads_them(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    seen = set()
    for count in range(2000):
        mutator = Mutator(f"{SEED} {count}")
        src = mutator.write(tmp_path)
        error = refusal(src)
        seen.add(error is None)
        assert error is None or re.match(re.escape(str(src)), error), mutator.seed
    assert seen == {True, False}
