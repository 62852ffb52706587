# SPDX-License-Identifier: MIT
"""Ranges, scales and codes in one pass, twin and kernels: groups, words, counts, closed forms."""

import numpy as np
import pytest

import engines

INT4, INT8, UINT4 = (-8, 7), (-128, 127), (0, 15)


@pytest.fixture(params=engines.ENGINES)
def fn(request):
    with engines.engine(request.param) as module:
        yield module


def quantize(fn, x, codes, rule="absmax", **options):
    """`affine_quantize` of one row."""
    x = np.array([x], np.float32)
    return fn.affine_quantize(x, qmin=codes[0], qmax=codes[1], rule=rule, **options)


def test_each_group_has_its_own_scale_and_the_last_may_be_short(fn):
    made = quantize(fn, [7.0, -1.0, 0.7, 0.1, -70.0], INT4, group_size=2)
    assert np.allclose(made.scale, [[1.0, 0.1, 10.0]], rtol=1e-7, atol=0)
    assert made.codes.tolist() == [[7, -1, 7, 1, -7]]


def test_group_larger_than_the_row_is_the_row(fn):
    x = [7.0, -1.0, 3.0]
    whole, large = quantize(fn, x, INT4), quantize(fn, x, INT4, group_size=1 << 62)
    assert large.codes.tolist() == whole.codes.tolist() == [[7, -1, 3]]
    assert large.scale.tolist() == [[1.0]]


def test_rows_have_their_own_scales(fn):
    x = np.array([[7, 1], [70, 10]], np.float32)
    made = fn.affine_quantize(x, qmin=-8, qmax=7, rule="absmax")
    assert (made.scale.tolist(), made.codes.tolist()) == ([[1.0], [10.0]], [[7, 1], [7, 1]])


def test_packed_codes_are_offset_binary_fields(fn):
    made = quantize(fn, [7.0, -7.0, 0.0, 1.0], INT4, bits=4)
    assert made.codes.tolist() == [[0x981F]]


def test_zeros_have_scale_one_and_codes_zero(fn):
    for rule, codes in (("absmax", INT4), ("signed_max", INT4), ("asymmetric", UINT4),
                        ("offset", UINT4)):  # fmt: skip
        made = quantize(fn, [0.0, -0.0, 0.0], codes, rule)
        assert (made.scale.tolist(), made.codes.tolist()) == ([[1.0]], [[0, 0, 0]]), rule


@pytest.mark.parametrize("bad", [0x7FC00000, 0xFF812345, 0x7F800000, 0xFF800000], ids=hex)
@pytest.mark.parametrize(
    ("rule", "codes"), [("absmax", INT4), ("full_range", INT4), ("signed_max", INT4),
                        ("asymmetric", UINT4), ("offset", UINT4)],
)  # fmt: skip
def test_groups_that_are_not_finite_are_counted_apart(fn, rule, codes, bad):
    x = np.array([1, 2, 1e38, 3e38, 0, 1, 1, 0], np.float32)
    x.view(np.uint32)[[4, 7]] = bad  # NaN, quiet or signalling, and the infinities
    made = quantize(fn, x, codes, rule, scales="float16", group_size=2)
    assert (made.nonfinite, made.overflowed, made.underflowed) == (2, 1, 0)


def test_overflow_and_underflow_are_counted_by_groups(fn):
    made = quantize(fn, [1e30, 1, 1e-30, 0, 0, 0, 5, 6], INT4, scales="float16", group_size=2)
    assert (made.nonfinite, made.overflowed, made.underflowed) == (0, 1, 1)


@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rule", ["absmax", "full_range"])
@pytest.mark.parametrize("codes", [INT4, INT8])
def test_error_of_values_that_were_not_clipped_is_at_most_half_a_scale(
    fn, rng, codes, rule, scales
):
    x = rng.standard_normal((4000, 32), np.float32)
    qmin, qmax = codes
    made = fn.affine_quantize(x, qmin=qmin, qmax=qmax, rule=rule, scales=scales)
    scale = made.scale.astype(np.float64)
    inside = (x >= (qmin - 0.5) * scale) & (x <= (qmax + 0.5) * scale)
    error = np.abs(x - fn.affine_decode(made.codes, made.scale).astype(np.float64))
    assert (error <= scale * (0.5 + qmax * 2.0**-22))[inside].all()
    assert inside.mean() > 0.95


@pytest.mark.parametrize("codes", [INT4, INT8])
def test_quantizing_the_decoded_values_again_changes_nothing(fn, rng, codes):
    x = rng.standard_normal((4000, 32), np.float32)
    options = {"qmin": codes[0], "qmax": codes[1], "rule": "absmax"}
    made = fn.affine_quantize(x, **options)
    again = fn.affine_quantize(fn.affine_decode(made.codes, made.scale), **options)
    assert (again.codes == made.codes).all()
