# SPDX-License-Identifier: MIT
"""What the clips that look at all values of a group share: views, zeros, constants, refusals."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
from bitmill.clip import ACIQ, Entropy, MeanStd
from bitmill.clip.moments import group_sums, lengths, means, tree_sum
from bitmill.grid import view
from bitmill.schemes.base import from_dict
from conftest import same_bits

CLIPS = [ACIQ(), ACIQ("gauss"), ACIQ("laplace"), MeanStd(2), Entropy(), Entropy(64)]
KINDS = {
    "symmetric": {},
    "narrow": {"narrow_range": True},
    "full_range": {"scale_rule": "full_range"},
    "signed_max": {"scale_rule": "signed_max"},
    "asymmetric": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
CUTS = {
    "rows": {},
    "groups": {"group_size": 16},
    "short last group": {"group_size": 20},
    "tensor": {"axis": None},
    "channels": {"axis": 0},
    "channels apart": {"axis": 1},
    "columns": {"axis": -1},
}
each_clip = pytest.mark.parametrize("clip", CLIPS, ids=str)
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def groups_of(x, scheme):
    """The values of every group, in the order of the parameters."""
    if scheme.axis is None:
        return [x.reshape(-1)]
    if scheme.axis != "row":
        return [part.reshape(-1) for part in np.moveaxis(x, scheme.axis, 0)]
    size = scheme.group_size or x.shape[-1]
    rows = x.reshape(-1, x.shape[-1])
    return [row[at : at + size] for row in rows for at in range(0, x.shape[-1], size)]


@each_clip
@each_kind
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_a_group_has_the_parameters_that_it_has_alone(rng, clip, kind, cut):
    x = rng.standard_t(3, (3, 4, 50)).astype(np.float32)
    scheme = bm.Affine(4, clip=clip, **kind, **cut)
    q = bm.quantize(x, scheme)
    groups = groups_of(x, scheme)
    assert q.scale.size == len(groups)
    for at, group in enumerate(groups):
        alone = bm.quantize(group, bm.Affine(4, clip=clip, axis=None, **kind))
        for name in ("scale", "zero_point", "offset"):
            if name in q.arrays:
                same_bits(q.arrays[name].reshape(-1)[at : at + 1], alone.arrays[name], (at, name))


@each_clip
def test_neither_threads_nor_the_instruction_set_matter(isa, rng, clip):
    x = rng.laplace(size=(64, 3000)).astype(np.float32)
    wanted = clip.fit(x, view(x.shape, "row", None), bm.Affine(4).grid).scale
    for threads in (1, 3):
        got = bm.quantize(x, bm.Affine(4, clip=clip), num_threads=threads)
        same_bits(got.scale, wanted)


@each_clip
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float64"])
def test_values_of_another_dtype_count_as_float32(rng, clip, name):
    of = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)
    x = rng.laplace(size=(4, 300)).astype(of)
    for kind in KINDS.values():
        scheme = bm.Affine(4, clip=clip, **kind)
        same_bits(bm.quantize(x, scheme).scale, bm.quantize(x.astype(np.float32), scheme).scale)


@each_clip
@each_kind
def test_no_scale_is_wider_than_that_of_the_full_range(rng, clip, kind):
    x = rng.laplace(size=(50, 200)).astype(np.float32)
    full = bm.quantize(x, bm.Affine(4, **kind)).scale
    clipped = bm.quantize(x, bm.Affine(4, clip=clip, **kind)).scale
    assert (np.abs(clipped) <= np.abs(full)).all()
    assert (np.abs(clipped) < np.abs(full)).any()


@each_clip
@each_kind
def test_zeros_have_scale_1(clip, kind):
    q = bm.quantize(np.zeros((2, 40), np.float32), bm.Affine(4, group_size=16, clip=clip, **kind))
    assert (q.scale == 1).all()
    assert not q.dequantize().any()
    assert q.health == {}


@each_clip
@each_kind
@pytest.mark.parametrize("value", [0.03, -7e20, 1001.0625])
def test_constant_groups_are_as_without_a_clip(clip, kind, value):
    x = np.full((3, 37), value, np.float32)
    got = bm.quantize(x, bm.Affine(4, clip=clip, **kind))
    wanted = bm.quantize(x, bm.Affine(4, **kind))
    for name, array in wanted.arrays.items():
        same_bits(got.arrays[name], array)
    assert got.health == {}


@each_clip
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (2, 0, 4)])
@pytest.mark.parametrize("cut", [{}, {"group_size": 4}, {"axis": None}, {"axis": 0}, {"axis": -1}])
def test_empty_arrays_are_as_without_a_clip(clip, shape, cut):
    x = np.zeros(shape, np.float32)
    got, wanted = (
        bm.quantize(x, bm.Affine(4, clip=clip, **cut)),
        bm.quantize(x, bm.Affine(4, **cut)),
    )
    for name, array in wanted.arrays.items():
        same_bits(got.arrays[name], array)


@each_clip
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(clip, value):
    x = np.ones((3, 20), np.float32)
    x[1, 4] = value
    with pytest.raises(ValueError, match=r"the first, x\.flat\[24\], is"):
        bm.quantize(x, bm.Affine(4, clip=clip))


def test_a_group_whose_clip_leaves_no_range_has_the_full_one_and_is_counted():
    x = np.ones((2, 64), np.float32)
    x[0, :32], x[1, 0] = 2**24 - 1, 2
    tiny = MeanStd(1e-9)  # of a spread of 2^23 about 2^23: no float32 lies within
    q = bm.quantize(x, bm.Affine(4, symmetric=False, offset=True, clip=tiny))
    plain = bm.quantize(x, bm.Affine(4, symmetric=False, offset=True))
    same_bits(q.scale, plain.scale)
    same_bits(q.offset, plain.offset)
    assert q.health == {"unclipped": 2}


def test_a_group_whose_range_rounds_to_zero_has_the_full_one_and_is_counted():
    x = np.zeros((1, 4096), np.float32)
    x[0, 0] = 2.0**-149
    for kind in ({}, {"symmetric": False}):
        q = bm.quantize(x, bm.Affine(4, clip=MeanStd(1), **kind))
        same_bits(q.scale, bm.quantize(x, bm.Affine(4, **kind)).scale)
        assert q.health["unclipped"] == 1


@each_clip
def test_the_code_beyond_the_others_is_on_the_side_that_reaches_further(rng, clip):
    x = rng.standard_normal((2, 500), np.float32)
    x[0, :2], x[1, :2] = [30, -29], [-30, 29]
    scale = bm.quantize(x, bm.Affine(4, scale_rule="signed_max", clip=clip)).scale
    assert (np.sign(scale) == [[-1], [1]]).all()
    assert (np.abs(scale) * 8 < 30).all()


def test_a_reach_beyond_all_floats_is_cut_to_the_full_range():
    x = np.array([[-1.6e38, 1.6e38, 3.0]], np.float32)
    for kind in KINDS.values():
        got = bm.quantize(x, bm.Affine(4, clip=MeanStd(1e308), **kind))
        same_bits(got.scale, bm.quantize(x, bm.Affine(4, **kind)).scale)


def test_strings_name_clips():
    for text, clip in {
        "aciq": ACIQ(),
        "aciq:gauss": ACIQ("gauss"),
        "aciq:laplace": ACIQ("laplace"),
        "meanstd:3": MeanStd(3),
        "meanstd:2.5": MeanStd(2.5),
        "meanstd:0.1": MeanStd(0.1),
        "entropy": Entropy(),
        "entropy:4096": Entropy(4096),
    }.items():
        scheme = bm.Affine(4, clip=text)
        assert scheme.clip == clip
        assert scheme.to_dict()["clip"] == text
        assert from_dict(scheme.to_dict()) == scheme
        assert hash(scheme) == hash(bm.Affine(4, clip=clip))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aciq:cauchy", "distribution='cauchy' is not one of: auto, gauss, laplace"),
        ("meanstd", "clip 'meanstd' needs a number of deviations: 'meanstd:3'"),
        ("meanstd:", "clip 'meanstd' takes a number, not ''"),
        ("meanstd:wide", "clip 'meanstd' takes a number, not 'wide'"),
        ("meanstd:0", "k=0.0 must be above 0 and finite"),
        ("meanstd:nan", "k=nan must be above 0 and finite"),
        ("entropy:many", "clip 'entropy' takes a number of bins, not 'many'"),
        ("entropy:8", "bins=8 must be between 16 and 65536"),
    ],
)
def test_strings_that_name_no_clip_are_refused(text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        bm.Affine(4, clip=text)


@pytest.mark.parametrize("value", ["3", True, None, 1j, [3]])
def test_a_k_that_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="k takes a number"):
        MeanStd(value)


@pytest.mark.parametrize("value", [0, -1, np.inf, np.nan])
def test_a_k_that_is_not_above_0_and_finite_is_refused(value):
    with pytest.raises(ValueError, match=f"k={value!r} must be above 0 and finite"):
        MeanStd(value)


def test_a_mean_and_deviation_worked_by_hand(rng):
    x = np.array([[2, 4, 4, 4, 5, 5, 7, 9], [0, 0, 0, 0, 0, 0, 0, 8]], np.float32)
    # mean 5, std 2 and mean 1, std √7, of which 1 − √7 is below the least value
    offset = bm.quantize(x, bm.Affine(4, symmetric=False, offset=True, clip=MeanStd(1)))
    assert offset.offset.tolist() == [[3.0], [0.0]]
    wanted = [[4.0 / 15], [(1 + np.sqrt(7)) / 15]]
    np.testing.assert_allclose(offset.scale, wanted, rtol=1e-7)
    asymmetric = bm.quantize(x, bm.Affine(4, symmetric=False, clip=MeanStd(1)))
    np.testing.assert_allclose(asymmetric.scale, [[7 / 15], wanted[1]], rtol=1e-7)
    symmetric = bm.quantize(-x, bm.Affine(4, clip=MeanStd(1)))
    np.testing.assert_allclose(symmetric.scale, [[7 / 7], [(1 + np.sqrt(7)) / 7]], rtol=1e-7)


def test_sums_have_an_order_of_their_own(rng):
    """Neighbours in the order of `tree_sum` are half a group apart, whatever lies in between."""
    assert tree_sum(np.array([1e16, 1.0, -1e16, 1.0])) == 2.0
    assert tree_sum(np.array([1e16, -1e16, 1.0, 1.0])) == 0.0
    for length in (1, 2, 3, 5, 1000):
        terms = rng.standard_normal((4, length))
        np.testing.assert_allclose(tree_sum(terms), terms.sum(axis=1), atol=1e-12)


def test_sums_of_long_groups_are_those_of_numpy_nearly(rng):
    x = rng.standard_normal((3, 200_001), np.float32)
    for axis, group_size in (("row", None), (None, None), (1, None), ("row", 70_000), ("row", 33)):
        cut = view(x.shape, axis, group_size)
        scheme = bm.Affine(axis=axis, group_size=group_size)
        groups = [g.astype(np.float64) for g in groups_of(x, scheme)]
        assert lengths(cut).reshape(-1).tolist() == [g.size for g in groups]
        means_by_numpy = np.array([g.mean() for g in groups])
        np.testing.assert_allclose(means(x, cut).reshape(-1), means_by_numpy, atol=1e-13)
        about = means(x, cut)
        absolute, square = group_sums(x, cut, (np.abs, np.square), about)
        wanted = [[np.abs(g - g.mean()).sum(), g.var() * g.size] for g in groups]
        got = np.stack([absolute.reshape(-1), square.reshape(-1)], axis=1)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_uniform_density_gains_6_db_with_every_bit(bits):
    """10·log10(4) = 6.0206 dB: a signal of 1/3 by a noise of Δ²/12, with Δ = 2 / 2^bits.

    The full range has its outer codes at ±1, so 2^bits − 1 steps: 20·log10(2^bits − 1) dB. A range
    that ends half a step before ±1, a code in the middle of each of 2^bits steps, gives the law.
    """
    x = np.random.default_rng(bits).uniform(-1, 1, 1 << 20).astype(np.float32)
    for kind in (KINDS["asymmetric"], KINDS["offset"]):
        found = bm.metrics(x, bm.quantize(x, bm.Affine(bits, axis=None, **kind)))
        assert found.sqnr_db == pytest.approx(20 * np.log10(2**bits - 1), abs=0.02)
    scheme = bm.Affine(bits, axis=None, **KINDS["offset"])
    end = np.float32(1 - 2.0**-bits)
    arrays = scheme.encode(x, scheme.fit(np.array([-end, end])))
    found = bm.metrics(x, bm.QTensor(scheme, x.shape, "float32", arrays))
    assert found.sqnr_db == pytest.approx(20 * np.log10(2) * bits, abs=0.02)
