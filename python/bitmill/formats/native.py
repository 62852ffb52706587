# SPDX-License-Identifier: MIT
"""bitmill's own format: the arrays of a scheme's layout under their names, the scheme as JSON.

A tensor `name` is stored as `<name>.<field>` for every field of `scheme.layout(shape)`; a JSON
object in the safetensors metadata, under the key "bitmill", says scheme, shape and dtype of each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bitmill import schemes
from bitmill._dtypes import Array
from bitmill.qtensor import QTensor

KEY = "bitmill"
VERSION = 1


def why_not(scheme: schemes.Scheme, shape: tuple[int, ...]) -> None:
    """None: the format holds every scheme and shape."""


def tensors(name: str, q: QTensor) -> dict[str, Array]:
    """The arrays of one tensor under the names they have in a file."""
    return {f"{name}.{field}": array for field, array in q.arrays.items()}


def config(quantized: Mapping[str, QTensor]) -> dict[str, str]:
    """The safetensors metadata that describes these tensors."""
    described = {
        name: {"scheme": q.scheme.to_dict(), "shape": list(q.shape), "dtype": q.dtype}
        for name, q in quantized.items()
    }
    return {KEY: json.dumps({"version": VERSION, "tensors": described}, sort_keys=True)}


def descriptions(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What `config` wrote: scheme, shape and dtype by name. ValueError if it is not that."""
    if KEY not in metadata:
        raise ValueError(f"its metadata have no {KEY!r} entry: bm.save did not write it")
    try:
        described = json.loads(metadata[KEY])
        version, entries = described["version"], described["tensors"]
        if version != VERSION:
            raise ValueError(f"its version is {version!r}; this bitmill reads {VERSION}")
        return {
            name: {
                "scheme": schemes.from_dict(entry["scheme"]),
                "shape": tuple(int(n) for n in entry["shape"]),
                "dtype": str(entry["dtype"]),
            }
            for name, entry in entries.items()
        }
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its {KEY!r} entry cannot be read: {error!r}") from None


def qtensor(name: str, description: Mapping[str, Any], stored: Mapping[str, Array]) -> QTensor:
    """The tensor of this name and description, out of the arrays of a file.

    Raises ValueError for arrays that are missing or do not fit.
    """
    layout = description["scheme"].layout(description["shape"])
    missing = [f"{name}.{field.name}" for field in layout if f"{name}.{field.name}" not in stored]
    if missing:
        raise ValueError(f"tensor {missing[0]!r} is missing")
    arrays = {field.name: stored[f"{name}.{field.name}"] for field in layout}
    return QTensor(arrays=arrays, **description)
