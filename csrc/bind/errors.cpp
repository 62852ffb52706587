// SPDX-License-Identifier: MIT
// Binding of the error sums: blocks in parallel, then their sums in index order.
#include "call.hpp"
#include <algorithm>
#include <cmath>
#include <memory>

namespace bitmill::bind {
namespace {

constexpr int64_t kBlock = 4096;

// Of what comes before the pair `start` of a row, and of the block from there on.
BlockSums sum_of(const BlockSums& a, const BlockSums& b, int64_t start) {
  const bool more = b.max_dd > a.max_dd;
  return {a.xx + b.xx,
          a.yy + b.yy,
          a.xy + b.xy,
          a.dd + b.dd,
          more ? b.max_dd : a.max_dd,
          more ? start + b.max_at : a.max_at};
}

// Of each row, the sum of its blocks.
void add_blocks(const double* blocks, int64_t rows, int64_t per_row, double* to) {
  // In a task too: there the sums are rounded to nearest, whatever the caller has set.
  run(1, 0, 1, [&](int64_t) {
    for (int64_t row = 0; row < rows; ++row) {
      double sum = 0;
      for (int64_t i = row * per_row; i < (row + 1) * per_row; ++i) sum += blocks[i];
      to[row] = sum;
    }
  });
}

// `out` is [5, rows] of float64: xx, yy, xy, dd, max_abs; `max_at` is [rows] of int64.
void error_sums(const py::array& x, int type, const py::array& y, int64_t rows, int64_t cols,
                py::array& out, py::array& max_at, int threads) {
  const Float t = float_type(type);
  const int64_t size = item_size(t), per_row = (cols + kBlock - 1) / kBlock;
  const char* a = input(x, rows * cols, size);
  const float* b = (const float*)input(y, rows * cols, 4);
  double* to = (double*)output(out, 5 * rows, 8);
  int64_t* places = (int64_t*)output(max_at, rows, 8);
  const auto kernel = kernels().errors->error_sums[t];
  const std::unique_ptr<BlockSums[]> blocks(new BlockSums[(size_t)(rows * per_row)]);
  run(rows * per_row, rows * cols * (size + 4), threads, [&](int64_t i) {
    const int64_t col = i % per_row * kBlock, at = i / per_row * cols + col;
    kernel(a + at * size, b + at, std::min(kBlock, cols - col), &blocks[(size_t)i]);
  });
  // In a task too: there the sums are rounded to nearest, whatever the caller has set.
  run(1, 0, 1, [&](int64_t) {
    for (int64_t row = 0; row < rows; ++row) {
      BlockSums sum{};
      for (int64_t i = 0; i < per_row; ++i)
        sum = sum_of(sum, blocks[(size_t)(row * per_row + i)], i * kBlock);
      // The root of a rounded square is the number again, to the bit: differences of floats have
      // squares that are far from overflow and underflow.
      const double values[] = {sum.xx, sum.yy, sum.xy, sum.dd, std::sqrt(sum.max_dd)};
      for (int64_t k = 0; k < 5; ++k) to[k * rows + row] = values[k];
      places[row] = sum.max_at;
    }
  });
}

// `w` is [1, cols], or [rows, cols] `by_row`; `out` is [rows] of float64.
void weighed_error(const py::array& x, int type, const py::array& y, const py::array& w,
                   bool by_row, int64_t rows, int64_t cols, py::array& out, int threads) {
  const Float t = float_type(type);
  const int64_t size = item_size(t), per_row = (cols + kBlock - 1) / kBlock;
  const char* a = input(x, rows * cols, size);
  const float* b = (const float*)input(y, rows * cols, 4);
  const float* weights = (const float*)input(w, by_row ? rows * cols : cols, 4);
  double* to = (double*)output(out, rows, 8);
  const auto kernel = kernels().errors->weighed_error[0];
  const std::unique_ptr<double[]> blocks(new double[(size_t)(rows * per_row)]);
  Buffers buffers;
  run(rows * per_row, rows * cols * (size + 4), threads, [&](int64_t i) {
    const int64_t row = i / per_row, col = i % per_row * kBlock, at = row * cols + col;
    const int64_t count = std::min(kBlock, cols - col);
    const Taken values(a + at * size, t, kF32, count, buffers);
    if (!values.at) return;
    const float* from = weights + (by_row ? at : col);
    kernel((const float*)values.at, b + at, from, count, &blocks[(size_t)i]);
  });
  buffers.check();
  add_blocks(blocks.get(), rows, per_row, to);
}

// `out` is [rows] of float64.
void affine_error(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                  int64_t cols, int64_t group, const py::object& scale,
                  const py::object& zero_point, const py::object& offset, py::array& out,
                  int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, false);
  const int64_t size = item_size(call.type()), per_row = (cols + kBlock - 1) / kBlock;
  const char* from = call.values(x);
  double* to = (double*)output(out, rows, 8);
  const auto kernel = kernels().errors->affine_error[taken_as(call.type())];
  const std::unique_ptr<double[]> blocks(new double[(size_t)(rows * per_row)]);
  Buffers buffers;
  run(rows * per_row, rows * cols * size, threads, [&](int64_t i) {
    const int64_t row = i / per_row, col = i % per_row * kBlock;
    const int64_t count = std::min(kBlock, cols - col);
    const Taken values(from + (row * cols + col) * size, call.type(), count, buffers);
    const Params given = params_from(call.q(), params, row * call.groups() + col / group);
    if (values.at)
      kernel(&call.q(), values.at, count, col % group, group, given, &blocks[(size_t)i]);
  });
  buffers.check();
  add_blocks(blocks.get(), rows, per_row, to);
}

// start + x[0] + x[1] + ..., one after another.
double add_in_order(double start, const py::array& x) {
  const int64_t count = x.size();
  const double* from = (const double*)input(x, count, 8);
  double sum = start;
  run(1, 0, 1, [&](int64_t) {
    for (int64_t i = 0; i < count; ++i) sum += from[i];
  });
  return sum;
}

} // namespace

void add_errors(py::module_& m) {
  using py::arg;
  m.def("error_sums", &error_sums, arg("x").noconvert(), arg("type"), arg("y").noconvert(),
        arg("rows"), arg("cols"), arg("out").noconvert(), arg("max_at").noconvert(),
        arg("threads"));
  m.def("weighed_error", &weighed_error, arg("x").noconvert(), arg("type"), arg("y").noconvert(),
        arg("w").noconvert(), arg("by_row"), arg("rows"), arg("cols"), arg("out").noconvert(),
        arg("threads"));
  m.def("affine_error", &affine_error, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("out").noconvert(), arg("threads"));
  m.def("add_in_order", &add_in_order, arg("start"), arg("x").noconvert());
}

} // namespace bitmill::bind
