# SPDX-License-Identifier: MIT
"""Percentiles of |x|: of a whole tensor, and of every row."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import bitmill as bm
from bitmill.percentile import of_rows
from ceilings import one_pass
from peers import load

DTYPES = ("f32", "bf16", "f16", "f64")
CUTS = {"tensor": (1, -1), "rows": None}


def cut_of(x, name):
    """One row of everything, or the rows."""
    return x.reshape(CUTS[name] or x.shape)


def ours(x, p):
    """A call whose answer was found to be NumPy's, for the first rows or all values."""
    checked = x[:16]
    wanted = np.percentile(np.abs(checked.astype(np.float64)), p, axis=1)
    assert of_rows(checked, p, checked, magnitude=True).tobytes() == wanted.tobytes()
    return partial(of_rows, x, p, x, magnitude=True, num_threads=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [99.9, 99, 50])
@pytest.mark.parametrize("cut", CUTS)
def bench_percentile(race, weights, isa, cut, p, dtype):
    x = cut_of(weights[dtype], cut)
    race(ours(x, p), size=x.size, nbytes=x.nbytes, ceiling=one_pass(x, 0))


@pytest.mark.parametrize("job", ["percentile", "percentile_by_sample", "percentile_by_partition"])
@pytest.mark.parametrize("cut", CUTS)
def bench_percentile_peers(race, weights, cut, job):
    if (cut, job) == ("rows", "percentile_by_sample"):
        pytest.skip("a sample of each row: NumPy's calls would take longer than they save")
    x = cut_of(weights["f32"], cut)
    call = ours(x, 99.9)
    rival = getattr(load("numpy"), job)(x, 99.9, call())
    rival.check(rival.run())
    facts = {"size": x.size, "nbytes": x.nbytes, "ceiling": one_pass(x, 0)}
    race(call, rivals={job: rival.run}, **facts)


@pytest.mark.parametrize("p", [99.9, 0.1])
def bench_percentile_of_signed(race, weights, isa, p):
    x = weights["f32"]
    assert bm.percentile(x[:64], p) == np.percentile(x[:64].astype(np.float64), p)
    race(
        lambda: bm.percentile(x, p, num_threads=1),
        size=x.size,
        nbytes=x.nbytes,
        ceiling=one_pass(x, 0),
    )
