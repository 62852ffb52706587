# SPDX-License-Identifier: MIT
"""`bm.percentile` beside `np.percentile`, and the clip by percentiles beside the rule in NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import bitmill as bm
import float_modes
from bitmill import _core
from bitmill._dtypes import FLOATS, dtype
from bitmill.clip.matrix import matrix_of
from bitmill.schemes import from_dict
from conftest import same_bits
from test_reference_order import layouts
from test_values import CUTS, KINDS

PERCENTAGES = (0, 0.1, 50, 99, 99.9, 99.99, 100)


def numpy_percentile(x, p, axis=None):
    """NumPy's, of the float64 values; zeros are positive."""
    return np.percentile(np.asarray(x).astype(np.float64), p, axis=axis) + 0.0


def check(x, p, axis=None, **options):
    found, wanted = bm.percentile(x, p, axis, **options), numpy_percentile(x, p, axis)
    assert type(found) is type(wanted)
    same_bits(np.asarray(found), np.asarray(wanted), (p, axis))


@settings(deadline=None, max_examples=200)
@given(data=st.data(), name=st.sampled_from(FLOATS))
def test_percentiles_are_those_of_numpy(data, name):
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=9))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    x = data.draw(arrays.arrays(np.float32, shape, elements=finite))
    with np.errstate(over="ignore"):
        x = x.astype(dtype(name))
    x[~np.isfinite(x)] = 1
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    p = data.draw(st.sampled_from(PERCENTAGES) | st.floats(0, 100))
    with np.errstate(over="ignore"):
        check(x, p, axis)


@pytest.mark.parametrize("length", [2047, 2049, 65_535, 131_073, 1_048_577])
def test_percentiles_of_values_that_a_sample_cannot_foresee(rng, length):
    for name, x in layouts(rng, length):
        wanted = numpy_percentile(x, PERCENTAGES)
        for threads in (1, 2):
            same_bits(bm.percentile(x, PERCENTAGES, num_threads=threads), wanted, name)


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -3])
@pytest.mark.parametrize("name", FLOATS)
def test_every_axis_of_a_strided_array(isa, rng, name, axis):
    x = rng.standard_normal((14, 9, 33)).astype(dtype(name))
    for view in (x, x[::2, ::-1], x.T, np.asfortranarray(x)):
        check(view, 99.9, axis)


@pytest.mark.parametrize("p", [[50], (0, 100), np.array([[1, 2], [3, 4]]), [], np.float32(99.9)])
def test_shape_of_p_comes_first(rng, p):
    if np.size(p) == 0:
        with pytest.raises(ValueError, match=r"p=\[\] is empty"):
            bm.percentile(np.ones(3, np.float32), p)
        return
    x = rng.standard_normal((5, 7), np.float32)
    check(x, np.asarray(p, np.float64)[()], 0)
    same_bits(bm.percentile(x, p), np.asarray(numpy_percentile(x, np.asarray(p, np.float64)))[()])


def test_float64_that_is_not_float32_keeps_its_digits(rng):
    x = rng.standard_normal((30, 40))
    x[0, 0] = 1e300
    for axis in (None, 0, 1):
        check(x, 99.9, axis)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(name, bad):
    x = np.ones((3, 50), dtype(name))
    x[1, 7] = bad
    for axis in (None, 0, 1):
        with pytest.raises(ValueError, match=rf"x has 1 value .* x.flat\[57\], is {bad}"):
            bm.percentile(x, 1, axis)


def test_value_that_is_not_finite_among_doubles():
    with pytest.raises(ValueError, match=r"x.flat\[1\], is inf"):
        bm.percentile(np.array([0.1, np.inf]), 50)
    with pytest.raises(ValueError, match=r"x has 1 value that .* x.flat\[1\], is nan"):
        bm.percentile(np.array([1e300, np.nan]), 50)


@pytest.mark.parametrize(
    ("x", "p", "options", "error", "message"),
    [
        (np.float32(1), 50, {}, ValueError, "x has 0 dimensions"),
        (np.zeros((0, 3), np.float32), 50, {}, ValueError, "of no values there is no percentile"),
        ([1, 2], 50, {}, TypeError, "x has dtype int64"),
        ([1.0], 101, {}, ValueError, "p=101 must be between 0 and 100"),
        ([1.0], -0.5, {}, ValueError, "p=-0.5 must be between 0 and 100"),
        ([1.0], np.nan, {}, ValueError, "p=nan must be between 0 and 100"),
        ([1.0], [50, 200], {}, ValueError, "p=200 must be between 0 and 100"),
        ([1.0], "50", {}, TypeError, "p='50' is a str; p takes a number"),
        ([1.0], True, {}, TypeError, "p=True is a bool; p takes a number"),
        ([1.0], 50, {"axis": 1}, ValueError, "axis=1 must be between -1 and 0"),
        ([1.0], 50, {"axis": 0.0}, TypeError, "axis=0.0 is a float"),
        ([1.0], 50, {"num_threads": 0}, ValueError, "num_threads=0 must be between 1"),
    ],
)
def test_arguments_that_are_refused(x, p, options, error, message):
    with pytest.raises(error, match=message):
        bm.percentile(x, p, **options)


# The clip


def clipped(x, rule, p):
    """The clipped range of a group by the rule in the docstring of Percentile."""
    x = x.astype(np.float64)
    if rule in ("asymmetric", "offset"):
        below = (100 - p) / 2
        return [np.float32(np.percentile(x, each)) for each in (below, 100 - below)]
    t = np.float32(np.percentile(np.abs(x), p))
    if rule == "signed_max":
        return (0, t) if x.max() > -x.min() else (-t, 0)
    return -t, t


def fitted(x, scheme, p):
    """Parameters of every group by that range, from the twin."""
    view, grid = scheme.view(x.shape), scheme.grid
    matrix, size = matrix_of(bm.reference.to_float32(x), view)
    size = size or matrix.shape[1]
    ends = [
        clipped(row[start : start + size], grid.rule, p)
        for row in matrix
        for start in range(0, matrix.shape[1], size)
    ]
    lo, hi = (np.array([each], np.float32) for each in zip(*ends, strict=True))
    return bm.reference.affine_params(lo, hi, **grid._asdict())


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_clip_is_the_rule_for_every_group(isa, rng, kind, cut, name):
    x = rng.standard_normal((6, 5, 23)).astype(dtype(name))
    for p in (99.9, 90, 60):
        clip = bm.clip.Percentile(p)
        scheme = bm.Affine(4, clip=clip, scales="float16", **KINDS[kind], **CUTS[cut])
        made, wanted = scheme.fit(x), fitted(x, scheme, p)
        assert made.unclipped == 0
        for one, other in zip(made[:3], wanted[:3], strict=True):
            same_bits(one, None if other is None else other.reshape(one.shape))


def test_the_code_beyond_the_others_is_on_the_side_that_reaches_further(rng):
    x = rng.standard_normal((2, 500), np.float32)
    x[0, :2], x[1, :2] = [30, -29], [-30, 29]
    scheme = bm.Affine(4, scale_rule="signed_max", clip="percentile:90")
    t = np.percentile(np.abs(x).astype(np.float64), 90, axis=1).astype(np.float32)
    same_bits(bm.quantize(x, scheme).scale[:, 0], t * np.float32([-1, 1]) / np.float32(8))


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_per_cent_are_the_full_range(rng, kind, cut):
    x = rng.standard_normal((6, 5, 23), np.float32)
    x[0] = 0
    x[1, :, :] = 3
    options = KINDS[kind] | CUTS[cut]
    one, other = (
        bm.quantize(x, bm.Affine(4, clip=c, **options)) for c in ("percentile:100", "minmax")
    )
    for name, array in other.arrays.items():
        same_bits(one.arrays[name], array)
    assert one.health == other.health


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (2, 0, 3)])
@pytest.mark.parametrize("cut", CUTS)
def test_nothing_to_clip(shape, cut):
    options = dict(CUTS[cut])
    if len(shape) == 2 and options.get("axis") == 1:
        options["axis"] = -1
    q = bm.quantize(np.zeros(shape, np.float32), bm.Affine(4, clip="percentile:99", **options))
    assert q.shape == shape


@pytest.mark.parametrize("cut", CUTS)
def test_value_that_is_not_finite_is_found_by_the_clip(cut):
    x = np.ones((4, 3, 11), np.float32)
    x[2, 1, 5] = np.nan
    for kind in KINDS.values():
        with pytest.raises(ValueError, match=rf"x.flat\[{2 * 33 + 11 + 5}\], is nan"):
            bm.quantize(x, bm.Affine(4, clip="percentile:50", **kind, **CUTS[cut]))


@pytest.mark.parametrize("p", [99.9, 100, 0.1, 99, 1e-7, 12.5])
def test_spelling_comes_back(p):
    clip = bm.clip.Percentile(p)
    assert str(clip) == f"percentile:{p}"
    scheme = bm.Affine(4, clip=clip)
    assert scheme == bm.Affine(4, clip=str(clip))
    assert scheme.to_dict()["clip"] == str(clip)
    assert from_dict(scheme.to_dict()) == scheme


@pytest.mark.parametrize("text", ["percentile", "percentile:", "percentile:all", "percentile:0",
                                  "percentile:101", "percentile:nan", "percentile:-1"])  # fmt: skip
def test_spellings_that_name_no_clip(text):
    with pytest.raises(ValueError, match="clip 'percentile' takes what is kept in per cent"):
        bm.Affine(4, clip=text)


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (0, ValueError, "p=0 leaves no range"),
        (100.5, ValueError, "p=100.5 must be between 0 and 100"),
        ("99", TypeError, "p='99' is a str; p takes a number"),
    ],
)
def test_clips_that_are_refused(p, error, message):
    with pytest.raises(error, match=message):
        bm.clip.Percentile(p)


def test_threads_change_no_byte(rng):
    x = rng.standard_normal((3000, 700), np.float32)
    share_from = _core.share_from(0)
    try:
        for cut, kind in itertools.product(
            ({}, {"axis": None}, {"group_size": 64}), KINDS.values()
        ):
            scheme = bm.Affine(4, clip="percentile:99.5", **kind, **cut)
            one, two = (bm.quantize(x, scheme, num_threads=n) for n in (1, 2))
            for name, array in one.arrays.items():
                same_bits(two.arrays[name], array)
    finally:
        _core.share_from(share_from)


if float_modes.HERE:

    @pytest.mark.parametrize("mode", float_modes.MODES)
    def test_mode_of_the_caller_changes_no_byte(isa, rng, mode):
        x = rng.standard_normal((4, 3, 45)) * np.array([1, 1e-38, 1e-40])[:, np.newaxis]
        x = x.astype(np.float32)
        schemes = [
            bm.Affine(4, clip="percentile:97.3", **kind, **cut)
            for kind, cut in itertools.product(KINDS.values(), CUTS.values())
        ]

        def outcomes():
            made = [bm.percentile(x, p, axis) for p in (97.3, 50, 1) for axis in (None, 0, 2)]
            made += [array for s in schemes for array in bm.quantize(x, s).arrays.values()]
            return [np.asarray(array).tobytes() for array in made]

        wanted = outcomes()
        with float_modes.mode(float_modes.MODES[mode]):
            got = outcomes()
        assert got == wanted
