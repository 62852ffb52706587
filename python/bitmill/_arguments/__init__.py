# SPDX-License-Identifier: MIT
"""What a kernel and its twin check before they start, once for both: a module a family.

Each function takes the arguments of the kernel of its name and gives them back prepared, with `out`
allocated if there was none.
"""

from bitmill._arguments.affine import (
    affine_decode,
    affine_encode,
    affine_error,
    affine_params,
    affine_quantize,
    column_decode,
    column_encode,
    mse_params,
    two_level_params,
)
from bitmill._arguments.clusters import (
    MAX_CLUSTERS,
    assign_codes,
    bucket_sums,
    distinct_values,
    kmeans_edges,
    pinned_values,
    value_counts,
)
from bitmill._arguments.products import (
    LEAST_SHIFT,
    MOST_INT8,
    MOST_SHIFT,
    MOST_W4A8_ANY_ZERO,
    MOST_W8A8,
    ROUNDINGS,
    codes_between,
    matmul_int8,
    matmul_w4a8,
    matmul_w4a16,
    matmul_w8a8,
    requantize,
)
from bitmill._arguments.shared import RULES, code_error, packed_length, ranges
from bitmill._arguments.statistics import (
    EXPONENTS,
    INDEXES,
    MAX_BINS,
    error_sums,
    histogram,
    order_statistics,
    weighed_error,
)
from bitmill._arguments.storage import convert, float_decode, float_encode, pack, unpack
from bitmill._arguments.tables import (
    TABLE_RULES,
    table_decode,
    table_encode,
    table_quantize,
    table_sums,
)
from bitmill._arguments.tokens import (
    LONGEST_TOKEN,
    hadamard,
    token_encode,
    token_grid,
    token_quantize,
)

__all__ = [
    "EXPONENTS",
    "INDEXES",
    "LEAST_SHIFT",
    "LONGEST_TOKEN",
    "MAX_BINS",
    "MAX_CLUSTERS",
    "MOST_INT8",
    "MOST_SHIFT",
    "MOST_W4A8_ANY_ZERO",
    "MOST_W8A8",
    "ROUNDINGS",
    "RULES",
    "TABLE_RULES",
    "affine_decode",
    "affine_encode",
    "affine_error",
    "affine_params",
    "affine_quantize",
    "assign_codes",
    "bucket_sums",
    "code_error",
    "codes_between",
    "column_decode",
    "column_encode",
    "convert",
    "distinct_values",
    "error_sums",
    "float_decode",
    "float_encode",
    "hadamard",
    "histogram",
    "kmeans_edges",
    "matmul_int8",
    "matmul_w4a8",
    "matmul_w4a16",
    "matmul_w8a8",
    "mse_params",
    "order_statistics",
    "pack",
    "packed_length",
    "pinned_values",
    "ranges",
    "requantize",
    "table_decode",
    "table_encode",
    "table_quantize",
    "table_sums",
    "token_encode",
    "token_grid",
    "token_quantize",
    "two_level_params",
    "unpack",
    "value_counts",
    "weighed_error",
]
