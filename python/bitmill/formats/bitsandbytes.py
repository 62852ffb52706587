# SPDX-License-Identifier: MIT
"""The 4-bit format of bitsandbytes, which Transformers loads: NF4 and FP4.

A weight of module `M` is stored as `M.weight`, a column of bytes with the first of two codes in the
high bits; `M.weight.absmax`, the scales; `M.weight.quant_map`, the table; and a state that is JSON
in bytes. With double quantization the scales are bytes, too, and have a scale and a table of their
own. As bitsandbytes 0.50 and Transformers 5 read it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from reprlib import repr
from typing import Any, TypeVar

import numpy as np

from bitmill._dtypes import FLOATS, Array
from bitmill.formats.base import Weight, held
from bitmill.formats.layer import BITSANDBYTES, BLOCK_SIZES, fits_bitsandbytes
from bitmill.qtensor import QTensor
from bitmill.schemes import FP4, NF4, Field, Scheme, total
from bitmill.schemes.dynamic_map import BLOCK, dynamic_map

METHOD = BITSANDBYTES
T = TypeVar("T", str, int)

KINDS: dict[str, type[NF4] | type[FP4]] = {"nf4": NF4, "fp4": FP4}
"""The schemes by their names in the format."""

STATE = "weight.quant_state.bitsandbytes__"
"""What the name of a state begins with, behind which the kind of codes follows."""

_LARGEST = float(np.finfo(np.float32).max)
_STATE_BYTES = {False: 128, True: 256}
"""Of a state, filled up with spaces: the same for every shape and dtype, without and with double
quantization."""


def why_not(scheme: object, shape: tuple[int, ...]) -> str | None:
    """Why the format cannot hold a weight of this shape under this scheme; None if it can.

    >>> why_not(NF4(), (512, 100))
    'rows of 100 weights are not a whole number of groups of 64 (choose another size)'
    """
    if not isinstance(scheme, (NF4, FP4)):
        return f"the format holds NF4 and FP4 only, no {type(scheme).__name__}"
    if not fits_bitsandbytes(scheme):
        return (
            "the format holds positive float32 scales of groups of "
            f"{', '.join(map(str, BLOCK_SIZES))} only"
        )
    assert scheme.group_size is not None
    if len(shape) != 2:
        return f"the format holds 2-D weights only, not {len(shape)}-D"
    if 0 in shape:
        return "there are no weights in it"
    if shape[1] % scheme.group_size:
        return (
            f"rows of {shape[1]} weights are not a whole number of groups of {scheme.group_size} "
            "(choose another size)"
        )
    return None


def tensors(scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor that stands for the weight.

    >>> for tensor in tensors(NF4(), (512, 384)):
    ...     print(*tensor)
    weight uint8 (98304, 1)
    weight.absmax float32 (3072,)
    weight.quant_map float32 (16,)
    weight.quant_state.bitsandbytes__nf4 uint8 (128,)
    """
    known = _checked(scheme, shape)
    assert known.group_size is not None
    count, nested = math.prod(shape), known.double_quantization
    groups = count // known.group_size
    made = [
        Field("weight", "uint8", (count // 2, 1)),
        Field("weight.absmax", "uint8" if nested else "float32", (groups,)),
    ]
    if nested:
        made += [
            Field("weight.nested_absmax", "float32", (-(-groups // BLOCK),)),
            Field("weight.nested_quant_map", "float32", (BLOCK,)),
        ]
    return [
        *made,
        Field("weight.quant_map", "float32", (16,)),
        Field(STATE + _kind(known), "uint8", (_STATE_BYTES[nested],)),
    ]


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format takes for a weight of this shape.

    >>> nbytes(NF4(), (512, 384)), nbytes(NF4(double_quantization=True), (512, 384))
    (110784, 102768)
    """
    return total(tensors(scheme, shape))


def row_step(scheme: Scheme) -> int:
    """1: rows are whole bytes."""
    return 1


def encode(q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
    """The arrays that `tensors` lists, for one quantized weight or a piece of one of this shape.

    A group of zeros has the scale 0 in the format.
    """
    scheme = _checked(q.scheme, q.shape)
    codes = q.packed.view(np.uint8)
    state: dict[str, Any] = {
        "quant_type": _kind(scheme),
        "blocksize": scheme.group_size,
        "dtype": q.dtype,
        "shape": list(shape or q.shape),
    }
    arrays = {
        "weight": (codes << 4 | codes >> 4).reshape(-1, 1),
        "weight.quant_map": scheme.table_of({}),
    }
    if scheme.double_quantization:
        arrays["weight.absmax"] = q.arrays["scale"].reshape(-1)
        arrays["weight.nested_absmax"] = q.arrays["nested_scale"]
        arrays["weight.nested_quant_map"] = dynamic_map()
        state |= {"nested_blocksize": BLOCK, "nested_dtype": "float32"}
        state["nested_offset"] = float(q.arrays["nested_offset"][0])
    else:
        arrays["weight.absmax"] = np.where(_zeros(scheme, codes, q.shape), 0, q.arrays["scale"])
        arrays["weight.absmax"] = arrays["weight.absmax"].astype(np.float32).reshape(-1)
    said = json.dumps(state).encode().ljust(_STATE_BYTES[scheme.double_quantization])
    arrays[STATE + state["quant_type"]] = np.frombuffer(said, np.uint8)
    return arrays


def decode(
    arrays: Mapping[str, Array], described: Mapping[str, Any], *, dtype_name: str | None = None
) -> QTensor:
    """The inverse of `encode`; `described` is what `description` made of the tensors' headers.

    `dtype_name` is not used: the state tells the dtype. Raises ValueError naming the array that is
    missing or does not fit.
    """
    state = _state(held(arrays, STATE + str(described["quant_type"])))
    shape, nested = _shape(state), "weight.nested_absmax" in arrays
    kind = _said(state, "quant_type", (str(described["quant_type"]),))
    block = _said(state, "blocksize", BLOCK_SIZES)
    scheme = _scheme(kind, block, nested=nested)
    for name, kind, of in tensors(scheme, shape)[:-1]:
        found = held(arrays, name)
        if found.dtype != kind or found.size != math.prod(of):
            raise ValueError(f"{name} is {found.dtype} {found.shape}; wanted {kind} {of}")
    if arrays["weight.quant_map"].tobytes() != scheme.table_of({}).tobytes():
        raise ValueError(f"weight.quant_map is not the table of {scheme.name}")
    codes = arrays["weight"].reshape(-1)
    groups = scheme.view(shape).params
    fields = {
        "packed": (codes << 4 | codes >> 4).view(np.uint32).reshape(shape[0], -1),
        "scale": arrays["weight.absmax"].reshape(groups),
    }
    if nested:
        if arrays["weight.nested_quant_map"].tobytes() != dynamic_map().tobytes():
            raise ValueError("weight.nested_quant_map is not the dynamic map of bitsandbytes")
        _said(state, "nested_blocksize", (BLOCK,))
        _said(state, "nested_dtype", ("float32",))
        fields["nested_scale"] = arrays["weight.nested_absmax"].reshape(-1)
        fields["nested_offset"] = np.array([_offset(state)], np.float32)
    scale = scheme.params(fields, shape)[0]
    if scale is None or not np.isfinite(scale).all():
        where = ", nested_absmax or nested_offset" if nested else ""
        raise ValueError(f"weight.absmax{where} has NaN, infinity, or makes a scale infinite")
    return QTensor(scheme, shape, _said(state, "dtype", FLOATS), fields)


def config(
    weights: Mapping[str, Weight], *, linear: Collection[str] = (), ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """The `quantization_config` for these modules; `ignore` are the others' names.

    Loaders take every `Linear` that is not named for quantized, but for `lm_head`.

    >>> from bitmill.formats import LayerScheme
    >>> config({"m": Weight(LayerScheme(NF4()), (512, 384), "bfloat16")})["bnb_4bit_quant_type"]
    'nf4'
    """
    schemes = [_checked(weight.layer.weights, weight.shape) for weight in weights.values()]
    kinds = {_kind(scheme) for scheme in schemes}
    if len(kinds) > 1:
        raise ValueError("NF4 and FP4 in one checkpoint, of which bitsandbytes knows one")
    dtypes = {weight.dtype for weight in weights.values()}
    skipped = list(ignore)
    if "lm_head" not in skipped and not any("lm_head" in name for name in weights):
        skipped.append("lm_head")
    return {
        "quant_method": METHOD,
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_quant_type": kinds.pop() if kinds else "nf4",
        "bnb_4bit_use_double_quant": any(scheme.double_quantization for scheme in schemes),
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_compute_dtype": dtypes.pop() if len(dtypes) == 1 else "float32",
        "llm_int8_skip_modules": skipped,
    }


def notes(weights: Mapping[str, Weight], kept: Sequence[str] = ()) -> list[str]:
    """What to know about the runtimes before such weights are handed to them."""
    return ["Transformers loads the format with the package bitsandbytes"]


def description(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What the headers tell about a weight, by the names of its parts behind `M.`."""
    state = next(name for name in shapes if name.startswith(STATE))
    groups = math.prod(shapes.get("weight.absmax", ()))
    return {
        "quant_type": state.removeprefix(STATE),
        "blocksize": 2 * math.prod(shapes.get("weight", ())) // max(1, groups),
    }


def fields(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of what may stand for a weight."""
    names = ("", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map")
    return (*(f"weight{name}" for name in names), STATE + str(described["quant_type"]))


def scheme_of(described: Mapping[str, Any], dtypes: Mapping[str, str | None]) -> NF4 | FP4:
    """The scheme, by the description and the dtype of the scales."""
    nested = "weight.nested_absmax" in dtypes
    return _scheme(described["quant_type"], described["blocksize"], nested=nested)


def shape_of(
    described: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Array],
) -> tuple[int, ...] | None:
    """The shape, which the state tells."""
    return _shape(_state(read(STATE + str(described["quant_type"]))))


def _checked(scheme: object, shape: tuple[int, ...]) -> NF4 | FP4:
    reason = why_not(scheme, shape)
    if reason is not None or not isinstance(scheme, (NF4, FP4)):
        raise ValueError(f"bitsandbytes cannot hold this {shape} weight: {reason}")
    return scheme


def _scheme(kind: object, block: object, *, nested: bool) -> NF4 | FP4:
    if kind not in KINDS or block not in BLOCK_SIZES:
        raise ValueError(f"its codes are {kind!r} in blocks of {block!r}; bitmill reads nf4, fp4")
    return KINDS[str(kind)](int(str(block)), double_quantization=nested)


def _kind(scheme: NF4 | FP4) -> str:
    return type(scheme).__name__.lower()


def _zeros(scheme: NF4 | FP4, codes: Array, shape: tuple[int, ...]) -> Array:
    """Which groups hold nothing but the code of 0, which groups of zeros alone do."""
    zero = scheme.VALUES.index(0.0)
    groups = codes.reshape(*scheme.view(shape).params, -1)
    found: Array = (groups == (zero << 4 | zero)).all(axis=-1)
    return found


def _state(stored: Array) -> dict[str, Any]:
    if stored.dtype != np.uint8:
        raise ValueError(f"its quant_state is {stored.dtype}; wanted the bytes of a JSON object")
    try:
        state = json.loads(stored.tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its quant_state is no JSON: {error}") from None
    if not isinstance(state, dict):
        raise ValueError(f"its quant_state is a JSON {type(state).__name__}; wanted an object")
    return state


def _shape(state: Mapping[str, Any]) -> tuple[int, ...]:
    shape = state.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"its quant_state has shape={repr(shape)}; wanted a list of numbers")
    return tuple(shape)


def _said(state: Mapping[str, Any], name: str, known: Sequence[T]) -> T:
    """An entry of a state, which is one of those that are `known`, and of their type."""
    said: object = state.get(name)
    for value in known:
        if type(said) is type(value) and said == value:
            return value
    wanted = ", ".join(map(str, known))
    raise ValueError(f"its quant_state has {name}={repr(said)}; wanted {wanted}")


def _offset(state: Mapping[str, Any]) -> float:
    """What is added to all scales."""
    said: Any = state.get("nested_offset")
    is_number = isinstance(said, (int, float)) and not isinstance(said, bool)
    if is_number and abs(said) <= _LARGEST:
        return float(said)
    raise ValueError(f"its quant_state has nested_offset={repr(said)}; wanted a float32")
