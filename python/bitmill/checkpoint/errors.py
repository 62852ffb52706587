# SPDX-License-Identifier: MIT
"""The error of this layer."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, planned or written as asked.

    The text names the file, the tensor and the field. Failures of the system stay OSErrors.
    """
