# SPDX-License-Identifier: MIT
"""Histograms: the kernel, and the observer over 100 batches beside those of others.

On normal data, and on data of which all but a few values fall into one bin, where every increment
waits for the one before unless it is kept from that.
"""

from __future__ import annotations

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, nbytes, same_bits
from arrays import at_a_line
from bitmill import kernels, observers, reference
from bitmill.clip import ranges
from bitmill.grid import view
from bitmill.summaries import window
from ceilings import one_pass, two_passes
from peers import load

# torch has moved its observers, and says so.
pytestmark = pytest.mark.filterwarnings("ignore")

BINS = 2048
BATCHES = 100
DATA = ("spread", "one-bin")


def values(weights, data, dtype="f32"):
    """The weights, or values near 0 among which a few are far from it."""
    x = weights[dtype]
    if data == "spread":
        return x
    near = np.abs(weights["f32"]) * np.float32(1e-6)
    near.reshape(-1)[:: max(1, x.size // BATCHES)] = 1
    return at_a_line(near.astype(x.dtype))


@pytest.mark.parametrize("dtype", ["f32", "bf16", "f16", "f64"])
@pytest.mark.parametrize("data", DATA)
def bench_histogram(race, weights, isa, data, dtype):
    x = values(weights, data, dtype).reshape(1, -1)
    room = [part.reshape(-1) for part in window(ranges(x, view(x.shape, "row", None)), BINS)[:2]]
    some = x[:, : CHECKED.stop * 4096]
    same_bits(
        kernels.histogram(some, *room, bins=BINS), reference.histogram(some, *room, bins=BINS)
    )
    made = kernels.histogram(x, *room, bins=BINS, num_threads=1)
    assert made.sum() == x.size
    race(
        lambda: kernels.histogram(x, *room, bins=BINS, num_threads=1),
        size=x.size,
        nbytes=nbytes(x),
        ceiling=one_pass(x, 0),
    )


@pytest.mark.parametrize(
    ("peer", "job"),
    [("numpy", "histogram"), ("torch_observer", "histc"), ("torch_observer", "histogram")],
    ids=["numpy", "torch_histc", "torch_observer"],
)
@pytest.mark.parametrize("data", DATA)
def bench_histogram_observer(race, weights, data, peer, job):
    """100 batches; those with a range given beforehand have less to do than an observer."""
    batches = np.array_split(values(weights, data).reshape(-1), BATCHES)
    found = observe(batches).histogram()
    assert found.total == sum(batch.size for batch in batches)
    rival = getattr(load(peer), job)(batches, found, BINS)
    rival.check(rival.run())
    race(
        lambda: observe(batches),
        rivals={f"{peer}.{job}": rival.run},
        size=found.total,
        nbytes=nbytes(*batches),
        ceiling=two_passes(weights["f32"], 0),
    )


def observe(batches):
    """What is timed: as torch's observer does, range and counts."""
    observer = observers.Histogram(BINS)
    for batch in batches:
        observer.update(batch, num_threads=1)
    return observer


@pytest.mark.parametrize("name", ["MinMax", "MovingAverage", "Moments"])
def bench_observer(race, weights, name):
    batches = np.array_split(weights["f32"].reshape(-1), BATCHES)

    def ours():
        observer = getattr(observers, name)()
        for batch in batches:
            observer.update(batch, num_threads=1)
        return observer

    made = ours().compute(bm.Affine(8, axis=None))
    assert name == "MovingAverage" or made.scale == np.abs(weights["f32"]).max() / np.float32(127)
    race(
        ours, size=weights["f32"].size, nbytes=nbytes(*batches), ceiling=one_pass(weights["f32"], 0)
    )
