# SPDX-License-Identifier: MIT
"""Candidates by their names: which scheme each stands for, and which go together."""

from __future__ import annotations

from typing import Any

import pytest

import bitmill as bm
from bitmill.checkpoint import LayerScheme
from bitmill.checkpoint.candidates import resolve
from bitmill.formats import PRESETS

NAMES: dict[str, dict[str, Any]] = {
    "W2": {"bits": 2, "group_size": 128},
    "W7": {"bits": 7, "group_size": 128},
    "W8": {"bits": 8},
    "W8g32": {"bits": 8, "group_size": 32},
    "W4row": {"bits": 4},
    "W4a": {"bits": 4, "group_size": 128, "symmetric": False},
    "W3g64o": {"bits": 3, "group_size": 64, "symmetric": False, "offset": True},
}


@pytest.mark.parametrize("name", NAMES)
def test_names_stand_for_affine_schemes_with_searched_clips(name: str) -> None:
    wanted = LayerScheme(bm.Affine(**NAMES[name], clip="mse"))
    assert resolve([name]) == {name: wanted}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_stand_for_themselves(name: str) -> None:
    assert resolve([name]) == {name: PRESETS[name]}


def test_labels_stand_for_what_they_are_given() -> None:
    scheme = bm.Affine(5, group_size=32)
    found = resolve({"mine": scheme, "W4": "W3", "KEEP": "keep"})
    assert found == {"mine": LayerScheme(scheme), "W4": resolve(["W3"])["W3"], "KEEP": None}


def test_candidates_of_two_methods_are_all_native() -> None:
    found = resolve(["W4", "W4o", "KEEP"])
    assert {label: layer and layer.format for label, layer in found.items()} == {
        "W4": "native",
        "W4o": "native",
        "KEEP": None,
    }
    assert {layer.format for layer in resolve(["W4", "W8A8"]).values() if layer} == {
        "pack-quantized",
        "int-quantized",
    }


@pytest.mark.parametrize(
    ("candidates", "problem"),
    [
        (["W9"], r"candidates: 'W9' is not one of: W2 to W8 \(also W4g32"),
        ({"mine": "W9"}, "candidates: 'mine': 'W9' is not one of"),
        (["W4g0"], "'W4g0' is not one of"),
        (["W4ao"], "'W4ao' is not one of"),
        (["W4", "W4"], "'W4' is there twice"),
        (["KEEP", "keep", "W4"], "'KEEP' is there twice"),
        ([], "candidates are empty; wanted a scheme"),
        (["keep"], "candidates are KEEP; wanted a scheme"),
        ({"W4": "keep", "W3": "W3"}, "'W4': the label KEEP is for weights as they are"),
        (["W4o", "W8A8"], "'W8A8' has input activations, and the others need the native format"),
    ],
)
def test_bad_candidates_are_named(candidates: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        resolve(candidates)


@pytest.mark.parametrize("candidates", ["W4", None, [4], {"a": 4}, {4: "W4"}])
def test_candidates_of_wrong_types_are_refused(candidates: Any) -> None:
    with pytest.raises(TypeError, match=r"candidates|scheme"):
        resolve(candidates)
