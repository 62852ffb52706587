# SPDX-License-Identifier: MIT
"""Schemes: what turns values into codes and back, and which arrays that takes."""

from bitmill.schemes.affine import Affine
from bitmill.schemes.base import Encoded, Field, Scheme, from_dict, total
from bitmill.schemes.floats import Float
from bitmill.schemes.kmeans import KMeans
from bitmill.schemes.learned import LearnedTable
from bitmill.schemes.outliers import Outliers
from bitmill.schemes.scales import Scales
from bitmill.schemes.tables import FP4, IQ4_NL, NF4, Table

__all__ = [
    "FP4",
    "IQ4_NL",
    "NF4",
    "Affine",
    "Encoded",
    "Field",
    "Float",
    "KMeans",
    "LearnedTable",
    "Outliers",
    "Scales",
    "Scheme",
    "Table",
    "from_dict",
    "total",
]
