# SPDX-License-Identifier: MIT
"""Observers as JSON can hold them, and back: options, counts and state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from bitmill import _check
from bitmill.observers.state import State, listed, read, same_layout

KINDS: dict[str, type[Written]] = {}
"""Classes by name."""
W = TypeVar("W", bound="Written")


class Written(ABC):
    """The part of an observer that is written down."""

    _OPTIONS: ClassVar[tuple[str, ...]] = ("axis",)
    """Names of the constructor's arguments and of the attributes that hold them."""
    count: int
    nonfinite: int
    batches: int
    _params: tuple[int, ...] | None
    """The shape of parameters, one for each channel; None before the first value."""
    _state: State

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """All there is to know, as JSON can hold it; floats are hexadecimal strings.

        >>> import bitmill as bm
        >>> bm.observers.MinMax().to_dict()["observer"]
        'MinMax'
        """
        return {
            "observer": type(self).__name__,
            **self._options(),
            "count": self.count,
            "nonfinite": self.nonfinite,
            "batches": self.batches,
            "shape": None if self._params is None else list(self._params),
            "state": listed(self._state),
        }

    @classmethod
    def from_dict(cls: type[W], given: Mapping[str, Any]) -> W:
        """What `to_dict` described; ValueError if it describes none of this class."""
        made = from_dict(given)
        if not isinstance(made, cls):
            raise ValueError(f"this describes a {type(made).__name__}; wanted a {cls.__name__}")
        return made

    def fresh(self: W) -> W:
        """An observer with the same options that has seen nothing."""
        return type(self)(**self._options())

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._OPTIONS}

    def _restore(self, given: Mapping[str, Any]) -> None:
        """Become what the rest of `to_dict` describes."""
        for name in ("count", "nonfinite", "batches"):
            setattr(self, name, _check.integer(given[name], name, low=0, high=1 << 63))
        shape = given["shape"]
        self._params = None if shape is None else _check.shape(shape)
        self._state = read(given["state"])
        channels = 0 if self._params is None else math.prod(self._params)
        held = sum(array.size for array in self._state.values())
        if held if shape is None else not 0 < channels <= held:
            raise ValueError(f"the state has not the {channels} channels of shape={shape}")
        if self._state:
            self._validate(self._state, channels)

    def _validate(self, state: State, channels: int) -> None:
        """Raise ValueError for a state that no values of so many channels leave."""
        same_layout(state, self._empty(channels))

    @abstractmethod
    def _empty(self, channels: int) -> State:
        """The state before the first batch."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Written):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        options = "".join(f"{k}={v!r}, " for k, v in self._options().items() if v is not None)
        counts = f"count={self.count}, nonfinite={self.nonfinite}, batches={self.batches}"
        return f"<{type(self).__name__}: {options}{counts}>"


def from_dict(given: Mapping[str, Any]) -> Written:
    """The observer that `to_dict` described; ValueError if it describes none.

    >>> import bitmill as bm
    >>> bm.observers.from_dict(bm.observers.Histogram(bins=64).to_dict()).bins
    64
    """
    try:
        kind = KINDS[given["observer"]]
        made = kind(**{name: given[name] for name in kind._OPTIONS})
        made._restore(given)
        return made
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"this describes no observer: {error!r}") from None
