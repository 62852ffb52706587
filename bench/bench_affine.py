# SPDX-License-Identifier: MIT
"""Affine kernels along rows: quantize, encode and decode, by width, rule, granularity and dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, nbytes, same_bits, top
from arrays import empty
from bitmill import kernels, reference
from ceilings import one_pass, two_passes

DTYPES = ("f32", "bf16", "f16", "f64")
RULES = {"sym": "absmax", "asym": "asymmetric", "offset": "offset"}


def codes_of(bits: int, rule: str) -> dict[str, Any]:
    """The codes and the rule, as the kernels take them; up to 7 bits are packed."""
    low = 0 if rule != "sym" else -(1 << bits - 1)
    options = {"qmin": low, "qmax": low + (1 << bits) - 1, "rule": RULES[rule]}
    return options | ({"bits": bits} if bits < 8 else {})


def scheme(text: str) -> dict[str, Any]:
    """Options of "int4 asym g32", and with f16 scales of "int4 asym g32 f16"."""
    width, rule, cut, *scales = text.split()
    options = codes_of(int(width.removeprefix("int")), rule)
    if cut != "row":
        options["group_size"] = int(cut.removeprefix("g"))
    return options | ({"scales": "float16"} if scales else {})


SCHEMES = [
    *(f"int4 {rule} {cut}" for rule in RULES for cut in ("g128", "g32")),
    *(f"int8 {rule} {cut}" for rule in RULES for cut in ("row", "g128")),
    *("int4 sym row", "int4 sym g32 f16"),
]
OTHER_WIDTHS = [f"int{bits} {rule} g128" for bits in (2, 3, 5, 6, 7, 16) for rule in RULES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SCHEMES)
def bench_quantize(race, weights, isa, name, dtype):
    quantize(race, weights[dtype], scheme(name))


@pytest.mark.parametrize("name", OTHER_WIDTHS)
def bench_quantize_other_widths(race, weights, isa, name):
    quantize(race, weights["f32"], scheme(name))


def quantize(race, x, options):
    """Race affine_quantize into codes that are there; bench_memory says what new ones cost."""
    made = kernels.affine_quantize(x, **options, num_threads=1)
    same_bits(top(made), top(reference.affine_quantize(x[CHECKED], **options)))
    race(
        lambda: kernels.affine_quantize(x, **options, out=made.codes, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, made),
        ceiling=one_pass(x, nbytes(made)),
    )


@pytest.mark.parametrize("rule", ["sym", "asym"])
def bench_quantize_whole(race, weights, isa, rule):
    """One scale for all: a pass for the range, and a pass for the codes, into the same array."""
    x = weights["f32"].reshape(1, -1)
    scheme = bm.Affine(8, symmetric=rule == "sym", axis=None)
    grid, codes = scheme.grid, empty(x.shape, np.int8 if rule == "sym" else np.uint8)
    options = {"qmin": grid.qmin, "qmax": grid.qmax}

    def quantize():
        params = scheme.fit(x, num_threads=1)
        kernels.affine_encode(x, *params[:3], **options, out=codes, num_threads=1)

    quantize()
    limits = x.min(keepdims=True), x.max(keepdims=True)
    params, some = reference.affine_params(*limits, **grid._asdict()), slice(1 << 18)
    same_bits(codes[:, some], reference.affine_encode(x[:, some], *params[:3], **options))
    race(
        quantize,
        size=x.size,
        nbytes=2 * x.nbytes + codes.nbytes,
        ceiling=two_passes(x, codes.nbytes),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["int4 sym g128", "int8 sym row", "int8 asym row"])
def bench_encode(race, weights, isa, name, dtype):
    """With given parameters, into the same array every time."""
    x, options = weights[dtype], scheme(name)
    made = kernels.affine_quantize(x, **options, num_threads=1)
    params, codes = made[1:4], empty(made.codes.shape, made.codes.dtype)
    del options["rule"]
    kernels.affine_encode(x, *params, **options, out=codes, num_threads=1)
    same_bits(codes, made.codes)
    race(
        lambda: kernels.affine_encode(x, *params, **options, out=codes, num_threads=1),
        size=x.size,
        nbytes=nbytes(x, params, codes),
        ceiling=one_pass(x, codes.nbytes),
    )


@pytest.mark.parametrize("to", ["f32", "bf16", "f16"])
@pytest.mark.parametrize(
    "name", ["int4 sym g128", "int4 sym g32", "int4 asym g128", "int8 sym row", "int8 asym row"]
)
def bench_decode(race, weights, isa, name, to):
    decode(race, weights, scheme(name), to)


@pytest.mark.parametrize("bits", [2, 3, 5, 6, 7, 16])
def bench_decode_other_widths(race, weights, isa, bits):
    decode(race, weights, scheme(f"int{bits} sym g128"), "f32")


def decode(race, weights, options, to):
    """Race affine_decode into the same array every time."""
    made = kernels.affine_quantize(weights["f32"], **options, num_threads=1)
    out = empty(weights.shape, weights[to].dtype)
    stored = {"group_size": options.get("group_size"), "dtype_name": out.dtype.name}
    if "bits" in options:
        signed = options["qmin"] < 0
        stored |= {"bits": options["bits"], "length": weights.shape[1], "signed": signed}
    kernels.affine_decode(*made[:4], **stored, out=out, num_threads=1)
    rows = (part if part is None else part[CHECKED] for part in made[:4])
    same_bits(top(out), reference.affine_decode(*rows, **stored))
    race(
        lambda: kernels.affine_decode(*made[:4], **stored, out=out, num_threads=1),
        size=out.size,
        nbytes=nbytes(made, out),
        ceiling=one_pass(made.codes, out.nbytes),
    )
