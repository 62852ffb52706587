# SPDX-License-Identifier: MIT
"""out= and borders: every byte of an output is written, no other one is touched, none beyond read.

The cases are numbered A12 to A14 and A17 to A19.
"""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitmill as bm
from bitmill import _core
from conftest import Guarded, same_bits

# A12-A14: out=


def producers(x: np.ndarray) -> dict[str, Any]:
    """Public functions with out=, as functions of out alone."""
    q, codes = bm.quantize(x, bm.Affine(4)), bm.quantize(x, bm.Affine(8)).codes
    return {
        "dequantize": lambda out: bm.dequantize(q, out=out),
        "fake_quantize": lambda out: bm.fake_quantize(x, bm.Affine(4), out=out),
        "affine_quantize": lambda out: (
            bm.kernels.affine_quantize(
                x.reshape(-1, x.shape[-1]), qmin=-8, qmax=7, rule="absmax", bits=4, out=out
            ).codes
        ),
        "pack": lambda out: bm.pack(codes, 8, out=out),
        "unpack": lambda out: bm.unpack(q.packed, 4, x.shape[-1], signed=True, out=out),
        "to_float32": lambda out: bm.kernels.to_float32(x, out=out),
        "from_float32": lambda out: bm.kernels.from_float32(x, "float16", out=out),
    }


@pytest.fixture(params=list(producers(np.ones((2, 3), np.float32))))
def produce(request: pytest.FixtureRequest, rng: np.random.Generator) -> Any:
    """Each of them in turn, on 6 rows of 37 values."""
    return producers(rng.standard_normal((6, 37), np.float32))[request.param]


def test_a12_out_is_filled_and_returned(isa, produce):
    wanted = produce(None)
    out = np.empty_like(wanted)
    assert produce(out) is out
    same_bits(out, wanted)


@pytest.mark.parametrize("name", ["dequantize", "pack", "unpack", "to_float32", "from_float32"])
def test_a12_out_spares_the_allocation(rng, name):
    produce = producers(rng.standard_normal((64, 16384), np.float32))[name]
    out = produce(None)
    tracemalloc.start()
    produce(out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < out.nbytes / 50


def frozen(out: np.ndarray) -> np.ndarray:
    out.flags.writeable = False
    return out


WRONG_OUTS = {
    "list": (lambda out: out.tolist(), TypeError, "out is a list; wanted a NumPy array"),
    "dtype": (lambda out: out.astype(">i8"), ValueError, "out has dtype >i8; wanted {dtype}"),
    "byte order": (
        lambda out: out.astype(out.dtype.newbyteorder("S")),
        ValueError,
        "out has dtype {swapped}; wanted {dtype}",
    ),
    "shape": (
        lambda out: np.ones((6, 99), out.dtype),
        ValueError,
        "out has shape (6, 99); wanted {shape}",
    ),
    "rank": (
        lambda out: out.reshape(1, *out.shape),
        ValueError,
        "out has shape {lifted}; wanted {shape}",
    ),
    "F order": (
        np.asfortranarray,
        ValueError,
        "out is not C-contiguous; wanted an array such as np.empty returns",
    ),
    "every second": (
        lambda out: np.repeat(out, 2, axis=-1)[:, ::2],
        ValueError,
        "out is not C-contiguous; wanted an array such as np.empty returns",
    ),
    "read-only": (frozen, ValueError, "out is read-only; wanted a writeable array"),
}


@pytest.mark.parametrize("case", WRONG_OUTS)
def test_a13_wrong_out_is_refused_and_left_alone(produce, case):
    spoil, error, message = WRONG_OUTS[case]
    right = produce(None)
    if case == "byte order" and right.itemsize == 1:
        return  # one byte has no order
    out = spoil(right.copy())
    before = np.array(out).tobytes()
    with pytest.raises(error) as caught:
        produce(out)
    assert str(caught.value) == message.format(
        dtype=right.dtype,
        swapped=right.dtype.newbyteorder("S"),
        shape=right.shape,
        lifted=(1, *right.shape),
    )
    assert np.array(out).tobytes() == before


def test_a13_out_is_checked_before_the_data(rng):
    x = np.full((2, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match=r"^out has shape"):
        bm.fake_quantize(x, bm.Affine(8), out=np.empty((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"^out has shape"):
        bm.pack(np.full((2, 3), 99, np.int8), 4, out=np.empty((3, 2), np.uint32))


SHARED = "out shares memory with an input; wanted a separate array"


@pytest.mark.parametrize("field", ["codes", "scale"])
@pytest.mark.parametrize(
    ("start", "overlaps"), [(-64, False), (-63, True), (0, True), (15, True), (16, False)]
)
def test_a14_dequantize_refuses_out_that_shares_a_byte_with_any_array(field, start, overlaps):
    """16 bytes of codes, or four scales, lie at byte 64 of a buffer; out takes 64 bytes of it."""
    buffer = np.zeros(256, np.uint8)
    arrays = {"codes": np.ones((4, 4), np.int8), "scale": np.ones((4, 1), np.float32)}
    inside = buffer[64:80].view(arrays[field].dtype).reshape(arrays[field].shape)
    inside[...] = arrays[field]
    q = bm.QTensor(bm.Affine(8), (4, 4), "float32", arrays | {field: inside})
    out = buffer[64 + start : 128 + start].view(np.float32).reshape(4, 4)
    before = buffer.tobytes()
    if overlaps:
        with pytest.raises(ValueError, match=f"^{SHARED}$"):
            q.dequantize(out=out)
        assert buffer.tobytes() == before
    else:
        assert q.dequantize(out=out).tolist() == [[1.0] * 4] * 4
        assert inside.tolist() == arrays[field].tolist()


@pytest.mark.parametrize(
    ("start", "overlaps"), [(-16, False), (-15, True), (0, True), (31, True), (32, False)]
)
def test_a14_pack_refuses_out_that_shares_a_byte_with_the_codes(start, overlaps):
    """32 codes lie at byte 64 of a buffer; out takes 16 bytes of it."""
    buffer = np.zeros(256, np.uint8)
    codes = buffer[64:96].view(np.int8)
    out = buffer[64 + start : 80 + start].view(np.uint32)
    if overlaps:
        with pytest.raises(ValueError, match=f"^{SHARED}$"):
            bm.pack(codes, 4, out=out)
        assert not buffer.any()
    else:
        assert bm.pack(codes, 4, out=out).tolist() == [0x88888888] * 4
        assert not codes.any()


def test_a14_out_over_a_strided_input_is_refused_although_a_copy_was_read():
    codes, words = np.zeros(64, np.int8), np.zeros(16, np.uint32)
    x = np.ones((4, 8), np.float32)
    for call in (
        lambda: bm.pack(codes[::2], 4, out=codes[:16].view(np.uint32)),
        lambda: bm.unpack(words[::2], 4, 64, signed=True, out=words.view(np.int8)),
        lambda: bm.fake_quantize(x[:, ::2], bm.Affine(8), out=x.reshape(-1)[:16].reshape(4, 4)),
    ):
        with pytest.raises(ValueError, match=f"^{SHARED}$"):
            call()
    assert not codes.any()
    assert not words.any()
    assert (x == 1).all()


# A17-A19: borders


@pytest.mark.parametrize("paint", [0x5A, 0xA5])
@pytest.mark.parametrize("offset", range(4))
def test_a17_every_byte_of_out_is_written_and_none_around_it(isa, produce, paint, offset):
    wanted = produce(None)
    guarded = Guarded(wanted.shape, wanted.dtype, paint, offset)
    same_bits(produce(guarded.array), wanted)
    guarded.check()


if sys.platform == "linux":
    CHILD = Path(__file__).with_name("guard_pages.py")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        """guard_pages.py with these arguments; read its page."""
        command = [sys.executable, "-X", "faulthandler", str(CHILD), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    @pytest.fixture(scope="module")
    def children() -> Iterator[dict[str, Any]]:
        """A child process for every kernel, as many at a time as there are CPUs."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            yield {name: pool.submit(run, "kernel", name) for name in _core.kernel_names()}
            pool.shutdown(cancel_futures=True)

    @pytest.mark.parametrize("name", _core.kernel_names())
    def test_a18_a19_kernel_reads_its_input_and_writes_its_output_only(children, name):
        done = children[name].result()
        last = done.stdout.splitlines()[-1] if done.stdout else "nothing"
        assert done.returncode == 0, f"after: {last}\n{done.stderr}"
        assert last.startswith(f"{name} {bm.isas()[-1]} False ")

    def test_a19_public_functions_never_write_their_input():
        done = run("api")
        assert done.returncode == 0, done.stdout[-300:] + done.stderr

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ("nothing", 0),
            ("read input behind", -11),
            ("read input before", -11),
            ("write input", -11),
            ("write output behind", -11),
            ("write output before", -11),
        ],
    )
    def test_a18_a19_faults_on_purpose_are_noticed(fault, code):
        assert run("control", fault).returncode == code
