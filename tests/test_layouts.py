# SPDX-License-Identifier: MIT
"""Layouts: places by their formulas, exact round trips with pads, the bytes of other packages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bitmill as bm
import golden_files
from bitmill.layouts import Blobs, Integers, Interleaved, Layout, Nibbles, Tiles, Words

AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


def code_limits(layout: Layout) -> tuple[int, int]:
    """Least and greatest code that a layout takes."""
    while isinstance(layout, (Interleaved, Tiles)):
        layout = layout.inner
    if isinstance(layout, Integers):
        limits = np.iinfo(layout.codes)
        return int(limits.min), int(limits.max)
    bits = 4 if isinstance(layout, Nibbles) else layout.bits
    low = -(1 << bits - 1) if layout.signed else 0
    return low, low + (1 << bits) - 1


def codes_for(layout: Layout, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random codes, the least and the greatest among them."""
    low, high = code_limits(layout)
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(layout.code_dtype)


@st.composite
def rows_layouts(draw: st.DrawFn) -> Layout:
    """A layout of single rows with any options."""
    signed, multiple = draw(st.booleans()), draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["integers", "words", "nibbles"]))
    if kind == "integers":
        codes = draw(st.sampled_from(["int8", "uint8", "int16", "uint16"]))
        biased = codes.startswith("int") and signed
        return Integers(codes, biased=biased, multiple=multiple, pad=draw(st.integers(0, 127)))
    if kind == "words":
        bits = draw(st.integers(1, 8))
        pad = draw(st.integers(0, (1 << bits) - 1)) - (1 << bits - 1) * signed
        return Words(bits, signed=signed, multiple=multiple, pad=pad)
    first, pad = draw(st.sampled_from(["low", "high"])), draw(st.integers(0, 7))
    return Nibbles(2 * draw(st.integers(1, 20)), first=first, signed=signed, pad=pad)


@st.composite
def any_layout(draw: st.DrawFn) -> Layout:
    """A layout of any kind."""
    kind = draw(st.sampled_from(["rows", "blobs", "interleaved", "tiles"]))
    if kind == "blobs":
        bits, block = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from([16, 32, 128]))
        return Blobs(bits, block, signed=draw(st.booleans()))
    inner = draw(rows_layouts())
    if kind == "interleaved":
        return Interleaved(tuple(draw(st.permutations(range(draw(st.integers(1, 9)))))), inner)
    if kind == "tiles" and inner.dtype.itemsize == 1:
        return Tiles(draw(st.integers(1, 50)), draw(st.sampled_from([1, 2, 4, 8])), inner=inner)
    return inner


shapes = st.lists(st.integers(0, 6), min_size=0, max_size=3).flatmap(
    lambda front: st.integers(0, 150).map(lambda columns: (*front, columns))
)


@given(any_layout(), shapes)
def test_codes_come_back_and_shapes_are_as_said(layout, shape):
    codes = codes_for(layout, shape)
    packed = layout.pack(codes)
    assert (packed.shape, packed.dtype) == (layout.shape(shape), layout.dtype)
    assert packed.nbytes == layout.nbytes(shape)
    found = layout.unpack(packed, shape)
    assert (found.dtype, found.shape) == (codes.dtype, codes.shape)
    assert (found == codes).all()


@given(any_layout(), shapes)
def test_pads_are_the_code_that_was_given_and_lie_behind_the_others(layout, shape):
    codes = codes_for(layout, shape)
    padded = layout.padded(shape)
    assert padded[-1] % layout.unit == 0
    assert padded[-1] - shape[-1] < layout.unit
    everything = layout.unpack(layout.pack(codes), padded)
    wanted = np.full(padded, layout.pad, codes.dtype)
    wanted[tuple(map(slice, (1,) * (len(padded) - len(shape)) + shape))] = codes
    assert (everything == wanted).all()


@given(any_layout(), shapes, st.data())
def test_what_the_pads_hold_is_not_read(layout, shape, data):
    codes = codes_for(layout, shape)
    padded = codes_for(layout, layout.padded(shape), seed=1)
    part = tuple(map(slice, (1,) * (padded.ndim - codes.ndim) + shape))
    padded[part] = codes
    assert (layout.unpack(layout.pack(padded), shape) == codes).all()


@pytest.mark.parametrize("shape", [(2, 1), (2, 8), (2, 3, 8), (3, 2, 1)])
def test_rows_of_one_run_are_put_in_order(shape):
    layout = bm.layouts.Interleaved(tuple(range(8)), bm.layouts.Nibbles(4, signed=False))
    codes = codes_for(layout, shape)
    assert (layout.unpack(layout.pack(codes), shape) == codes).all()


@given(any_layout(), shapes)
def test_out_is_filled_and_strides_do_not_matter(layout, shape):
    codes = codes_for(layout, shape)
    wanted = layout.pack(codes)
    spread = np.repeat(codes, 2, axis=-1)[..., ::2]
    out = np.empty_like(wanted)
    assert layout.pack(spread, out=out) is out
    assert (out == wanted).all()
    back = np.empty_like(codes)
    assert layout.unpack(np.asfortranarray(wanted), shape, out=back) is back
    assert (back == codes).all()


# Each place by its formula


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("biased", [False, True])
def test_tiles_hold_depth_bytes_of_each_of_their_rows(depth, biased):
    tiles = Tiles(3, depth, inner=Integers(biased=biased))
    codes = codes_for(tiles, (2, 7, 16))
    packed = tiles.pack(codes)
    assert packed.shape == (2, 3, 16 // depth, 3, depth)
    for stack, row, column in np.ndindex(codes.shape):
        place = (stack, row // 3, column // depth, row % 3, column % depth)
        assert packed[place] == int(codes[stack, row, column]) + 128 * biased


def test_tiles_of_nibbles_hold_four_codes_in_low_and_four_in_high_nibbles():
    tiles = Tiles(16, inner=Nibbles(8))
    codes = codes_for(tiles, (32, 24))
    packed = tiles.pack(codes)
    assert packed.shape == (2, 3, 16, 4)
    for row, column in np.ndindex(codes.shape):
        step, place = divmod(column, 8)
        byte = packed[row // 16, step, row % 16, place % 4]
        assert byte >> 4 * (place // 4) & 15 == codes[row, column] + 8


def test_tiles_are_what_a_dot_product_wants():
    """vpdpbusd: in every 32-bit lane, four unsigned bytes times four signed ones, summed."""
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 128, (40, 50)).astype(np.int8)
    x = rng.integers(-128, 128, 50).astype(np.int8)
    tiles = Tiles(16, inner=Integers(biased=True))
    packed = tiles.pack(w).astype(np.int64)
    steps = Tiles(1).pack(x)[0, :, 0].astype(np.int64)
    lanes = (packed * steps[None, :, None]).sum(axis=(1, 3))
    assert (lanes.reshape(-1)[:40] - 128 * steps.sum() == w.astype(np.int64) @ x).all()


@pytest.mark.parametrize("block", [2, 4, 32, 64])
@pytest.mark.parametrize("first", ["low", "high"])
def test_nibbles_hold_the_halves_of_a_block(block, first):
    layout = Nibbles(block, first=first, signed=False)
    codes = codes_for(layout, (128,))
    packed = layout.pack(codes)
    for place, code in enumerate(codes):
        start, inside = place - place % block, place % block
        late, byte = divmod(inside, block // 2)
        is_high = late == (first == "low")
        assert packed[start // 2 + byte] >> 4 * is_high & 15 == code


def test_neighbours_low_first_are_the_bytes_of_words():
    codes = codes_for(Words(4), (5, 64))
    assert Nibbles().pack(codes).tobytes() == bm.pack(codes, 4).tobytes()


def test_interleaved_codes_stand_in_the_order_given():
    layout = Interleaved((2, 0, 1), Integers("uint8"))
    assert layout.pack(np.array([10, 11, 12, 20, 21], np.uint8)).tolist() == [12, 10, 11, 0, 20, 21]


# The bytes of other packages


@pytest.mark.parametrize("name", [n for n in golden_files.names("awq_gptq") if "awq" in n])
def test_interleaved_words_are_those_of_awq(name):
    """The codes make the peer's values, and pack to its words."""
    file = golden_files.read(f"awq_gptq/{name}")
    layout, size = Interleaved(AWQ, Words(4, signed=False)), file.args["group_size"]
    words, points = (file.arrays[key].view(np.uint32) for key in ("qweight", "qzeros"))
    codes = layout.unpack(words, (256, 32)).astype(np.float32)
    zero = layout.unpack(points, (256 // size, 32)).astype(np.float32)
    spread = [np.repeat(a, size, axis=0) for a in (zero, file.arrays["scales"].astype(np.float32))]
    values = ((codes - spread[0]) * spread[1]).astype(np.float16)
    assert (values == file.arrays["dequant_KN"]).all()
    assert layout.pack(codes.astype(np.uint8)).tobytes() == words.tobytes()


@pytest.mark.parametrize("name", ["nf4_b64_f32", "fp4_b64_f32"])
def test_nibbles_high_first_are_the_bytes_of_bitsandbytes(name):
    file = golden_files.read(f"bitsandbytes/{name}")
    scheme = {"nf4": bm.NF4, "fp4": bm.FP4}[name[:3]](64)
    codes = bm.quantize(file.x, scheme).codes
    packed = Nibbles(first="high", signed=False).pack(codes)
    assert packed.tobytes() == file.arrays["weight"].tobytes()


@pytest.mark.parametrize(("name", "bits"), [("Q4_0", 4), ("IQ4_NL", 4), ("Q8_0", 8)])
def test_halves_of_blocks_of_32_are_the_codes_of_ggml(name, bits):
    file = golden_files.read(f"gguf/{name}")
    blocks = file.arrays["blocks"].reshape(32, 8, -1)
    layout: Layout = Nibbles(32, signed=name == "Q4_0") if bits == 4 else Integers()
    stored = np.ascontiguousarray(blocks[..., 2:]).view(layout.dtype).reshape(32, -1)
    codes = layout.unpack(stored, (32, 256))
    table = bm.IQ4_NL().table_of({}) if name == "IQ4_NL" else np.arange(-128, 128, dtype="f4")
    values = table[codes.astype(int) + (0 if name == "IQ4_NL" else 128)]
    scale = np.ascontiguousarray(blocks[..., :2]).view(np.float16)[..., 0].astype(np.float32)
    assert (values * np.repeat(scale, 32, axis=1) == file.arrays["dequant"]).all()
    assert layout.pack(codes).tobytes() == stored.tobytes()


@pytest.mark.parametrize("name", golden_files.names("ort"))
def test_blobs_are_those_of_matmul_n_bits(name):
    file = golden_files.read(f"ort/{name}")
    bits, block, symmetric = (file.args[key] for key in ("bits", "block_size", "symmetric"))
    layout = Blobs(bits, block, signed=symmetric)
    assert layout.shape(file.x.shape) == file.arrays["B"].shape
    codes = layout.unpack(file.arrays["B"], file.x.shape)
    assert layout.pack(codes).tobytes() == file.arrays["B"].tobytes()


@pytest.mark.parametrize("name", [n for n in golden_files.names("mlx") if "affine" in n])
def test_words_of_unsigned_codes_are_those_of_mlx(name):
    file = golden_files.read(f"mlx/{name}")
    layout = Words(file.args["bits"], signed=False)
    words = file.arrays["weight"]
    assert layout.shape(file.x.shape) == words.shape
    codes = layout.unpack(words, file.x.shape)
    assert layout.pack(codes).tobytes() == words.tobytes()
    scale, low = (
        np.repeat(file.arrays[key], file.args["group_size"], axis=1).astype(np.float64)
        for key in ("scales", "biases")
    )
    error = np.abs(codes * scale + low - file.arrays["dequant"])
    assert (error <= 2.0**-23 * np.maximum(np.abs(codes * scale), np.abs(low))).all()


@pytest.mark.parametrize(
    "name", [n for n in golden_files.names("compressed_tensors") if n.startswith("pack_")]
)
def test_words_of_signed_codes_are_those_of_compressed_tensors(name):
    file = golden_files.read(f"compressed_tensors/{name}")
    layout = Words(file.args["num_bits"])
    words = file.arrays["weight_packed"].view(np.uint32)
    codes = layout.unpack(words, tuple(file.arrays["weight_shape"]))
    assert layout.pack(codes).tobytes() == words.tobytes()


# What is refused

REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: Integers("float32"), ValueError, "codes='float32' is not one of: int8"),
    (lambda: Integers("uint8", biased=True), ValueError, "goes with signed codes, not with uint8"),
    (lambda: Integers(pad=128), ValueError, "pad=128 must be between -128 and 127"),
    (lambda: Integers(multiple=0), ValueError, "multiple=0 must be between 1"),
    (lambda: Words(9), ValueError, "bits=9 must be between 1 and 8"),
    (lambda: Words(4, pad=8), ValueError, "pad=8 must be between -8 and 7"),
    (lambda: Words(4, signed=1), TypeError, "signed=1 is a int"),
    (lambda: Blobs(3, 32), ValueError, "bits=3 is not one of: 2, 4, 8"),
    (lambda: Blobs(4, 48), ValueError, "block=48 is no power of two"),
    (lambda: Blobs(4, 8), ValueError, "block=8 must be between 16"),
    (lambda: Nibbles(3), ValueError, "block=3 must be even"),
    (lambda: Nibbles(first="left"), ValueError, "first='left' is not one of: low, high"),
    (lambda: Nibbles(signed=False, pad=-1), ValueError, "pad=-1 must be between 0 and 15"),
    (lambda: Interleaved((0, 2), Words(4)), ValueError, "order=(0, 2) is no permutation"),
    (lambda: Interleaved((), Words(4)), ValueError, "order=() is no permutation"),
    (lambda: Interleaved((0,), 4), TypeError, "inner is a int; wanted a layout"),
    (lambda: Interleaved((0,), Tiles()), ValueError, "puts rows together"),
    (lambda: Interleaved(5, Words(4)), TypeError, "order=5 is a int; order takes a tuple of ints"),
    (lambda: Tiles(16, True), TypeError, "depth=True is a bool"),
    (lambda: Tiles(16, 4.0), TypeError, "depth=4.0 is a float"),
    (lambda: Tiles(0), ValueError, "rows=0 must be between 1"),
    (lambda: Tiles(16, 3), ValueError, "depth=3 is not one of: 1, 2, 4, 8"),
    (lambda: Tiles(inner=Words(4)), ValueError, "does not make a row into a row of bytes"),
    (lambda: Tiles(inner=Blobs(4, 32)), ValueError, "does not make a row into a row of bytes"),
    (lambda: Tiles(inner=Integers("int16")), ValueError, "not make a row into a row of bytes"),
]


@pytest.mark.parametrize(("make", "error", "says"), REFUSED)
def test_what_makes_no_layout_is_refused(make, error, says):
    with pytest.raises(error, match=re.escape(says)):
        make()


LAYOUTS = [Integers(), Words(4), Blobs(4, 32), Nibbles(), Interleaved(AWQ, Words(4)), Tiles()]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: type(layout).__name__)
def test_wrong_arrays_are_refused(layout):
    codes = codes_for(layout, (4, 64))
    packed = layout.pack(codes)
    with pytest.raises(TypeError, match="codes has dtype float64; wanted int8"):
        layout.pack(codes.astype(float))
    with pytest.raises(TypeError, match="codes is a list"):
        layout.pack(codes.tolist())
    with pytest.raises(ValueError, match="codes has 0 dimensions"):
        layout.pack(np.array(3, np.int8))
    with pytest.raises(TypeError, match="packed has dtype float64; wanted"):
        layout.unpack(packed.astype(float), (4, 64))
    with pytest.raises(ValueError, match=r"packed has shape .*; codes of shape \(4, 300\) take"):
        layout.unpack(packed, (4, 300))
    with pytest.raises(ValueError, match="out has shape"):
        layout.pack(codes, out=packed[:0])
    memory = np.zeros(4096, np.int8)
    out = memory.view(layout.dtype)[: packed.size].reshape(packed.shape)
    with pytest.raises(ValueError, match="out shares memory"):
        layout.pack(memory[:256].reshape(4, 64), out=out)


@pytest.mark.parametrize(
    "layout",
    [Words(4), Blobs(4, 32), Nibbles(), Tiles(inner=Nibbles()), Interleaved(AWQ, Nibbles())],
)
def test_codes_out_of_range_are_refused(layout):
    """By their places in the array that was given, not among pads or in a tile."""
    codes = np.zeros((4, 63), np.int8)
    codes[1, 2], codes[3, 0] = 8, -9
    said = "2 values outside -8..7, the range of 4 bits; the first, codes.flat[65], is 8"
    with pytest.raises(ValueError, match=re.escape(said)):
        layout.pack(codes)


def test_layouts_compare_by_value_and_are_hashable():
    assert Tiles(48, inner=Integers(biased=True)) == Tiles(48, inner=Integers(biased=True))
    assert len({*LAYOUTS, Integers(), Tiles()}) == len(LAYOUTS)
