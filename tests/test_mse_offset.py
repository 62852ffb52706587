# SPDX-License-Identifier: MIT
"""The fit of scale and offset beside a sweep over all offsets at each of many scales."""

import numpy as np
import pytest

import bitmill as bm
from bitmill import kernels, reference
from conftest import same_bits


def sweep(x, qmax):
    """The least error of a group over all offsets at 240 scales, each with its regression.

    As the offset falls, element i goes from code k to k + 1 at x_i − scale·(k + ½).
    """
    x = x.astype(np.float64) - x.astype(np.float64).mean()
    n, steps = len(x), np.arange(qmax)
    least = power = x @ x
    for scale in np.ptp(x) / qmax * np.linspace(0.35, 1.1, 240):
        order = np.argsort(-np.subtract.outer(x, scale * (steps + 0.5)), axis=None)
        of, k = np.divmod(order, qmax)
        q, qq, xq = np.arange(1.0, n * qmax + 1), np.cumsum(2.0 * k + 1), np.cumsum(x[of])
        spread = n * qq - q * q
        gain = np.divide(n * xq * xq, spread, out=np.zeros_like(xq), where=spread > 1e-9 * n * qq)
        least = min(least, power - gain.max())
    return least


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_fit_is_near_the_sweep_for_normal_values(rng, size, bits):
    x = rng.standard_normal((24, size), np.float32)
    made = kernels.mse_params(x, qmin=0, qmax=(1 << bits) - 1, rule="offset")
    scale, offset = made.scale.astype(np.float64), made.offset.astype(np.float64)
    d = x - (offset + scale * np.clip(np.rint((x - offset) / scale), 0, (1 << bits) - 1))
    least = sum(sweep(row, (1 << bits) - 1) for row in x)
    assert 10 * np.log10((d * d).sum() / least) < 0.06


@pytest.mark.parametrize("module", [reference, kernels])
@pytest.mark.parametrize("rule", ["asymmetric", "offset"])
def test_values_near_the_largest_float_keep_the_range(rng, module, rule):
    x = np.ldexp(rng.uniform(-1, 1, (8, 32)), 127).astype(np.float32)
    x[:, 0] = 2.0**125
    x[4:] /= 4  # within what is searched, or not
    grid = {"qmin": 0, "qmax": 15}
    found = module.mse_params(x, **grid, rule=rule)
    by_range = reference.affine_params(*reference.minmax(x), **grid, rule=rule)
    large = np.abs(x).max(axis=1) >= 2.0**125
    for one, other in zip(found[:3], by_range[:3], strict=True):
        if one is not None:
            same_bits(one[large], other[large])
    assert large[:4].all()
    assert (found.scale[~large] != by_range.scale[~large]).any()


@pytest.mark.parametrize("clip", ["mse", "mse-exact"])
def test_no_value_becomes_infinite_that_the_range_keeps(rng, clip):
    x = (rng.standard_normal((60, 32)) * 4e37).astype(np.float32)
    for kind in ({}, {"offset": True}):
        by_range, found = (
            np.asarray(bm.quantize(x, bm.Affine(4, symmetric=False, clip=name, **kind)))
            for name in ("minmax", clip)
        )
        assert np.isfinite(by_range).all()
        assert np.isfinite(found).all()
