# SPDX-License-Identifier: MIT
"""Which files of a folder are the checkpoint, and what an index must agree with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitmill.checkpoint import CheckpointError, open_checkpoint
from bitmill.checkpoint.data import read_bytes
from bitmill.checkpoint.read import INDEX, WEIGHTS
from bitmill.checkpoint.write import write_tensors
from checkpoints import arrays, llama, make, weight


@pytest.mark.parametrize("shards", [1, 3])
def test_folder_gives_every_tensor_bit_for_bit(tmp_path: Path, shards: int) -> None:
    tensors = llama()
    found = arrays(open_checkpoint(make(tmp_path / "m", tensors, shards=shards)))
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_single_file_is_read_without_its_neighbours(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), config={"quantization_config": {"bits": 4}})
    checkpoint = open_checkpoint(folder / WEIGHTS)
    assert (checkpoint.is_file, checkpoint.config, list(checkpoint.files)) == (True, {}, [WEIGHTS])


def test_model_safetensors_counts_before_an_index_and_other_files(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    write_tensors(folder / WEIGHTS, {"x.weight": weight(2, 2)})
    assert list(open_checkpoint(folder).files) == [WEIGHTS]


def test_without_index_every_safetensors_file_counts(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    (folder / INDEX).unlink()
    assert len(open_checkpoint(folder).files) == 2


def test_files_that_the_index_does_not_name_are_no_part(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    write_tensors(folder / "consolidated.safetensors", llama())
    assert len(open_checkpoint(folder).files) == 2


def test_shards_may_be_links_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama())
    (folder / WEIGHTS).rename(tmp_path / "blob")
    (folder / WEIGHTS).symlink_to(tmp_path / "blob")
    assert arrays(open_checkpoint(folder)).keys() == llama().keys()


@pytest.mark.parametrize(
    "name", [WEIGHTS, "config.json", INDEX, "other.safetensors", "shard.safetensors"]
)
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "m", llama())
    if name != "config.json":
        (folder / WEIGHTS).unlink()
    if name == "shard.safetensors":
        (folder / INDEX).write_text(json.dumps({"weight_map": {"t": name}}))
    os.mkfifo(tmp_path / "pipe")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "pipe")
    for src in (folder, folder / name):
        with pytest.raises(CheckpointError, match=f"{name}: is a pipe, .*; wanted a regular file"):
            open_checkpoint(src)


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).mkdir()
    with pytest.raises(CheckpointError, match=f"{WEIGHTS}: is a folder; wanted a regular file"):
        open_checkpoint(tmp_path)


def test_missing_source_is_an_oserror_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_checkpoint(tmp_path / "nowhere")


def test_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"holds no \*.safetensors file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/abs", "a/../../x", "a\\..\\x", "x\0", "", ".", "..", 3])
def test_index_entry_that_is_no_plain_name_is_refused(tmp_path: Path, name: Any) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"t": name}}))
    with pytest.raises(CheckpointError, match=r"index.json: tensor 't': .* is not the plain name"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "index", [{"weight_map": []}, {"x": 1}, {"weight_map": {"t": "x"}, "metadata": 1}]
)
def test_index_of_the_wrong_kind_is_refused(tmp_path: Path, index: Any) -> None:
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="wanted objects called 'weight_map' and 'metadata'"):
        open_checkpoint(tmp_path)


def test_index_that_names_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text('{"weight_map": {}}')
    with pytest.raises(CheckpointError, match="'weight_map' is empty"):
        open_checkpoint(tmp_path)


def test_index_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(CheckpointError, match="not the JSON it should be"):
        open_checkpoint(tmp_path)


def test_missing_shard_is_refused_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"names 'model-00002-of-00002.safetensors', which is"
    ):
        open_checkpoint(folder)


@pytest.mark.parametrize("change", ["missing", "unlisted", "elsewhere"])
def test_index_that_disagrees_with_the_shards_is_refused(tmp_path: Path, change: str) -> None:
    folder = make(tmp_path / "m", llama(), shards=2)
    index = json.loads((folder / INDEX).read_text())
    homes = index["weight_map"]
    if change == "missing":
        homes["ghost"] = homes["lm_head.weight"]
    elif change == "unlisted":
        del homes["lm_head.weight"]
    else:
        homes["lm_head.weight"] = homes["model.norm.weight"]
    (folder / INDEX).write_text(json.dumps(index))
    name = "ghost" if change == "missing" else "lm_head.weight"
    with pytest.raises(CheckpointError, match=f"tensor '{name}' is listed in .* but lies in"):
        open_checkpoint(folder)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        write_tensors(tmp_path / name, {"t": weight(2)})
    with pytest.raises(
        CheckpointError, match=r"'t' is in both 'a.safetensors' and 'b.safetensors'"
    ):
        open_checkpoint(tmp_path)


def test_config_with_infinity_is_read(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), config={"time_step_limit": [0.0, float("inf")]})
    assert open_checkpoint(folder).config == {"time_step_limit": [0.0, float("inf")]}


def test_byte_order_mark_of_windows_editors_is_skipped(tmp_path: Path) -> None:
    folder = make(tmp_path / "m", llama(), config=None)
    (folder / "config.json").write_text('{"dtype": "float16"}', encoding="utf-8-sig")
    assert open_checkpoint(folder).config == {"dtype": "float16"}


def test_file_that_ends_while_being_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(10))
    with pytest.raises(CheckpointError, match="x: ends at byte 10 while being read"):
        read_bytes(path, 4, 8)
