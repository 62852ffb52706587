# SPDX-License-Identifier: MIT
"""The floating-point mode of the caller changes no byte, and is as it was afterwards (A43, A44)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import bitmill as bm
import float_modes
from bitmill import reference as ref
from bitmill._dtypes import FLOATS, STORAGES, Array, dtype
from test_values import CUTS, KINDS, SMALLEST

CODEBOOKS = [
    bm.KMeans(3), bm.KMeans(2, "row", pin_zero=True, values="float16"),
    bm.KMeans(4, "row", rows_per_codebook=5, values="bfloat16"), bm.NF4(16), bm.NF4(16, clip="mse"),
    bm.LearnedTable(3, 16), bm.Float("fp8_e4m3"), bm.Float("mxfp4"), bm.Float("nvfp4"),
]  # fmt: skip


def outcomes(x: Array, scheme: bm.Affine | bm.Outliers, **options: Any) -> list[bytes]:
    """All that comes out of quantizing `x` and back."""
    q = bm.quantize(x, scheme, **options)
    values = [q.dequantize(dtype=name, **options) for name in FLOATS]
    return [a.tobytes() for a in (*q.arrays.values(), q.codes, *values)]


def awkward(rng: np.random.Generator, name: str) -> list[Array]:
    """Values that a mode would change: subnormals, ties, quotients that are not exact."""
    subnormal = rng.integers(-100, 101, (4, 3, 45)) * SMALLEST.get(name, 2.0**-149)
    mixed = rng.standard_normal((4, 3, 45)) * np.array([1, 1e-38, 1e-40])[:, np.newaxis]
    mixed[3] = rng.integers(-255, 256, (3, 45)) / 2
    return [subnormal.astype(dtype(name)), mixed.astype(dtype(name))]


def conversions_and_sums(x: Array, y: Array) -> list[bytes]:
    """Kernels that `outcomes` does not call, on two matrices."""
    narrowed = [bm.kernels.from_float32(y, name) for name in FLOATS]
    window = np.full(len(x), -140, np.int32), np.full(len(x), -50, np.int32)
    counts = bm.kernels.histogram(x, *window, bins=100)
    made = (bm.kernels.to_float32(x), *narrowed, *bm.kernels.error_sums(x, y), counts)
    return [a.tobytes() for a in made]


if float_modes.HERE:

    def test_a43_a44_modes_are_set_as_they_say():
        """What the tests below rely on: NumPy feels each mode."""
        tiny, one, three = np.float32(1e-40), np.float32(1), np.float32(3)
        third = one / three
        with float_modes.mode(float_modes.FTZ_DAZ):
            flushed = tiny * one
        with float_modes.mode(float_modes.MODES["downward"]):
            below = one / three
        assert flushed == 0 != tiny * one
        assert below < third

    @pytest.mark.parametrize("name", FLOATS)
    @pytest.mark.parametrize("cut", CUTS)
    def test_a43_a44_mode_of_the_caller_changes_no_byte_and_is_kept(isa, rng, cut, name):
        kinds = zip(KINDS.values(), itertools.cycle(STORAGES), strict=False)
        for x, (kind, storage) in itertools.product(awkward(rng, name), kinds):
            scheme = bm.Affine(4, scales=storage, **kind, **CUTS[cut])
            wanted = outcomes(x, scheme)
            for mode, mxcsr in float_modes.MODES.items():
                with float_modes.mode(mxcsr):
                    got = outcomes(x, scheme)
                assert got == wanted, (scheme, mode)

    @pytest.mark.parametrize("threshold", [1e-40, "percentile:90", "mad:2"])
    def test_a43_a44_mode_of_the_caller_keeps_the_same_outliers(rng, threshold):
        scheme = bm.Outliers(bm.Affine(4), threshold=threshold, values="float32")
        for x in itertools.chain(*(awkward(rng, name) for name in FLOATS)):
            wanted = outcomes(x, scheme)
            for mode, mxcsr in float_modes.MODES.items():
                with float_modes.mode(mxcsr):
                    got = outcomes(x, scheme)
                assert got == wanted, mode

    @pytest.mark.parametrize("cut", CUTS)
    def test_a43_a44_helper_threads_do_not_inherit_the_mode(isa, rng, cut):
        x = (rng.integers(-300, 301, (70, 20000)) * 2.0**-149).astype(np.float32)
        scheme = bm.Affine(8, **CUTS[cut])
        wanted = outcomes(x, scheme, num_threads=1)
        with float_modes.mode(float_modes.MODES["FTZ, DAZ and upward"]):
            got = outcomes(x, scheme, num_threads=3)
        assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    def test_a43_a44_mode_changes_no_byte_of_a_kernel(isa, rng, mode):
        for x in itertools.chain(*(awkward(rng, name) for name in FLOATS)):
            x = x.reshape(12, 45)
            y = ref.to_float32(x) * np.float32(1.01)
            wanted = conversions_and_sums(x, y)
            with float_modes.mode(float_modes.MODES[mode]):
                got = conversions_and_sums(x, y)
            assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    def test_a43_a44_mode_changes_no_sum_of_a_row_of_many_blocks(isa, rng, mode):
        x = rng.standard_normal((2, 50000), np.float32)
        y = x * np.float32(1.01)
        wanted = [a.tobytes() for a in bm.kernels.error_sums(x, y)]
        with float_modes.mode(float_modes.MODES[mode]):
            got = [a.tobytes() for a in bm.kernels.error_sums(x, y)]
        assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    @pytest.mark.parametrize("kind", ["MinMax", "Histogram", "Moments"])
    def test_a43_a44_mode_changes_no_observer(isa, rng, kind, mode):
        def states() -> list[dict[str, Any]]:
            made = [getattr(bm.observers, kind)(axis=axis) for axis in (None, 0, -1)]
            for observer, x in itertools.product(made, batches):
                observer.update(x)
            return [observer.to_dict() for observer in made]

        batches = [x for name in FLOATS for x in awkward(rng, name)]
        batches[3][0, 0] = np.nan
        wanted = states()
        with float_modes.mode(float_modes.MODES[mode]):
            got = states()
        assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    @pytest.mark.parametrize("clip", ["mse", "mse-exact"])
    def test_a43_a44_mode_changes_no_search(rng, clip, mode):
        two_level = {"scales": bm.Scales("bfloat16", super_block=32)}
        schemes = [
            bm.Affine(4, group_size=16, clip=clip, **kind, **storage)
            for kind, storage in itertools.product(KINDS.values(), ({}, two_level))
        ]
        values, weights = awkward(rng, "float32"), rng.random(45) ** 9

        def found() -> list[list[bytes]]:
            each = itertools.product(values, schemes, (None, weights))
            made = [bm.quantize(x, scheme, importance=w) for x, scheme, w in each]
            return [[a.tobytes() for a in q.arrays.values()] for q in made]

        wanted = found()
        with float_modes.mode(float_modes.MODES[mode]):
            got = found()
        assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    def test_a43_a44_mode_changes_no_codebook(rng, mode):
        values = [x for name in FLOATS for x in awkward(rng, name)]
        values += [np.resize(values[0], 200_000), rng.standard_normal(100_000) * 2.0**-130]
        weights = 2.0**-1040 * rng.random(45)

        def found() -> list[bytes]:
            made = [bm.kmeans1d(x, 5) for x in values]
            made += [bm.kmeans1d(x, 9, weights) for x in values[:-2]]
            arrays = [a for book in made for a in (book.centroids, book.assignments, book.counts)]
            sums = np.array([(book.inertia, book.bound) for book in made])
            return [a.tobytes() for a in (*arrays, sums)]

        wanted = found()
        with float_modes.mode(float_modes.MODES[mode]):
            got = found()
        assert got == wanted

    @pytest.mark.parametrize("mode", float_modes.MODES)
    @pytest.mark.parametrize("scheme", CODEBOOKS, ids=str)
    def test_a43_a44_mode_changes_no_table_or_float(rng, scheme, mode):
        values = [x for name in FLOATS for x in awkward(rng, name)]
        weights = rng.random(45) ** 9 if scheme.takes_importance else None

        def found() -> list[list[bytes]]:
            made = [bm.quantize(x, scheme, importance=w) for x in values for w in (None, weights)]
            backs = [[q.dequantize(dtype=name) for name in FLOATS] for q in made]
            pairs = zip(made, backs, strict=True)
            return [[a.tobytes() for a in (*q.arrays.values(), *back)] for q, back in pairs]

        wanted = found()
        with float_modes.mode(float_modes.MODES[mode]):
            got = found()
        assert got == wanted
