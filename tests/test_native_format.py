# SPDX-License-Identifier: MIT
"""bitmill's own format, and what all formats have in common."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil

import numpy as np
import pytest

import bitmill as bm
from bitmill import formats
from bitmill.formats import (
    BY_NAME,
    FORMATS,
    LAYER_FORMATS,
    NATIVE,
    Format,
    LayerScheme,
    Method,
    Weight,
    method_of,
    native,
)
from checkpoints import weight
from conftest import same_bits

SCHEMES = [
    bm.Affine(4, group_size=100),
    bm.Affine(3, symmetric=False, offset=True, scales="float16"),
    bm.Affine(16, axis=1),
]


def test_formats_are_modules_of_the_package() -> None:
    modules = {module.name for module in pkgutil.iter_modules(formats.__path__)}
    assert set(FORMATS) < modules
    assert all(hasattr(importlib.import_module(f"bitmill.formats.{m}"), "nbytes") for m in FORMATS)
    assert sorted(BY_NAME) == sorted(LAYER_FORMATS)


@pytest.mark.parametrize("name", LAYER_FORMATS)
@pytest.mark.parametrize("protocol", [Format, Method], ids=["format", "method"])
def test_every_format_has_the_functions_of_its_protocols(name: str, protocol: type) -> None:
    module = BY_NAME[name] if protocol is Format else method_of(name)
    for function, wanted in inspect.getmembers(protocol, inspect.isfunction):
        if not function.startswith("_"):
            given = inspect.signature(getattr(module, function)).parameters.values()
            _, *parameters = inspect.signature(wanted).parameters.values()
            assert [(p.name, p.kind, p.default) for p in given] == [
                (p.name, p.kind, p.default) for p in parameters
            ]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.describe())
def test_decode_undoes_encode(scheme: bm.Affine) -> None:
    q = bm.quantize(weight(6, 130), scheme)
    assert native.why_not(scheme, q.shape) is None
    layer = LayerScheme(q.scheme, format=NATIVE)
    config = json.loads(json.dumps(native.config({"m": Weight(layer, q.shape, q.dtype)})))
    arrays = native.encode(q)
    assert [field.name for field in native.tensors(scheme, q.shape)] == list(arrays)
    assert native.nbytes(scheme, q.shape) == q.nbytes
    found = native.decode(arrays, native.descriptions(config)["m"])
    assert (found.scheme, found.shape, found.dtype) == (scheme, (6, 130), "bfloat16")
    for name, array in q.arrays.items():
        same_bits(found.arrays[name], array, name)


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({}, "cannot be read: KeyError"),
        ({"scheme": {"scheme": "Affine"}, "shape": 3, "dtype": "float32"}, "cannot be read"),
        ({"scheme": {"scheme": "Cube"}, "shape": [2], "dtype": "float32"}, "'Cube' is not one of"),
        ({"scheme": {"scheme": "Affine"}, "shape": [2], "dtype": "float32"}, "codes is missing"),
    ],
)
def test_description_that_does_not_fit_is_refused(described: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.decode({"scale": np.ones(1, np.float32)}, described)
