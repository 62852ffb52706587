# SPDX-License-Identifier: MIT
"""Sizes that break loops: short last groups, odd rows, every tail, and work that splits badly.

The cases are numbered A47 to A52. Arrays beyond 2^31 elements or bytes, A53 and A54, have a command
of their own: `python tests/long/large_arrays.py`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import bitmill as bm
import cases
import oracle
from bitmill import _core
from bitmill import reference as ref
from bitmill._dtypes import FLOATS, dtype
from conftest import same_bits

THREADS = [1, 2, 3, 5, 8, 16]


@pytest.fixture
def any_isa():
    """Lets the test switch from one ISA to another."""
    before = bm.isa()
    yield
    _core.use_isa(before)


# A47-A49: groups and rows


def lengths_around(group: int) -> list[int]:
    """One group and one more, each with its neighbours, and short last groups of several sizes."""
    rests = {1, group // 3, group // 2, group - 1} - {0}
    found = {group - 1, group, group + 1, 2 * group - 1, *(3 * group + r for r in rests)}
    return sorted(found - {0})


@pytest.mark.parametrize("group", [1, 2, 3, 16, 32, 63, 64, 65, 128, 4096])
@pytest.mark.parametrize(
    "scheme",
    [
        {"bits": 4},
        {"bits": 3, "symmetric": False, "scales": "float16"},
        {"bits": 8, "symmetric": False, "offset": True, "scales": "bfloat16"},
        {"bits": 16, "scale_rule": "signed_max"},
    ],
    ids=str,
)
def test_a47_last_groups_may_be_short(isa, rng, group, scheme):
    for i, length in enumerate(lengths_around(group)):
        x = rng.standard_normal((3, length)).astype(dtype(FLOATS[i % 4]))
        q = oracle.check(x, bm.Affine(**scheme, group_size=group))
        assert q.scale.shape == (3, -(-length // group))
        same_bits(q.dequantize(), oracle.dequantized(q))


@pytest.mark.parametrize("group", [37, 38, 1000, 2**31, 2**32 + 1, 2**63 - 1])
def test_a48_a_group_at_least_as_long_as_the_row_is_the_whole_row(isa, rng, group):
    x = rng.standard_normal((5, 37), np.float32)
    for options in {}, {"symmetric": False}, {"symmetric": False, "offset": True}:
        by_row = bm.quantize(x, bm.Affine(4, **options))
        q = bm.quantize(x, bm.Affine(4, group_size=group, **options))
        for name, array in q.arrays.items():
            same_bits(array, by_row.arrays[name])
        same_bits(q.dequantize(), by_row.dequantize())


@pytest.mark.parametrize("bits", range(2, 8))
@pytest.mark.parametrize("symmetric", [True, False])
def test_a49_rows_start_at_whole_words_and_end_with_zero_bits(isa, rng, bits, symmetric):
    for length in (1, 5, 7, 9, 31, 33, 65, 127):
        x = rng.standard_normal((4, length), np.float32)
        q = oracle.check(x, bm.Affine(bits, symmetric=symmetric))
        assert q.packed.shape == (4, -(-length * bits // 32))
        stream = np.unpackbits(q.packed.view(np.uint8), axis=1, bitorder="little")
        assert not stream[:, length * bits :].any()
        assert q.dequantize().shape == (4, length)
        for row in range(4):
            one = bm.quantize(x[row], q.scheme)
            same_bits(one.packed, q.packed[row])


# A50: every tail


@pytest.mark.parametrize("name", _core.kernel_names())
def test_a50_every_length_to_300_gives_the_bits_of_the_twin(any_isa, rng, monkeypatch, name):
    """The guard pages of test_arrays.py have every length to 130 already."""
    lengths = list(range(131, 301))
    monkeypatch.setattr(cases, "TAILS", lengths)
    monkeypatch.setattr(cases, "LENGTHS", lengths)
    calls = getattr(cases, name)(rng)
    if not name.endswith("pack"):
        calls = itertools.islice(calls, len(FLOATS) * len(lengths))  # each length in each dtype
    kernel, twin = getattr(bm.kernels, name), getattr(ref, name)
    with np.errstate(all="ignore"):
        compared = [(*call, twin(*call[1], **call[2])) for call in calls]
        for isa in bm.isas():
            _core.use_isa(isa)
            for case, arguments, options, wanted in compared:
                got = kernel(*arguments, **options)
                oracle.same_results(got, wanted, (isa, case, options))


# A51, A52: work that splits badly, and threads


@pytest.fixture(scope="module")
def ten_million() -> np.ndarray:
    """10^7 values, so many megabytes that threads are used."""
    return np.random.default_rng(51).standard_normal(10**7, np.float32)


SPLITS = {
    "A51 one row of 10^7 in groups": ((1, 10**7), bm.Affine(4, group_size=128)),
    "A51 one row of 10^7": ((1, 10**7), bm.Affine(8, symmetric=False)),
    "A51 a vector of 10^7": ((10**7,), bm.Affine(3)),
    "A51 10^7 rows of one": ((10**7, 1), bm.Affine(8)),
    "A51 10^7 rows as one tensor": ((10**7, 1), bm.Affine(8, axis=None, symmetric=False)),
    "A51 10^7 rows as one channel": ((10**7, 1), bm.Affine(8, axis=1)),
    "A51 10^7 channels": ((1, 10**7), bm.Affine(8, axis=1)),
    "A52 three rows": ((3, 10**6 + 1), bm.Affine(4)),
    "A52 seven rows": ((7, 10**6 + 3), bm.Affine(8, group_size=1000)),
    "A52 two planes": ((2, 3, 10**6 + 1), bm.Affine(8, axis=1)),
}


@pytest.fixture(scope="module", params=SPLITS)
def split(request: pytest.FixtureRequest, ten_million: np.ndarray):
    """A tensor that is hard to share out, a scheme, and what the twins make of it."""
    shape, scheme = SPLITS[request.param]
    x = ten_million[: np.prod(shape)].reshape(shape)
    wanted = oracle.quantized(x, scheme)
    values = oracle.dequantized(bm.QTensor(scheme, x.shape, "float32", wanted))
    return x, scheme, wanted, values


def test_a51_a52_threads_and_degenerate_shapes_change_no_byte(any_isa, split):
    x, scheme, wanted, values = split
    last = bm.isas()[-1]
    for isa, threads in [*((isa, 16) for isa in bm.isas()[:-1]), *((last, n) for n in THREADS)]:
        _core.use_isa(isa)
        q = bm.quantize(x, scheme, num_threads=threads)
        for name, array in q.arrays.items():
            assert np.array_equal(array, wanted[name]), (isa, threads, name)
        got = q.dequantize(num_threads=threads)
        assert np.array_equal(got.view(np.uint32), values.view(np.uint32)), (isa, threads)


@pytest.mark.parametrize("shape", [(1, 10**7), (2 * 10**6, 1), (3, 10**6 + 1)], ids=str)
def test_a51_a52_threads_do_not_change_what_metrics_say(ten_million, shape):
    x = ten_million[: np.prod(shape)].reshape(shape)
    y = x + np.float32(2.0**-9)
    assert len({bm.metrics(x, y, num_threads=threads) for threads in THREADS}) == 1
