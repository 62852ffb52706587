# SPDX-License-Identifier: MIT
"""The schemes and layouts of targets beside the bytes that their runtimes' packages made."""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
import golden_files
from bitmill.targets import get

# Codes that differ: ggml multiplies by the inverse of the scale before it was rounded to float16,
# and rounds half away from zero; bitmill divides by the scale as it is stored, half to even.
BLOCKS = {"Q4_0": 81, "Q8_0": 59}


class Blocks:
    """A golden file of ggml, as bitmill has it and as ggml does."""

    def __init__(self, name: str) -> None:
        file = golden_files.read(f"gguf/{name}")
        self.x, target = file.x, get(f"gguf-{name.lower()}")
        self.scheme, layout = target.scheme(self.x.shape), target.layout(self.x.shape)
        self.ours = bm.quantize(self.x, self.scheme)
        blocks = file.arrays["blocks"].reshape(len(self.x), -1, file.args["bytes"])
        self.scale = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0]
        stored = np.ascontiguousarray(blocks[..., 2:]).reshape(len(self.x), -1)
        self.codes = layout.unpack(stored.view(layout.dtype), self.x.shape)
        self.zero = golden_files.zero_groups(self.x, 32)


@pytest.mark.parametrize("name", BLOCKS)
def test_scales_are_those_of_ggml_but_for_the_sign_of_two_extremes(name):
    """Of −v and v ggml takes the first; bitmill, so that no order matters, −v."""
    blocks = Blocks(name)
    groups = blocks.x.reshape(len(blocks.x), -1, 32)
    both = (groups.max(axis=2) == -groups.min(axis=2)) & ~blocks.zero
    ours, theirs = blocks.ours.scale, blocks.scale
    plain = ~both & ~blocks.zero
    assert ours[plain].tobytes() == theirs[plain].tobytes()
    assert (np.abs(ours[both]) == np.abs(theirs[both])).all()
    assert (ours[blocks.zero] == 1).all()
    assert not theirs[blocks.zero].any()


@pytest.mark.parametrize("name", BLOCKS)
def test_codes_differ_by_the_order_of_rounding_alone(name):
    """The formula of ggml gives its codes: nothing is left unexplained."""
    blocks = Blocks(name)
    groups = blocks.x.reshape(len(blocks.x), -1, 32)
    at = np.abs(groups).argmax(axis=2)[..., None]
    extreme = np.take_along_axis(groups, at, axis=2)
    with np.errstate(divide="ignore"):
        if name == "Q4_0":
            d = extreme / np.float32(-8)
            inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
            codes = np.minimum(np.trunc(groups * inverse + np.float32(8.5)), 15) - 8
        else:
            d = np.abs(extreme) / np.float32(127)
            inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
            scaled = groups * inverse
            codes = np.trunc(scaled + np.copysign(np.float32(0.5), scaled))
    assert (codes.reshape(blocks.x.shape) == blocks.codes).all()
    outside = ~np.repeat(blocks.zero, 32, axis=1)
    assert int((blocks.ours.codes != blocks.codes)[outside].sum()) == BLOCKS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_of_ggml_are_tensors_of_the_scheme(name):
    blocks = Blocks(name)
    field = "packed" if name == "Q4_0" else "codes"
    stored = bm.pack(blocks.codes, 4) if name == "Q4_0" else blocks.codes
    q = bm.QTensor(blocks.scheme, blocks.x.shape, "float32", {field: stored, "scale": blocks.scale})
    assert (q.dequantize() == golden_files.read(f"gguf/{name}").arrays["dequant"]).all()


@pytest.mark.parametrize("name", [n for n in golden_files.names("mlx") if "affine" in n])
def test_files_of_mlx_are_tensors_of_the_scheme(name):
    file = golden_files.read(f"mlx/{name}")
    bits, size, target = file.args["bits"], file.args["group_size"], get("mlx")
    options = {"group_size": size, "scales": "float32"}
    scheme = target.scheme(file.x.shape, bits, **options)
    assert target.layout(file.x.shape, bits, **options).shape(file.x.shape) == (
        file.arrays["weight"].shape
    )
    words = file.arrays["weight"]
    codes = target.layout(file.x.shape, bits, **options).unpack(words, file.x.shape)
    arrays = {"scale": file.arrays["scales"], "offset": file.arrays["biases"]}
    arrays |= {"packed": words} if bits < 8 else {"codes": codes}
    values = bm.QTensor(scheme, file.x.shape, "float32", arrays).dequantize()
    wanted = file.arrays["dequant"]
    low = np.repeat(np.abs(file.arrays["biases"]), size, axis=1)
    # MLX rounds once, bitmill product and sum.
    assert (np.abs(values - wanted) <= 2.0**-23 * np.maximum(low, np.abs(wanted) + low)).all()


@pytest.mark.parametrize("name", golden_files.names("ort"))
def test_blobs_and_scales_of_matmul_n_bits_are_those_of_the_target(name):
    file = golden_files.read(f"ort/{name}")
    bits, block, symmetric = (file.args[key] for key in ("bits", "block_size", "symmetric"))
    target = get("onnxruntime")
    options = {"group_size": block, "symmetric": symmetric}
    scheme = target.scheme(file.x.shape, bits, **options)
    assert scheme.scale_rule == ("signed_max" if symmetric else "absmax")
    q, zero = bm.quantize(file.x, scheme), golden_files.zero_groups(file.x, block)
    assert q.scale[~zero].tobytes() == file.arrays["scales"][~zero].tobytes()
    layout = target.layout(file.x.shape, bits, **options)
    blobs, pads = layout.pack(q.codes), slice(file.x.shape[1], None)
    assert blobs.shape == file.arrays["B"].shape
    padded = layout.padded(file.x.shape)
    ours, theirs = layout.unpack(blobs, padded), layout.unpack(file.arrays["B"], padded)
    assert (ours[:, pads] == theirs[:, pads]).all()
