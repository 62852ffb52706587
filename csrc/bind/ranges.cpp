// SPDX-License-Identifier: MIT
// Bindings of the range kernels.
#include "bind.hpp"
#include "histogram.hpp"
#include <algorithm>

namespace bitmill::bind {
namespace {

// Calls one(x, block, index of the block's first group) for pieces of a matrix cut into groups.
template <class One>
void each_piece(const char* x, Float type, const Block& all, int threads, const One& one) {
  require(all.group > 0, "bitmill._core: a group is empty");
  const Pieces pieces(all.rows, all.cols, all.group);
  const int64_t size = item_size(type);
  run(pieces.count(), all.rows * all.cols * size, threads, [&](int64_t i) {
    const auto p = pieces[i];
    one(x + (p.row * all.cols + p.col) * size, Block{p.rows, p.cols, all.group, false},
        p.row * all.groups() + p.col / all.group);
  });
}

void absmax(const py::array& x, int type, int64_t rows, int64_t cols, int64_t group, py::array& out,
            int threads) {
  const Block all{rows, cols, group, false};
  const Float t = float_type(type);
  float* to = (float*)output(out, rows * all.groups(), 4);
  const auto kernel = kernels().ranges->absmax[t];
  each_piece(input(x, rows * cols, item_size(t)), t, all, threads,
             [&](const char* from, Block block, int64_t at) { kernel(from, block, to + at); });
}

void minmax(const py::array& x, int type, int64_t rows, int64_t cols, int64_t group, py::array& lo,
            py::array& hi, int threads) {
  const Block all{rows, cols, group, false};
  const Float t = float_type(type);
  float* low = (float*)output(lo, rows * all.groups(), 4);
  float* high = (float*)output(hi, rows * all.groups(), 4);
  const auto kernel = kernels().ranges->minmax[t];
  each_piece(
      input(x, rows * cols, item_size(t)), t, all, threads,
      [&](const char* from, Block block, int64_t at) { kernel(from, block, low + at, high + at); });
}

// Columns: `lo` and `hi` are [chunks, cols], one row of ranges per chunk of `step` rows of x.
template <class One>
void each_chunk(const char* x, Float type, int64_t rows, int64_t cols, int64_t step, int threads,
                const One& one) {
  constexpr int64_t kCols = 4096; // columns at a time: their results stay in L2
  const int64_t spans = (cols + kCols - 1) / kCols, chunks = (rows + step - 1) / step;
  const int64_t size = item_size(type);
  run(chunks * spans, rows * cols * size, threads, [&](int64_t i) {
    const int64_t row = i / spans * step, col = i % spans * kCols;
    one(x + (row * cols + col) * size, std::min(step, rows - row), std::min(kCols, cols - col),
        i / spans * cols + col);
  });
}

void column_absmax(const py::array& x, int type, int64_t rows, int64_t cols, int64_t step,
                   py::array& out, int threads) {
  const Float t = float_type(type);
  float* to = (float*)output(out, (rows + step - 1) / step * cols, 4);
  const auto kernel = kernels().ranges->column_absmax[t];
  each_chunk(input(x, rows * cols, item_size(t)), t, rows, cols, step, threads,
             [&](const char* from, int64_t r, int64_t c, int64_t at) {
               kernel(from, r, c, cols, to + at);
             });
}

void column_minmax(const py::array& x, int type, int64_t rows, int64_t cols, int64_t step,
                   py::array& lo, py::array& hi, int threads) {
  const Float t = float_type(type);
  const int64_t count = (rows + step - 1) / step * cols;
  float *low = (float*)output(lo, count, 4), *high = (float*)output(hi, count, 4);
  const auto kernel = kernels().ranges->column_minmax[t];
  each_chunk(input(x, rows * cols, item_size(t)), t, rows, cols, step, threads,
             [&](const char* from, int64_t r, int64_t c, int64_t at) {
               kernel(from, r, c, cols, low + at, high + at);
             });
}

} // namespace

void add_ranges(py::module_& m) {
  using py::arg;
  add_histogram(m);
  m.def("absmax", &absmax, arg("x").noconvert(), arg("type"), arg("rows"), arg("cols"),
        arg("group"), arg("out").noconvert(), arg("threads"));
  m.def("minmax", &minmax, arg("x").noconvert(), arg("type"), arg("rows"), arg("cols"),
        arg("group"), arg("lo").noconvert(), arg("hi").noconvert(), arg("threads"));
  m.def("column_absmax", &column_absmax, arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("step"), arg("out").noconvert(), arg("threads"));
  m.def("column_minmax", &column_minmax, arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("step"), arg("lo").noconvert(), arg("hi").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
