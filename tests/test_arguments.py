# SPDX-License-Identifier: MIT
"""Arguments: what is refused, with which words, how fast; and odd parameters that are not refused.

The cases are numbered A55 to A64. The messages themselves, word for word, are in bad_calls.py.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import bitmill as bm
import oracle
from bad_calls import BAD, Bad
from bitmill._dtypes import FLOATS, STORAGES, Array, dtype
from conftest import same_bits


@pytest.mark.parametrize("name", BAD)
def test_bad_call_is_refused_word_for_word(name):
    assert BAD[name].fault() == ""


def test_a_wrong_message_would_be_noticed():
    call = BAD["A57 Affine 0"]
    assert "instead of" in Bad(call.call, call.error, call.message + ".").fault()
    assert "instead of" in Bad(call.call, TypeError, call.message).fault()
    assert "no error" in Bad(lambda: None, *call[1:]).fault()


# A15, A55, A56: what is accepted


def test_list_that_makes_no_array_is_refused():
    with pytest.raises(ValueError, match=r"^x is a list that makes no array: .*inhomogeneous"):
        bm.quantize([[1.0], [1.0, 2.0]], bm.Affine(8))


@pytest.mark.parametrize("name", FLOATS)
def test_a55_a56_every_float_dtype_is_accepted_and_recorded(isa, rng, name):
    x = rng.standard_normal((3, 40)).astype(dtype(name))
    q = oracle.check(x, bm.Affine(8))
    assert q.dtype == name
    assert bm.fake_quantize(x, bm.Affine(8)).dtype == x.dtype


@pytest.mark.parametrize(
    "given",
    ["bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)],
    ids=["name", "scalar type", "dtype"],
)
def test_dequantize_takes_a_dtype_by_name_type_or_dtype(given):
    q = bm.quantize(np.ones(3, np.float32), bm.Affine(8))
    assert bm.dequantize(q, dtype=given).dtype == ml_dtypes.bfloat16


# A57, A58: numbers


@pytest.mark.parametrize("kind", [int, np.int8, np.uint64, np.array], ids=lambda k: k.__name__)
def test_a57_a58_a59_any_kind_of_integer_is_taken(kind):
    x = np.ones((3, 40), np.float32)
    scheme = bm.Affine(kind(4), group_size=kind(16))
    assert scheme == bm.Affine(4, group_size=16)
    q = bm.quantize(x, scheme, num_threads=kind(2))
    same_bits(bm.unpack(q.packed, kind(4), kind(40), signed=True), q.codes)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_a57_every_width_quantizes(isa, rng, bits):
    x = rng.standard_normal((3, 40), np.float32)
    for symmetric in (True, False):
        q = oracle.check(x, bm.Affine(bits, symmetric=symmetric))
        same_bits(q.dequantize(), oracle.dequantized(q))


@pytest.mark.parametrize("size", [0, -2, 2**63, 2**64])
def test_a58_impossible_group_sizes_are_refused_at_once_without_memory(size):
    x = np.ones((2, 5), np.float32)
    calls = [lambda: bm.Affine(4, group_size=size), lambda: bm.kernels.absmax(x, size)]
    tracemalloc.start()
    for call in calls:
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            with pytest.raises(ValueError, match="group_size"):
                call()
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 0.01
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a58_largest_group_size_takes_no_memory_either():
    x = np.ones((2, 5), np.float32)
    tracemalloc.start()
    bm.quantize(x, bm.Affine(4, group_size=2**63 - 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


# A59: threads


@pytest.fixture(autouse=True)
def no_chosen_threads():
    """Whatever a test chose is forgotten."""
    yield
    bm.set_num_threads(None)


def test_a59_the_chosen_count_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("BITMILL_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert bm.get_num_threads() == 3
    bm.set_num_threads(7)
    assert bm.get_num_threads() == 7
    bm.set_num_threads(None)
    monkeypatch.delenv("BITMILL_NUM_THREADS")
    assert bm.get_num_threads() == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert bm.get_num_threads() == own


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " 3", "1025", "99999999999"])
def test_a59_bad_environment_is_refused_where_a_call_needs_it(monkeypatch, value):
    monkeypatch.setenv("BITMILL_NUM_THREADS", value)
    x = np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match=r"must be a number between 1 and 1024$") as caught:
        bm.quantize(x, bm.Affine(8))
    assert str(caught.value).startswith(f"BITMILL_NUM_THREADS={value!r} ")
    assert bm.quantize(x, bm.Affine(8), num_threads=1).size == 10


def test_a59_the_most_threads_give_the_same_bytes(rng):
    x = rng.standard_normal((1200, 2000), np.float32)
    scheme = bm.Affine(4, group_size=128)
    wanted, got = (bm.quantize(x, scheme, num_threads=n) for n in (1, 1024))
    for name, array in wanted.arrays.items():
        same_bits(got.arrays[name], array)


if sys.platform == "linux":

    @pytest.mark.parametrize("threads", [1, 3, 1024])
    def test_a59_no_call_starts_more_threads_than_it_may(rng, threads):
        """In pieces of half a megabyte at most: 64 MiB is work for more threads than three."""
        x = rng.standard_normal((256, 65536), np.float32)
        seen, done = set(), threading.Event()

        def watch() -> None:
            while not done.is_set():
                seen.add(len(os.listdir("/proc/self/task")))

        watcher = threading.Thread(target=watch)
        watcher.start()
        before = len(os.listdir("/proc/self/task"))
        for _ in range(5):
            bm.quantize(x, bm.Affine(4, group_size=128), num_threads=threads)
        done.set()
        watcher.join()
        assert max(seen) <= before + threads - 1


# A60: the ISA by its name


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this code in a new interpreter with these environment variables."""
    command = [sys.executable, "-W", "error", "-c", code]
    env = os.environ | environment
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


WORK = """
import numpy as np, bitmill as bm
x = (np.arange(3000, dtype=np.float32) % 701 - 350).reshape(3, 1000) / 64
q = bm.quantize(x, bm.Affine(4, group_size=128))
print(bm.isa(), q.packed.tobytes().hex(), q.dequantize().tobytes().hex())
"""


def test_a60_every_usable_isa_can_be_forced_and_gives_the_same():
    active, *wanted = run(WORK, BITMILL_ISA="").stdout.split()
    assert active == bm.isas()[-1], "empty is as good as unset"
    for isa in bm.isas():
        assert run(WORK, BITMILL_ISA=isa).stdout.split() == [isa, *wanted]


@pytest.mark.parametrize("name", ["foo", "AVX2", "avx2 ", "avx999", "native", "x" * 5000])
def test_a60_unknown_isa_is_an_import_error_that_names_the_usable_ones(name):
    done = run(WORK, BITMILL_ISA=name)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: BITMILL_ISA='{name}' is not one of: scalar")
    assert last.endswith(f"; usable here: {', '.join(bm.isas())}")


def test_a60_isa_that_the_cpu_lacks_is_an_import_error_that_says_what_is_missing():
    """On a CPU that can run them all there is none to try."""
    listed = run(WORK, BITMILL_ISA="foo").stderr.splitlines()[-1]
    compiled = listed.partition("is not one of: ")[2].partition(";")[0].split(", ")
    assert set(bm.isas()) <= set(compiled)
    for isa in set(compiled) - set(bm.isas()):
        done = run(WORK, BITMILL_ISA=isa)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: BITMILL_ISA='{isa}' needs ")
        assert last.endswith(f"; usable here: {', '.join(bm.isas())}")


# A61-A63: dequantizing what was put together by hand


def by_hand(codes: Array, scheme: bm.Affine, **arrays: Array) -> bm.QTensor:
    """A QTensor of these codes, one row per scale, packed if the scheme packs."""
    name = "packed" if scheme.bits < 8 else "codes"
    held = bm.pack(codes, scheme.bits) if scheme.bits < 8 else codes
    return bm.QTensor(scheme, codes.shape, "float32", {name: held, **arrays})


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_a62_the_least_and_greatest_codes_have_their_values(isa, bits):
    scheme = bm.Affine(bits)
    ends = np.array([[*scheme.code_range, 0] * 7], np.int8 if bits <= 8 else np.int16)
    q = by_hand(ends, scheme, scale=np.full((1, 1), 0.5, np.float32))
    assert q.dequantize().tolist() == (ends * 0.5).tolist()
    for name in FLOATS:
        same_bits(q.dequantize(dtype=name), oracle.dequantized(q, name))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8, 16])
def test_a62_the_least_and_greatest_zero_points_have_their_values(isa, bits):
    scheme = bm.Affine(bits, symmetric=False)
    top = scheme.code_range.qmax
    of = np.uint8 if bits <= 8 else np.uint16
    codes = np.array([[0, top, 1] * 6] * 3, of)
    zero_point = np.array([[0], [top], [1]], of)
    q = by_hand(codes, scheme, scale=np.full((3, 1), 0.5, np.float32), zero_point=zero_point)
    assert q.dequantize().tolist() == ((codes.astype(int) - zero_point) * 0.5).tolist()
    for name in FLOATS:
        same_bits(q.dequantize(dtype=name), oracle.dequantized(q, name))


ODD = [math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, -0.25, 2.0**-149, 3e38, -3e38]
"""Scales that quantize never makes."""


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", [{}, {"symmetric": False}, {"symmetric": False, "offset": True}])
@pytest.mark.parametrize("bits", [4, 8])
def test_a63_any_scale_is_multiplied_as_it_is(isa, rng, bits, kind, storage):
    """No error, no crash, and bit for bit what the twin computes, also for NaN.

    But where two NaNs are added, of scale and offset, either may be the sum.
    """
    for cut in {}, {"group_size": 16}, {"axis": 0}, {"axis": None}, {"axis": 1}:
        scheme = bm.Affine(bits, scales=storage, **kind, **cut)
        layout = {field.name: field for field in scheme.layout((10, 37))}
        shape = layout["scale"].shape
        odd = np.resize(np.array(ODD), shape)
        with np.errstate(over="ignore"):
            arrays: dict[str, Array] = {"scale": odd.astype(dtype(storage))}
            if "offset" in layout:
                arrays["offset"] = np.roll(odd, 3).astype(dtype(storage))
        if "zero_point" in layout:
            arrays["zero_point"] = rng.integers(0, 1 << bits, shape).astype(np.uint8)
        codes = rng.integers(*scheme.code_range, (10, 37), endpoint=True)
        of = np.int8 if scheme.symmetric else np.uint8
        q = by_hand(codes.astype(of), scheme, **arrays)
        for name in FLOATS:
            got, wanted = q.dequantize(dtype=name), oracle.dequantized(q, name)
            if "offset" in layout:
                got[np.isnan(got)] = wanted[np.isnan(wanted)] = math.nan
            same_bits(got, wanted, (scheme, name))


def test_a63_negative_zero_appears_only_under_a_negative_scale(isa):
    codes = np.zeros((2, 20), np.int8)
    q = by_hand(codes, bm.Affine(8), scale=np.array([[0.5], [-0.5]], np.float32))
    assert np.signbit(q.dequantize()).tolist() == [[False] * 20, [True] * 20]


# A64: without assert statements


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_a64_optimized_python_refuses_the_same_with_the_same_words(option):
    script = Path(__file__).with_name("bad_calls.py")
    command = [sys.executable, option, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"-O level {len(option) - 1}: {len(BAD)} calls\n"


# Arguments are checked before anything is done


def test_argument_errors_come_before_data_errors():
    x = np.full((2, 5), np.nan, np.float32)
    calls: list[Any] = [
        lambda: bm.quantize(x, bm.Affine(8), num_threads=0),
        lambda: bm.fake_quantize(x, bm.Affine(8), num_threads=0),
        lambda: bm.metrics(x, x, num_threads=0),
        lambda: bm.pack(np.full((2, 5), 99, np.int8), 4, num_threads=0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^num_threads=0 must be"):
            call()


def test_out_is_untouched_after_any_argument_error(rng):
    q = bm.quantize(rng.standard_normal((2, 5), np.float32), bm.Affine(4))
    values, codes, words = np.full((2, 5), 7.0, "f4"), np.full((2, 5), 7, "i1"), np.full(2, 7, "u4")
    words = words.reshape(2, 1)
    for call in (
        lambda: q.dequantize(out=values, dtype="float16"),
        lambda: q.dequantize(out=values, num_threads=0),
        lambda: bm.fake_quantize(np.ones((2, 5), "f4"), bm.Affine, out=values),
        lambda: bm.fake_quantize(np.ones((2, 5), "f4"), bm.Affine(4, axis=5), out=values),
        lambda: bm.unpack(q.packed, 4, 5, signed=1, out=codes),
        lambda: bm.unpack(q.packed, 4, 5, signed=True, out=codes, num_threads=True),
        lambda: bm.pack(q.codes, 4.0, out=words),
        lambda: bm.pack(q.codes, 4, out=words, num_threads=-1),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    for out in (values, codes, words):
        assert (out == 7).all()


def test_options_of_a_scheme_that_may_go_together_do():
    flags = {"symmetric": (True, False), "narrow_range": (True, False), "offset": (True, False)}
    rules = ("absmax", "full_range", "signed_max")
    allowed = 0
    for rule, *values in itertools.product(rules, *flags.values()):
        options = dict(zip(flags, values, strict=True))
        symmetric = options["symmetric"]
        excluded = (
            (symmetric and options["offset"])
            or (not symmetric and (options["narrow_range"] or rule != "absmax"))
            or (options["narrow_range"] and rule == "signed_max")
        )
        if excluded:
            with pytest.raises(ValueError, match=r"goes with symmetric=|exclude each other"):
                bm.Affine(4, scale_rule=rule, **options)
        else:
            allowed += bm.Affine(4, scale_rule=rule, **options).bits == 4
    assert allowed == 7
