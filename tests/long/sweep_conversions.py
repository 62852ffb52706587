# SPDX-License-Identifier: MIT
"""All 2^32 float32 patterns to float16 and bfloat16, as values and as scales, on every ISA (A41).

    python tests/long/sweep_conversions.py              everything; minutes
    python tests/long/sweep_conversions.py --every 16   each 16th chunk of patterns

The results must be those of NumPy and ml_dtypes bit for bit, subnormals included; a NaN must stay
one. Prints its progress and a verdict; exits with 1 if a pattern differs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time

import ml_dtypes
import numpy as np

import bitmill as bm
from bitmill import _core

CHUNK = 1 << 22
TARGETS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def differences(start: int) -> list[str]:
    """What is wrong with the patterns of the chunk that begins at `start`."""
    x = np.arange(start, start + CHUNK, dtype=np.uint64).astype(np.uint32).view(np.float32)
    number = ~np.isnan(x)
    found = []
    for name, target in TARGETS.items():
        with np.errstate(all="ignore"):
            cast = x.astype(target).view(np.uint16)
        infinity = 0x7C00 if name == "float16" else 0x7F80
        wide = (x > 0) & (cast != infinity)  # as scales: N4 has rules of its own for the others
        scales = np.maximum(cast[wide], 1)  # and one that underflows becomes the smallest
        ranges = x[wide][np.newaxis]
        for isa in bm.isas():
            _core.use_isa(isa)
            got = bm.kernels.from_float32(x, name, num_threads=1).view(np.uint16)
            wrong = np.where(number, got != cast, (got & 0x7FFF) <= infinity)
            if wrong.any():
                at = int(np.argmax(wrong))
                found.append(f"{isa} {name}: {start + at:#010x} gives {got[at]:#06x}")
            made = bm.kernels.affine_params(
                -ranges, ranges, qmin=-1, qmax=1, rule="absmax", scales=name
            )
            wrong = made.scale[0].view(np.uint16) != scales
            if wrong.any():
                pattern = int(ranges[0, np.argmax(wrong)].view(np.uint32))
                found.append(f"{isa} {name} scale: {pattern:#010x} is wrong")
    return found


def main() -> int:
    """Run the sweep; 0 if nothing differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each so many-th chunk")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    starts = range(0, 1 << 32, CHUNK * options.every)
    begun, found = time.monotonic(), []
    with multiprocessing.Pool(options.processes) as pool:
        for done, chunk in enumerate(pool.imap(differences, starts), 1):
            found += chunk
            for difference in chunk:
                print(difference)
            if done % 32 == 0 or done == len(starts):
                left = (time.monotonic() - begun) / done * (len(starts) - done)
                print(f"{done / len(starts):4.0%}  {left:.0f} s left", flush=True)
    print(
        f"{'FAIL' if found else 'PASS'}: {len(starts) * CHUNK:,} patterns to float16 and bfloat16, "
        f"as values and as scales, on {', '.join(bm.isas())}: {len(found)} chunks differ; "
        f"{time.monotonic() - begun:.0f} s"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
