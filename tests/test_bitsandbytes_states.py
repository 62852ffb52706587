# SPDX-License-Identifier: MIT
"""Checkpoints of bitsandbytes with states and scales that nobody writes: each is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.checkpoint import CheckpointError
from bitmill.checkpoint.inspect import inspect_checkpoint
from bitmill.formats import bitsandbytes
from checkpoints import make

STATE = bitsandbytes.STATE + "nf4"
SHAPE = (2, 64)
Tensors = dict[str, np.ndarray]


def bytes_of(text: str | bytes) -> np.ndarray:
    return np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)


def tensors(*, nested: bool) -> Tensors:
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    return bitsandbytes.encode(bm.quantize(x, bm.NF4(32, double_quantization=nested)))


def says(name: str, value: Any) -> Callable[[Tensors], Tensors]:
    """The state with another entry."""

    def change(made: Tensors) -> Tensors:
        state = json.loads(bytes(made[STATE])) | {name: value}
        return made | {STATE: bytes_of(json.dumps(state))}

    return change


def lacks(name: str) -> Callable[[Tensors], Tensors]:
    """The state without an entry."""

    def change(made: Tensors) -> Tensors:
        state = json.loads(bytes(made[STATE]))
        del state[name]
        return made | {STATE: bytes_of(json.dumps(state))}

    return change


def holds(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], Tensors]:
    """Another array."""
    return lambda made: made | {name: change(made[name])}


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda made: {key: array for key, array in made.items() if key != name}


def first(value: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The array with another first value."""
    return lambda array: np.concatenate([np.full(1, value, array.dtype), array[1:]])


def is_text(text: str | bytes) -> Callable[[Tensors], Tensors]:
    return lambda made: made | {STATE: bytes_of(text)}


BIG, HUGE = 10**30, 10**400
NAN, INF = float("nan"), float("inf")

PLAIN = {
    "not JSON": (is_text("{"), "quant_state is no JSON"),
    "empty": (is_text(" "), "quant_state is no JSON"),
    "not UTF-8": (is_text(b'{"shape": "\xff\xfe"}'), "quant_state is no JSON"),
    "too deep": (is_text("[" * 100_000), "quant_state is no JSON"),
    "too many digits": (is_text('{"shape": [' + "9" * 5000 + "]}"), "quant_state is no JSON"),
    "a list": (is_text("[1]"), "quant_state is a JSON list"),
    "null": (is_text("null"), "quant_state is a JSON NoneType"),
    "a number": (is_text("3"), "quant_state is a JSON int"),
    "of another dtype": (
        holds(STATE, lambda a: a.astype(np.float32)),
        "quant_state is float32; wanted the bytes",
    ),
    "no shape": (lacks("shape"), "has shape=None"),
    "shape null": (says("shape", None), "has shape=None"),
    "shape a number": (says("shape", 128), "has shape=128"),
    "shape a string": (says("shape", "2x64"), "has shape='2x64'"),
    "shape an object": (says("shape", {"0": 2}), "has shape="),
    "shape of floats": (says("shape", [2.0, 64.0]), "has shape="),
    "shape of bools": (says("shape", [True, 128]), "has shape="),
    "shape of strings": (says("shape", ["2", "64"]), "has shape="),
    "shape below 0": (says("shape", [-2, -64]), "has shape="),
    "shape with NaN": (says("shape", [NAN, 64]), "has shape="),
    "shape of none": (says("shape", []), "2-D weights only, not 0-D"),
    "shape of one": (says("shape", [128]), "2-D weights only, not 1-D"),
    "shape of three": (says("shape", [2, 1, 64]), "2-D weights only, not 3-D"),
    "shape of 0": (says("shape", [0, 64]), "there are no weights in it"),
    "shape too large": (says("shape", [2, 128]), r"weight is uint8 \(64, 1\); wanted"),
    "shape beyond memory": (says("shape", [BIG, BIG * 64]), r"weight is uint8 \(64, 1\); wanted"),
    "shape beyond floats": (says("shape", [HUGE, 64]), r"weight is uint8 \(64, 1\); wanted"),
    "shape turned round": (says("shape", [64, 2]), "rows of 2 weights are not a whole number"),
    "no quant_type": (lacks("quant_type"), "has quant_type=None; wanted nf4"),
    "another quant_type": (says("quant_type", "fp4"), "has quant_type='fp4'; wanted nf4"),
    "quant_type a list": (says("quant_type", ["nf4"]), "has quant_type="),
    "quant_type an object": (says("quant_type", {"nf4": 1}), "has quant_type="),
    "quant_type a number": (says("quant_type", 4), "has quant_type=4"),
    "no blocksize": (lacks("blocksize"), "has blocksize=None; wanted 32, 64, 128"),
    "blocksize 0": (says("blocksize", 0), "has blocksize=0"),
    "blocksize below 0": (says("blocksize", -32), "has blocksize=-32"),
    "blocksize 48": (says("blocksize", 48), "has blocksize=48"),
    "blocksize 16": (says("blocksize", 16), "has blocksize=16"),
    "blocksize too large": (says("blocksize", HUGE), "has blocksize=1000"),
    "blocksize a float": (says("blocksize", 32.0), r"has blocksize=32\.0"),
    "blocksize a string": (says("blocksize", "32"), "has blocksize='32'"),
    "blocksize a list": (says("blocksize", [32]), "has blocksize="),
    "blocksize NaN": (says("blocksize", NAN), "has blocksize=nan"),
    "another blocksize": (
        says("blocksize", 64),
        r"is float32 \(4,\); wanted float32 \(2,\)",
    ),
    "no dtype": (lacks("dtype"), "has dtype=None; wanted float32, "),
    "dtype of integers": (says("dtype", "int8"), "has dtype='int8'"),
    "dtype a list": (says("dtype", []), "has dtype="),
    "dtype a long string": (says("dtype", "x" * 10**6), "has dtype='xxx"),
    "no weight": (without("weight"), "weight is missing"),
    "weights of floats": (holds("weight", lambda a: a.astype(np.float16)), "weight is float16"),
    "half of the weights": (holds("weight", lambda a: a[:32]), r"weight is uint8 \(32, 1\)"),
    "no absmax": (without("weight.absmax"), "weight.absmax is missing"),
    "absmax too short": (
        holds("weight.absmax", lambda a: a[:3]),
        r"absmax is float32 \(3,\)",
    ),
    "absmax of none": (holds("weight.absmax", lambda a: a[:0]), r"absmax is float32 \(0,\)"),
    "absmax too long": (
        holds("weight.absmax", lambda a: np.tile(a, 2)),
        r"weight.absmax is float32 \(8,\)",
    ),
    "absmax of another dtype": (
        holds("weight.absmax", lambda a: a.astype(ml_dtypes.bfloat16)),
        "weight.absmax is bfloat16",
    ),
    "absmax NaN": (holds("weight.absmax", first(NAN)), "weight.absmax has NaN, infinity"),
    "absmax infinite": (holds("weight.absmax", first(-INF)), "weight.absmax has NaN, infinity"),
    "no table": (without("weight.quant_map"), "weight.quant_map is missing"),
    "another table": (holds("weight.quant_map", first(-2)), "weight.quant_map is not the table"),
    "a table with NaN": (holds("weight.quant_map", first(NAN)), "is not the table of NF4"),
    "a short table": (holds("weight.quant_map", lambda a: a[:8]), "weight.quant_map is float32"),
}

NESTED = {
    "no nested_offset": (lacks("nested_offset"), "has nested_offset=None; wanted a float32"),
    "nested_offset NaN": (says("nested_offset", NAN), "has nested_offset=nan"),
    "nested_offset infinite": (says("nested_offset", -INF), "has nested_offset=-inf"),
    "nested_offset too large": (says("nested_offset", 1e39), r"has nested_offset=1e\+39"),
    "nested_offset huge": (says("nested_offset", HUGE), "has nested_offset=1000"),
    "nested_offset a bool": (says("nested_offset", True), "has nested_offset=True"),
    "nested_offset a string": (says("nested_offset", "0"), "has nested_offset='0'"),
    "nested_offset a list": (says("nested_offset", [0.5]), "has nested_offset="),
    "no nested_blocksize": (lacks("nested_blocksize"), "has nested_blocksize=None; wanted 256"),
    "nested_blocksize 0": (says("nested_blocksize", 0), "has nested_blocksize=0"),
    "nested_blocksize 128": (says("nested_blocksize", 128), "has nested_blocksize=128"),
    "nested_blocksize a list": (says("nested_blocksize", [256]), "has nested_blocksize="),
    "no nested_dtype": (lacks("nested_dtype"), "has nested_dtype=None; wanted float32"),
    "nested_dtype float16": (says("nested_dtype", "float16"), "has nested_dtype='float16'"),
    "no nested_absmax": (without("weight.nested_absmax"), "weight.absmax is uint8"),
    "nested_absmax NaN": (holds("weight.nested_absmax", first(NAN)), "has NaN, infinity, or makes"),
    "nested_absmax too long": (
        holds("weight.nested_absmax", lambda a: np.tile(a, 2)),
        r"weight.nested_absmax is float32 \(2,\)",
    ),
    "scales that overflow": (
        lambda made: says("nested_offset", 3e38)(holds("weight.nested_absmax", first(3e38))(made)),
        "weight.absmax, nested_absmax or nested_offset has NaN, infinity, or makes",
    ),
    "no nested table": (without("weight.nested_quant_map"), "weight.nested_quant_map is missing"),
    "another nested table": (
        holds("weight.nested_quant_map", first(-2)),
        "weight.nested_quant_map is not the dynamic map",
    ),
    "absmax of floats": (
        holds("weight.absmax", lambda a: a.astype(np.float32)),
        "weight.absmax is float32",
    ),
}

CASES = [
    pytest.param(nested, spoil, message, id=f"{name}, nested" if nested else name)
    for nested, cases in ((False, PLAIN), (True, NESTED))
    for name, (spoil, message) in cases.items()
]


def written(folder: Path, made: Tensors) -> Path:
    config = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    return make(folder, {f"m.{name}": array for name, array in made.items()}, config=config)


@pytest.mark.parametrize("nested", [False, True])
def test_what_is_not_spoiled_is_read(tmp_path, nested):
    loaded = bm.load_checkpoint(written(tmp_path / "c", tensors(nested=nested)))
    assert loaded["m.weight"].shape == SHAPE


@pytest.mark.parametrize(("nested", "spoil", "message"), CASES)
def test_the_error_names_file_tensor_and_field(tmp_path, nested, spoil, message):
    folder = written(tmp_path / "c", spoil(tensors(nested=nested)))
    loaded = bm.load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        loaded["m.weight"]
    assert str(caught.value).startswith(f"{folder / 'model.safetensors'}: tensor 'm.weight': ")
    assert len(str(caught.value)) < 1000
    assert [item.name for item in inspect_checkpoint(folder).items] == ["m.weight"]
