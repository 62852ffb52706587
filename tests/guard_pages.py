# SPDX-License-Identifier: MIT
"""A child process that runs kernels on memory between pages nobody may touch; see test_arrays.py.

    python guard_pages.py kernel NAME     every case of cases.py, sizes 0 ... 1025, every ISA
    python guard_pages.py api             bm.quantize and its kin
    python guard_pages.py control WHAT    a fault on purpose: the process must die by SIGSEGV

Arrays end where such a page begins, then start where one ends. Inputs lie in pages that cannot be
written. Outputs lie there too: NumPy's allocating functions are replaced during the call.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import mmap
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import bitmill as bm
import cases
import oracle
from bitmill import _core
from bitmill._dtypes import FLOATS, dtype
from conftest import SEED, same_bits

PAGE = mmap.PAGESIZE
POWERS = [2**k + d for k in range(8, 11) for d in (-2, -1, 0, 1, 2)]
SIZES = [*range(131), *(n for n in POWERS if n <= 1025)]
CAPACITY = 1 << 22  # bytes; more than any array here takes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
NONE, READ, READ_WRITE = 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE


class Region:
    """Memory between two pages that nobody may touch."""

    def __init__(self) -> None:
        size = CAPACITY + 2 * PAGE
        base = libc.mmap(None, size, READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        assert base != ctypes.c_void_p(-1).value
        self.start, self.stop = base + PAGE, base + PAGE + CAPACITY
        self._protect(base, PAGE, NONE)
        self._protect(self.stop, PAGE, NONE)

    def array(self, shape: Any, dtype: Any, at_end: bool) -> np.ndarray:
        """An array whose last byte, or whose first, is next to a forbidden page."""
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=int)) * dtype.itemsize
        assert size <= CAPACITY
        place = self.stop - size if at_end else self.start
        raw = (ctypes.c_uint8 * size).from_address(place)
        return np.frombuffer(raw, np.uint8).view(dtype).reshape(shape)

    def writeable(self, yes: bool) -> None:
        self._protect(self.start, CAPACITY, READ_WRITE if yes else READ)

    @staticmethod
    def _protect(place: int, size: int, how: int) -> None:
        assert libc.mprotect(place, size, how) == 0


class Regions:
    """As many regions as arrays are alive at once."""

    def __init__(self, at_end: bool) -> None:
        self.at_end, self.all, self.used = at_end, [], 0

    def array(self, shape: Any, dtype: Any) -> np.ndarray:
        if self.used == len(self.all):
            self.all.append(Region())
        self.used += 1
        return self.all[self.used - 1].array(shape, dtype, self.at_end)

    def copy(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        placed = self.array(value.shape, value.dtype)
        placed[...] = value
        return placed

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """The arrays that there are now cannot be written."""
        kept = self.all[: self.used]
        for region in kept:
            region.writeable(False)
        yield
        for region in kept:
            region.writeable(True)


@contextlib.contextmanager
def allocating(regions: Regions) -> Iterator[None]:
    """np.empty and the like place their arrays in the regions; none is left behind."""
    used = regions.used

    def full(shape: Any, value: Any, dtype: Any = np.float64) -> np.ndarray:
        made = regions.array(shape, dtype)
        made[...] = value
        return made

    replaced = {
        "empty": lambda shape, dtype=np.float64, order="C": full(shape, 0x55, dtype),
        "zeros": lambda shape, dtype=np.float64, order="C": full(shape, 0, dtype),
        "full": full,
        "empty_like": lambda a: full(a.shape, 0x55, a.dtype),
        "zeros_like": lambda a: full(a.shape, 0, a.dtype),
    }
    originals = {name: getattr(np, name) for name in replaced}
    vars(np).update(replaced)
    yield
    vars(np).update(originals)
    regions.used = used


def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def run_kernel(name: str) -> None:
    """Every case of one kernel: no fault, and the bits of the twin."""
    cases.TAILS = cases.LENGTHS = SIZES
    kernel, twin = getattr(bm.kernels, name), getattr(bm.reference, name)
    with np.errstate(all="ignore"):
        calls = [(*c, twin(*c[1], **c[2])) for c in getattr(cases, name)(rng())]
        for isa in bm.isas():
            _core.use_isa(isa)
            for regions in (Regions(at_end=True), Regions(at_end=False)):
                for case, arguments, options, wanted in calls:
                    print(name, isa, regions.at_end, case, options)
                    placed = [regions.copy(a) for a in arguments]
                    kernel(*placed, **options)  # makes what it keeps for further calls
                    with regions.read_only(), allocating(regions):
                        oracle.same_results(kernel(*placed, **options), wanted)
                    regions.used = 0


def run_api() -> None:
    """The public functions on inputs that cannot be written, at both ends."""
    schemes = [
        bm.Affine(4, group_size=16),
        bm.Affine(8, symmetric=False, axis=None),
        bm.Affine(3, axis=0, scales="float16"),
        bm.Affine(5, axis=1, symmetric=False, offset=True),
    ]
    for at_end in (True, False):
        regions = Regions(at_end)
        for length, name, scheme in itertools.product((1, 7, 16, 33, 100), FLOATS, schemes):
            print("api", at_end, length, name, scheme)
            x = regions.copy(cases.normal(rng(), (3, length)).astype(dtype(name)))
            with regions.read_only():
                q = bm.quantize(x, scheme)
                bm.quantize(x.T, scheme)
                bm.metrics(x, bm.fake_quantize(x, scheme))
            held = {field: regions.copy(array) for field, array in q.arrays.items()}
            placed, codes = bm.QTensor(scheme, q.shape, q.dtype, held), regions.copy(q.codes)
            with regions.read_only():
                same_bits(placed.dequantize(), q.dequantize())
                same_bits(placed.codes, q.codes)
                same_bits(bm.pack(codes[:, ::-1], 8), bm.pack(q.codes[:, ::-1].copy(), 8))
            regions.used = 0


def fault(what: str) -> None:
    """Touch one byte that must not be touched."""
    regions = Regions(at_end=not what.endswith("before"))
    x = regions.copy(np.ones(8, np.float32))
    with regions.read_only(), allocating(regions):
        y = bm.kernels.to_float32(x)
        first, last = (x if "input" in what else y).ctypes.data, x.nbytes - 1
        {
            "nothing": lambda: None,
            "read input behind": lambda: ctypes.string_at(first + last, 2),
            "read input before": lambda: ctypes.string_at(first - 1, 2),
            "write input": lambda: ctypes.memset(first, 1, 1),
            "write output behind": lambda: ctypes.memset(first + last, 1, 2),
            "write output before": lambda: ctypes.memset(first - 1, 1, 2),
        }[what]()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # the last line says where a fault happened
    command, *rest = sys.argv[1:]
    {"kernel": run_kernel, "api": run_api, "control": fault}[command](*rest)
