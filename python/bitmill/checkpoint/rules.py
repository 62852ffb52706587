# SPDX-License-Identifier: MIT
"""Rules: which scheme each tensor gets, or why it is kept; from arguments, or from a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from bitmill.checkpoint.errors import CheckpointError
from bitmill.checkpoint.header import TensorInfo
from bitmill.checkpoint.paths import failing_at, given_path, regular_file
from bitmill.checkpoint.patterns import Model, check_pattern, matches, why_not_linear
from bitmill.formats import PRESETS, LayerScheme, as_layer
from bitmill.formats.compressed_tensors import LINEAR
from bitmill.schemes import Affine, Float, Outliers, Scheme
from bitmill.targets import Fitting, Target

_OPTIONS = {f.name for f in fields(Affine) if f.name != "scales"}
_FLOAT_OPTIONS = {f.name for f in fields(Float) if f.name != "scales"}

KEEP = "keep"
"""In the place of a scheme: leave the weight as it is."""

Rule = Scheme | LayerScheme | str | Target | Fitting
"""A scheme for the weights, one with activations and format, the name of a preset, or a target,
which chooses the scheme by the shape."""
Rules = Rule | Mapping[str, Rule]
"""A rule for `Linear`, or one for each of several patterns; "keep" leaves a weight as it is."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Checked rules: layer schemes by pattern, first match first, and patterns that beat them."""

    layers: dict[str, LayerScheme | Fitting | None]
    ignored: list[str]
    optional: frozenset[str] = frozenset()
    """Patterns that nobody typed, and that need not select anything."""

    def decide(self, info: TensorInfo, model: Model) -> tuple[LayerScheme | Fitting | None, str]:
        """The scheme of a tensor, or what chooses it, and the rule; or None and why it is kept."""
        pattern = self.ignoring(info, model)
        if pattern is not None:
            return None, f"ignored: {pattern}"
        for pattern, layer in self.layers.items():
            if matches(pattern, info, model):
                return layer, pattern if layer is not None else f"kept by rule: {pattern}"
        return None, why_not_linear(info, model) or "no rule matches"

    def ignoring(self, info: TensorInfo, model: Model) -> str | None:
        """The pattern by which a tensor is ignored, or None."""
        return next((p for p in self.ignored if matches(p, info, model)), None)

    def unmatched(self, infos: list[TensorInfo], model: Model) -> list[str]:
        """The patterns that select none of these tensors."""
        patterns = [p for p in (*self.layers, *self.ignored) if p not in self.optional]
        return [p for p in patterns if not any(matches(p, info, model) for info in infos)]


def keep_all(ignore: Iterable[str]) -> Chosen:
    """Rules that select nothing, and tell why each tensor is kept."""
    return Chosen({}, _patterns(ignore, "ignore"))


def choose(rules: Rules, *, ignore: Iterable[str] = (), include: Iterable[str] = ()) -> Chosen:
    """Check what was given as `rules`, `ignore` and `include`; errors name the argument."""
    ignored, included = _patterns(ignore, "ignore"), _patterns(include, "include")
    if not isinstance(rules, Mapping):
        given: Mapping[str, Rule] = dict.fromkeys([LINEAR, *included], rules)
    elif included:
        raise ValueError("include goes with one scheme; add the patterns to the rules instead")
    elif not rules:
        raise ValueError("rules is empty; wanted a scheme, or {pattern: scheme}")
    else:
        given = rules
    layers = {check_pattern(p, "rules"): _layer(p, rule) for p, rule in given.items()}
    return Chosen(layers, ignored, frozenset([LINEAR] if included else ()))


def _layer(pattern: object, rule: Rule) -> LayerScheme | Fitting | None:
    if rule == KEEP:
        return None
    if isinstance(rule, Target):
        return rule.fitting()
    if isinstance(rule, Fitting):
        return rule
    try:
        return as_layer(rule, "scheme")
    except (TypeError, ValueError) as error:
        raise type(error)(f"rules: {pattern!r}: {error}") from None


def _patterns(patterns: Iterable[str], name: str) -> list[str]:
    if isinstance(patterns, str):
        raise TypeError(f"{name}={patterns!r} is one string; {name} takes a list of patterns")
    return [check_pattern(pattern, name) for pattern in patterns]


class RuleFile(NamedTuple):
    """What a TOML file of rules says: arguments of `plan_checkpoint`."""

    rules: dict[str, Rule]
    ignore: list[str]


def read_rules(path: str | os.PathLike[str]) -> RuleFile:
    """Rules from a TOML file: a table `rules` of patterns, first match wins, and a list `ignore`.

    A rule is the name of a preset, "keep", or a table with `bits` and other arguments of
    `bitmill.Affine`, or `kind` and others of `bitmill.Float`; among them may be `input_activations`
    and `format` of a `LayerScheme`, and `outliers`, the fraction of `bitmill.Outliers`. As on the
    command line, groups of integers are of 128 but at 8 bits; with `group_size = "none"` there is
    a scale per row.

        ignore = ["re:.*\\\\.gate$"]
        [rules]
        "re:.*down_proj" = "W8A16"
        "re:.*o_proj" = { bits = 6, group_size = 64 }
        Linear = "W4A16"

    Raises CheckpointError naming the file and the pattern, OSError where it cannot be read.
    """
    path = given_path(path, "path")
    with failing_at(path):
        text = regular_file(path).read_bytes()
    try:
        said = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not the TOML it should be: {error}") from None
    unknown = sorted(said.keys() - {"rules", "ignore"})
    if unknown:
        raise CheckpointError(f"{path}: {unknown[0]!r} is not one of: rules, ignore")
    rules, ignore = said.get("rules"), said.get("ignore", [])
    if not isinstance(rules, dict) or not rules:
        raise CheckpointError(f"{path}: wanted a table 'rules' of patterns and schemes")
    if not isinstance(ignore, list):
        raise CheckpointError(f"{path}: ignore is no list of patterns")
    try:
        return RuleFile(
            {check_pattern(p, "rules"): _rule(p, rule) for p, rule in rules.items()},
            _patterns(ignore, "ignore"),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None


def _rule(pattern: str, said: Any) -> Rule:
    """One rule of a file; errors name the pattern."""
    try:
        return _table(said) if isinstance(said, dict) else _word(said)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rules: {pattern!r}: {error}") from None


def _word(said: Any) -> str:
    """A rule that is one word."""
    if not isinstance(said, str) or said not in (*PRESETS, KEEP):
        raise ValueError(
            f"{said!r} is not one of: {', '.join((*PRESETS, KEEP))}; nor a table such as "
            "{ bits = 4, group_size = 64 }"
        )
    return said


def _floats(said: dict[str, Any]) -> LayerScheme:
    """A rule for a kind of floats."""
    options, layer = _split(said, _FLOAT_OPTIONS)
    outliers = options.pop("outliers", None)
    if options.get("group_size") == "none":
        options["group_size"] = None
    return LayerScheme(_around(Float(**options), outliers), **layer)


def _around(weights: Scheme, outliers: Any) -> Scheme:
    """The scheme with this fraction of outliers, if there is one."""
    return weights if outliers is None else Outliers(weights, outliers)


def _split(said: dict[str, Any], known: Set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a scheme, all `known` or "outliers", and those of a layer."""
    if "scales" in said:
        raise ValueError("'scales' is said once for the whole model: pass scale_dtype=")
    options = dict(said)
    of_layer = {"input_activations", "format"}
    layer = {key: options.pop(key) for key in of_layer & options.keys()}
    unknown = sorted(options.keys() - known - {"outliers"})
    if unknown:
        listed = ", ".join(sorted({*known, *of_layer, "outliers"}))
        raise ValueError(f"{unknown[0]!r} is not one of: {listed}")
    return options, layer


def _table(said: dict[str, Any]) -> LayerScheme:
    """A rule that is a table of options."""
    if "kind" in said:
        return _floats(said)
    if "bits" not in said:
        raise ValueError(
            f"a table with {', '.join(map(repr, said)) or 'nothing'} has no 'bits'; a pattern with "
            "dots must stand in quotes"
        )
    options, layer = _split(said, _OPTIONS)
    outliers = options.pop("outliers", None)
    if "axis" not in options:
        options.setdefault("group_size", "none" if options["bits"] == 8 else 128)
    if options.get("group_size") == "none":
        options["group_size"] = None
    return LayerScheme(_around(Affine(**options), outliers), **layer)
