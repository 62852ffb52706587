# SPDX-License-Identifier: MIT
"""The 4-bit format of bitsandbytes: its bytes, its configuration, checkpoints in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.checkpoint import LayerScheme, open_checkpoint, quantize_checkpoint
from bitmill.checkpoint.inspect import inspect_checkpoint
from bitmill.formats import BITSANDBYTES, NATIVE, Weight, bitsandbytes
from checkpoints import arrays, llama, make
from golden_checkpoints import make_golden

FILES = [name for name in golden_files.names("bitsandbytes") if name[:3] in ("nf4", "fp4")]


def quantized(file: golden_files.GoldenFile) -> bm.QTensor:
    kind = bitsandbytes.KINDS[file.args["quant_type"]]
    scheme = kind(file.args["blocksize"], double_quantization=file.args["double_quant"])
    return bm.quantize(file.x, scheme)


@pytest.mark.parametrize("name", FILES)
def test_arrays_are_the_bytes_of_bitsandbytes(name):
    file = golden_files.read(f"bitsandbytes/{name}")
    made = bitsandbytes.encode(quantized(file))
    wanted = {key: value for key, value in file.arrays.items() if key != "dequant"}
    assert sorted(made) == sorted(wanted)
    for key, array in wanted.items():
        if "quant_state" not in key:
            assert made[key].tobytes() == array.tobytes(), key
            continue
        ours, theirs = (json.loads(bytes(state)) for state in (made[key], array))
        # The mean of the scales, which is summed in another order, differs in its last bit.
        offsets = [state.pop("nested_offset", 0) for state in (ours, theirs)]
        assert np.isclose(*offsets, rtol=2e-7, atol=0)
        assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("name", FILES)
def test_checkpoints_of_bitsandbytes_are_read(tmp_path, name):
    file = golden_files.read(f"bitsandbytes/{name}")
    make_golden(tmp_path, f"bitsandbytes/{name}", "m", config=True)
    loaded = bm.load_checkpoint(tmp_path)
    assert list(loaded) == ["m.weight"]
    q = loaded["m.weight"]
    wanted = file.arrays["dequant"]
    assert q.scheme == quantized(file).scheme
    assert (q.dequantize(dtype=wanted.dtype.name) == wanted).all()


@pytest.mark.parametrize("scheme", [bm.NF4(), bm.FP4(32), bm.NF4(128, double_quantization=True)])
def test_what_is_written_is_what_is_read(rng, scheme):
    q = bm.quantize(rng.standard_normal((6, 256)).astype(np.float32), scheme)
    made = bitsandbytes.encode(q)
    shapes = {name: array.shape for name, array in made.items()}
    back = bitsandbytes.decode(made, bitsandbytes.description(shapes))
    assert (back.scheme, back.dtype) == (scheme, "float32")
    assert all(back.arrays[name].tobytes() == a.tobytes() for name, a in q.arrays.items())
    fields = [(f.name, f.dtype, f.shape) for f in bitsandbytes.tensors(scheme, q.shape)]
    assert sorted(fields) == sorted((n, a.dtype.name, a.shape) for n, a in made.items())
    assert q.bits_per_weight("bitsandbytes") == 8 * sum(a.nbytes for a in made.values()) / q.size


@pytest.mark.parametrize(
    ("scheme", "shape", "reason"),
    [
        (bm.Affine(4), (2, 64), "the format holds NF4 and FP4 only, no Affine"),
        (bm.NF4(16), (2, 64), "the format holds positive float32 scales of groups of 32, 64"),
        (bm.NF4(scales="float16"), (2, 64), "the format holds positive float32 scales"),
        (bm.NF4(), (2, 3, 64), "the format holds 2-D weights only, not 3-D"),
        (bm.NF4(), (0, 64), "there are no weights in it"),
        (bm.NF4(), (2, 96), "rows of 96 weights are not a whole number of groups of 64"),
    ],
)
def test_what_has_no_place_is_named(scheme, shape, reason):
    assert bitsandbytes.why_not(scheme, shape).startswith(reason)
    with pytest.raises(ValueError, match="bitsandbytes cannot hold this"):
        bitsandbytes.tensors(scheme, shape)


def test_the_format_is_chosen_by_what_fits():
    assert LayerScheme(bm.NF4()).format == BITSANDBYTES
    assert LayerScheme(bm.FP4(32, clip="mse")).format == BITSANDBYTES
    for scheme in (bm.NF4(scales="float16"), bm.NF4(None), bm.IQ4_NL(), bm.KMeans()):
        assert LayerScheme(scheme).format == NATIVE


def test_two_kinds_have_no_configuration():
    weights = {
        name: Weight(LayerScheme(scheme), (2, 64), "float32")
        for name, scheme in (("a", bm.NF4()), ("b", bm.FP4()))
    }
    with pytest.raises(ValueError, match="NF4 and FP4 in one checkpoint"):
        bitsandbytes.config(weights)


def change(made, name, value):
    return made | {name: value}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: {k: v for k, v in m.items() if k != "weight"}, "weight is missing"),
        (lambda m: change(m, "weight", m["weight"][1:]), r"weight is uint8 \(63, 1\); wanted"),
        (lambda m: change(m, "weight.absmax", m["weight.absmax"] > 1), "weight.absmax is bool"),
        (lambda m: change(m, "weight.quant_map", -m["weight.quant_map"]), "not the table of NF4"),
        (lambda m: change(m, STATE, np.frombuffer(b"{", np.uint8)), "quant_state is no JSON"),
        (lambda m: change(m, STATE, np.frombuffer(b"[]", np.uint8)), "is a JSON list"),
        (lambda m: change(m, STATE, np.frombuffer(b"{}", np.uint8)), "has shape=None"),
        (
            lambda m: change(m, STATE, np.frombuffer(b'{"shape": [2, 64]}', np.uint8)),
            "has quant_type=None; wanted nf4",
        ),
    ],
)
def test_broken_weights_are_refused(spoil, message):
    q = bm.quantize(np.ones((2, 64), np.float32), bm.NF4())
    with pytest.raises(ValueError, match=message):
        bitsandbytes.decode(spoil(bitsandbytes.encode(q)), {"quant_type": "nf4"})


STATE = bitsandbytes.STATE + "nf4"


@pytest.mark.parametrize("double", [False, True])
def test_a_checkpoint_holds_what_quantize_gives(tmp_path: Path, double: bool):
    src = make(tmp_path / "src", llama())
    scheme = bm.NF4(32, double_quantization=double)
    quantize_checkpoint(src, tmp_path / "q", scheme)
    loaded = bm.load_checkpoint(tmp_path / "q")
    originals = arrays(open_checkpoint(src))
    assert sorted(loaded) == sorted(originals)
    quantized_names = [name for name in loaded if isinstance(loaded[name], bm.QTensor)]
    assert quantized_names
    for name in quantized_names:
        wanted = bm.quantize(originals[name], scheme)
        assert np.asarray(loaded[name]).tobytes() == np.asarray(wanted).tobytes()
    said = json.loads((tmp_path / "q" / "config.json").read_text())["quantization_config"]
    assert said["quant_method"] == "bitsandbytes"
    assert said["bnb_4bit_use_double_quant"] is double
    contents = inspect_checkpoint(tmp_path / "q")
    assert contents.method == "bitsandbytes"
    assert {item.kind for item in contents.quantized} == {scheme.describe()}


@pytest.mark.parametrize("preset", ["NF4", "IQ4_NL", "LEARNED4", "KMEANS4"])
def test_presets_of_tables_go_through(tmp_path: Path, preset: str):
    src = make(tmp_path / "src", llama())
    quantize_checkpoint(src, tmp_path / "q", preset)
    loaded, originals = bm.load_checkpoint(tmp_path / "q"), arrays(open_checkpoint(src))
    made = {name: q for name, q in loaded.items() if isinstance(q, bm.QTensor)}
    assert made
    for name, q in made.items():
        again = bm.quantize(originals[name], q.scheme)
        assert np.asarray(q).tobytes() == np.asarray(again).tobytes()
