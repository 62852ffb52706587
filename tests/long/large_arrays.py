# SPDX-License-Identifier: MIT
"""Arrays beyond 2^31 elements, and views that span more than 2^31 and 2^32 bytes (A53, A54).

    python tests/long/large_arrays.py       some minutes, 8 GB of memory, a sparse file of 20 GB

Not part of the default run: pytest collects this file only where it is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
import bitmill as bm
import oracle
from conftest import same_bits

pytestmark = pytest.mark.slow

COUNT = 2**31 + 40
PLACES = [0, 2**31 - 1, 2**31, 2**31 + 5, COUNT - 1]
VALUES = [7.0, -7.0, 3.0, 1.0, -2.0]


@pytest.fixture(scope="module")
def halves() -> np.ndarray:
    """Zeros but for a few values on either side of 2^31; most pages are never written."""
    x = np.zeros(COUNT, np.float16)
    x[PLACES] = VALUES
    return x


def nonzero(codes: np.ndarray) -> dict[int, int]:
    """The codes that are not 0, by their places."""
    places = np.flatnonzero(codes)
    return dict(zip(places.tolist(), codes[places].tolist(), strict=True))


WANTED = dict(zip(PLACES, map(int, VALUES), strict=True))


@pytest.mark.parametrize("shape", [(COUNT,), (1, COUNT), (COUNT // 8, 8)], ids=str)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a53_quantize_packs_beyond_2_31_codes(halves, shape, num_threads):
    q = bm.quantize(halves.reshape(shape), bm.Affine(4, axis=None), num_threads=num_threads)
    assert q.scale.reshape(-1).tolist() == [1]
    words = q.packed.reshape(-1)
    assert words.size == COUNT // 8
    assert nonzero(words != 0x88888888).keys() == {place // 8 for place in PLACES}
    for place, code in WANTED.items():
        assert int(words[place // 8]) >> 4 * (place % 8) & 15 == code + 8


def test_a53_rows_beyond_2_31_elements(halves):
    q = bm.quantize(halves.reshape(-1, 8), bm.Affine(4, scales="float16"))
    ones = np.flatnonzero(q.scale != 1)
    assert ones.tolist() == sorted({place // 8 for place in PLACES} - {0, (2**31 - 1) // 8})
    assert q.scale[ones, 0].tolist() == [np.float16(3 / 7), np.float16(2 / 7)]


def test_a53_groups_beyond_2_31_elements(halves):
    q = bm.quantize(halves, bm.Affine(8, group_size=2**20, scales="float16"))
    assert nonzero(q.codes).keys() == WANTED.keys()
    assert q.scale.shape == (2049,)
    assert q.scale[[0, 2047, 2048]].tolist() == [np.float16(v / 127) for v in (7, 7, 3)]
    assert (q.scale[1:2047] == 1).all()


def test_a53_dequantize_beyond_2_31_elements(halves):
    q = bm.quantize(halves, bm.Affine(8, axis=None))
    values = q.dequantize(dtype="bfloat16")
    places = np.flatnonzero(values.view(np.uint16))
    assert places.tolist() == PLACES
    wanted = np.array(VALUES, np.float32)
    same_bits(values[places], (np.rint(wanted / q.scale) * q.scale).astype(ml_dtypes.bfloat16))


def test_a53_pack_and_unpack_beyond_2_31_codes():
    codes = np.zeros(COUNT, np.int8)
    codes[PLACES] = VALUES
    words = bm.pack(codes, 5)
    assert nonzero(bm.unpack(words, 5, COUNT, signed=True)) == WANTED
    codes[2**31 + 7] = 99
    with pytest.raises(ValueError, match=rf"codes.flat\[{2**31 + 7}\], is 99"):
        bm.pack(codes, 5)


def test_a53_nan_beyond_2_31_elements_is_named(halves):
    halves[2**31 + 9] = np.nan
    try:
        for scheme in (bm.Affine(4, group_size=128, scales="float16"), bm.Affine(8, axis=None)):
            with pytest.raises(ValueError, match=rf"x.flat\[{2**31 + 9}\], is nan"):
                bm.quantize(halves, scheme)
    finally:
        halves[2**31 + 9] = 0


def test_a53_columns_and_sums_beyond_2_31_elements(halves):
    x = halves.reshape(-1, 8)
    lo, hi = bm.kernels.column_minmax(x)
    assert lo.tolist() == [0, 0, 0, 0, 0, 0, 0, -7]
    assert hi.tolist() == [7, 0, 0, 0, 0, 1, 0, 0]
    q = bm.quantize(x, bm.Affine(8, axis=1))
    assert nonzero(q.codes.reshape(-1)).keys() == WANTED.keys()


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 20 GB that takes almost no space."""
    path = tmp_path_factory.mktemp("sparse") / "holes"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    return path


@pytest.mark.parametrize("row_bytes", [2**31 - 64, 2**31 + 64, 2**32 - 64, 2**32 + 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_a54_views_that_span_more_than_2_32_bytes(sparse, rng, row_bytes, dtype):
    size = np.dtype(dtype).itemsize
    raw = np.memmap(sparse, np.uint8, "r+", shape=4 * row_bytes)
    view = raw.view(dtype).reshape(4, row_bytes // size)
    for x in (
        view[:, 3:40],  # rows far apart
        view[::-1, 40:3:-1],
        view[:, :: row_bytes // size // 21],  # columns far apart as well
        view[1:3, 5:30].T,
    ):
        x[...] = rng.standard_normal(x.shape).astype(dtype)
        for scheme in (bm.Affine(8), bm.Affine(4, group_size=5), bm.Affine(8, axis=0)):
            oracle.check(x, scheme)


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-v", *sys.argv[1:]]))
