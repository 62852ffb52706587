# SPDX-License-Identifier: MIT
"""Arrays as users have them: strides, orders, alignment, byte order, sizes, subclasses, tensors.

The cases are numbered A01 to A16; test_outputs.py goes on.
"""

from __future__ import annotations

import math
import sys
import types
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bitmill as bm
import oracle
from bitmill import _core
from bitmill._dtypes import FLOATS, STORAGES, dtype
from conftest import same_bits

# Every granularity; both kinds of codes; packed, one byte, two bytes; all storage dtypes.
SCHEMES = [
    bm.Affine(8),
    bm.Affine(4, group_size=5, scales="float16"),
    bm.Affine(4, group_size=16, symmetric=False, scales="bfloat16"),
    bm.Affine(3, axis=None, scale_rule="signed_max"),
    bm.Affine(8, axis=None, symmetric=False),
    bm.Affine(8, axis=0, scale_rule="full_range"),
    bm.Affine(5, axis=-1, symmetric=False, offset=True),
    bm.Affine(16, axis=-1, narrow_range=True),
]

VIEWS = {
    "A01 every second row": lambda x: x[::2],
    "A01 every third column": lambda x: x[:, ::3],
    "A01 without the border": lambda x: x[1:-1, 1:-1],
    "A01 every second element of a vector": lambda x: x[0, ::2],
    "A02 rows backwards": lambda x: x[::-1],
    "A02 columns backwards": lambda x: x[:, ::-1],
    "A02 both backwards": lambda x: x[::-1, ::-1],
    "A03 transposed": lambda x: x.T,
    "A03 Fortran order": np.asfortranarray,
    "A03 last axis moved to the front": lambda x: np.moveaxis(x.reshape(4, 9, 17), -1, 0),
    "A03 first axis moved to the end": lambda x: np.moveaxis(x.reshape(4, 9, 17), 0, -1),
    "A04 one row many times": lambda x: np.broadcast_to(x[3], (6, 51)),
    "A04 one column many times": lambda x: np.broadcast_to(x[:, 7:8], (12, 40)),
    "A04 one value many times": lambda x: np.broadcast_to(x[2, 2], (3, 33)),
    "A04 windows that overlap": lambda x: np.lib.stride_tricks.sliding_window_view(x[0], 20),
}


@pytest.fixture(params=FLOATS)
def values(request: pytest.FixtureRequest, rng: np.random.Generator) -> np.ndarray:
    """12 rows of 51 weights, in every float dtype."""
    return rng.standard_normal((12, 51)).astype(dtype(request.param))


# A01-A04: strides and orders


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_strided_views_quantize_as_their_contiguous_copies(isa, values, view):
    whole = values.tobytes()
    for scheme in SCHEMES:
        oracle.check(view(values), scheme)
    assert values.tobytes() == whole


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_strided_codes_pack_and_unpack_as_their_contiguous_copies(isa, rng, view):
    codes = rng.integers(-8, 8, (12, 51)).astype(np.int8)
    words = rng.integers(0, 2**32, (12, 51), dtype=np.uint32)
    length = view(words).shape[-1] * 32 // 4
    same_bits(bm.pack(view(codes), 4), bm.pack(oracle.plain(view(codes)), 4))
    same_bits(
        bm.unpack(view(words), 4, length, signed=True),
        bm.unpack(oracle.plain(view(words)), 4, length, signed=True),
    )


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_strided_values_measure_as_their_contiguous_copies(isa, values, view):
    x, y = view(values), view(values * values.dtype.type(1.25))
    assert bm.metrics(x, y) == bm.metrics(oracle.plain(x), oracle.plain(y))


@st.composite
def layouts(draw: st.DrawFn) -> np.ndarray:
    """An array of any shape, strides, alignment, byte order and float dtype, of any finite bits."""
    of = dtype(draw(st.sampled_from(FLOATS)))
    shape = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
    steps = draw(st.tuples(*[st.sampled_from([1, -1, 2, -3])] * len(shape)))
    held = [n * abs(step) for n, step in zip(shape, steps, strict=True)]
    offset = draw(st.integers(0, 7))
    raw = np.empty(offset + math.prod(held) * of.itemsize, np.uint8)
    raw[:] = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, raw.size)
    base = raw[offset:].view(of)
    with np.errstate(all="ignore"):
        base[~np.isfinite(base.astype(np.float32))] = draw(st.sampled_from([0.0, -0.0, 1.5, 2e4]))
    x = base.reshape(held)[tuple(slice(None, None, step) for step in steps)]
    x = x.transpose(draw(st.permutations(range(len(shape)))))
    return x.view(of.newbyteorder("S")).byteswap() if draw(st.booleans()) else x


@st.composite
def schemes(draw: st.DrawFn) -> bm.Affine:
    """Any scheme for arrays of any rank."""
    kind = draw(
        st.sampled_from(
            [{"scale_rule": rule} for rule in ("absmax", "full_range", "signed_max")]
            + [{"narrow_range": True}, {"symmetric": False}, {"symmetric": False, "offset": True}]
        )
    )
    cut = draw(st.sampled_from([{"axis": axis} for axis in ("row", None, 0, -1)]) | groups)
    bits = draw(st.sampled_from([2, 3, 4, 5, 6, 7, 8, 16]))
    return bm.Affine(bits, scales=draw(st.sampled_from(STORAGES)), **kind, **cut)


groups = st.integers(1, 10).map(lambda size: {"group_size": size})


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(layouts(), schemes(), st.sampled_from(bm.isas()))
def test_any_layout_of_any_values_quantizes_as_its_copy(x, scheme, isa):
    before = bm.isa()
    _core.use_isa(isa)
    try:
        wanted = oracle.quantized(x, scheme)
    except OverflowError:
        with pytest.raises(ValueError, match="overflows"):
            bm.quantize(x, scheme)
    else:
        q = oracle.check(x, scheme)
        assert wanted.keys() == q.arrays.keys()
        same_bits(q.dequantize(), oracle.dequantized(q))
    finally:
        _core.use_isa(before)


# A05-A07: read-only, misaligned, of the other byte order


def test_a05_read_only_input_works_and_its_bytes_stay(isa, values):
    frozen = np.frombuffer(values.tobytes(), values.dtype).reshape(values.shape)
    assert not frozen.flags.writeable
    for scheme in SCHEMES:
        oracle.check(frozen, scheme)


@pytest.mark.parametrize("name", FLOATS)
def test_a06_misaligned_input_gives_the_same_at_every_offset(isa, rng, name):
    values = rng.standard_normal((3, 37)).astype(dtype(name))
    wanted = [oracle.quantized(values, scheme) for scheme in SCHEMES]
    for offset in range(64):
        raw = bytes(offset) + values.tobytes()
        x = np.frombuffer(raw, values.dtype, offset=offset).reshape(3, 37)
        for scheme, arrays in zip(SCHEMES, wanted, strict=True):
            for field, array in bm.quantize(x, scheme).arrays.items():
                same_bits(array, arrays[field], (offset, scheme, field))


def test_a06_misaligned_words_and_outputs_give_the_same_at_every_offset(isa, rng):
    q = bm.quantize(rng.standard_normal((3, 37), np.float32), bm.Affine(4, group_size=8))
    for offset in range(64):
        raw = bytes(offset) + q.packed.tobytes()
        words = np.frombuffer(raw, np.uint32, offset=offset).reshape(q.packed.shape)
        same_bits(bm.unpack(words, 4, 37, signed=True), q.codes)
        out = np.empty(64 + 4 * 111, np.uint8)[offset : offset + 4 * 111].view(np.float32)
        same_bits(q.dequantize(out=out.reshape(3, 37)), q.dequantize())


@pytest.mark.parametrize("order", [">", "<"])
def test_a07_either_byte_order_gives_the_same(isa, values, order):
    swapped = values.astype(values.dtype.newbyteorder(order))
    for scheme in SCHEMES:
        oracle.check(swapped, scheme)
    assert bm.metrics(swapped, values) == bm.metrics(values, values)


def test_a07_words_of_either_byte_order_unpack_to_the_same(isa, rng):
    words = rng.integers(0, 2**32, (3, 5), dtype=np.uint32)
    same_bits(
        bm.unpack(words.astype(">u4"), 4, 40, signed=True), bm.unpack(words, 4, 40, signed=True)
    )


# A08-A11: empty, 0-d, any rank, rows of one


@pytest.mark.parametrize(
    "shape",
    [(0,), (0, 7), (7, 0), (0, 0), (0, 3, 4), (3, 0, 4), (3, 4, 0), (2, 0, 3, 1)],
    ids=str,
)
def test_a08_empty_input_gives_empty_output_of_the_right_shape(isa, values, shape):
    x = np.zeros(shape, values.dtype)
    for scheme in [*SCHEMES, bm.Affine(4, axis=len(shape) - 1), bm.Affine(8, axis=len(shape) // 2)]:
        q = oracle.check(x, scheme)
        assert (q.codes.shape, q.dequantize().shape, q.size) == (shape, shape, 0)
        assert bm.fake_quantize(x, scheme).shape == shape
    assert bm.metrics(x, x) == bm.Metrics(0.0, np.inf, 1.0, 0.0)


def test_a08_empty_codes_pack_to_empty_words_and_back(isa):
    assert bm.pack(np.zeros((7, 0), np.int8), 4).shape == (7, 0)
    assert bm.pack(np.zeros((0, 7), np.int8), 4).shape == (0, 1)
    assert bm.unpack(np.zeros((0, 1), np.uint32), 4, 7, signed=True).shape == (0, 7)
    assert bm.unpack(np.zeros((7, 0), np.uint32), 4, 0, signed=True).shape == (7, 0)


@pytest.mark.parametrize("x", [np.float32(3), np.array(3.0, np.float32), 3.0], ids=repr)
def test_a09_0d_input_is_refused(x):
    for call in (
        lambda: bm.quantize(x, bm.Affine(8)),
        lambda: bm.fake_quantize(x, bm.Affine(8)),
        lambda: bm.metrics(x, x),
    ):
        with pytest.raises(ValueError, match=r"^x has 0 dimensions; at least 1 is needed: "):
            call()


@pytest.mark.parametrize("rank", range(1, 9))
def test_a10_any_rank_gives_what_its_rows_give(isa, rng, rank):
    shape = (3, 2, 1, 2, 1, 3, 2, 33)[8 - rank :]
    x = rng.standard_normal(shape, np.float32)
    for scheme in SCHEMES:
        q = oracle.check(x, scheme)
        same_bits(q.dequantize(), oracle.dequantized(q))
    rows = bm.quantize(x.reshape(-1, 33), bm.Affine(4, group_size=16))
    q = bm.quantize(x, bm.Affine(4, group_size=16))
    same_bits(q.packed, rows.packed.reshape(*shape[:-1], -1))
    same_bits(q.scale, rows.scale.reshape(*shape[:-1], -1))


@pytest.mark.parametrize("rank", range(2, 6))
def test_a10_every_axis_of_any_rank_can_be_the_channel(isa, rng, rank):
    x = rng.standard_normal((4, 3, 5, 2, 6)[:rank], np.float32)
    for axis in range(-rank, rank):
        q = oracle.check(x, bm.Affine(4, axis=axis, symmetric=False))
        same_bits(q.dequantize(), oracle.dequantized(q))
        assert q.scale.shape == tuple(n if k == axis % rank else 1 for k, n in enumerate(x.shape))


@pytest.mark.parametrize("scheme", [bm.Affine(8), bm.Affine(8, group_size=1)], ids=str)
def test_a11_groups_of_one_value_have_that_value_at_the_end_of_the_range(isa, values, scheme):
    x = values[:, :1] if scheme.group_size is None else values
    q = oracle.check(x, scheme)
    magnitudes = np.abs(x.astype(np.float32))
    same_bits(q.scale, np.where(magnitudes == 0, 1, magnitudes / np.float32(127)))
    np.testing.assert_array_equal(q.codes, 127 * np.sign(x.astype(np.float32)))


# A15, A16: what is no plain array


@pytest.mark.parametrize("kind", [list, tuple], ids=["list", "tuple"])
def test_a15_lists_of_floats_are_float64(isa, rng, kind):
    values = rng.standard_normal((3, 40))
    q = bm.quantize(kind(map(kind, values.tolist())), bm.Affine(4))
    assert q.dtype == "float64"
    oracle.agree(q, values)


class Column:
    """Something with `__array__`, as data frames have."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values


def test_a15_objects_that_numpy_can_read_are_read(isa, values):
    oracle.agree(bm.quantize(Column(values), bm.Affine(8)), values)


def test_a15_a_quantized_tensor_is_read_by_its_values(isa, values):
    q = bm.quantize(values, bm.Affine(8))
    oracle.agree(bm.quantize(q, bm.Affine(4)), q.dequantize())


class Tensor:
    """As much of a torch.Tensor as bitmill may use, over an ndarray (its bits for bfloat16)."""

    def __init__(self, torch: types.ModuleType, bits: np.ndarray, of: Any, grad: bool) -> None:
        self.torch, self.bits, self.dtype, self.grad = torch, bits, of, grad

    def detach(self) -> Tensor:
        return Tensor(self.torch, self.bits, self.dtype, grad=False)

    def contiguous(self) -> Tensor:
        return Tensor(self.torch, np.ascontiguousarray(self.bits), self.dtype, self.grad)

    def view(self, of: Any) -> Tensor:
        assert self.bits.flags.c_contiguous
        return Tensor(self.torch, self.bits.view(np.int16), of, self.grad)

    def numpy(self) -> np.ndarray:
        if self.grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.dtype == self.torch.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.bits


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module called torch that has two dtypes; its tensors say that they come from it."""
    module = types.ModuleType("torch")
    module.bfloat16, module.int16 = "torch.bfloat16", "torch.int16"
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(Tensor, "__module__", "torch")
    return module


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_a15_torch_tensors_are_read_without_importing_torch(torch, values, grad, transposed):
    of = torch.bfloat16 if values.dtype == ml_dtypes.bfloat16 else values.dtype
    bits = values.view(np.uint16) if of == torch.bfloat16 else values
    given = Tensor(torch, bits.T if transposed else bits, of, grad)
    oracle.agree(bm.quantize(given, bm.Affine(8)), values.T if transposed else values)


def test_a16_memory_map_gives_plain_arrays(isa, values, tmp_path):
    (tmp_path / "x").write_bytes(b"12" + values.tobytes())
    mapped = np.memmap(tmp_path / "x", values.dtype, "r", offset=2, shape=values.shape)
    for scheme in SCHEMES:
        q = oracle.check(mapped, scheme)
        assert type(q.dequantize()) is np.ndarray
        assert type(bm.fake_quantize(mapped, scheme)) is np.ndarray


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a16_subclass_gives_plain_arrays(isa, values):
    q = oracle.check(values.view(np.matrix), bm.Affine(4, group_size=16))
    assert type(q.codes) is np.ndarray
    assert type(bm.pack(q.codes.view(np.matrix), 4)) is np.ndarray
