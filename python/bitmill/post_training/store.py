# SPDX-License-Identifier: MIT
"""A quantized network in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from bitmill._dtypes import Array
from bitmill.checkpoint.data import read_tensor
from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import parse_json, read_header
from bitmill.checkpoint.paths import given_path
from bitmill.checkpoint.store import load as load_tensors
from bitmill.checkpoint.store import write_quantized
from bitmill.integer.activations import Activations
from bitmill.post_training.layer import QuantizedLayer
from bitmill.post_training.moved import moved_of
from bitmill.post_training.network import QuantizedNetwork
from bitmill.post_training.report import Step
from bitmill.qparams import QParams
from bitmill.qtensor import QTensor
from bitmill.transform.values import vector

KEY = "bitmill_layers"
"""Where in a file's `__metadata__` stands what layers have beside their weights."""


def save(network: QuantizedNetwork, path: str | os.PathLike[str]) -> None:
    """Write the quantized layers of a network, and the report, to a file of `bm.save`.

    `bm.load` reads its weights, `load` all of it. Layers that stayed in float are not in it. The
    file appears under its name only when it is complete.

    >>> import bitmill as bm, numpy as np, tempfile, os
    >>> x = np.random.default_rng(0).standard_normal((64, 32), np.float32)
    >>> network = bm.ptq({"up": x[:8]}, {"up": x})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "network.safetensors")
    ...     bm.post_training.save(network, path)
    ...     again = bm.post_training.load(path)
    >>> bool((again.linear("up", x) == network.linear("up", x)).all())
    True
    """
    if not isinstance(network, QuantizedNetwork):
        raise TypeError(f"network is a {type(network).__name__}; wanted what bm.ptq returns")
    reports = network.report.to_dict()
    described: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    for name, layer in network.layers.items():
        if not layer.moved.is_known:
            kind = type(layer.moved).__name__
            raise ValueError(f"layer {name!r} has a {kind}, which a file cannot tell of")
        held = dict(layer.moved.arrays)
        if layer.bias is not None:
            held["bias"] = layer.bias
        arrays |= {f"{name}.{field}": array for field, array in held.items()}
        described[name] = {
            "activations": _told(layer.activations),
            "moved": {"kind": layer.moved.kind, "options": dict(layer.moved.options)},
            "arrays": sorted(held),
            "steps": reports[name]["steps"],
        }
    weights = {name: layer.weights for name, layer in network.layers.items()}
    write_quantized(weights, path, arrays, {KEY: json.dumps(described)})


def load(path: str | os.PathLike[str]) -> QuantizedNetwork:
    """The network in a file that `save` wrote.

    Raises CheckpointError (a ValueError), naming file and layer, for a file that is not one of them
    or not whole; OSError where it cannot be read.
    """
    path = given_path(path, "path")
    header = read_header(path)
    if KEY not in header.metadata:
        raise CheckpointError(f"{path}: its metadata have no {KEY!r} entry: it holds no network")
    weights = load_tensors(path)
    network = QuantizedNetwork({})
    for name, described in parse_json(f"{path}: {KEY!r}", header.metadata[KEY].encode()).items():
        try:
            arrays = {
                field: read_tensor(path, header.tensors[f"{name}.{field}"])
                for field in described["arrays"]
            }
            steps = [Step.from_dict(step) for step in described["steps"]]
            if not any(step.kept for step in steps):
                raise ValueError("its report has no step that was kept")
            network.add(name, _layer(weights[name], described, arrays), steps)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: layer {name!r}: {error!r}") from None
    return network


def _told(activations: Activations) -> Any:
    return activations.to_dict() if isinstance(activations, QParams) else activations


def _layer(q: QTensor, described: Mapping[str, Any], arrays: Mapping[str, Array]) -> QuantizedLayer:
    told, moved = described["activations"], described["moved"]
    activations = QParams.from_dict(told) if isinstance(told, Mapping) else told
    rows, columns = q.shape
    bias = None if "bias" not in arrays else vector(arrays["bias"], "bias", rows)
    moved = moved_of(moved["kind"], moved["options"], arrays, (rows, columns))
    return QuantizedLayer(q, bias, activations, moved)
