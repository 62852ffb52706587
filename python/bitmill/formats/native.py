# SPDX-License-Identifier: MIT
"""bitmill's own format: the arrays of a scheme's layout under their names, the scheme as JSON.

A weight of module `M` is stored as `M.<field>` for every field of `scheme.layout(shape)`; the
configuration says scheme, shape and dtype of each. It holds every scheme and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bitmill import schemes
from bitmill._dtypes import Array
from bitmill.formats.base import Weight, held
from bitmill.formats.layer import NATIVE, LayerScheme
from bitmill.qtensor import QTensor
from bitmill.schemes import Field, Outliers, Scheme, total

METHOD = "bitmill"
VERSION = 1


def why_not(scheme: object, shape: tuple[int, ...]) -> str | None:
    """None: there is nothing that the format cannot hold."""
    return None


def tensors(scheme: Scheme, shape: tuple[int, ...]) -> list[Field]:
    """Name (behind `M.`), dtype and shape of every tensor: the layout of the scheme."""
    return scheme.layout(shape)


def nbytes(scheme: Scheme, shape: tuple[int, ...]) -> int:
    """Bytes of tensor data that the format takes: those that are held in memory."""
    return total(tensors(scheme, shape))


def encode(q: QTensor, shape: tuple[int, ...] | None = None) -> dict[str, Array]:
    """The arrays that `tensors` lists: those of the QTensor."""
    return q.arrays


def row_step(scheme: Scheme) -> int:
    """1: no array packs several rows together."""
    return 1


def decode(
    arrays: Mapping[str, Array], described: Mapping[str, Any], *, dtype_name: str | None = None
) -> QTensor:
    """The inverse of `encode`: arrays by name, and what `config` says about the weight.

    `dtype_name` is not used: the description tells the dtype. Raises ValueError for a description
    that is none, and for arrays that are missing or do not fit.
    """
    layer, shape, dtype = _weight(described)
    found = {field.name: held(arrays, field.name) for field in layer.weights.layout(shape)}
    q = QTensor(layer.weights, shape, dtype, found)
    if isinstance(q.scheme, Outliers):  # steps of the right dtype and number may still lead astray
        q.scheme.places(q.arrays, q.shape)
    return q


def config(
    weights: Mapping[str, Weight], *, linear: Collection[str] = (), ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """The `quantization_config`: each weight by its name, so no other needs to be told of.

    >>> layer = LayerScheme(schemes.Affine(4), format="native")
    >>> config({"m": Weight(layer, (2, 8), "float32")})["tensors"]
    {'m': {'scheme': {'scheme': 'Affine', 'bits': 4}, 'shape': [2, 8], 'dtype': 'float32'}}
    """
    described = {
        name: {"scheme": layer.weights.to_dict(), "shape": list(shape), "dtype": dtype}
        for name, (layer, shape, dtype) in weights.items()
    }
    return {"quant_method": METHOD, "version": VERSION, "tensors": described}


def descriptions(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By name, what `config` wrote about each weight. ValueError if it did not write this."""
    version, described = config.get("version"), config.get("tensors")
    if version != VERSION:
        raise ValueError(f"its version is {version!r}; this bitmill reads {VERSION}")
    if not isinstance(described, dict):
        raise ValueError(f"its 'tensors' is a JSON {type(described).__name__}; wanted an object")
    return described


def fields(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the arrays of a weight."""
    layer, shape, _ = _weight(described)
    return tuple(field.name for field in layer.weights.layout(shape))


def scheme_of(described: Mapping[str, Any], dtypes: Mapping[str, str | None]) -> Scheme:
    """The scheme, which the description names."""
    return _weight(described).layer.weights


def shape_of(
    described: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Array],
) -> tuple[int, ...] | None:
    """The shape, which the description names."""
    return shape(described)


def shape(described: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of a weight, by what `config` says about it."""
    return _weight(described).shape


def notes(weights: Mapping[str, Weight], kept: Sequence[str] = ()) -> list[str]:
    """What to know about the runtimes: none but bitmill reads the format."""
    return ["only bitmill itself loads its native format"]


def _weight(described: Mapping[str, Any]) -> Weight:
    try:
        shape = tuple(int(n) for n in described["shape"])
        layer = LayerScheme(schemes.from_dict(described["scheme"]), format=NATIVE)
        return Weight(layer, shape, str(described["dtype"]))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"its description {described!r} cannot be read: {error!r}") from None
