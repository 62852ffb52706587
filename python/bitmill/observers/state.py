# SPDX-License-Identifier: MIT
"""What an observer remembers: arrays by name, and how JSON holds them without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bitmill._dtypes import Array

State = dict[str, Array]
"""Arrays by name; none before the first value."""


def listed(state: State) -> dict[str, Any]:
    """As JSON can hold it: dtype, shape, and values in a row, floats as hexadecimal strings.

    >>> listed({"min": np.float32([0.1])})
    {'min': {'dtype': 'float32', 'shape': [1], 'values': ['0x1.99999a0000000p-4']}}
    """
    return {name: _listed(array) for name, array in sorted(state.items())}


def _listed(array: Array) -> dict[str, Any]:
    flat = array.reshape(-1).tolist()
    values = [v.hex() for v in flat] if array.dtype.kind == "f" else flat
    return {"dtype": array.dtype.name, "shape": list(array.shape), "values": values}


def read(given: Mapping[str, Any]) -> State:
    """What `listed` made.

    >>> read(listed({"count": np.int64([3])}))
    {'count': array([3])}
    """
    return {name: _read(**array) for name, array in given.items()}


def _read(dtype: str, shape: list[int], values: list[Any]) -> Array:
    if dtype not in ("float32", "float64", "int64", "object"):
        raise ValueError(f"{dtype!r} is no dtype of a state")
    if dtype.startswith("float"):
        values = [float.fromhex(v) for v in values]
    elif not all(type(v) is int for v in values):
        raise ValueError(f"an array of {dtype} has values that are no integers")
    with np.errstate(over="ignore"):  # infinities, which the observer refuses
        return np.array(values, dtype).reshape(shape)


def require(holds: Array | bool, what: str) -> None:
    """Raise ValueError, saying that the state is not `what`, unless all of it holds."""
    if not np.all(holds):
        raise ValueError(f"the state is not {what}")


def same_layout(state: State, wanted: State) -> None:
    """Raise ValueError unless the arrays of both have the same names, dtypes and shapes."""
    found, needed = (
        {name: (array.dtype.name, array.shape) for name, array in arrays.items()}
        for arrays in (state, wanted)
    )
    if found != needed:
        raise ValueError(f"the state has {found}; wanted {needed}")
