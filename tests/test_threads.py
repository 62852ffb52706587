# SPDX-License-Identifier: MIT
"""Threads live inside a call: forks are safe, the GIL is free, Ctrl-C is heard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import bitmill as bm

SCHEME = bm.Affine(4, group_size=128)
posix = pytest.mark.skipif(os.name != "posix", reason="fork and kill are POSIX")


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(0).standard_normal((1024, 4096), np.float32)  # 16 MiB: threaded


def test_concurrent_callers_get_their_own_results(weights):
    inputs = [weights * (i + 1) for i in range(8)]
    wanted = [bm.quantize(x, SCHEME, num_threads=1).packed.tobytes() for x in inputs]
    got = [b""] * 8

    def call(i):
        for _ in range(3):
            got[i] = bm.quantize(inputs[i], SCHEME, num_threads=2).packed.tobytes()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == wanted


def test_other_python_threads_run_during_a_call(weights):
    done = threading.Event()
    ticks = []

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.perf_counter()
    while time.perf_counter() - start < 0.5:
        bm.kernels.error_sums(weights, weights, num_threads=1)
    done.set()
    ticker.join()
    assert len(ticks) > 50


@posix
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_can_call_again(weights):
    wanted = bm.quantize(weights, SCHEME, num_threads=4).packed.tobytes()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            same = bm.quantize(weights, SCHEME, num_threads=4).packed.tobytes() == wanted
            os._exit(0 if same else 1)
        limit = time.monotonic() + 10
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            assert time.monotonic() < limit, "the child hangs"
            time.sleep(0.01)


LONG_CALL = """
import time, numpy as np, bitmill as bm
from bitmill import _core
_core.use_isa("scalar")
x = np.ones((1, 1 << 29), np.float16)  # 1 GiB: in scalar code, seconds of work
print("ready", flush=True)
try:
    while True:
        bm.kernels.affine_quantize(x, qmin=-8, qmax=7, rule="absmax", group_size=128, bits=4)
except KeyboardInterrupt:
    now = time.time()
    print(now, bm.quantize(np.ones(4, np.float32), bm.Affine(4)).codes.tolist(), flush=True)
"""


@posix
@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_is_heard_within_a_long_call(threads):
    child = subprocess.Popen(
        [sys.executable, "-c", LONG_CALL],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"BITMILL_NUM_THREADS": threads},
    )
    with child:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.5)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        heard, codes = child.stdout.readline().split(" ", 1)
        assert codes == "[7, 7, 7, 7]\n"
        assert child.wait(10) == 0
    # 50 ms between checks; on a machine with other work to do it takes longer.
    assert float(heard) - sent < 1.0


def test_a_number_of_threads_beyond_reason_is_refused():
    with pytest.raises(ValueError, match="num_threads=1000000000 must be between 1 and 1024"):
        bm.quantize(np.ones(4, np.float32), SCHEME, num_threads=10**9)
