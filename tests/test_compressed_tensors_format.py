# SPDX-License-Identifier: MIT
"""compressed-tensors pack-quantized: its tensors and its configuration, beside peer-made ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.formats import LayerScheme, Weight, compressed_tensors, pack_quantized
from checkpoints import weight

GOLDEN = sorted((Path(__file__).parent / "golden" / "compressed_tensors").glob("pack_*.npz"))


def peer(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file that compressed-tensors made, and its arguments."""
    with np.load(path) as file:
        arrays = {
            name.removesuffix("__bf16"): array.view(ml_dtypes.bfloat16)
            if name.endswith("__bf16")
            else array
            for name, array in file.items()
        }
    return arrays, json.loads(str(arrays["args"]))


def weights(schemes: dict[str, bm.Affine]) -> dict[str, Weight]:
    """A small weight for every scheme."""
    layers = {module: LayerScheme(scheme) for module, scheme in schemes.items()}
    return {module: Weight(layer, (8, 256), "float32") for module, layer in layers.items()}


def test_golden_files_are_there() -> None:
    assert len(GOLDEN) > 20


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_peers_tensors_decode_to_the_peers_weights_and_encode_to_the_same_bytes(
    path: Path,
) -> None:
    arrays, args = peer(path)
    q = pack_quantized.decode(arrays, args)
    dequantized = arrays["dequant"]
    found = q.dequantize(dtype=dequantized.dtype.name)
    assert found.tobytes() == dequantized.tobytes()
    encoded = pack_quantized.encode(q)
    listed = pack_quantized.tensors(q.scheme, q.shape)
    assert [name for name, _, _ in listed] == list(encoded)
    for name, dtype, shape in listed:
        assert (encoded[name].dtype.name, encoded[name].shape) == (dtype, shape)
        assert encoded[name].tobytes() == arrays[name].tobytes(), name


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (20, 100), (33, 64), (7, 31)])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", range(2, 9))
def test_decode_undoes_encode(bits: int, symmetric: bool, shape: tuple[int, int]) -> None:
    for group_size in (None, 1, shape[1]):
        scheme = bm.Affine(bits, symmetric=symmetric, group_size=group_size, scales="float16")
        q = bm.quantize(weight(*shape, dtype="float32"), scheme)
        arrays = pack_quantized.encode(q)
        assert sum(array.nbytes for array in arrays.values()) == pack_quantized.nbytes(
            scheme, shape
        )
        found = pack_quantized.decode(
            arrays,
            compressed_tensors.config({"m": Weight(LayerScheme(scheme), shape, "float32")})[
                "config_groups"
            ]["group_0"]["weights"],
            dtype_name="float32",
        )
        assert (found.scheme, found.shape, found.dtype) == (scheme, q.shape, q.dtype)
        assert found.arrays.keys() == q.arrays.keys()
        for name, array in q.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array, strict=True)


def test_int4_words_hold_offset_binary_nibbles_low_first() -> None:
    x = np.array([[-7, -6, -1, 0, 1, 2, 6, 7, 3]], np.float32)
    arrays = pack_quantized.encode(bm.quantize(x, bm.Affine(4)))
    assert arrays["weight_packed"].view(np.uint32).tolist() == [[0xFEA98721, 0x0000000B]]
    assert arrays["weight_scale"].tolist() == [[1.0]]
    assert arrays["weight_shape"].tolist() == [1, 9]


def test_zero_points_are_packed_along_the_rows() -> None:
    x = np.array([[-3, 12], [0, 15], [-15, 0]], np.float32)
    arrays = pack_quantized.encode(bm.quantize(x, bm.Affine(4, symmetric=False)))
    assert arrays["weight_zero_point"].view(np.uint32).tolist() == [[0xF03]]


@pytest.mark.parametrize(
    ("scheme", "shape", "reason"),
    [
        (bm.Affine(4, group_size=128), (8, 300), "rows of 300 weights are not a whole number of "),
        (bm.Affine(4, group_size=512), (8, 256), "rows of 256 weights are not a whole number of "),
        (bm.Affine(16), (8, 8), "the format holds 2 to 8 bits, not 16"),
        (bm.Affine(4, symmetric=False, offset=True), (8, 8), "no real offsets"),
        (bm.Affine(4), (8,), "2- and 3-D weights only, not 1-D"),
        (bm.Affine(4), (2, 2, 8, 8), "2- and 3-D weights only, not 4-D"),
        (bm.Affine(4, axis=None), (8, 8), "one scale per row or group of a row only"),
        (bm.Affine(4, axis=1), (8, 8), "one scale per row or group of a row only"),
        (bm.Affine(4), (0, 8), "there are no weights in it"),
        ("nf4", (8, 8), "affine codes only, no str"),
    ],
)
def test_what_the_format_cannot_hold_is_said(scheme: Any, shape: Any, reason: str) -> None:
    assert reason in (pack_quantized.why_not(scheme, shape) or "")
    with pytest.raises(ValueError, match=r"compressed-tensors cannot hold this \(.*\) weight: "):
        pack_quantized.tensors(scheme, shape)


@pytest.mark.parametrize(
    "scheme",
    [bm.Affine(4), bm.Affine(4, axis=0), bm.Affine(2, group_size=8), bm.Affine(8, symmetric=False)],
)
def test_what_the_format_can_hold(scheme: bm.Affine) -> None:
    assert pack_quantized.why_not(scheme, (8, 8)) is None


def test_qtensor_counts_the_bits_of_the_format() -> None:
    q = bm.quantize(weight(64, 256), bm.Affine(4, group_size=32, scales="bfloat16"))
    assert q.bits_per_weight("compressed_tensors") == 4 + 16 / 32 + 128 / (64 * 256)


def test_one_scheme_targets_linear_and_what_is_no_linear_by_name() -> None:
    scheme = bm.Affine(4, group_size=128)
    given = weights({"a": scheme, "embed": scheme})
    config = compressed_tensors.config(given, linear=["a"], ignore=["b", "lm_head"])
    assert config == {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {
            "group_0": {
                "targets": ["Linear", "embed"],
                "format": "pack-quantized",
                "weights": {
                    "num_bits": 4,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "group",
                    "group_size": 128,
                },
            }
        },
        "ignore": ["b", "lm_head"],
    }


def test_several_schemes_target_exact_names() -> None:
    schemes = {"a": bm.Affine(4), "b": bm.Affine(8, symmetric=False), "c": bm.Affine(4)}
    config = compressed_tensors.config(weights(schemes), linear=["a", "b", "c"], ignore=[])
    first, second = config["config_groups"].values()
    assert (first["targets"], first["weights"]["num_bits"]) == (["a", "c"], 4)
    assert second["targets"] == ["b"]
    assert second["weights"] == {
        "num_bits": 8,
        "type": "int",
        "symmetric": False,
        "strategy": "channel",
    }


def test_schemes_that_differ_only_in_how_scales_were_found_share_a_group() -> None:
    schemes = {"a": bm.Affine(4), "b": bm.Affine(4, scale_rule="full_range", scales="float16")}
    assert (
        len(
            compressed_tensors.config(weights(schemes), linear=["a", "b"], ignore=[])[
                "config_groups"
            ]
        )
        == 1
    )


@pytest.mark.parametrize(
    ("quantized", "ignored", "listed"),
    [
        (["a"], [], ["lm_head"]),
        (["a"], ["lm.lm_head"], ["lm.lm_head", "lm_head"]),
        (["a", "lm_head"], [], []),
    ],
)
def test_lm_head_is_ignored_unless_quantized(
    quantized: list[str], ignored: list[str], listed: list[str]
) -> None:
    schemes = dict.fromkeys(quantized, bm.Affine(4))
    assert (
        compressed_tensors.config(weights(schemes), linear=quantized, ignore=ignored)["ignore"]
        == listed
    )


@pytest.mark.parametrize("name", ["weight_packed", "weight_scale", "weight_shape"])
def test_missing_array_is_named(name: str) -> None:
    arrays = pack_quantized.encode(bm.quantize(weight(4, 8), bm.Affine(4)))
    del arrays[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        pack_quantized.decode(arrays, {"num_bits": 4, "symmetric": True, "strategy": "channel"})


def test_array_that_does_not_fit_the_shape_is_named() -> None:
    arrays = pack_quantized.encode(bm.quantize(weight(4, 8), bm.Affine(4)))
    arrays["weight_shape"] = np.array([4, 9])
    with pytest.raises(ValueError, match=r"weight_packed is int32 \(4, 1\); a 4x9 weight takes"):
        pack_quantized.decode(arrays, {"num_bits": 4, "symmetric": True, "strategy": "channel"})


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (LayerScheme(bm.Affine(4, symmetric=False)), ["dequantize=True"]),
        (LayerScheme(bm.Affine(3)), ["3-bit weights need", "3-bit weights in its newest"]),
        (LayerScheme(bm.Affine(4, group_size=8)), ["groups of 32, 64, 128 or rows, not 8"]),
        (LayerScheme(bm.Affine(4, scale_rule="signed_max")), ["negative scales"]),
        (LayerScheme(bm.Affine(4, scales="float16")), ["float16 in a float32 model"]),
        (LayerScheme(bm.Affine(8), format="int-quantized"), ["without input activations"]),
        (LayerScheme(bm.Affine(8, group_size=8), "int8"), ["of a scale per row only"]),
        (LayerScheme(bm.Affine(8), "int8"), []),
        (LayerScheme(bm.Affine(8)), []),
    ],
)
def test_what_runtimes_do_not_take_is_noted(layer: LayerScheme, words: list[str]) -> None:
    notes = compressed_tensors.notes({"m": Weight(layer, (8, 256), "float32")})
    assert len(notes) == len(words)
    assert all(word in note for word, note in zip(words, notes, strict=True))
