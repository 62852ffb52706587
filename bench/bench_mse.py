# SPDX-License-Identifier: MIT
"""Scales of least squared error: what the search costs beside the range, and beside HQQ.

One thread quantizes: parameters, codes and packing, with scales in float16. "x minmax" is the time
of the same grid over the range, as a share of the search's; dB are signal to noise.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from time import process_time
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from agree import same_bits, sqnr_db
from arrays import at_a_line
from bitmill import kernels, reference
from ceilings import one_pass
from minilm import folder_or_skip, one_layer
from peers import load

# Other packages warn of this and that, and the first import of some is slow.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = (
    128  # of the weights: 1.8 million, as many as MiniLM's layer has; a search is bound by the CPU
)
RULES: dict[str, dict[str, Any]] = {
    "absmax": {},
    "signed": {"scale_rule": "signed_max"},
    "asym": {"symmetric": False},
    "offset": {"symmetric": False, "offset": True},
}
CUTS = ["int4 g32", "int4 g64", "int4 g128", "int3 g64", "int2 g64"]
SEARCHES = ["absmax mse", "absmax mse-exact", "signed mse", "signed mse-exact", "asym mse"]
SEARCHES += ["asym mse-exact", "offset mse"]


def scheme(text: str) -> bm.Affine:
    """The scheme of "int4 g32 signed mse"."""
    width, cut, rule, clip = text.split()
    return bm.Affine(
        int(width.removeprefix("int")),
        group_size=int(cut.removeprefix("g")),
        clip=clip,
        scales="float16",
        **RULES[rule],
    )


@pytest.fixture(scope="module", params=["normal", "minilm"])
def x(request, weights):
    """Rows of the benches' weights, with their outliers, or a layer of MiniLM."""
    return at_a_line(weights["f32"][:ROWS]) if request.param == "normal" else _layer()


def _layer() -> np.ndarray:
    return one_layer(folder_or_skip())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cut", CUTS)
def bench_minmax(race, isa, x, cut, rule):
    """What the searches are compared with."""
    quantize(race, x, scheme(f"{cut} {rule} minmax"))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("cut", CUTS)
def bench_mse(race, isa, x, cut, search):
    if isa == "scalar" and search.endswith("exact"):
        pytest.skip("minutes for each: up to 5 s per million weights")
    quantize(race, x, scheme(f"{cut} {search}"))


def quantize(race, x, scheme):
    """Race a scheme beside the one by the range, after the answer was found to be good."""
    plain = replace(scheme, clip="minmax")
    q, by_range = bm.quantize(x, scheme, num_threads=1), bm.quantize(x, plain, num_threads=1)
    no_group_is_worse(x, q, by_range)
    if str(scheme.clip) == "mse-exact":
        fast = bm.quantize(x, replace(scheme, clip="mse"))
        assert sqnr_db(x, q.dequantize()) >= sqnr_db(x, fast.dequantize())
    if scheme != plain:
        as_the_twin(at_a_line(x[:2, :256]), scheme)
    race(
        lambda: bm.quantize(x, scheme, num_threads=1),
        rivals={} if scheme == plain else {"minmax": lambda: bm.quantize(x, plain, num_threads=1)},
        size=x.size,
        nbytes=x.nbytes + q.nbytes,
        ceiling=one_pass(x, q.nbytes),
    )
    note(race, x, q)


def no_group_is_worse(x, q, by_range):
    """Fail unless every group's squared error is at most that by the range, but for rounding."""
    size = q.scheme.group_size
    errors = [
        np.square(x.astype(np.float64) - made.dequantize()).reshape(-1, size).sum(1)
        for made in (q, by_range)
    ]
    assert (errors[0] <= errors[1] * (1 + 1e-6)).all()


def as_the_twin(x, scheme):
    """Fail unless kernel and NumPy twin agree bit for bit, on as much as the twin does quickly."""
    options = scheme.grid._asdict() | {
        "group_size": scheme.group_size,
        "exact": str(scheme.clip) == "mse-exact",
    }
    same_bits(tuple(kernels.mse_params(x, **options)), tuple(reference.mse_params(x, **options)))


def note(race, x, q):
    """The time of a million weights, and what is got for it."""
    if race.benchmark.stats is not None:
        info = race.benchmark.extra_info
        info["ms per million"] = 1 / info["Gweights/s"]
        info["CPU ms per million"] = 1e9 * cpu_time(x, q.scheme) / x.size
        info["dB"] = sqnr_db(x, q.dequantize())
        info["bits per weight"] = 8 * q.nbytes / x.size


def cpu_time(x, scheme):
    """Seconds of the CPU: others interrupt what takes long, but hardly the half millisecond of
    "minmax", so that on a busy machine "x minmax" is too small.
    """
    seconds = []
    for _ in range(3):
        start = process_time()
        bm.quantize(x, scheme, num_threads=1)
        seconds.append(process_time() - start)
    return median(seconds)


# Ours beside HQQ's group size: groups of 32 with a signed scale alone take as much as its 64.
PAIRS = [
    *(
        (f"int4 g{size} {search}", size)
        for size in (32, 64, 128)
        for search in ("offset mse", "asym mse", "signed mse")
    ),
    ("int4 g32 signed mse", 64),
    ("int4 g32 signed mse-exact", 64),
    ("int4 g64 signed mse", 128),
    ("int3 g64 offset mse", 64),
    ("int3 g32 signed mse", 64),
    ("int2 g64 offset mse", 64),
]


@pytest.mark.parametrize("solver", ["legacy", "v2"])
@pytest.mark.parametrize(("name", "group_size"), PAIRS, ids=lambda part: str(part))
def bench_hqq(race, x, name, group_size, solver):
    """HQQ as published. With its format, a scale and an offset, ours is to be as good or better;
    the others take fewer bytes, or as many with smaller groups, and are shown beside it."""
    hqq, ours = load("hqq"), scheme(name)
    rival = hqq.optimized(x, ours.bits, group_size, solver)
    answer, q = rival.run(), bm.quantize(x, ours, num_threads=1)
    rival.check(answer)
    theirs = sqnr_db(x, hqq.values(answer))
    nbytes = hqq.stored(answer)
    if ours.offset and ours.group_size == group_size:
        assert q.nbytes <= nbytes  # its fields of 3 bits are ten to a word
        assert sqnr_db(x, q.dequantize()) >= theirs
    race(
        lambda: bm.quantize(x, ours, num_threads=1),
        rivals={f"hqq.{solver}": rival.run},
        size=x.size,
        nbytes=x.nbytes + q.nbytes,
        ceiling=one_pass(x, q.nbytes),
    )
    note(race, x, q)
    if race.benchmark.stats is not None:
        info = race.benchmark.extra_info
        info["dB of hqq"], info["bits per weight of hqq"] = theirs, 8 * nbytes / x.size
