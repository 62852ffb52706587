// SPDX-License-Identifier: MIT
// Bindings of the column kernels; parameters come widened, one per column.
#include "buffers.hpp"
#include "quantizer.hpp"
#include "requantizer.hpp"
#include <algorithm>
#include <cmath>
#include <vector>

namespace bitmill::bind {
namespace {

// Columns whose parameters stay in L2: 16 bytes each, or 8 of factors.
constexpr int64_t kSpan = 4096, kFactorsSpan = 16384;

// one(columns, the first of them, index of the first value) for pieces of a few rows, down the same
// columns: what a piece asks for below its own rows is what the next one reads.
template <class One>
void each_piece(int64_t rows, int64_t cols, int64_t span, int64_t bytes, int64_t bytes_out,
                int threads, const One& one) {
  constexpr int64_t kRows = 32;
  const int64_t step = std::max<int64_t>(1, std::min(cols, span));
  const int64_t across = (cols + step - 1) / step, down = (rows + kRows - 1) / kRows;
  run(across * down, bytes, threads, [&](int64_t i) {
    const int64_t row = i % down * kRows, col = i / down * step;
    const Columns piece = {std::min(kRows, rows - row), std::min(step, cols - col), cols,
                           streams(bytes_out)};
    one(piece, col, row * cols + col);
  });
}

// One call: a matrix, and the parameters of its columns.
class ColumnCall {
 public:
  ColumnCall(const py::tuple& quantizer, int type_, int64_t rows_, int64_t cols_,
             const py::array& scale, const py::array& zero_point, const py::array& offset)
      : q(quantizer_of(quantizer)), type(float_type(type_)), rows(rows_), cols(cols_),
        params_{(const float*)input(scale, cols, 4), nullptr,
                (const int32_t*)input(zero_point, cols, 4), (const float*)input(offset, cols, 4),
                false} {}
  const Quantizer q;
  const Float type;
  const int64_t rows, cols;

  int64_t value_size() const { return item_size(type); }
  int64_t code_size() const { return q.wide() ? 2 : 1; }

  // What encoding needs besides, once for all rows.
  void add_reciprocals() {
    reciprocals_.resize((size_t)cols);
    run(1, 0, 1, [&](int64_t) {
      for (int64_t i = 0; i < cols; ++i) {
        const float size = std::fabs(params_.scale[i]);
        params_.divides |= !(size >= kLeastScale && size <= kMostScale);
        reciprocals_[(size_t)i] = 1.0f / params_.scale[i];
      }
    });
    params_.reciprocal = reciprocals_.data();
  }

  // one(columns, their parameters, index of the first value) for all pieces.
  template <class One> void each(int64_t bytes_out, int threads, const One& one) const {
    // Values of double are copied, whole rows of them.
    each_piece(rows, cols, type == kF64 ? cols : kSpan, rows * cols * value_size(), bytes_out,
               threads, [&](Columns piece, int64_t col, int64_t at) { one(piece, from(col), at); });
  }

 private:
  ColumnParams from(int64_t col) const {
    return {params_.scale + col, params_.reciprocal ? params_.reciprocal + col : nullptr,
            params_.zero_point + col, params_.offset + col, params_.divides};
  }

  ColumnParams params_;
  std::vector<float> reciprocals_;
};

void column_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                   int64_t cols, const py::array& scale, const py::array& zero_point,
                   const py::array& offset, py::array& codes, int threads) {
  ColumnCall call(quantizer, type, rows, cols, scale, zero_point, offset);
  call.add_reciprocals();
  const char* from = input(x, rows * cols, call.value_size());
  char* to = output(codes, rows * cols, call.code_size());
  const auto kernel = kernels().columns->column_encode[taken_as(call.type)];
  Buffers buffers;
  call.each(codes.nbytes(), threads, [&](Columns c, ColumnParams params, int64_t at) {
    const Taken x_(from + at * call.value_size(), call.type, c.rows * c.cols, buffers);
    if (x_.at) kernel(&call.q, x_.at, c, params, to + at * call.code_size());
  });
  buffers.check();
}

void column_decode(const py::tuple& quantizer, const py::array& codes, int64_t rows, int64_t cols,
                   const py::array& scale, const py::array& zero_point, const py::array& offset,
                   py::array& out, int type, int threads) {
  const ColumnCall call(quantizer, type, rows, cols, scale, zero_point, offset);
  const char* from = input(codes, rows * cols, call.code_size());
  char* to = output(out, rows * cols, call.value_size());
  const auto kernel = kernels().columns->column_decode[taken_as(call.type)];
  Buffers buffers;
  call.each(out.nbytes(), threads, [&](Columns c, ColumnParams params, int64_t at) {
    const Given y(to + at * call.value_size(), call.type, c.rows * c.cols, buffers);
    if (!y.at) return;
    kernel(&call.q, from + at * call.code_size(), c, params, y.at);
    y.finish();
  });
  buffers.check();
}

// x is int32 [rows, cols], codes int8 or uint8; multiplier and shift have an entry per column.
void requantize(const py::array& x, int64_t rows, int64_t cols, const py::array& multiplier,
                const py::array& shift, int32_t zero_point, int32_t qmin, int32_t qmax, bool twice,
                py::array& codes, int threads) {
  const Requantizer r = requantizer_of(multiplier, shift, cols, zero_point, qmin, qmax, twice);
  const int32_t* from = (const int32_t*)input(x, rows * cols, 4);
  char* to = output(codes, rows * cols, 1);
  each_piece(rows, cols, kFactorsSpan, x.nbytes(), codes.nbytes(), threads,
             [&](Columns piece, int64_t col, int64_t at) {
               r.columns->requantize[0](&r.q, from + at, piece, r.m.from(col), to + at);
             });
}

} // namespace

void add_columns(py::module_& m) {
  using py::arg;
  m.def("column_encode", &column_encode, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("scale").noconvert(), arg("zero_point").noconvert(),
        arg("offset").noconvert(), arg("codes").noconvert(), arg("threads"));
  m.def("column_decode", &column_decode, arg("quantizer"), arg("codes").noconvert(), arg("rows"),
        arg("cols"), arg("scale").noconvert(), arg("zero_point").noconvert(),
        arg("offset").noconvert(), arg("out").noconvert(), arg("type"), arg("threads"));
  m.def("requantize", &requantize, arg("x").noconvert(), arg("rows"), arg("cols"),
        arg("multiplier").noconvert(), arg("shift").noconvert(), arg("zero_point"), arg("qmin"),
        arg("qmax"), arg("twice"), arg("codes").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
