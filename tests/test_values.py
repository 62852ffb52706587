# SPDX-License-Identifier: MIT
"""Values that break quantizers: zeros, ties, underflow, overflow, NaN, every half.

The cases are numbered A20 to A46; test_float_modes.py has A43 and A44.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import oracle
from bitmill import reference as ref
from bitmill._dtypes import FLOATS, STORAGES, Array, dtype
from conftest import same_bits

BF16 = ml_dtypes.bfloat16
FLT_MAX = np.finfo(np.float32).max
SMALLEST = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}

KINDS = {
    "symmetric": {},
    "signed_max": {"scale_rule": "signed_max"},
    "asymmetric": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
CUTS = {
    "rows": {},
    "groups": {"group_size": 5},
    "tensor": {"axis": None},
    "channels": {"axis": 0},
    "middle": {"axis": 1},
    "columns": {"axis": -1},
}
EVERYWHERE = [
    bm.Affine(bits, **kind, **cut)
    for bits, (kind, cut) in zip(
        itertools.cycle((4, 8, 3)), itertools.product(KINDS.values(), CUTS.values()), strict=False
    )
]


def floats(*bits: int) -> Array:
    """float32 values by their bits, as one row."""
    return np.array([bits], np.uint32).view(np.float32)


def quantized(values: Any, bits: int, **options: Any) -> bm.QTensor:
    """One row of float32 values, quantized and compared with the twins."""
    return oracle.check(np.array([values], np.float32), bm.Affine(bits, **options))


def largest_below(values: Array, holds: Any) -> tuple[float, float]:
    """The greatest float32 between two positive ones for which `holds`, and its successor."""
    low, high = (int(v) for v in values.view(np.uint32).reshape(-1))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(floats(middle)[0, 0]) else (low, middle)
    return float(floats(low)[0, 0]), float(floats(high)[0, 0])


# A20-A22: zeros and constants


@pytest.mark.parametrize("zero", [0.0, -0.0], ids=["A20", "A21"])
@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("scheme", EVERYWHERE, ids=str)
def test_zeros_have_scale_1_and_come_back_as_positive_zeros(isa, scheme, name, zero):
    x = np.full((4, 20), zero).astype(dtype(name))
    q = oracle.check(x, scheme)
    assert (q.scale == 1).all()
    assert not q.codes.any()
    for field in (q.zero_point, q.offset):
        assert field is None or not field.tobytes().strip(b"\0")
    assert not q.dequantize().tobytes().strip(b"\0")
    assert q.health == {}


@pytest.mark.parametrize("storage", STORAGES)
def test_a20_group_of_zeros_among_others_stands_alone(isa, rng, storage):
    x = rng.standard_normal((3, 40), np.float32)
    x[1, 16:32] = -0.0
    for kind in KINDS.values():
        q = oracle.check(x, bm.Affine(4, group_size=16, scales=storage, **kind))
        assert np.argwhere(q.scale == 1).tolist() == [[1, 1]]
        assert not q.dequantize()[1, 16:32].tobytes().strip(b"\0")


@pytest.mark.parametrize("value", [0.03, -0.03, 7e20, -1001.0625])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a22_constant_group_has_the_end_code_everywhere(isa, bits, value):
    q = quantized([value] * 37, bits)
    qmax = q.scheme.code_range.qmax
    assert (q.codes == math.copysign(qmax, value)).all()
    assert (q.dequantize() == np.float32(math.copysign(qmax, value)) * q.scale).all()


@pytest.mark.parametrize("value", [0.03, -0.03, 1001.0625])
@pytest.mark.parametrize("storage", STORAGES)
def test_a22_constant_group_of_an_offset_scheme_has_codes_0(isa, value, storage):
    q = quantized([value] * 37, 4, symmetric=False, offset=True, scales=storage)
    assert not q.codes.any()
    assert q.scale.tolist() == [[1.0]]
    assert (q.dequantize() == np.float32(value).astype(dtype(storage)).astype(np.float32)).all()


# A23-A27: ties, tails, and quotients that a reciprocal gets wrong


def test_a23_int8_ties_round_to_even(isa):
    x = [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5]
    assert quantized(x, 8).codes[0].tolist() == [127, 0, 2, 2, 0, -2, -2, 126]


def test_a24_int4_ties_round_to_even(isa):
    x = [7.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert quantized(x, 4).codes[0].tolist() == [7, 0, 2, 2, 4, 4, 6, 6]


def test_asymmetric_ties_round_to_even_before_the_zero_point_is_added(isa):
    q = quantized([-3.0, 12.0, 0.5, 1.5, -0.5, -1.5, -2.5], 4, symmetric=False)
    assert (q.scale.item(), q.zero_point.item()) == (1.0, 3)
    assert q.codes[0].tolist() == [0, 15, 3, 5, 3, 1, 1]


@pytest.mark.parametrize("name", FLOATS)
def test_a25_a_tie_has_one_code_at_every_position_of_every_tail(isa, name):
    for length in range(2, 66):
        x = np.full((1, length), 2.5, np.float32)
        x[0, 0] = 127
        codes = oracle.check(x.astype(dtype(name)), bm.Affine(8)).codes
        assert codes[0].tolist() == [127] + [2] * (length - 1)


@pytest.mark.parametrize(
    ("bits", "absmax", "value", "code"),
    [(8, 0x3F45EE6D, 0x3EF4AFD2, 78), (4, 0x3F5C31EB, 0x3F0D8DCE, 4)],
    ids=["A26", "A27"],
)
def test_quotient_that_a_reciprocal_gets_wrong_is_right(isa, bits, absmax, value, code):
    q = oracle.check(floats(absmax, *[value] * 20), bm.Affine(bits))
    assert q.codes[0].tolist() == [q.scheme.code_range.qmax] + [code] * 20
    by_reciprocal = np.rint(floats(value) * (np.float32(1) / q.scale))
    assert by_reciprocal.item() == code + 1


# A28-A32: scales that underflow, overflow, are subnormal


@pytest.mark.parametrize(("absmax", "code"), [(0x3F, 63), (0x40, 64)])
def test_a28_float32_scale_that_underflows_becomes_the_smallest_one(isa, absmax, code):
    q = oracle.check(floats(absmax, 0), bm.Affine(8))
    assert q.scale.item() == 2.0**-149
    assert q.codes[0].tolist() == [code, 0]
    assert q.health == ({"underflowed": 1} if absmax == 0x3F else {})


@pytest.mark.parametrize("scale", [0x00200000, 0x00200001])
def test_a29_scale_whose_reciprocal_is_infinite_gives_finite_codes(isa, scale):
    x = np.arange(-127, 128, dtype=np.float32)[np.newaxis] * floats(scale)
    q = oracle.check(x, bm.Affine(8))
    assert q.scale.view(np.uint32).item() == scale
    assert q.codes[0].tolist() == list(range(-127, 128))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bits", [4, 8])
def test_a30_underflow_to_zero_begins_at_half_the_smallest_scale(isa, bits, storage):
    """The greatest absmax whose scale would be 0, and the next float, have the same scale."""
    qmax, smallest = 2 ** (bits - 1) - 1, SMALLEST[storage]
    ends = np.array([smallest * qmax / 8, smallest * qmax], np.float32)
    last, following = largest_below(
        ends, lambda v: (v / np.float32(qmax)).astype(dtype(storage)) == 0
    )
    for absmax, underflowed in ((last, 1), (following, 0)):
        q = quantized([absmax, -absmax / 3, 0], bits, scales=storage)
        assert float(q.scale.astype(np.float32).item()) == smallest
        assert q.health.get("underflowed", 0) == underflowed


def test_a30_float16_underflow_begins_where_it_was_computed_to():
    for bits, absmax in ((8, 3.7848949e-6), (4, 2.0861626e-7)):
        q = quantized([absmax], bits, scales="float16")
        assert (q.scale.item(), q.health) == (2.0**-24, {"underflowed": 1})


def test_underflow_keeps_the_sign_of_the_scale(isa):
    q = quantized([1e-9, 0.5e-9], 4, scale_rule="signed_max", scales="float16")
    assert q.scale.item() == -(2.0**-24)


@pytest.mark.parametrize(
    ("bits", "fits", "overflows"), [(8, 8321039.5, 8321040.0), (4, 458639.97, 458640.0)]
)
def test_a31_scale_that_overflows_its_storage_is_refused(isa, bits, fits, overflows):
    x = np.ones((3, 40), np.float32)
    x[1, 20] = fits
    q = oracle.check(x, bm.Affine(bits, group_size=16, scales="float16"))
    assert q.scale[1, 1] == 65504
    x[1, 20] = -overflows
    x[2, 0] = overflows * 2  # a later one
    for cut, group in ({"group_size": 16}, (1, 1)), ({}, (1, 0)), ({"axis": 0}, (1, 0)):
        with pytest.raises(ValueError, match="overflows") as caught:
            bm.quantize(x, bm.Affine(bits, scales="float16", **cut))
        assert str(caught.value) == (
            f"x: group {group} spans {-overflows:.9g} to 1 (absmax {overflows:.9g}), whose "
            f"{bits}-bit scale overflows float16: use scales='float32' or 'bfloat16'"
        )


def test_a31_overflow_among_many_groups_is_named_at_once(isa):
    x = np.ones((2000, 1280), np.float32)
    x[1999, 1279] = 1e30
    with pytest.raises(ValueError, match=r"group \(1999, 319\) spans 1 to 1.00000002e\+30"):
        bm.quantize(x, bm.Affine(8, group_size=4, scales="float16"))


def test_a31_remedy_is_a_dtype_in_which_the_scale_fits():
    with pytest.raises(ValueError, match=r"overflows bfloat16: use scales='float32'$"):
        bm.quantize(np.array([FLT_MAX], np.float32), bm.Affine(2, scales="bfloat16"))


def test_offset_that_overflows_its_storage_is_refused(isa):
    x = np.array([[-70000.0, -69999.0]], np.float32)
    with pytest.raises(ValueError, match="8-bit scale or offset overflows float16: use scales="):
        bm.quantize(x, bm.Affine(8, symmetric=False, offset=True, scales="float16"))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a32_codes_beyond_a_scale_that_rounded_down_are_clipped(isa, bits):
    """absmax = 1.4 qmax · 2^-149 has the scale 2^-149: quotients up to 1.4 qmax."""
    qmax = 2 ** (bits - 1) - 1
    steps = np.array([int(1.49 * qmax), -int(1.49 * qmax), 1, -1, 0], np.float32)
    q = oracle.check(steps[np.newaxis] * np.float32(2.0**-149), bm.Affine(bits))
    assert q.scale.item() == 2.0**-149
    low = -qmax - 1 if int(1.49 * qmax) > qmax else -qmax
    assert q.codes[0].tolist() == [qmax, low, 1, -1, 0]


# A33-A35: NaN and infinity


PATTERNS = {
    "float32": (
        np.uint32,
        [0x7FC00000, 0x7F800001, 0xFFC00000, 0x7FDEADBE, 0x7F800000, 0xFF800000],
    ),
    "float16": (np.uint16, [0x7E00, 0x7C01, 0xFE00, 0x7DAD, 0x7C00, 0xFC00]),
    "bfloat16": (np.uint16, [0x7FC0, 0x7F81, 0xFFC0, 0x7FDE, 0x7F80, 0xFF80]),
    "float64": (
        np.uint64,
        [0x7FF8 << 48, (0x7FF << 52) + 1, 0xFFF8 << 48, 0x7FFDEAD << 36, 0x7FF << 52, 0xFFF << 52],
    ),
}


def refused(x: Array, scheme: bm.Affine, **options: Any) -> str:
    """The message with which `x` is refused."""
    with pytest.raises(ValueError, match="cannot be quantized") as caught:
        bm.quantize(x, scheme, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", FLOATS)
def test_a33_a34_every_nan_and_infinity_is_found_at_every_place(isa, name):
    of, patterns = PATTERNS[name]
    for pattern, at in itertools.product(patterns, (0, 1, 16, 37, 50, 99, 101)):
        x = np.ones((6, 17), dtype(name))
        x.reshape(-1).view(of)[at] = pattern
        value = float(x.reshape(-1)[at])
        message = (
            f"x has 1 value that cannot be quantized; the first, x.flat[{at}], is {value} "
            "(not finite): replace it, for example with np.nan_to_num"
        )
        for scheme in EVERYWHERE:
            assert refused(x, scheme) == message


@pytest.mark.parametrize("scheme", EVERYWHERE, ids=str)
def test_a34_the_first_in_c_order_is_named_and_all_are_counted(isa, scheme):
    x = np.ones((4, 40), np.float32)
    x[3, 0], x[1, 39], x[2, 2], x[1, 38] = np.nan, np.inf, -np.inf, np.nan
    assert refused(x, scheme).startswith(
        "x has 4 values that cannot be quantized; the first, x.flat[78], is nan (not finite)"
    )
    assert "the first, x.flat[3], is nan" in refused(x.T, scheme)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_a33_threads_do_not_change_which_one_is_named(isa, threads):
    x = np.ones((900, 2000), np.float32)
    x[700, 1999], x[200, 5], x[200, 4] = np.nan, np.inf, -np.inf
    for scheme in (bm.Affine(4, group_size=128), bm.Affine(8, axis=None), bm.Affine(8, axis=-1)):
        assert refused(x, scheme, num_threads=threads).startswith(
            "x has 3 values that cannot be quantized; the first, x.flat[400004], is -inf"
        )


def test_a33_ranges_of_columns_with_nan_are_those_of_the_twin(isa):
    """Also where all that one thread sees of a column is NaN: it compares by bits."""
    x = np.ones((200_000, 4), np.float32)
    x[:100_000] = np.array([np.nan, -np.nan, np.inf, -np.inf], np.float32)
    same_bits(bm.kernels.column_absmax(x), ref.column_absmax(x))
    for got, wanted in zip(bm.kernels.column_minmax(x), ref.column_minmax(x), strict=True):
        same_bits(got, wanted)


def test_a35_what_lies_outside_a_view_does_not_matter(isa, rng):
    for name in FLOATS:
        whole = np.full((9, 100), np.nan, dtype(name))
        whole[2:5, 10:47] = rng.standard_normal((3, 37))
        for scheme in EVERYWHERE:
            oracle.check(whole[2:5, 10:47], scheme)
        oracle.check(whole.reshape(-1)[210:247], bm.Affine(4, group_size=16))


def test_float64_beyond_float32_is_refused_and_what_rounds_to_it_is_not(isa):
    halfway = float(FLT_MAX) + 2.0**103
    below = np.nextafter(halfway, 0)
    q = oracle.check(np.array([[below, -below, 1.0]]), bm.Affine(8))
    assert q.codes[0].tolist() == [127, -127, 0]
    for scheme in EVERYWHERE:
        assert refused(np.array([[1.0, -halfway], [1e300, np.nan]]), scheme) == (
            "x has 3 values that cannot be quantized; the first, x.flat[1], is "
            f"{-halfway} (a float64 beyond the range of float32): scale or clip x"
        )


# A36-A39: large, one-sided, uneven


@pytest.mark.parametrize(
    "x",
    [
        np.array([[FLT_MAX, -FLT_MAX, 1.0, 0.0]], np.float32),
        np.array([[65504.0, -65504.0, 1.0, 0.0]], np.float16),
        np.array([[0x7F7F, 0xFF7F, 0x3F80, 0]], np.uint16).view(BF16),
        np.array([[FLT_MAX, -FLT_MAX, 1.0, 0.0]], np.float64),
    ],
    ids=FLOATS,
)
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a36_the_greatest_values_have_the_end_codes(isa, x, bits):
    q = oracle.check(x, bm.Affine(bits))
    qmax = q.scheme.code_range.qmax
    assert np.isfinite(q.scale).all()
    assert q.codes[0].tolist()[:2] == [qmax, -qmax]


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_a37_a_range_that_overflows_float32_is_refused(isa, offset, storage):
    x = np.array([[1.0, 2.0], [-3.4e38, 3.4e38]], np.float32)
    scheme = bm.Affine(8, symmetric=False, offset=offset, scales=storage)
    with pytest.raises(ValueError, match=rf"group \(1, 0\) .* {storage}: scale or clip x$"):
        bm.quantize(x, scheme)


def test_a37_the_widest_range_that_does_not_overflow_is_finite(isa):
    q = oracle.check(np.array([[-1.7e38, 1.7e38, 0.0]], np.float32), bm.Affine(8, symmetric=False))
    assert q.codes[0].tolist() == [0, 255, q.zero_point.item()]
    assert np.isfinite(q.dequantize()).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a38_one_sided_groups_are_extended_to_zero_which_is_exact(isa, rng, bits, storage, sign):
    x = sign * (np.abs(rng.standard_normal((5, 33), np.float32)) + 1)
    q = oracle.check(x, bm.Affine(bits, symmetric=False, scales=storage))
    qmax = q.scheme.code_range.qmax
    assert (q.zero_point <= (0 if sign > 0 else qmax)).all()
    at_zero = np.broadcast_to(q.zero_point, x.shape).astype(q.codes.dtype)
    packed = bm.pack(at_zero, bits) if bits < 8 else at_zero
    name = "packed" if bits < 8 else "codes"
    zeros = bm.QTensor(q.scheme, q.shape, q.dtype, q.arrays | {name: np.array(packed)})
    assert not zeros.dequantize().tobytes().strip(b"\0")


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a39_noise_beside_an_outlier_has_code_0(isa, rng, bits):
    x = (rng.standard_normal((1, 50)) * 1e-30).astype(np.float32)
    x[0, 20] = 1e30
    codes = oracle.check(x, bm.Affine(bits)).codes
    assert codes[0, 20] == 2 ** (bits - 1) - 1
    assert np.count_nonzero(codes) == 1


# A40-A42: every pattern


def halves(of: Any, finite: bool) -> Array:
    """All float16 or bfloat16 patterns that are finite, or all others."""
    every = np.arange(65536, dtype=np.uint16)
    exponent = 0x7F80 if of is BF16 else 0x7C00
    return every[((every & exponent) != exponent) == finite].view(of)


@pytest.mark.parametrize("of", [np.float16, BF16], ids=["float16", "bfloat16"])
def test_a40_every_finite_half_quantizes_as_the_twin(isa, rng, of):
    finite = halves(of, True)
    for x in (finite, rng.permutation(finite)):
        for scheme in (
            bm.Affine(8, group_size=64),
            bm.Affine(4, group_size=32, symmetric=False),
            bm.Affine(8, axis=None),
        ):
            if not scheme.symmetric:
                x = x * of(0.25)  # the span of all of them would overflow
            oracle.check(x, scheme)


@pytest.mark.parametrize("of", [np.float16, BF16], ids=["float16", "bfloat16"])
def test_a40_every_other_half_is_refused(isa, of):
    wrong = halves(of, False)
    assert wrong.size == (2048 if of is np.float16 else 256)
    for value in wrong:
        x = np.ones(5, of)
        x[3:4] = value
        assert "x.flat[3]" in refused(x, bm.Affine(4))


def near_halfway_points(of: Any) -> Array:
    """Every float32 within two steps of a point between two neighbours of `of`, and more.

    Also every exponent with the mantissas at its borders, infinities, and NaNs of many kinds.
    """
    patterns = np.arange(0x7F80 if of is BF16 else 0x7C00, dtype=np.uint16)
    values = patterns.view(of).astype(np.float64)
    values = np.append(values, 2 * values[-1] - values[-2])  # the overflow threshold's far side
    halfway = ((values[1:] + values[:-1]) / 2).astype(np.float32).view(np.uint32)
    around = (halfway[:, np.newaxis] + np.arange(-2, 3)).astype(np.uint32).reshape(-1)
    mantissas = np.array([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF], np.uint32)
    borders = (np.arange(256, dtype=np.uint32)[:, np.newaxis] << 23 | mantissas).reshape(-1)
    single_bits = np.uint32(0x7F800000) | np.uint32(1) << np.arange(23, dtype=np.uint32)
    positive = np.concatenate([around, borders, single_bits])
    return np.concatenate([positive, positive | 0x80000000]).view(np.float32)


@pytest.mark.parametrize("of", [np.float16, BF16], ids=["float16", "bfloat16"])
def test_a41_narrowing_is_that_of_numpy_around_every_halfway_point(isa, of):
    """tests/long/sweep_conversions.py does this for all 2^32 patterns."""
    x = near_halfway_points(of)
    got = bm.kernels.from_float32(x, np.dtype(of).name)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wanted = x.astype(of)
    number = ~np.isnan(x)
    same_bits(got[number], wanted[number])
    assert np.isnan(got[~number]).all()
    same_bits(got, ref.from_float32(x, np.dtype(of).name))


@pytest.mark.parametrize("of", [np.float16, BF16], ids=["float16", "bfloat16"])
def test_a41_scales_are_stored_as_numpy_rounds_them(isa, of):
    """With qmax 1 the scale is absmax itself."""
    x = near_halfway_points(of)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = x.astype(of)
    kept = (x > 0) & np.isfinite(rounded)
    hi, wanted = x[kept][np.newaxis], rounded[kept][np.newaxis].copy()
    wanted.view(np.uint16)[wanted == 0] = 1  # N4: the smallest scale instead
    name = np.dtype(of).name
    got = bm.kernels.affine_params(-hi, hi, qmin=-1, qmax=1, rule="absmax", scales=name)
    same_bits(got.scale, wanted)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a42_every_byte_unpacks_and_packs_again(isa, bits):
    every = np.arange(256, dtype=np.uint8).view(np.uint32)
    for signed in (True, False):
        codes = bm.unpack(every, bits, 2048 // bits, signed=signed)
        fields = codes.astype(int) + (1 << bits - 1 if signed else 0)
        wanted = [b >> i & (1 << bits) - 1 for b in range(256) for i in range(0, 8, bits)]
        assert fields.tolist() == wanted
        same_bits(bm.pack(codes, bits), every)


# A45, A46: error bound and idempotence


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("storage", STORAGES)
def test_a45_no_value_is_further_off_than_half_a_step(isa, rng, bits, storage):
    """A million groups over the three storage dtypes and two widths, of all magnitudes."""
    x = rng.standard_normal((170_000, 8), np.float32)
    x *= np.float32(2) ** rng.integers(-12, 12, (170_000, 1)).astype(np.float32)
    q = bm.quantize(x, bm.Affine(bits, scales=storage))
    qmax = q.scheme.code_range.qmax
    scale = q.scale.astype(np.float64)
    unclipped = np.abs(x) <= scale * (qmax + 0.5)
    assert unclipped.mean() > 0.99
    error = np.abs(x.astype(np.float64) - q.dequantize())
    bound = scale * (0.5 + qmax * 2.0**-22)
    assert ((error <= bound) | ~unclipped).all()


@pytest.mark.parametrize("scheme", [s for s in EVERYWHERE if s.grid.rule == "absmax"], ids=str)
def test_a46_quantizing_what_came_back_gives_the_same_codes(isa, rng, scheme):
    """By the one rule that maps absmax to a code of its own, qmax."""
    x = rng.standard_normal((200, 40), np.float32)
    q = bm.quantize(x, scheme)
    again = bm.quantize(q.dequantize(), scheme)
    same_bits(again.codes, q.codes)
