# SPDX-License-Identifier: MIT
"""NumPy twins of the kernels: same names, arguments and bits. They define what a kernel returns.

They are written to be read; `bitmill.kernels` has the fast ones. `num_threads` is accepted
everywhere and changes nothing here.
"""

from bitmill.reference.affine import affine_decode, affine_encode, affine_params, affine_quantize
from bitmill.reference.columns import column_decode, column_encode
from bitmill.reference.convert import from_float32, to_float32
from bitmill.reference.errors import affine_error, error_sums, weighed_error
from bitmill.reference.hadamard import hadamard
from bitmill.reference.histogram import histogram
from bitmill.reference.kmeans import kmeans_edges
from bitmill.reference.matmul import matmul_int8, matmul_requantized, matmul_sums, matmul_w8a8
from bitmill.reference.matmul4 import matmul_w4a8, matmul_w4a16
from bitmill.reference.minifloats import float_decode, float_encode
from bitmill.reference.mse import mse_params
from bitmill.reference.order import order_statistics
from bitmill.reference.pack import pack, unpack
from bitmill.reference.ranges import absmax, column_absmax, column_minmax, minmax
from bitmill.reference.requantize import requantize
from bitmill.reference.tables import table_decode, table_encode, table_quantize, table_sums
from bitmill.reference.tokens import token_encode, token_quantize
from bitmill.reference.totals import assign_codes, bucket_sums, distinct_values, value_counts
from bitmill.reference.two_level import two_level_params

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
