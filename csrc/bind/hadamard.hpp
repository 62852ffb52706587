// SPDX-License-Identifier: MIT
// Binding of the products with Hadamard matrices. Part of convert.cpp: every object with bindings takes 15 kB
// of pybind11's code.
#pragma once
#include "buffers.hpp"

namespace bitmill::bind {
namespace {

// `factors` is [length] and `signs` [order, order], float32.
void hadamard(const py::array& x, int type, int64_t rows, const py::array& factors,
              const py::array& signs, py::array& out, int threads) {
  require(factors.ndim() == 1 && signs.ndim() == 2, "bitmill._core: no such rotation");
  const int64_t length = factors.shape(0), order = signs.shape(0);
  require(order > 0 && order <= kMostOrder && length % order == 0,
          "bitmill._core: no such rotation");
  const Rotation r{length, order, (const float*)input(factors, length, 4),
                   (const float*)input(signs, order * order, 4)};
  const Float t = float_type(type);
  const int64_t size = item_size(t);
  const char* from = input(x, rows * length, size);
  float* to = (float*)output(out, rows * length, 4);
  const auto kernel = kernels().convert->hadamard[0];
  Buffers buffers;
  const Pieces pieces(rows, length, length);
  run(pieces.count(), rows * length * (size + 4), threads, [&](int64_t i) {
    const auto p = pieces[i];
    const int64_t at = p.row * length;
    const Taken values(from + at * size, t, kF32, p.rows * length, buffers);
    if (values.at) kernel((const float*)values.at, p.rows, r, to + at);
  });
  buffers.check();
}

} // namespace
} // namespace bitmill::bind
