# SPDX-License-Identifier: MIT
"""Layouts around a layout: what they have from it."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitmill.layouts.base import Layout


class Around(Layout):
    """A layout that puts the codes of an `inner` one, or its bytes, in another order."""

    inner: Layout

    @property
    def bits(self) -> int:  # type: ignore[override]
        """Those of the inner layout."""
        return self.inner.bits

    @property
    def pad(self) -> int:  # type: ignore[override]
        """That of the inner layout."""
        return self.inner.pad

    @property
    def code_dtype(self) -> np.dtype[Any]:
        """That of the inner layout."""
        return self.inner.code_dtype

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the inner layout."""
        return self.inner.dtype


def check_inner(inner: object) -> Layout:
    """`inner`, if it is a layout of rows."""
    if not isinstance(inner, Layout):
        raise TypeError(f"inner is a {type(inner).__name__}; wanted a layout such as Words(4)")
    if len(inner.padded((1,))) != 1:
        raise ValueError(f"inner={inner!r} puts rows together; wanted a layout of single rows")
    return inner
