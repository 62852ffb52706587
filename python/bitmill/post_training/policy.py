# SPDX-License-Identifier: MIT
"""What becomes of the layers of a network, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bitmill import _check
from bitmill.checkpoint.patterns import check_pattern, matches_name
from bitmill.formats.compressed_tensors import LINEAR
from bitmill.integer.activations import DYNAMIC
from bitmill.post_training.report import STEPS
from bitmill.post_training.transforms import Transform, resolve
from bitmill.qparams import static_scheme
from bitmill.schemes import Affine, Scheme

_INT8 = Affine(8)


@dataclass(frozen=True)
class Policy:
    """How `bm.ptq` quantizes a layer.

    Parameters
    ----------
    weights
        Any scheme. Schemes that weigh errors get the mean square of each input as importance.
    activations
        "dynamic" or "dynamic_asymmetric": int8 with a scale, or also a zero-point, for each token.
        A `bm.Affine` of 8 bits with axis=None: one scale, calibrated on what the layer sees. None:
        activations stay floats.
    transforms
        Those to try, by name or as objects: "smooth" (`Smooth`), "rotate" (`Rotate`), "split"
        (`Split`). The best on held-out tokens is kept, if it is better than none.
    compensate
        Whether float weights are first fitted, by least squares with a ridge, to their inputs as
        the quantized layers before them leave them, so that outputs are nearer to those of the
        float network. Rows are kept where that is so on held-out tokens.
    refit
        Whether scales of weights and the bias are fitted to the outputs of the float layer: see
        `refit`.

    Raises TypeError and ValueError for anything else.

    >>> import bitmill as bm
    >>> Policy(bm.Affine(4, group_size=32), "dynamic", transforms=["smooth"])
    Policy(weights=Affine(bits=4, group_size=32), activations='dynamic', \
transforms=('smooth',), compensate=False, refit=False)
    """

    weights: Scheme = _INT8
    activations: str | Affine | None = "dynamic_asymmetric"
    transforms: Iterable[str | Transform] = ()
    compensate: bool = False
    refit: bool = False

    def __post_init__(self) -> None:
        _check.scheme(self.weights)
        if isinstance(self.activations, str):
            _check.choice(self.activations, "activations", tuple(DYNAMIC))
        elif self.activations is not None:
            scheme = static_scheme(self.activations)
            if scheme.bits != 8 or scheme.axis is not None or scheme.offset:
                raise ValueError(
                    f"activations={scheme!r}; wanted bm.Affine(8, axis=None) without offset"
                )
        if isinstance(self.transforms, str):
            raise TypeError(f"transforms={self.transforms!r}; wanted a list of them")
        object.__setattr__(self, "transforms", tuple(self.transforms))
        names = [*STEPS, *(each.name for each in self.candidates())]
        if len(set(names)) < len(names):
            raise ValueError(f"transforms={self.transforms!r} have a name twice, or that of a step")
        _check.flag(self.compensate, "compensate")
        _check.flag(self.refit, "refit")

    def candidates(self) -> tuple[Transform, ...]:
        """The transformations to try, as objects."""
        return tuple(resolve(each) for each in self.transforms)


def by_layer(given: Any, names: Iterable[str]) -> dict[str, Policy]:
    """The policy of each layer that has one; the first pattern that matches decides.

    Raises TypeError for what is no policy, ValueError for patterns that no layer matches.
    """
    if isinstance(given, Policy):
        return dict.fromkeys(names, given)
    if not isinstance(given, Mapping):
        raise TypeError(
            f"policy is a {type(given).__name__}; wanted a Policy or {{pattern: Policy}}"
        )
    for pattern, policy in given.items():
        check_pattern(pattern, "policy")
        if not isinstance(policy, Policy):
            raise TypeError(f"policy has {policy!r} for {pattern!r}; wanted a Policy")
    found = {name: _first(given, name) for name in names}
    unused = [pattern for pattern in given if not any(_selects(pattern, name) for name in found)]
    if unused:
        raise ValueError(f"policy has patterns that match no layer: {', '.join(map(repr, unused))}")
    return {name: policy for name, policy in found.items() if policy is not None}


def _first(given: Mapping[str, Policy], name: str) -> Policy | None:
    return next((policy for pattern, policy in given.items() if _selects(pattern, name)), None)


def _selects(pattern: str, name: str) -> bool:
    return pattern == LINEAR or matches_name(pattern, name)
