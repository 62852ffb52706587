# SPDX-License-Identifier: MIT
"""The kernels: thin wrappers over the compiled module, one for each twin in `bitmill.reference`.

Same names, arguments and bits as the NumPy twins, whose docstrings define what comes back. Arrays
are 2-D, C-contiguous and native; `bitmill.quantize` and its kin take any.
"""

from bitmill.kernels.affine import affine_decode, affine_encode, affine_params, affine_quantize
from bitmill.kernels.columns import column_decode, column_encode
from bitmill.kernels.convert import from_float32, to_float32
from bitmill.kernels.errors import affine_error, error_sums, weighed_error
from bitmill.kernels.hadamard import hadamard
from bitmill.kernels.histogram import histogram
from bitmill.kernels.kmeans import (
    assign_codes,
    bucket_sums,
    distinct_values,
    kmeans_edges,
    value_counts,
)
from bitmill.kernels.matmul import matmul_int8, matmul_requantized, matmul_sums, matmul_w8a8
from bitmill.kernels.matmul4 import matmul_w4a8, matmul_w4a16
from bitmill.kernels.minifloats import float_decode, float_encode
from bitmill.kernels.mse import mse_params
from bitmill.kernels.order import order_statistics
from bitmill.kernels.pack import pack, unpack
from bitmill.kernels.ranges import absmax, column_absmax, column_minmax, minmax
from bitmill.kernels.requantize import requantize
from bitmill.kernels.tables import table_decode, table_encode, table_quantize, table_sums
from bitmill.kernels.tokens import token_encode, token_quantize
from bitmill.kernels.two_level import two_level_params

__all__ = [
    "absmax",
    "affine_decode",
    "affine_encode",
    "affine_error",
    "affine_params",
    "affine_quantize",
    "assign_codes",
    "bucket_sums",
    "column_absmax",
    "column_decode",
    "column_encode",
    "column_minmax",
    "distinct_values",
    "error_sums",
    "float_decode",
    "float_encode",
    "from_float32",
    "hadamard",
    "histogram",
    "kmeans_edges",
    "matmul_int8",
    "matmul_requantized",
    "matmul_sums",
    "matmul_w4a8",
    "matmul_w4a16",
    "matmul_w8a8",
    "minmax",
    "mse_params",
    "order_statistics",
    "pack",
    "requantize",
    "table_decode",
    "table_encode",
    "table_quantize",
    "table_sums",
    "to_float32",
    "token_encode",
    "token_quantize",
    "two_level_params",
    "unpack",
    "value_counts",
    "weighed_error",
]
