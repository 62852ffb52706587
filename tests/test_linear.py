# SPDX-License-Identifier: MIT
"""Linear layers of quantized weights, and weights of 4 bits as they are prepacked."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill import reference
from conftest import same_bits

SCHEMES = {
    "g32": bm.Affine(4, group_size=32),
    "g128 float16": bm.Affine(4, group_size=128, scales="float16"),
    "g64 asymmetric": bm.Affine(4, symmetric=False, group_size=64, scales="bfloat16"),
    "row": bm.Affine(4),
    "row asymmetric": bm.Affine(4, symmetric=False),
    "tensor": bm.Affine(4, axis=None),
    "2 bits": bm.Affine(2, group_size=16),
    "two levels": bm.Affine(4, group_size=32, scales=bm.Scales("float16", bits=6)),
    "iq4_nl": bm.IQ4_NL(),
    "learned": bm.LearnedTable(group_size=64),
    "learned 3 bits": bm.LearnedTable(3),
    "nf4": bm.NF4(double_quantization=True),
    "fp4": bm.FP4(),
    "int8": bm.Affine(8),
    "uint8": bm.Affine(8, symmetric=False),
}
FLOATING = ("nf4", "fp4")
BITS8 = ("int8", "uint8")


def normal(rng, shape):
    return rng.standard_normal(shape, np.float32)


def make(rng, name, columns=300, rows=37):
    return bm.quantize(normal(rng, (rows, columns)), SCHEMES[name])


@pytest.mark.parametrize("name", SCHEMES)
def test_a_layer_multiplies_by_the_values_of_its_weights(isa, rng, name):
    q, x, bias = make(rng, name), normal(rng, (3, 5, 300)), normal(rng, 37)
    layer = bm.integer.Linear(q, bias)
    got = layer(x)
    taken = bm.quantize(x, bm.Affine(8)) if layer.kernel != "matmul_w4a16" else x
    wanted = np.asarray(taken, np.float64) @ np.asarray(q, np.float64).T + bias
    assert got.shape == (3, 5, 37)
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in BITS8])
def test_floats_may_stay_as_they_are(isa, rng, name):
    q, x = make(rng, name), normal(rng, (5, 300))
    layer = bm.integer.Linear(q, activations=None)
    assert layer.kernel == "matmul_w4a16"
    wanted = x.astype(np.float64) @ np.asarray(q, np.float64).T
    np.testing.assert_allclose(layer(x), wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", SCHEMES)
def test_the_kernel_is_the_one_for_whole_numbers_where_it_can_be(rng, name):
    layer = bm.integer.Linear(make(rng, name))
    kernel = "w4a16" if name in FLOATING else "w8a8" if name in BITS8 else "w4a8"
    assert layer.kernel == f"matmul_{kernel}"
    assert layer.explain().startswith(layer.kernel)


def test_a_layer_says_which_kernel_it_takes_and_why(rng):
    params = bm.calibrate([normal(rng, 100)], bm.Affine(8, axis=None))
    q, nf4 = make(rng, "g32"), make(rng, "nf4")
    assert "for each token" in bm.integer.Linear(q).explain()
    assert "QParams" in bm.integer.Linear(q, activations=params).explain()
    assert "to uint8, a scale and a zero-point for each token" in (
        bm.integer.Linear(q, activations="dynamic_asymmetric").explain()
    )
    assert bm.integer.Linear(q, activations=None).explain() == (
        "matmul_w4a16: activations stay as they are"
    )
    for dynamic in ("dynamic", "dynamic_asymmetric"):
        assert "no whole numbers" in bm.integer.Linear(nf4, activations=dynamic).explain()


def test_parameters_with_a_table_of_floats_are_refused(rng):
    params = bm.calibrate([normal(rng, 100)], bm.Affine(8, axis=None))
    for name in FLOATING:
        with pytest.raises(ValueError, match=r"table are none: with activations=None x stays"):
            bm.integer.Linear(make(rng, name), activations=params)


STATIC = {
    "static": bm.Affine(8, axis=None),
    "static asymmetric": bm.Affine(8, axis=None, symmetric=False),
    "static narrow": bm.Affine(8, axis=None, narrow_range=True),
    "static negative": bm.Affine(8, axis=None, scale_rule="signed_max", scales="bfloat16"),
}
MODES = ["dynamic", "dynamic_asymmetric", *STATIC, None]


def modes_of(name):
    """Those that go with the weights of this name."""
    if name in BITS8:
        return MODES[:-1]
    return [mode for mode in MODES if name not in FLOATING or mode not in STATIC]


def activations_of(mode, x):
    """What `Linear` takes; parameters are such that some values are beyond the codes."""
    return bm.calibrate([x * np.float32(0.7)], STATIC[mode]) if mode in STATIC else mode


def by_twins(layer, x, dtype="float32"):
    """The outputs of a layer, step by step in NumPy, with `QParams.quantize` where it has some."""
    held, given = layer.weights.arrays, layer.activations
    options = {"rows": layer.weights.shape[0], "group_size": layer.weights.group_size}
    weights = held["codes"], held["scale"], held.get("zero_point")
    if layer.kernel == "matmul_w4a16":
        return reference.matmul_w4a16(
            x, held["codes"], held["scale"], weights[2], held.get("values"), layer.bias, **options,
            dtype_name=dtype,
        )  # fmt: skip
    if isinstance(given, bm.QParams):
        q = given.quantize(x)
        params = (None if v is None else np.repeat(v.ravel(), len(x))[:, np.newaxis]
                  for v in (q.scale.astype(np.float32), q.zero_point))  # fmt: skip
        codes, scale, zero_point = q.codes, *params
    else:
        codes, scale, zero_point = reference.token_quantize(x, symmetric=given == "dynamic")[:3]
    tokens = codes, scale / held.get("parts", np.float32(1)), zero_point
    if layer.kernel == "matmul_w8a8":
        return reference.matmul_w8a8(*tokens, *weights, held["sum"], layer.bias, dtype_name=dtype)
    return reference.matmul_w4a8(
        *tokens, *weights, held.get("whole"), layer.bias, **options, dtype_name=dtype
    )


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in SCHEMES for mode in modes_of(name)]
)
def test_a_layer_has_the_bits_of_the_twins(isa, rng, name, mode):
    x = normal(rng, (7, 300)) + np.float32(0.5)
    layer = bm.integer.Linear(make(rng, name), normal(rng, 37), activations=activations_of(mode, x))
    for dtype in ("float32", "bfloat16"):
        same_bits(layer(x, dtype=dtype), by_twins(layer, x, dtype))


@pytest.mark.parametrize("name", ["g32", "int8"])
def test_positive_activations_are_finer_with_zero_points(isa, rng, name):
    q, x = make(rng, name), np.abs(normal(rng, (20, 300)))
    exact = x.astype(np.float64) @ np.asarray(q, np.float64).T
    error = {
        mode: np.linalg.norm(bm.integer.Linear(q, activations=mode)(x) - exact)
        for mode in ("dynamic", "dynamic_asymmetric")
    }
    assert error["dynamic_asymmetric"] < 0.7 * error["dynamic"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mode", MODES[:-1])
@pytest.mark.parametrize("name", ["g32", "int8"])
def test_values_that_no_code_stands_for_are_refused(isa, rng, name, mode, bad):
    x = normal(rng, (3, 300))
    layer = bm.integer.Linear(make(rng, name), activations=activations_of(mode, x))
    x[1, 299] = bad
    with pytest.raises(ValueError, match=r"the first, x.flat\[599\], is"):
        layer(x)
    wide = np.zeros((3, 300))
    wide[2, 0] = 1e300
    with pytest.raises(ValueError, match=r"x.flat\[600\], is 1e\+300 \(a float64 beyond"):
        layer(wide)


def test_a_range_that_overflows_is_refused(isa, rng):
    x = np.zeros((3, 300), np.float32)
    x[:2, :2] = -3e38, 3e38
    with pytest.raises(ValueError, match="x has 2 tokens whose range overflows float32"):
        bm.integer.Linear(make(rng, "int8"), activations="dynamic_asymmetric")(x)
    assert np.isfinite(bm.integer.Linear(make(rng, "int8"))(x * np.float32(1e-3))).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("activations", MODES)
def test_outputs_may_be_given_and_are_rounded_once(isa, rng, activations, dtype):
    x = normal(rng, (4, 300))
    layer = bm.integer.Linear(make(rng, "g32"), activations=activations_of(activations, x))
    wanted = layer(x).astype(getattr(ml_dtypes, dtype, dtype))
    out = np.empty_like(wanted)
    assert layer(x, dtype=dtype, out=out) is out
    same_bits(out, wanted)


@pytest.mark.parametrize("activations", MODES)
def test_inputs_are_those_that_quantize_takes(isa, rng, activations):
    x = normal(rng, (4, 300))
    layer = bm.integer.Linear(make(rng, "g32"), activations=activations_of(activations, x))
    half = x.astype(np.float16)
    same_bits(layer(half), layer(half.astype(np.float32)))
    same_bits(layer(x[:, ::-1]), layer(x[:, ::-1].copy()))
    same_bits(layer(x[0]), layer(x[:1])[0])
    same_bits(layer(x.tolist()), layer(x))


@pytest.mark.parametrize("shape", [(0, 32), (5, 0), (0, 0)])
@pytest.mark.parametrize("scheme", ["g32", "row", "g64 asymmetric", "nf4", "int8"])
def test_empty_operands(isa, shape, scheme):
    q = bm.quantize(np.ones(shape, np.float32), SCHEMES[scheme])
    for mode in modes_of(scheme):
        layer = bm.integer.Linear(q, activations=activations_of(mode, np.ones(1, np.float32)))
        for rows in (0, 3):
            got = layer(np.ones((rows, shape[1]), np.float32))
            assert got.shape == (rows, shape[0])
            assert (got == 0).all()  # -0.0 by a negative scale


def test_nibbles_hold_every_code_once(rng):
    q = make(rng, "g64 asymmetric", 300, 18)
    packed = bm.integer.prepack(q)
    assert packed.layout == "w4"
    assert packed.group_size == 64
    codes, zeros = packed.arrays["codes"], packed.arrays["zero_point"]
    assert codes.shape == (2, 38, 16, 4)
    assert zeros.shape == (2, 5, 16)
    assert packed.nbytes == codes.nbytes + zeros.nbytes + 2 * zeros.nbytes
    assert q.zero_point is not None
    for row in range(18):
        assert zeros[row // 16, :, row % 16].tolist() == q.zero_point[row].tolist()
        for column in range(300):
            byte = codes[row // 16, column // 8, row % 16, column % 4]
            assert byte >> column // 4 % 2 * 4 & 15 == q.codes[row, column]


def test_values_that_are_whole_numbers_come_as_such_too(rng):
    held = bm.integer.prepack(make(rng, "iq4_nl")).arrays
    assert held["whole"].tolist() == list(bm.IQ4_NL.VALUES)
    assert held["parts"].tolist() == [1]
    q = make(rng, "learned")
    held = bm.integer.prepack(q).arrays
    assert held["whole"].tolist() == q.arrays["table"].tolist()
    assert held["parts"].tolist() == [127]
    assert "whole" not in bm.integer.prepack(make(rng, "nf4")).arrays
    q = bm.quantize(normal(rng, (1, 32)), bm.Table((-128.5, 0, 3)))
    assert "whole" not in bm.integer.prepack(q).arrays


X = np.ones((2, 40), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(4, group_size=20))),
            "q has groups of 20; wanted a multiple of 8, or a scale a row",
        ),
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(8)), activations=None),
            "activations=None goes with weights of at most 4 bits",
        ),
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(4)), np.ones(3)),
            r"bias has shape \(3,\); wanted \(2,\)",
        ),
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(4)), activations="static"),
            "activations='static'; wanted 'dynamic', 'dynamic_asymmetric', QParams or None",
        ),
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(4)))(X[:, :8]),
            r"x has shape \(2, 8\); wanted rows of 40",
        ),
        (
            lambda: bm.integer.Linear(bm.quantize(X, bm.Affine(4)))(X * np.nan),
            "x",
        ),
        (
            lambda: bm.integer.matmul(
                bm.quantize(X, bm.Affine(8)), bm.integer.prepack(bm.quantize(X, bm.Affine(4)))
            ),
            "w has the layout 'w4'; wanted 'w8a8': weights of 8 bits",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_prepacked_is_its_own(rng):
    w, x = rng.standard_normal((19, 64), np.float32), rng.standard_normal((3, 64), np.float32)
    q = bm.quantize(w, bm.Affine(8, symmetric=False))
    layer = bm.integer.Linear(q)
    before = layer(x)
    for array in q.arrays.values():
        array[...] = 1
    assert (layer(x) == before).all()


def test_scales_of_columns_and_long_rows_are_refused_at_once():
    q = bm.quantize(np.ones((3, 72), np.float32), bm.Affine(4, axis=1))
    with pytest.raises(ValueError, match=r"scales of the shape \(1, 72\); wanted one a group"):
        bm.integer.prepack(q)
    long = bm.quantize(np.ones((2, 70_000), np.float32), bm.Affine(4))
    with pytest.raises(ValueError, match=r"rows of 70,000; beyond 65,793 .* activations=None"):
        bm.integer.Linear(long)
    assert bm.integer.Linear(long, activations=None)(np.ones((1, 70_000), np.float32)).shape == (
        1,
        2,
    )


@pytest.mark.parametrize(
    "bias", [[1j] * 3, ["1"] * 3, [None] * 3, [1e300] * 3, [np.nan] * 3, [1.0]]
)
def test_a_bias_that_is_none_is_refused(bias):
    q = bm.quantize(np.ones((3, 8), np.float32), bm.Affine(8))
    with pytest.raises((TypeError, ValueError), match="bias"):
        bm.integer.Linear(q, bias)


def test_groups_longer_than_rows_are_whole_rows():
    x, scale = np.ones((1, 5), np.int8), np.ones((1, 1), np.float32)
    w, w_scale = np.zeros((1, 1, 16, 4), np.uint8), np.ones((1, 1, 16), np.float32)
    for size in (None, 8, 1 << 40, (1 << 63) - 8):
        made = bm.kernels.matmul_w4a8(x, scale, None, w, w_scale, rows=2, group_size=size)
        assert made.tolist() == [[-40, -40]]


@pytest.mark.parametrize("module", [bm.kernels, bm.reference])
def test_what_could_leave_32_bits_or_the_floats_is_refused(module):
    x, scale = np.zeros((1, 33_032), np.uint8), np.ones((1, 1), np.float32)
    w, w_scale = np.zeros((1, 4129, 16, 4), np.uint8), np.ones((1, 1, 16), np.float32)
    with pytest.raises(ValueError, match=r"w_zero_point has values above 15; .* 33,025"):
        module.matmul_w4a8(x, scale, None, w, w_scale, np.full((1, 1, 16), 16, np.uint8), rows=16)
    values = np.full(16, np.inf, np.float32)
    with pytest.raises(ValueError, match="values has entries that are not finite"):
        module.matmul_w4a16(x.astype(np.float32), w, w_scale, None, values, rows=16)
