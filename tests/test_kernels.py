# SPDX-License-Identifier: MIT
"""Every kernel gives the bits of its NumPy twin, on every ISA, and touches nothing else."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import cases
from bitmill import _core, kernels, reference
from bitmill._arguments import RULES
from bitmill._dtypes import dtype
from conftest import Guarded, same_bits

NAMES = _core.kernel_names()
WITH_OUT = [n for n in NAMES if "out" in inspect.signature(getattr(kernels, n)).parameters]


def outputs(result):
    """The arrays and counts that a kernel returned, as a tuple."""
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", NAMES)
def test_kernel_equals_twin(isa, rng, name):
    kernel, twin = getattr(kernels, name), getattr(reference, name)
    calls = 0
    with np.errstate(all="ignore"):
        for case, arguments, options in getattr(cases, name)(rng):
            before = [a.tobytes() for a in arguments if isinstance(a, np.ndarray)]
            got, wanted = kernel(*arguments, **options), twin(*arguments, **options)
            assert before == [a.tobytes() for a in arguments if isinstance(a, np.ndarray)], case
            counts = [v for v in outputs(wanted) if isinstance(v, int)]
            assert [v for v in outputs(got) if isinstance(v, int)] == counts, (case, options)
            if getattr(wanted, "overflowed", 0):
                continue  # entries that overflow are unspecified
            for field, (a, b) in enumerate(zip(outputs(got), outputs(wanted), strict=True)):
                if not isinstance(b, int):
                    same_bits(a, b, (case, options, field))
            calls += 1
    assert calls > 50


@pytest.fixture(params=[False, True], ids=["cached", "streamed"])
def streams(request):
    """Outputs of any size written past the caches, or none."""
    before = _core.stream_from(0 if request.param else 1 << 62)
    yield
    _core.stream_from(before)


@pytest.mark.parametrize("name", WITH_OUT)
def test_kernel_writes_its_output_and_nothing_else(isa, streams, rng, name):
    kernel = getattr(kernels, name)
    every_fifth = list(getattr(cases, name)(rng))[::5]
    with np.errstate(all="ignore"):
        for i, (case, arguments, options) in enumerate(every_fifth):
            wanted = outputs(kernel(*arguments, **options))[0]
            for paint in (0x5A, 0xA5):  # an output left alone would differ between the two
                guarded = Guarded(wanted.shape, wanted.dtype, paint, offset=i % 4)
                got = outputs(kernel(*arguments, **options, out=guarded.array))[0]
                assert got is guarded.array
                same_bits(got, wanted, case)
                guarded.check()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("group", [None, 32, 100, 128, 70_000])
def test_rows_that_are_cut_into_pieces_equal_the_twin(isa, streams, rng, threads, group):
    # Twice a piece of parallel.cpp, so that rows are cut; 9.4 MB, so that threads share it.
    x = cases.normal(rng, (9, 2 * 131_072 + 149))
    options = {"qmin": 0, "qmax": 7, "group_size": group, "bits": 3}
    params = {"rule": "asymmetric", "scales": "bfloat16"}
    wanted = reference.affine_quantize(x[:2], **options, **params)
    got = kernels.affine_quantize(x, **options, **params, num_threads=threads)
    given = got[1:4]
    again = kernels.affine_encode(x, *given, **options, num_threads=threads)
    same_bits(again, got.codes)
    for field in range(3):
        same_bits(got[field][:2], wanted[field], field)
    decoding = {"group_size": group, "bits": 3, "length": x.shape[1], "signed": False}
    values = kernels.affine_decode(got.codes, *given, **decoding, num_threads=threads)
    few = [None if p is None else p[:2] for p in got[:4]]
    same_bits(values[:2], reference.affine_decode(*few, **decoding))
    same_bits(kernels.absmax(x, group, num_threads=threads), reference.absmax(x, group))


@pytest.mark.parametrize("shape", [(3000, 517), (40, 9001)])
def test_columns_that_are_cut_into_pieces_equal_the_twin(isa, rng, shape):
    x = cases.normal(rng, shape)
    for threads in (1, 3):
        same_bits(kernels.column_absmax(x, num_threads=threads), reference.column_absmax(x))
        for got, wanted in zip(
            kernels.column_minmax(x, num_threads=threads), reference.column_minmax(x), strict=True
        ):
            same_bits(got, wanted)


@pytest.mark.parametrize("shape", [(1, 2_000_003), (3, 700_001), (2000, 999)])
def test_histograms_of_pieces_add_up(isa, rng, shape):
    x = cases.normal(rng, shape)
    window = np.full(shape[0], -7, np.int32), np.full(shape[0], -150, np.int32)
    wanted = reference.histogram(x, *window, bins=300)
    for threads in (1, 3):
        same_bits(kernels.histogram(x, *window, bins=300, num_threads=threads), wanted)


@pytest.mark.parametrize("more", [0, 1 << 14, 1 << 15])
def test_different_values_of_shares_are_counted_together(isa, rng, more):
    """Shares have 49,152 of them each; with 16,384 that are not in all there are 65,536."""
    x = rng.integers(0, 3 << 14, (3, 1 << 20)).astype(np.float32)
    x[1] += more
    wanted = reference.distinct_values(x)
    assert (wanted is None) == (more > 1 << 14)
    for threads in (1, 2, 3):
        got = kernels.distinct_values(x, num_threads=threads)
        for a, b in zip(outputs(got), outputs(wanted), strict=True):
            same_bits(a, b)


@pytest.mark.parametrize("module", [kernels, reference])
def test_zero_points_come_in_the_width_of_the_codes(module):
    codes, one = np.zeros((1, 2), np.uint8), np.ones((1, 1), np.float32)
    with pytest.raises(TypeError, match="zero_point has dtype uint16; wanted uint8"):
        module.affine_decode(codes, one, np.full((1, 1), 300, np.uint16))


@pytest.mark.parametrize("name", NAMES)
def test_twin_has_the_kernels_signature(name):
    kernel, twin = getattr(kernels, name), getattr(reference, name)
    assert inspect.signature(kernel) == inspect.signature(twin)
    assert twin.__doc__
    assert kernel.__doc__.startswith(f"`bitmill.reference.{name}`, fast")


def test_every_kernel_has_a_wrapper_a_twin_and_cases():
    assert sorted(NAMES) == sorted(kernels.__all__) == sorted(reference.__all__)
    for name in NAMES:
        assert callable(getattr(cases, name))


@pytest.mark.parametrize("bits", range(1, 8))
def test_pack_refuses_a_code_out_of_range_at_any_position(isa, bits):
    for length in (1, 63, 64, 65, 1024, 1030):
        for at in {0, length // 2, length - 1}:
            codes = np.zeros((2, length), np.uint8)
            codes[1, at] = 1 << bits
            with pytest.raises(ValueError, match=rf"codes.flat\[{length + at}\], is {1 << bits}"):
                kernels.pack(codes, bits)


def test_every_byte_unpacks_to_its_nibbles_and_back(isa):
    every = np.arange(256, dtype=np.uint8).reshape(1, 256)
    codes = kernels.unpack(every.view(np.uint32), 4, 512, signed=True)
    assert codes[0, 0::2].tolist() == [(b & 15) - 8 for b in range(256)]
    assert codes[0, 1::2].tolist() == [(b >> 4) - 8 for b in range(256)]
    assert kernels.pack(codes, 4).tobytes() == every.tobytes()


def test_nonfinite_groups_are_counted_and_the_others_unharmed(isa, rng):
    x = cases.normal(rng, (4, 300))
    clean = kernels.affine_quantize(x, qmin=-8, qmax=7, rule="absmax", group_size=64)
    x[1, 70], x[1, 71], x[3, 299] = np.nan, np.inf, -np.inf
    made = kernels.affine_quantize(x, qmin=-8, qmax=7, rule="absmax", group_size=64)
    assert made.nonfinite == 2
    assert (made.scale != clean.scale).sum() == 2
    same_bits(made.codes[0], clean.codes[0])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("group_size", [32, 48, 64, 128, 256, None])
def test_every_nonfinite_value_is_found(isa, rule, bits, group_size):
    low = 0 if rule in ("asymmetric", "offset") else -(1 << bits - 1)
    options = {"qmin": low, "qmax": low + (1 << bits) - 1, "rule": rule, "group_size": group_size}
    bad = np.array([0x7FC00000, 0xFFC00000, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)
    for place in (0, 17, 130, 255, 300, 511):  # in vectors, in parts, in groups
        x = np.linspace(-1, 1, 4 * 512, dtype=np.float32).reshape(4, 512)
        x[:, place] = bad
        made = kernels.affine_quantize(x, **options, num_threads=1)
        assert made[4:] == (4, 0, 0)


@pytest.mark.parametrize("dtype_name", ["float32", "bfloat16"])
@pytest.mark.parametrize("group_size", [32, 64, 128, 256, 384, 1024, 2048, 2176, 3000])
def test_groups_that_are_looked_at_together_may_end_anywhere(isa, rng, group_size, dtype_name):
    for length in (group_size * 5 // 2 + 1, 2048 + group_size * 3 // 2, 4500):
        x = cases.normal(rng, (3, length)).astype(dtype(dtype_name))
        for options in (
            {"qmin": -8, "qmax": 7, "rule": "absmax", "bits": 4},
            {"qmin": 0, "qmax": 255, "rule": "asymmetric"},
        ):
            made = kernels.affine_quantize(x, **options, group_size=group_size)
            wanted = reference.affine_quantize(x, **options, group_size=group_size)
            for name in ("codes", "scale", "zero_point"):
                one, other = getattr(made, name), getattr(wanted, name)
                assert (one is None) == (other is None)
                if other is not None:
                    same_bits(one, other)


@pytest.mark.parametrize(
    ("qmin", "qmax", "rule"),
    [(-8, 7, "absmax"), (-128, 127, "absmax"), (-8, 7, "signed_max"), (0, 15, "offset")],
)
@pytest.mark.parametrize("length", [9000, 16384, 32768])
def test_searches_of_long_rows_near_their_maximum_equal_the_twin(
    isa, rng, length, qmin, qmax, rule
):
    # Their squares, to 12 bits, filled 32 bits.
    x = (rng.choice([-1, 1], (1, length)) * rng.uniform(0.97, 1, (1, length))).astype(np.float32)
    options = {"qmin": qmin, "qmax": qmax, "rule": rule}
    got, wanted = kernels.mse_params(x, **options), reference.mse_params(x, **options)
    same_bits(got.scale, wanted.scale)
    if wanted.offset is not None:
        same_bits(got.offset, wanted.offset)
