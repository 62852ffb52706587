# SPDX-License-Identifier: MIT
"""Schemes of tables: NF4 and its kin, learned tables, codebooks of k-means."""

from __future__ import annotations

import json
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.schemes import from_dict

TWO_LEVEL = bm.Scales("float16", bits=6, super_block=384)
SCHEMES = [
    bm.NF4(), bm.NF4(128, clip="mse", scales="float16"), bm.NF4(double_quantization=True),
    bm.FP4(None, scales="bfloat16"), bm.IQ4_NL(), bm.IQ4_NL(16, clip="mse", scales=TWO_LEVEL),
    bm.IQ4_NL(32, scale_rule="absmax", scales=TWO_LEVEL), bm.Table((-1, 0.25, 0.5), 100),
    bm.Table(tuple(range(256)), 32, scale_rule="signed_max", clip="mse"), bm.LearnedTable(),
    bm.LearnedTable(3, 64, clip="minmax", scale_rule="absmax"), bm.KMeans(), bm.KMeans(8),
    bm.KMeans(4, "row"), bm.KMeans(2, "row", rows_per_codebook=3, pin_zero=True, values="float16"),
]  # fmt: skip
SHAPES = [(5, 300), (300,), (2, 3, 70), (0, 5), (4, 0)]


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, 768)).astype(np.float32)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_are_those_of_the_layout(rng, scheme, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    q = bm.quantize(x, scheme)
    assert [(f.name, f.dtype, f.shape) for f in scheme.layout(shape)] == [
        (name, array.dtype.name, array.shape) for name, array in q.arrays.items()
    ]
    assert q.codes.shape == np.asarray(q).shape == shape
    assert (q.scale is None) == isinstance(scheme, bm.KMeans)
    if x.size:
        assert bm.metrics(x, q).sqnr_db > 0


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_scheme_can_be_written_down(scheme):
    assert from_dict(json.loads(json.dumps(scheme.to_dict()))) == scheme
    assert eval(repr(scheme), {**vars(bm), "Scales": bm.Scales}) == scheme
    assert hash(from_dict(scheme.to_dict())) == hash(scheme)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_threads_isas_and_dtypes_of_storage_change_nothing(isa, x, scheme):
    wide = x.astype(ml_dtypes.bfloat16)
    one = bm.quantize(wide.astype(np.float64), scheme, num_threads=1)
    other = bm.quantize(wide, scheme, num_threads=3)
    for name, array in one.arrays.items():
        assert array.tobytes() == other.arrays[name].tobytes(), name
    half = one.dequantize(dtype="bfloat16")
    assert half.tobytes() == np.asarray(one).astype(ml_dtypes.bfloat16).tobytes()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_pieces_give_the_bytes_of_the_whole(x, scheme):
    whole = bm.quantize(x, scheme).arrays
    axis = scheme.cut(x.shape).axis
    if axis is None:
        assert isinstance(scheme, (bm.LearnedTable, bm.KMeans)) or scheme.double_quantization
        return
    pieces = [scheme.quantize(np.ascontiguousarray(part)).arrays for part in (x[:1], x[1:4], x[4:])]
    for name, array in whole.items():
        assert np.concatenate([piece[name] for piece in pieces]).tobytes() == array.tobytes()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_saved_tensors_come_back(tmp_path, x, scheme):
    q = bm.quantize(x, scheme)
    bm.save({"w": q}, tmp_path / "w.safetensors")
    back = bm.load(tmp_path / "w.safetensors")["w"]
    assert back.scheme == scheme
    assert np.asarray(back).tobytes() == np.asarray(q).tobytes()
    fake = bm.fake_quantize(x, scheme)
    assert fake.tobytes() == np.asarray(q).tobytes()


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(x, scheme, bad):
    x[2, 5] = bad
    with pytest.raises(ValueError, match=rf"x has 1 value .* x.flat\[1541\], is {bad}"):
        bm.quantize(x, scheme)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_zeros_stay_zeros(x, scheme):
    x[:, :] = 0
    q = bm.quantize(x, scheme)
    assert not np.asarray(q).any()


@pytest.mark.parametrize("scheme", [bm.NF4(clip="mse"), bm.IQ4_NL(clip="mse", scales="float16")])
def test_searched_scales_are_never_worse_than_those_of_the_rule(x, scheme):
    plain = bm.quantize(x, type(scheme)(scales=scheme.scales))
    searched = bm.quantize(x, scheme)
    groups = (6, -1, scheme.group_size)
    errors = [((x - np.asarray(q, np.float64)) ** 2).reshape(groups).sum(-1)
              for q in (searched, plain)]  # fmt: skip
    assert (errors[0] <= errors[1] * (1 + 1e-12)).all()
    assert errors[0].sum() < 0.95 * errors[1].sum()


def test_searched_scales_are_near_the_best_of_a_fine_grid(rng):
    x = rng.standard_normal((200, 64)).astype(np.float32)
    q = bm.quantize(x, bm.NF4(clip="mse", scale_rule="signed_max"))
    found = ((x - np.asarray(q, np.float64)) ** 2).sum(axis=1)
    grid = np.linspace(0.4, 1.7, 600)
    grid = np.concatenate([grid, -grid])
    values = np.float64(bm.NF4.VALUES)
    thresholds = (values[1:] + values[:-1]) / 2
    best = np.full(200, np.inf)
    for s in np.abs(x).max(axis=1, keepdims=True) * grid[:, None, None]:
        t = values[np.searchsorted(thresholds, x / s)]
        best = np.minimum(best, ((x - s * t) ** 2).sum(axis=1))
    assert found.sum() < 1.003 * best.sum()


def test_importance_moves_the_error_to_where_it_counts_less(x):
    importance = np.where(np.arange(768) % 2, 1.0, 0.01)
    for scheme in (bm.NF4(clip="mse"), bm.LearnedTable(), bm.KMeans(), bm.KMeans(4, "row")):
        plain, weighed = bm.quantize(x, scheme), bm.quantize(x, scheme, importance=importance)
        errors = [(importance * (x - np.float64(q)) ** 2).sum() for q in (weighed, plain)]
        assert errors[0] < errors[1]
    with pytest.raises(ValueError, match=r"importance goes with scales that are searched"):
        bm.quantize(x, bm.NF4(), importance=importance)


def test_two_level_scales_are_products_of_codes_and_steps(x):
    q = bm.quantize(x, bm.IQ4_NL(16, scales=TWO_LEVEL))
    steps = np.repeat(q.arrays["super_scale"].astype(np.float32), 24, axis=1)
    codes = q.scale / steps
    assert (codes == np.rint(codes)).all()
    assert np.abs(codes).max() <= 31
    assert q.bits_per_weight() == 4 + 6 / 16 + 16 / 384


def test_nothing_underflows_unseen_and_overflows_are_named():
    x = np.full((2, 32), 1e-30, np.float32)
    q = bm.quantize(x, bm.NF4(16, scales="float16"))
    assert q.health == {"underflowed": 4}
    x[1, 20] = 1e30
    message = r"x: group \(1, 1\) spans 1e-30 to 1.*NF4 scale overflows float16"
    with pytest.raises(ValueError, match=message):
        bm.quantize(x, bm.NF4(16, scales="float16"))
    with pytest.raises(ValueError, match=r"a value of a codebook overflows float16"):
        bm.quantize(x, bm.KMeans(2, values="float16"))


def test_values_of_a_codebook_are_the_best_there_are(rng):
    x = rng.standard_normal((3, 500)).astype(np.float32)
    q = bm.quantize(x, bm.KMeans(3, "row"))
    for row in range(3):
        book = bm.kmeans1d(x[row], 8)
        assert q.arrays["codebook"][row].tolist() == book.centroids.astype(np.float32).tolist()
        assert ((x[row] - np.float64(np.asarray(q)[row])) ** 2).sum() <= book.inertia * (1 + 1e-6)


def test_a_pinned_zero_keeps_zeros(rng):
    x = rng.standard_normal((3, 500)).astype(np.float32) + 1
    x[:, ::5] = 0
    q = bm.quantize(x, bm.KMeans(2, "row", pin_zero=True))
    assert not np.asarray(q)[:, ::5].any()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize("pin_zero", [False, True])
@pytest.mark.parametrize("weighed", [False, True])
def test_a_codebook_is_never_worse_than_even_levels(rng, name, pin_zero, weighed):
    """Those of a plain rule, among which is 0 where it is one of the codebook's."""
    x = rng.standard_t(4, (8, 300)) + rng.integers(-1, 2, (8, 1))
    x[:, ::7] = 0
    x = x.astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    w = rng.random(300) ** 3 if weighed else np.ones(300)
    for bits in (2, 4, 8):
        even = bm.fake_quantize(x, bm.Affine(bits, symmetric=False, offset=not pin_zero))
        scheme = bm.KMeans(bits, "row", pin_zero=pin_zero)
        ours = bm.quantize(x, scheme, importance=w).dequantize()
        errors = [(w * (np.float64(x) - np.float64(y)) ** 2).sum(axis=1) for y in (ours, even)]
        assert (errors[0] <= errors[1] * (1 + 1e-6) + 1e-12).all()


@pytest.mark.parametrize("values", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("pin_zero", [False, True])
def test_zeros_of_codebooks_are_positive(values, pin_zero):
    x = np.array([[-(2.0**-140), -(2.0**-149), -1, 1, -3, 2]], np.float32)
    for per in ("tensor", "row"):
        scheme = bm.KMeans(3, per, pin_zero=pin_zero, values=values)
        book = bm.quantize(x, scheme).arrays["codebook"]
        assert not np.signbit(book[book == 0]).any()


@pytest.mark.parametrize("values", ["float16", "bfloat16"])
def test_codebooks_that_overflow_say_which_dtype_would_do(values):
    x = np.full((1, 4), 3.4e38, np.float32)
    message = f"x: a value of a codebook overflows {values}: use values='float32'"
    with pytest.raises(ValueError, match=message):
        bm.quantize(x, bm.KMeans(1, values=values))
    assert bm.quantize(x, bm.KMeans(1)).arrays["codebook"].tolist() == [[x[0, 0]] * 2]


def test_a_learned_table_serves_a_model(rng):
    weights = [rng.standard_t(4, (64, 256)).astype(np.float32) * s for s in (1, 0.01)]
    table = bm.LearnedTable(3, 64).learn(weights)
    assert table == bm.Table(table.values, 64, clip="mse", scale_rule="signed_max")
    for w in weights:
        own, shared = (
            bm.metrics(w, bm.quantize(w, s)).sqnr_db for s in (bm.LearnedTable(3, 64), table)
        )
        assert abs(own - shared) < 0.2
        fixed = bm.Table((-1, -0.6, -0.35, -0.1, 0.1, 0.35, 0.6, 1), 64, clip="mse")
        assert shared > bm.metrics(w, bm.quantize(w, fixed)).sqnr_db


BAD = [
    (lambda: bm.Table((1,)), ValueError, "values has 1 numbers; wanted 2 to 256"),
    (lambda: bm.Table("12"), TypeError, "values='12' is a str; values takes numbers"),
    (lambda: bm.Table(None), TypeError, "values=None is a NoneType; values takes numbers"),
    (lambda: bm.Table({1: 2, 3: 4}), TypeError, "is a dict; values takes numbers in order"),
    (lambda: bm.Table({1.0, 2.0}), TypeError, "is a set; values takes numbers in order"),
    (lambda: bm.Table(np.float32(1)), TypeError, "is a float32; values takes numbers"),
    (lambda: bm.Table(()), ValueError, "values has 0 numbers; wanted 2 to 256"),
    (lambda: bm.Table(range(10**9)), ValueError, "values has more than 256 numbers; wanted 2 to"),
    (lambda: bm.Table(np.ones((2, 2))), ValueError, r"values has shape \(2, 2\); wanted 1-D"),
    (lambda: bm.Table(np.ma.ones(2)), TypeError, "values is a masked array"),
    (lambda: bm.Table([[1], [2]]), TypeError, r"values\[0\]=\[1\] is a list; values\[0\] takes"),
    (lambda: bm.Table((1, 1e39)), ValueError, r"values\[1\]=1e\+39 .*that float32 cannot hold"),
    (lambda: bm.Table((1, 10**400)), ValueError, r"values\[1\] is a int beyond the floats"),
    (lambda: bm.Table((float("nan"), 1)), ValueError, r"values\[0\]=nan is NaN"),
    (lambda: bm.Table((0, -float("inf"))), ValueError, r"values\[1\]=-inf is NaN, infinity"),
    (lambda: bm.Table((0, 0)), ValueError, "values are all 0"),
    (lambda: bm.Table((0, 1e-50)), ValueError, "values are all 0 in float32"),
    (lambda: bm.Table((0, "1")), TypeError, r"values\[1\]='1' is a str"),
    (lambda: bm.Table((0, None)), TypeError, r"values\[1\]=None is a NoneType"),
    (lambda: bm.Table((False, True)), TypeError, r"values\[0\]=False is a bool"),
    (lambda: bm.Table((0, 1j)), TypeError, r"values\[1\]=1j is a complex"),
    (lambda: bm.Table(np.array([0, 1j], "F")), TypeError, r"is a complex64; values\[0\] takes"),
    (lambda: bm.Table(np.array([1, "a"], object)), TypeError, r"values\[1\]='a' is a str"),
    (lambda: bm.NF4(8), ValueError, "group_size=8 must be between 16 and 4096"),
    (lambda: bm.NF4(True), TypeError, "group_size=True is a bool"),
    (lambda: bm.NF4(clip="entropy"), ValueError, "clip='entropy' is not one of: minmax, mse"),
    (lambda: bm.NF4(scale_rule="full_range"), ValueError, "scale_rule='full_range' is not one of"),
    (lambda: bm.NF4(scales="float64"), ValueError, "scales='float64' is not one of"),
    (lambda: bm.NF4(None, scales=TWO_LEVEL), ValueError, "goes with groups"),
    (lambda: bm.NF4(256, scales=TWO_LEVEL), ValueError, "super_block=384 is not a multiple"),
    (lambda: bm.NF4(scales="float16", double_quantization=True), ValueError, "leave out scales"),
    (lambda: bm.IQ4_NL(double_quantization=True), ValueError, "positive scales"),
    (lambda: bm.NF4(double_quantization=1), TypeError, "takes True or False"),
    (lambda: bm.LearnedTable(1), ValueError, "bits=1 must be between 2 and 8"),
    (lambda: bm.LearnedTable().learn([]), ValueError, "nothing to learn from"),
    (lambda: bm.KMeans(9), ValueError, "bits=9 must be between 1 and 8"),
    (lambda: bm.KMeans(per="group"), ValueError, "per='group' is not one of: tensor, row"),
    (lambda: bm.KMeans(rows_per_codebook=2), ValueError, "rows_per_codebook=2 goes with per='row'"),
    (lambda: bm.KMeans(values="float64"), ValueError, "values='float64' is not one of"),
    (lambda: from_dict({"scheme": "NF4", "bits": 4}), ValueError, "scheme NF4 cannot be made from"),
    (lambda: from_dict({"scheme": ["NF4"]}), ValueError, "is not one of: Affine"),
    (lambda: from_dict({"scheme": "Table", "values": [1, 10**400]}), ValueError, "beyond the fl"),
]  # fmt: skip


def test_values_of_a_table_come_in_any_order_and_kind():
    given = [1, np.float16(0.5), Fraction(1, 4), 0.5, -1.0, np.int8(-3)]
    assert bm.Table(iter(given)).values == (1, 0.5, 0.25, 0.5, -1, -3)
    assert bm.Table(np.array(given, object)[::-1]).values == (-3, -1, 0.5, 0.25, 0.5, 1)


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_options_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_shared_table_is_not_spoiled_by_arrays_that_tell_nothing(rng):
    weights = rng.standard_t(4, (64, 256)).astype(np.float32)
    table = bm.LearnedTable(3).learn([weights])
    narrow, empty = weights[:, :1], weights[:0]
    assert bm.LearnedTable(3).learn([narrow, weights, empty]) == table
    assert bm.LearnedTable(3).learn([narrow]).size == 8
    with pytest.raises(ValueError, match="nothing to learn from"):
        bm.LearnedTable(3).learn([empty])


@pytest.mark.parametrize("clip", ["minmax", "mse"])
@pytest.mark.parametrize("table", [bm.NF4, bm.FP4])
def test_scales_that_double_quantization_reads_back_as_negative_are_counted(rng, table, clip):
    x = rng.standard_normal((8, 1024)).astype(np.float32)
    x[0, :64] *= 1e6
    x[1, :64] = 0
    q = bm.quantize(x, table(64, double_quantization=True, clip=clip))
    negative = int((q.scale < 0).sum())
    assert negative > 64
    assert q.scheme.health(x, q.arrays) == {"zero_groups": 1, "negative_scales": negative}
    assert np.isfinite(np.asarray(q)).all()
    assert not np.asarray(q)[1, :64].any()
    measured = bm.metrics(x, q)
    assert measured.zero_groups == 1
    assert np.isfinite([measured.mse, measured.sqnr_db, measured.cosine, measured.max_abs]).all()


@pytest.mark.parametrize("exponent", [-130, -8, 0, 8, 100])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_learned_table_does_not_depend_on_the_magnitude(bits, exponent):
    x = np.random.default_rng(0).integers(-3, 4, (64, 256)).astype(np.float32)
    scaled = bm.quantize(np.ldexp(x, exponent), bm.LearnedTable(bits))
    table = bm.quantize(x, bm.LearnedTable(bits)).arrays["table"]
    assert (scaled.arrays["table"] == table).all()
    assert bm.metrics(np.ldexp(x, exponent), scaled).sqnr_db > 45


def test_a_table_is_learned_from_all_columns():
    x = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
    x[:, :32] = 0
    assert bm.metrics(x, bm.quantize(x, bm.LearnedTable(4))).sqnr_db > 22.6


@pytest.mark.parametrize("bits", [6, 8])
def test_scales_of_absmax_are_not_negative(bits):
    x = -np.abs(np.random.default_rng(0).standard_normal((2, 64), np.float32))
    for scales in ("float32", "float16", bm.Scales(bits=bits)):
        q = bm.quantize(x, bm.Table((1, 2, 3), 16, clip="mse", scales=scales))
        assert (q.scale > 0).all()


@pytest.mark.parametrize("scales", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("rule", ["absmax", "signed_max"])
def test_zeros_stay_zeros_beside_others_in_a_search(rule, scales):
    x = np.zeros((2, 32), np.float32)
    x[1] = 1
    q = bm.quantize(x, bm.IQ4_NL(clip="mse", scale_rule=rule, scales=scales))
    assert not np.asarray(q)[0].any()
