# SPDX-License-Identifier: MIT
"""Calls that must be refused, with the whole message each must have.

Names begin with the number of a case. Run as a script it checks them all and prints those that
differ: `python -O` and `-OO`, which strip assertions and docstrings, must change nothing (A64).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import bitmill as bm


class Bad(NamedTuple):
    """A call, the error it must raise, and its message."""

    call: Callable[[], Any]
    error: type[Exception]
    message: str

    def fault(self) -> str:
        """What is wrong with what the call does; empty if nothing is."""
        try:
            self.call()
        except Exception as error:
            if type(error) is self.error and str(error) == self.message:
                return ""
            return f"{error!r} instead of {self.error(self.message)!r}"
        return f"no error instead of {self.error(self.message)!r}"


BAD: dict[str, Bad] = {}
"""All of them by name."""


def bad(name: str, error: type[Exception], message: str, *call: Any, **options: Any) -> None:
    """Add one: `call` is a function and its arguments."""
    if name in BAD:
        raise KeyError(name)
    BAD[name] = Bad(partial(*call, **options), error, message)


X = np.ones((2, 5), np.float32)
CODES = np.zeros((2, 5), np.int8)
WORDS = bm.pack(CODES, 4)
INT4 = bm.Affine(4)
Q = bm.quantize(X, INT4)
FLOATS = "float32, float16, bfloat16 or float64"
TAKES = f"bitmill takes {FLOATS}"

# Arrays of other dtypes

REFUSED = [
    *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)),
    *("?", "c8", "c16", "O", "S3", "U3", "M8[s]", "m8[s]", "V4", "f4,f4"),
    *([np.longdouble] if np.dtype(np.longdouble).itemsize > 8 else []),
    *(ml_dtypes.float8_e4m3fn, ml_dtypes.int4),
]
for dtype in map(np.dtype, REFUSED):
    x = np.zeros((2, 5), dtype)
    message = f"x has dtype {dtype}; {TAKES}: x.astype(np.float32)"
    bad(f"A55 quantize {dtype}", TypeError, message, bm.quantize, x, INT4)
    bad(f"A55 fake_quantize {dtype}", TypeError, message, bm.fake_quantize, x, INT4)
    bad(f"A55 metrics x {dtype}", TypeError, message, bm.metrics, x, X)
    message = f"q has dtype {dtype}; {TAKES}: q.astype(np.float32)"
    if dtype.kind in "iu":
        message = (
            f"q has dtype {dtype}: these are codes, not values; pass the QTensor or its "
            "dequantize()"
        )
    bad(f"A55 metrics q {dtype}", TypeError, message, bm.metrics, X, x)
    message = f"x has dtype {dtype}; wanted float32, float16, bfloat16, float64"
    bad(f"A55 kernel {dtype}", TypeError, message, bm.kernels.absmax, x)
    if dtype not in (np.int8, np.uint8):
        message = f"codes has dtype {dtype}; wanted int8 or uint8: codes.astype(np.int8)"
        bad(f"A55 pack {dtype}", TypeError, message, bm.pack, x, 4)
    if dtype != np.uint32:
        message = f"packed has dtype {dtype}; wanted uint32: packed.view(np.uint32)"
        bad(f"A55 unpack {dtype}", TypeError, message, bm.unpack, x, 4, 40, signed=True)

bad(
    "A56 bfloat16 as uint16",
    TypeError,
    f"x has dtype uint16; {TAKES}: x.astype(np.float32)",
    *(bm.quantize, X.astype(ml_dtypes.bfloat16).view(np.uint16), INT4),
)

# Rotations

message = "x has rows of 6; wanted a power of two, or 12 or 20 times one: split rows"
bad("hadamard 6", ValueError, message, bm.kernels.hadamard, np.ones((2, 6), np.float32))
message = "x has rows of 0; wanted a power of two, or 12 or 20 times one: split rows"
bad("hadamard 0", ValueError, message, bm.kernels.hadamard, np.ones((2, 0), np.float32))
message = "sign has values other than -1 and 1"
SIGN = {"sign": np.array([1, 0], np.int8)}
bad("hadamard sign", ValueError, message, bm.kernels.hadamard, X[:, :2].copy(), **SIGN)

# What is no array, masked, or has no dimensions

for x, dtype in [
    (None, "object"),
    ([1, 2], "int64"),
    ((1, 2), "int64"),
    ([True], "bool"),
    ([[1.0, None]], "object"),
    ({}, "object"),
    ("abc", "<U3"),
    (b"abc", "|S3"),
    (3, "int64"),
    (1j, "complex128"),
    (range(3), "int64"),
    (np.zeros(3, np.int8).view(np.recarray), "int8"),
]:
    message = f"x has dtype {dtype} (from {type(x).__name__}); {TAKES}: np.asarray(x, np.float32)"
    bad(f"A15 {x!r}", TypeError, message, bm.quantize, x, INT4)

for name, call in {
    "quantize x": (bm.quantize, np.ma.masked_greater(X, 2), INT4),
    "metrics x": (bm.metrics, np.ma.masked_greater(X, 2), X),
    "metrics q": (bm.metrics, X, np.ma.masked_greater(X, 2)),
    "pack codes": (bm.pack, np.ma.masked_greater(CODES, 2), 4),
    "unpack packed": (bm.unpack, np.ma.masked_greater(WORDS, 2), 4, 5),
}.items():
    given = name.partition(" ")[2]
    options = {"signed": True} if given == "packed" else {}
    message = f"{given} is a masked array; fill it first: {given}.filled(0)"
    bad(f"N7 masked {name}", TypeError, message, *call, **options)

HAS_0 = "has 0 dimensions; at least 1 is needed: np.atleast_1d"
bad("A09 quantize", ValueError, f"x {HAS_0}(x)", bm.quantize, np.float32(3), INT4)
bad("A09 metrics", ValueError, f"q {HAS_0}(q)", bm.metrics, X, 3.0)
bad("A09 pack", ValueError, f"codes {HAS_0}(codes)", bm.pack, np.array(3, np.int8), 4)
bad("A09 pack scalar", TypeError, "codes is a int8; wanted a NumPy array", bm.pack, np.int8(3), 4)
bad("A15 pack list", TypeError, "codes is a list; wanted a NumPy array", bm.pack, [1, 2], 4)
bad(
    "A15 unpack list",
    TypeError,
    "packed is a list; wanted a NumPy array",
    *(partial(bm.unpack, signed=True), [1, 2], 4, 8),
)
bad("A15 kernel list", TypeError, "x is a list; kernels take a NumPy array", bm.kernels.absmax, [1])
bad(
    "A15 dequantize array",
    TypeError,
    "q is a ndarray; dequantize takes a QTensor",
    *(bm.dequantize, X),
)

# Widths, group sizes, thread counts

NO_INTS = [True, np.True_, 4.0, "4", np.float32(4), (4,), 1j]


def no_int(name: str, value: Any) -> str:
    """The message for a value that is no integer."""
    kind = "bool" if isinstance(value, np.bool_) else type(value).__name__
    return f"{name}={value!r} is a {kind}; {name} takes an int"


unpack = partial(bm.unpack, signed=True)
for value in (0, 1, 9, 15, 17, -4, 2**40, 2**70):
    bad(f"A57 Affine {value}", ValueError, f"bits={value} must be 2 to 8, or 16", bm.Affine, value)
for value in (0, 9, 16, -4, 2**40, 2**70):
    message = f"bits={value} must be between 1 and 8"
    bad(f"A57 pack {value}", ValueError, message, bm.pack, CODES, value)
    bad(f"A57 unpack {value}", ValueError, message, unpack, WORDS, value, 5)
for value in [*NO_INTS, None]:
    bad(f"A57 Affine {value!r}", TypeError, no_int("bits", value), bm.Affine, value)
    bad(f"A57 pack {value!r}", TypeError, no_int("bits", value), bm.pack, CODES, value)
    bad(f"A57 unpack {value!r}", TypeError, no_int("bits", value), unpack, WORDS, value, 5)

affine = partial(bm.Affine, 4)
for value in (0, -1, -2, 2**63, 2**64):
    least = "at least 1" if value < 1 else f"between 1 and {2**63 - 1}"
    message = f"group_size={value} must be {least} (or None for one scale per row)"
    bad(f"A58 Affine {value}", ValueError, message, affine, group_size=value)
    bad(f"A58 kernel {value}", ValueError, message, bm.kernels.absmax, X, value)
for value in NO_INTS:
    message = no_int("group_size", value)
    bad(f"A58 Affine {value!r}", TypeError, message, affine, group_size=value)
    bad(f"A58 kernel {value!r}", TypeError, message, bm.kernels.absmax, X, value)

with_threads = {
    "quantize": partial(bm.quantize, X, INT4),
    "quantize nothing": partial(bm.quantize, X[:0], INT4),
    "dequantize": partial(bm.dequantize, Q),
    "dequantize nothing": partial(bm.dequantize, bm.quantize(X[:0], INT4)),
    "fake_quantize": partial(bm.fake_quantize, X, INT4),
    "metrics": partial(bm.metrics, X, X),
    "metrics nothing": partial(bm.metrics, X[:0], X[:0]),
    "pack": partial(bm.pack, CODES, 4),
    "unpack": partial(unpack, WORDS, 4, 5),
    "kernel": partial(bm.kernels.absmax, X),
}
for name, call in with_threads.items():
    for value in (0, -1, 1025, 10**9, 2**70):
        message = (
            f"num_threads={value} must be between 1 and 1024 (or None for "
            "bitmill.get_num_threads())"
        )
        bad(f"A59 {name} {value}", ValueError, message, call, num_threads=value)
    for value in NO_INTS:
        message = no_int("num_threads", value)
        bad(f"A59 {name} {value!r}", TypeError, message, call, num_threads=value)
for value in (0, -1, 1025):
    message = f"n={value} must be between 1 and 1024 (or None for what the environment says)"
    bad(f"A59 set_num_threads {value}", ValueError, message, bm.set_num_threads, value)
for value in NO_INTS:
    bad(f"A59 set {value!r}", TypeError, no_int("n", value), bm.set_num_threads, value)

# Names, flags, and options that exclude each other

RULES = "absmax, full_range, signed_max"
DTYPES = "float32, float16, bfloat16, float64"
for options, error, message in [
    ({"scale_rule": "max"}, ValueError, f"scale_rule='max' is not one of: {RULES}"),
    ({"scale_rule": 1}, TypeError, "scale_rule=1 is a int; scale_rule takes a string"),
    ({"scale_rule": None}, TypeError, "scale_rule=None is a NoneType; scale_rule takes a string"),
    (
        {"scales": "float64"},
        ValueError,
        "scales='float64' is not one of: float32, float16, bfloat16",
    ),
    ({"scales": 16}, TypeError, "scales=16 is a int; scales takes a string"),
    (
        {"clip": "best"},
        ValueError,
        "clip='best' is not one of: minmax, mse, percentile, aciq, meanstd, entropy, mse-exact",
    ),
    ({"axis": "col"}, ValueError, "axis='col' is not 'row', None or an int"),
    ({"axis": 1.0}, TypeError, "axis=1.0 is a float; axis takes an int"),
    ({"axis": True}, TypeError, "axis=True is a bool; axis takes an int"),
    ({"axis": 64}, ValueError, "axis=64 must be between -64 and 63"),
    ({"symmetric": 1}, TypeError, "symmetric=1 is a int; symmetric takes True or False"),
    ({"symmetric": None}, TypeError, "symmetric=None is a NoneType; symmetric takes True or False"),
    ({"offset": "yes"}, TypeError, "offset='yes' is a str; offset takes True or False"),
    ({"narrow_range": 0}, TypeError, "narrow_range=0 is a int; narrow_range takes True or False"),
    (
        {"group_size": 3, "axis": 0},
        ValueError,
        "group_size=3 and axis=0 exclude each other: groups run along rows (leave out axis)",
    ),
    (
        {"group_size": 3, "axis": None},
        ValueError,
        "group_size=3 and axis=None exclude each other: groups run along rows (leave out axis)",
    ),
    (
        {"scale_rule": "signed_max", "narrow_range": True},
        ValueError,
        "scale_rule='signed_max' and narrow_range=True exclude each other: the rule is for the "
        "code that narrow_range leaves out",
    ),
    (
        {"symmetric": False, "narrow_range": True},
        ValueError,
        "narrow_range=True goes with symmetric=True",
    ),
    (
        {"symmetric": False, "scale_rule": "full_range"},
        ValueError,
        "scale_rule='full_range' goes with symmetric=True",
    ),
    ({"offset": True}, ValueError, "offset=True goes with symmetric=False"),
]:
    bad(f"A60 {options}", error, message, affine, **options)

for axis in (2, -3, 63):
    message = f"axis={axis} is out of range for 2 dimensions"
    bad(f"A60 axis {axis}", ValueError, message, bm.quantize, X, bm.Affine(4, axis=axis))

for value, error, message in [
    ("int8", ValueError, f"dtype='int8' is not one of: {DTYPES}"),
    ("f4", ValueError, f"dtype='f4' is not one of: {DTYPES}"),
    (np.int8, ValueError, f"dtype='int8' is not one of: {DTYPES}"),
    (np.dtype("c8"), ValueError, f"dtype='complex64' is not one of: {DTYPES}"),
    (
        None,
        TypeError,
        f"dtype=None is a NoneType; dtype takes {FLOATS}",
    ),
    (4, TypeError, f"dtype=4 is a int; dtype takes {FLOATS}"),
]:
    bad(f"A60 dequantize {value!r}", error, message, bm.dequantize, Q, dtype=value)

for shown, given in [
    ("a int", 4),
    ("a str", "int4"),
    ("a NoneType", None),
    ("the class Affine", bm.Affine),
    ("a ndarray", X),
]:
    message = f"scheme is {shown}; wanted a scheme object such as bm.Affine(4)"
    bad(f"A60 quantize by {shown}", TypeError, message, bm.quantize, X, given)
    bad(f"A60 fake_quantize by {shown}", TypeError, message, bm.fake_quantize, X, given)

bad(
    "A60 format",
    ValueError,
    "format='zip' is not one of: compressed_tensors, bitsandbytes, native",
    *(Q.bits_per_weight, "zip"),
)
bad(
    "copy=False",
    ValueError,
    "a quantized tensor has no float array to share: copy=False is not met",
    *(Q.__array__, None, False),
)

# Arrays that do not go together

ASYMMETRIC = bm.quantize(X, bm.Affine(4, symmetric=False, group_size=2))
INT8 = bm.quantize(X, bm.Affine(8, axis=None))
SWAPPED = ASYMMETRIC.scale.astype(ASYMMETRIC.scale.dtype.newbyteorder("S"))


def qtensor(q: bm.QTensor = ASYMMETRIC, **changed: Any) -> bm.QTensor:
    """`q` with other arrays, of which None means none, or another scheme, shape or dtype."""
    record = {"scheme": q.scheme, "shape": q.shape, "dtype": q.dtype}
    record = {name: changed.pop(name, value) for name, value in record.items()}
    arrays = {name: a for name, a in (q.arrays | changed).items() if a is not None}
    return bm.QTensor(arrays=arrays, **record)


HELD = "packed, scale, zero_point"
for changed, error, message in [
    (
        {"packed": ASYMMETRIC.packed[:, :0]},
        ValueError,
        "packed has shape (2, 0); wanted (2, 1)",
    ),
    (
        {"packed": ASYMMETRIC.packed.view(np.int32)},
        ValueError,
        "packed has dtype int32; wanted uint32",
    ),
    ({"scale": ASYMMETRIC.scale[:, :2]}, ValueError, "scale has shape (2, 2); wanted (2, 3)"),
    ({"scale": ASYMMETRIC.scale[0]}, ValueError, "scale has shape (3,); wanted (2, 3)"),
    (
        {"scale": ASYMMETRIC.scale.astype(np.float16)},
        ValueError,
        "scale has dtype float16; wanted float32",
    ),
    (
        {"scale": np.asfortranarray(ASYMMETRIC.scale)},
        ValueError,
        "scale is not C-contiguous: np.ascontiguousarray(scale)",
    ),
    (
        {"scale": SWAPPED},
        ValueError,
        f"scale has dtype {SWAPPED.dtype}; wanted native byte order: "
        "scale.astype(scale.dtype.newbyteorder('='))",
    ),
    (
        {"scale": ASYMMETRIC.scale.tolist()},
        TypeError,
        "scale is a list; wanted a NumPy array",
    ),
    (
        {"zero_point": ASYMMETRIC.zero_point.reshape(3, 2)},
        ValueError,
        "zero_point has shape (3, 2); wanted (2, 3)",
    ),
    (
        {"zero_point": ASYMMETRIC.zero_point.astype(np.int8)},
        ValueError,
        "zero_point has dtype int8; wanted uint8",
    ),
    ({"zero_point": None}, ValueError, f"arrays are packed, scale; wanted {HELD}"),
    ({"extra": X}, ValueError, f"arrays are {HELD}, extra; wanted {HELD}"),
    ({"shape": (5, 2)}, ValueError, "packed has shape (2, 1); wanted (5, 1)"),
    ({"shape": (2, 9)}, ValueError, "packed has shape (2, 1); wanted (2, 2)"),
    ({"shape": ()}, ValueError, "shape=() has 0 dimensions; at least 1 is needed"),
    ({"shape": (2, -5)}, ValueError, "shape=-5 must be at least 0"),
    ({"shape": (2, 5.0)}, TypeError, no_int("shape", 5.0)),
    ({"shape": 10}, TypeError, "shape=10 is a int; shape takes a tuple of ints"),
    ({"dtype": "int8"}, ValueError, f"dtype='int8' is not one of: {DTYPES}"),
    (
        {"scheme": None},
        TypeError,
        "scheme is a NoneType; wanted a scheme object such as bm.Affine(4)",
    ),
]:
    bad(f"A61 {list(changed)} {message}", error, message, qtensor, **changed)
bad(
    "A61 codes of another shape",
    ValueError,
    "codes has shape (5, 2); wanted (2, 5)",
    *(partial(qtensor, codes=INT8.codes.reshape(5, 2)), INT8),
)
bad(
    "A61 codes of another dtype",
    ValueError,
    "codes has dtype uint8; wanted int8",
    *(partial(qtensor, codes=INT8.codes.view(np.uint8)), INT8),
)
bad(
    "A61 scale for each row of a tensor with one",
    ValueError,
    "scale has shape (2, 1); wanted (1, 1)",
    *(partial(qtensor, scale=Q.scale), INT8),
)

for length, error, message in [
    (9, ValueError, "packed has 1 words per row; length=9 at bits=4 takes 2"),
    (0, ValueError, "packed has 1 words per row; length=0 at bits=4 takes 0"),
    (-1, ValueError, "length=-1 must be at least 0"),
    (2**63, ValueError, f"length={2**63} must be between 0 and {2**63 - 1}"),
    (5.0, TypeError, no_int("length", 5.0)),
    (True, TypeError, no_int("length", True)),
]:
    bad(f"A61 unpack {length!r}", error, message, unpack, WORDS, 4, length)
bad(
    "A61 unpack signed",
    TypeError,
    "signed=1 is a int; signed takes True or False",
    *(partial(bm.unpack, signed=1), WORDS, 4, 5),
)
bad(
    "A61 metrics of another shape",
    ValueError,
    "x has shape (2, 5) and q has shape (5, 2); wanted equal ones",
    *(bm.metrics, X, X.reshape(5, 2)),
)

for code, kind, low, high in [(8, np.int8, -8, 7), (-9, np.int8, -8, 7), (16, np.uint8, 0, 15)]:
    codes = np.zeros((2, 5), kind)
    codes[1, 2:4] = code
    message = (
        f"codes has 2 values outside {low}..{high}, the range of 4 bits; the first, "
        f"codes.flat[7], is {code}: clip codes or use more bits"
    )
    bad(f"pack {code} into 4 bits", ValueError, message, bm.pack, codes, 4)

# Kernels, whose arrays come prepared

encode = partial(bm.kernels.affine_encode, qmin=-8, qmax=7)
ONES = np.ones((2, 1), np.float32)
for name, error, message, *call in [
    ("rank", ValueError, "x has shape (5,); wanted 2-D: x.reshape(rows, columns)", X[0]),
    ("order", ValueError, "x is not C-contiguous: np.ascontiguousarray(x)", X.T),
    (
        "bytes",
        ValueError,
        "x has dtype >f4; wanted native byte order: x.astype(x.dtype.newbyteorder('='))",
        X.astype(">f4"),
    ),
]:
    bad(f"kernel {name}", error, message, bm.kernels.absmax, *call)
for name, error, message, arguments, options in [
    ("scale", ValueError, "scale has shape (2, 2); wanted (2, 1)", (np.ones((2, 2), "f4"),), {}),
    (
        "scale dtype",
        TypeError,
        "scale has dtype float64; wanted float32, float16, bfloat16",
        (np.ones((2, 1)),),
        {},
    ),
    (
        "zero_point dtype",
        TypeError,
        "zero_point has dtype int8; wanted uint8",
        (ONES, np.zeros((2, 1), np.int8)),
        {},
    ),
    (
        "both",
        ValueError,
        "zero_point and offset exclude each other; pass one",
        (ONES, np.zeros((2, 1), np.uint8), ONES),
        {},
    ),
    ("bits", ValueError, "codes -8..7 do not fit 3 bits (-4..3)", (ONES,), {"bits": 3}),
    (
        "range",
        ValueError,
        "qmax=0 must be between 1 and 65535",
        (ONES,),
        {"qmin": 0, "qmax": 0},
    ),
]:
    bad(f"kernel {name}", error, message, encode, X, *arguments, **options)


if __name__ == "__main__":
    faults = [f"{name}: {fault}" for name, one in BAD.items() if (fault := one.fault())]
    print(*faults, f"-O level {sys.flags.optimize}: {len(BAD)} calls", sep="\n")
    sys.exit(bool(faults))
