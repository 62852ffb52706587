# SPDX-License-Identifier: MIT
"""Arguments are checked here, once: what came, what was wanted, what to do."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bitmill._dtypes import FLOATS, Array, dtype, name_of

MAX_THREADS = 1024
_LISTED_FLOATS = "float32, float16, bfloat16 or float64"
_NO_NUMBERS = (bool, np.bool_, str, bytes, complex, np.complexfloating)
"""Which `float` takes, or cuts a part off."""


def _int(value: Any, name: str) -> int:
    """`value` as an int; bools, floats and strings are TypeErrors."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} is a bool; {name} takes an int")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; {name} takes an int"
        ) from None


def integer(value: Any, name: str, *, low: int, high: int, remedy: str = "") -> int:
    """`value` as an int between `low` and `high`."""
    if type(value) is int and low <= value <= high:
        return value
    number = _int(value, name)
    if not low <= number <= high:
        open_ended = high >= sys.maxsize and number < low
        wanted = f"at least {low}" if open_ended else f"between {low} and {high}"
        raise ValueError(f"{name}={number} must be {wanted}{remedy}")
    return number


def number(value: Any, name: str) -> float:
    """`value` as a float; bools, strings, arrays and the like are TypeErrors."""
    if hasattr(value, "__float__") and not isinstance(value, _NO_NUMBERS):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name} is a {type(value).__name__} beyond the floats") from None
        except (TypeError, ValueError):
            pass
    raise TypeError(f"{name}={value!r} is a {type(value).__name__}; {name} takes a number")


def positive(value: Any, name: str) -> float:
    """`value` as a finite float above 0."""
    given = number(value, name)
    if not (given > 0 and math.isfinite(given)):
        raise ValueError(f"{name}={value!r} must be above 0 and finite")
    return given


def parsed_number(text: str, name: str) -> float:
    """The number that `text` spells."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} takes a number, not {text!r}") from None


def code_width(value: Any) -> int:
    """The bits of a code: 2 to 8, or 16."""
    bits = _int(value, "bits")
    if bits != 16 and not 2 <= bits <= 8:
        raise ValueError(f"bits={bits} must be 2 to 8, or 16")
    return bits


def choice(value: Any, name: str, allowed: Sequence[str]) -> str:
    """`value`, if it is one of the strings `allowed`."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; {name} takes a string")
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not one of: {', '.join(allowed)}")
    return value


def flag(value: Any, name: str) -> bool:
    """`value`, if it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; {name} takes True or False")
    return bool(value)


def group_size(value: Any) -> int | None:
    """A group size of at least 1, or None for one scale per row."""
    if value is None:
        return None
    remedy = " (or None for one scale per row)"
    return integer(value, "group_size", low=1, high=sys.maxsize, remedy=remedy)


def float_dtype(value: Any, name: str = "dtype") -> str:
    """The name of one of the four float dtypes, from its name, the dtype or its scalar type."""
    if not isinstance(value, (str, np.dtype, type)):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; {name} takes {_LISTED_FLOATS}"
        )
    return choice(value if isinstance(value, str) else np.dtype(value).name, name, FLOATS)


def shape(value: Any) -> tuple[int, ...]:
    """The shape of a tensor: at least one size, none negative."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"shape={value!r} is a {type(value).__name__}; shape takes a tuple of ints")
    if not value:
        raise ValueError("shape=() has 0 dimensions; at least 1 is needed")
    return tuple(integer(n, "shape", low=0, high=sys.maxsize) for n in value)


def unmasked(x: Any, name: str) -> None:
    """Raise for a masked array, whose mask would be lost."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first: {name}.filled(0)")


def array(x: Any, name: str = "x") -> Array:
    """`x` as a C-contiguous native ndarray of one of the four float dtypes, copied only if needed.

    Takes what `np.asarray` turns into such an array, and bfloat16 tensors of torch by their bits.
    """
    unmasked(x, name)
    if type(x).__module__.partition(".")[0] == "torch":
        x = _from_torch(x)
    try:
        given = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} is a {type(x).__name__} that makes no array: {error}") from None
    if name_of(given.dtype) not in FLOATS:
        kind, remedy = "", f"{name}.astype(np.float32)"
        if given is not x:
            kind, remedy = f" (from {type(x).__name__})", f"np.asarray({name}, np.float32)"
        raise TypeError(
            f"{name} has dtype {given.dtype}{kind}; bitmill takes {_LISTED_FLOATS}: {remedy}"
        )
    if given.ndim == 0:
        raise ValueError(f"{name} has 0 dimensions; at least 1 is needed: np.atleast_1d({name})")
    native = dtype(name_of(given.dtype))
    if given.flags.c_contiguous and given.dtype == native:
        return np.asarray(given)
    return _contiguous_copy(given, native)


def _contiguous_copy(given: Array, of: np.dtype[Any]) -> Array:
    """A copy in C order, made about a MiB at a time: so it stays in cache, and Ctrl-C is heard."""
    out = np.empty(given.shape, of)
    axis = int(np.argmax(given.shape))
    per_index = given.size // max(1, given.shape[axis])
    step = max(1, (1 << 18) // max(1, per_index))
    for start in range(0, given.shape[axis], step):
        part = (*(slice(None),) * axis, slice(start, start + step))
        out[part] = given[part]
    return out


def _from_torch(tensor: Any) -> Any:
    """A CPU tensor's memory; bfloat16, which NumPy lacks, goes through its bits."""
    torch = sys.modules["torch"]  # the tensor came from there; bitmill never imports it
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(dtype("bfloat16"))
    return tensor.numpy()


def matrix(x: Any, name: str, allowed: Sequence[str] = FLOATS) -> Array:
    """`x`, if it is what kernels take: a 2-D C-contiguous native ndarray of an `allowed` dtype."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} is a {type(x).__name__}; kernels take a NumPy array")
    contiguous(x, name, allowed)
    if x.ndim != 2:
        raise ValueError(f"{name} has shape {x.shape}; wanted 2-D: {name}.reshape(rows, columns)")
    return x


def contiguous(x: Array, name: str, allowed: Sequence[str]) -> Array:
    """`x`, if it is C-contiguous and of a native `allowed` dtype."""
    if name_of(x.dtype) not in allowed:
        raise TypeError(f"{name} has dtype {x.dtype}; wanted {', '.join(allowed)}")
    if not x.dtype.isnative:
        raise ValueError(
            f"{name} has dtype {x.dtype}; wanted native byte order: "
            f"{name}.astype({name}.dtype.newbyteorder('='))"
        )
    if not x.flags.c_contiguous:
        raise ValueError(f"{name} is not C-contiguous: np.ascontiguousarray({name})")
    return x


def shaped(x: Any, name: str, shape: tuple[int, ...], allowed: Sequence[str]) -> Array:
    """`x`, if it is a C-contiguous array of this shape and an `allowed` dtype."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name} is a {type(x).__name__}; wanted a NumPy array")
    if x.shape != shape:
        raise ValueError(f"{name} has shape {x.shape}; wanted {shape}")
    return contiguous(x, name, allowed)


def held(x: Any, name: str, of: str, shape: tuple[int, ...]) -> None:
    """Raise unless `x` is the array of this name, dtype and shape that a layout asks for."""
    if isinstance(x, np.ndarray) and name_of(x.dtype) != of:
        raise ValueError(f"{name} has dtype {x.dtype}; wanted {of}")
    shaped(x, name, shape, (of,))


def same_shape(a: Any, b: Any, names: str) -> None:
    """Raise unless the two arrays called `names` have one shape."""
    if a.shape != b.shape:
        raise ValueError(f"{names} have shapes {a.shape} and {b.shape}; wanted equal ones")


def _empty(shape: tuple[int, ...], of: np.dtype[Any]) -> Array:
    """np.empty; from a MiB on at the start of a cache line, which it is not by itself.

    Memory of that size comes by whole pages behind a header of 16 bytes, so every vector that is
    stored would lie across two lines: a third of the speed of int4 to float32.
    """
    size = math.prod(shape) * of.itemsize
    if size < 1 << 20:
        return np.empty(shape, of)
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(of).reshape(shape)


def output(out: Any, shape: tuple[int, ...], of: np.dtype[Any], *inputs: Array | None) -> Array:
    """`out` if it can take the result, a new array if it is None (N8)."""
    if out is None:
        return _empty(shape, of)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out is a {type(out).__name__}; wanted a NumPy array")
    if out.dtype != of:
        raise ValueError(f"out has dtype {out.dtype}; wanted {of}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}; wanted {shape}")
    if not out.flags.c_contiguous:
        raise ValueError("out is not C-contiguous; wanted an array such as np.empty returns")
    if not out.flags.writeable:
        raise ValueError("out is read-only; wanted a writeable array")
    for given in inputs:
        if given is not None and np.may_share_memory(out, given):
            raise ValueError("out shares memory with an input; wanted a separate array")
    return out


class NonfiniteError(ValueError):
    """Values that cannot be quantized: NaN, infinities, or float64 too large for float32."""


def nonfinite_error(x: Array, name: str = "x") -> NonfiniteError:
    """The error of N5 for an `x` that holds values that cannot be quantized."""
    flat = x.reshape(-1)
    step = 1 << 20
    return nonfinite_in((flat[start : start + step] for start in range(0, flat.size, step)), name)


def nonfinite_in(blocks: Iterable[Array], name: str = "x") -> NonfiniteError:
    """The error of N5 for values that come in 1-D blocks, of which at least one is not finite."""
    first, value, count, seen = -1, 0.0, 0, 0
    for block in blocks:
        with np.errstate(over="ignore", invalid="ignore"):
            bad = np.flatnonzero(~np.isfinite(block.astype(np.float32)))
        if first < 0 and bad.size:
            first, value = seen + int(bad[0]), float(block[bad[0]])
        count += bad.size
        seen += block.size
    what, remedy = "not finite", "replace it, for example with np.nan_to_num"
    if np.isfinite(value):
        what, remedy = "a float64 beyond the range of float32", f"scale or clip {name}"
    return NonfiniteError(
        f"{name} has {count} value{'s' if count != 1 else ''} that cannot be quantized; the first, "
        f"{name}.flat[{first}], is {value} ({what}): {remedy}"
    )


def scheme(given: Any) -> None:
    """Raise unless `given` is a scheme object."""
    if isinstance(given, type) or not (hasattr(given, "layout") and hasattr(given, "quantize")):
        is_class = isinstance(given, type)
        shown = f"the class {given.__name__}" if is_class else f"a {type(given).__name__}"
        raise TypeError(f"scheme is {shown}; wanted a scheme object such as bm.Affine(4)")


def between(value: Any, name: str, low: float, high: float) -> float:
    """`value` as a float, if it lies in `low` … `high`."""
    given = number(value, name)
    if not low <= given <= high:
        raise ValueError(f"{name}={value!r} must be between {low:g} and {high:g}")
    return given
