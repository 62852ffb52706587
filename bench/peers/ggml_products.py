# SPDX-License-Identifier: MIT
"""ggml's matrix product, as llama.cpp runs it: weights in blocks, activations to int8 by blocks.

Weights lie in a buffer as they do in a file, or in one that repacks them for the CPU. Blocks are
made by ggml of the values of our weights.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from functools import lru_cache, partial
from weakref import finalize

import numpy as np
import pytest

import bitmill as bm
from agree import CHECKED, sqnr_db
from peers import Rival, in_turn
from peers.ggml import library

F32, TYPE = 0, {"q4_0": 2, "q8_0": 8, "q4_K": 12, "iq4_nl": 20}
ROOM = 1 << 16  # bytes for what describes a few tensors and a graph of one node


class Params(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = [("size", c_size_t), ("buffer", c_void_p), ("no_alloc", c_bool)]


def _function(part, name, result, *arguments):
    found = getattr(library(part), name)
    found.restype, found.argtypes = result, arguments
    return found


_base, _cpu = partial(_function, "base"), partial(_function, "cpu")
_init = _base("ggml_init", c_void_p, Params)
_free = _base("ggml_free", None, c_void_p)
_matrix = _base("ggml_new_tensor_2d", c_void_p, c_void_p, c_int, c_int64, c_int64)
_mul_mat = _base("ggml_mul_mat", c_void_p, c_void_p, c_void_p, c_void_p)
_data = _base("ggml_get_data", c_void_p, c_void_p)
_graph = _base("ggml_new_graph_custom", c_void_p, c_void_p, c_size_t, c_bool)
_expand = _base("ggml_build_forward_expand", None, c_void_p, c_void_p)
_row_size = _base("ggml_row_size", c_size_t, c_int, c_int64)
_quantize = _base(
    "ggml_quantize_chunk", c_size_t, c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p
)
_allocate = _base("ggml_backend_alloc_ctx_tensors_from_buft", c_void_p, c_void_p, c_void_p)
_release = _base("ggml_backend_buffer_free", None, c_void_p)
_set = _base("ggml_backend_tensor_set", None, c_void_p, c_void_p, c_size_t, c_size_t)
_compute = _base("ggml_backend_graph_compute", c_int, c_void_p, c_void_p)
_buffer_name = _base("ggml_backend_buft_name", c_char_p, c_void_p)
_address = _base("ggml_backend_reg_get_proc_address", c_void_p, c_void_p, c_char_p)

BACKEND = _cpu("ggml_backend_cpu_init", c_void_p)()
_cpu("ggml_backend_cpu_set_n_threads", None, c_void_p, c_int)(BACKEND, 1)


def _buffers():
    """Kinds of buffers that the CPU has, by name."""
    registered = _cpu("ggml_backend_cpu_reg", c_void_p)()
    others = _address(registered, b"ggml_backend_dev_get_extra_bufts")
    kinds = [_base("ggml_backend_cpu_buffer_type", c_void_p)()]
    for kind in ctypes.CFUNCTYPE(ctypes.POINTER(c_void_p), c_void_p)(others)(None):
        if kind is None:  # the last
            break
        kinds.append(kind)
    return {_buffer_name(kind).decode(): kind for kind in kinds}


BUFFERS = _buffers()


class Product:
    """Weights, activations, and the graph of their product."""

    def __init__(self, x, blocks, kind, buffer):
        (tokens, length), rows = x.shape, len(blocks)
        held = _init(Params(ROOM, None, True))
        weights = _matrix(held, TYPE[kind], length, rows)
        room = _allocate(held, BUFFERS[buffer])
        _set(weights, blocks.ctypes.data, 0, blocks.nbytes)
        given = _init(Params(ROOM + x.nbytes + 4 * tokens * rows, None, False))
        activations = _matrix(given, F32, length, tokens)
        ctypes.memmove(_data(activations), x.ctypes.data, x.nbytes)
        product = _mul_mat(given, weights, activations)
        self._graph = _graph(given, 8, False)
        _expand(self._graph, product)
        values = (c_float * (tokens * rows)).from_address(_data(product))
        self._out = np.ctypeslib.as_array(values).reshape(tokens, rows)
        for free, what in [(_release, room), (_free, held), (_free, given)]:
            finalize(self, free, what)

    def run(self):
        assert _compute(BACKEND, self._graph) == 0
        return self._out


@lru_cache(maxsize=4)
def _blocks(q, kind):
    """Values of q in blocks, and what the blocks of some rows stand for."""
    values = bm.dequantize(q)
    rows, length = values.shape
    blocks = np.empty((rows, _row_size(TYPE[kind], length)), np.uint8)
    _quantize(TYPE[kind], values.ctypes.data, blocks.ctypes.data, 0, rows, length, None)
    some = np.empty_like(values[CHECKED])
    decode = _base(f"dequantize_row_{kind}", None, c_void_p, c_void_p, c_int64)
    decode(blocks.ctypes.data, some.ctypes.data, some.size)
    return blocks, some


def product(kind, buffer, x, weights, ours):
    """Products with the values of weights in such blocks, in such a buffer."""
    rows, length = weights[0].shape
    if rows % 8 or length % 256:
        pytest.skip("ggml has super-blocks of 256 columns, and repacks 8 rows together")
    blocks, values = _blocks(weights[0], kind)
    products = [Product(x, blocks, kind, buffer) for _ in weights]

    def check(answer):
        assert sqnr_db(x @ values.T, answer[:, CHECKED]) > 30

    return Rival(in_turn([one.run for one in products]), check)


q4_0 = partial(product, "q4_0", "CPU_REPACK")
q4_k = partial(product, "q4_K", "CPU")
q4_k_repacked = partial(product, "q4_K", "CPU_REPACK")
iq4_nl = partial(product, "iq4_nl", "CPU_REPACK")
q8_0 = partial(product, "q8_0", "CPU")
