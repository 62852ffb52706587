# SPDX-License-Identifier: MIT
"""Schemes: what turns values into codes and back, and which arrays that takes."""

from bitmill.schemes.affine import Affine
from bitmill.schemes.base import Encoded, Field, Scheme, from_dict, total
from bitmill.schemes.outliers import Outliers
from bitmill.schemes.scales import Scales

__all__ = ["Affine", "Encoded", "Field", "Outliers", "Scales", "Scheme", "from_dict", "total"]
