# SPDX-License-Identifier: MIT
"""Floating-point modes that a host program may have set before it calls (x86-64 Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import platform
import sys
from collections.abc import Iterator

HERE = sys.platform == "linux" and platform.machine() == "x86_64"
"""Whether modes can be set on this machine."""

DEFAULT = 0x1F80  # all exceptions masked, to nearest, subnormals kept
FTZ_DAZ = DEFAULT | 0x8040
MODES = {
    "FTZ and DAZ": FTZ_DAZ,
    "downward": DEFAULT | 0x2000,
    "upward": DEFAULT | 0x4000,
    "toward zero": DEFAULT | 0x6000,
    "FTZ, DAZ and upward": FTZ_DAZ | 0x4000,
}
"""Values of MXCSR by name."""

_STATUS = 0x3F  # flags of exceptions that happened, which NumPy sets and clears as it likes
_MXCSR = slice(28, 32)  # where it lies in glibc's fenv_t


def get() -> int:
    """The mode of this thread, without status flags."""
    return int.from_bytes(bytes(_environment()[_MXCSR]), "little") & ~_STATUS


@contextlib.contextmanager
def mode(mxcsr: int) -> Iterator[None]:
    """Run the body in this mode; fail if it ends in another one."""
    before = get()
    _set(mxcsr)
    try:
        yield
        after = get()
    finally:
        _set(before)
    assert after == mxcsr, f"MXCSR was {mxcsr:#x} before the call and is {after:#x} after it"


def _environment() -> ctypes.Array[ctypes.c_uint8]:
    environment = (ctypes.c_uint8 * 32)()
    ctypes.CDLL(None).fegetenv(environment)
    return environment


def _set(mxcsr: int) -> None:
    environment = _environment()
    environment[_MXCSR] = mxcsr.to_bytes(4, "little")
    ctypes.CDLL(None).fesetenv(environment)
