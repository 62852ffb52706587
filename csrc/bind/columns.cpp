// SPDX-License-Identifier: MIT
// Bindings of the column kernels; parameters come widened, one per column.
#include "bind.hpp"
#include "quantizer.hpp"

namespace bitmill::bind {
namespace {

struct Columns {
  Quantizer q;
  Float type;
  int64_t rows, cols;
  ColumnParams params;

  Columns(const py::tuple& quantizer, int type_, int64_t rows_, int64_t cols_,
          const py::array& scale, const py::array& zero_point, const py::array& offset)
      : q(quantizer_of(quantizer)), type(float_type(type_)), rows(rows_), cols(cols_),
        params{(const float*)input(scale, cols, 4), (const int32_t*)input(zero_point, cols, 4),
               (const float*)input(offset, cols, 4)} {}
  int64_t value_size() const { return item_size(type); }
  int64_t code_size() const { return q.wide() ? 2 : 1; }
  // one(rows, index of the first value) for pieces of whole rows
  template <class One> void for_rows(int threads, const One& one) const {
    const Pieces pieces(rows, cols, cols);
    run(pieces.count(), rows * cols * value_size(), threads,
        [&](int64_t i) { one(pieces[i].rows, pieces[i].row * cols); });
  }
};

void column_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                   int64_t cols, const py::array& scale, const py::array& zero_point,
                   const py::array& offset, py::array& codes, int threads) {
  const Columns c(quantizer, type, rows, cols, scale, zero_point, offset);
  const char* from = input(x, rows * cols, c.value_size());
  char* to = output(codes, rows * cols, c.code_size());
  const auto kernel = kernels().columns->column_encode[c.type];
  c.for_rows(threads, [&](int64_t n, int64_t at) {
    kernel(&c.q, from + at * c.value_size(), n, cols, c.params, to + at * c.code_size());
  });
}

void column_decode(const py::tuple& quantizer, const py::array& codes, int64_t rows, int64_t cols,
                   const py::array& scale, const py::array& zero_point, const py::array& offset,
                   py::array& out, int type, int threads) {
  const Columns c(quantizer, type, rows, cols, scale, zero_point, offset);
  const char* from = input(codes, rows * cols, c.code_size());
  char* to = output(out, rows * cols, c.value_size());
  const auto kernel = kernels().columns->column_decode[c.type];
  c.for_rows(threads, [&](int64_t n, int64_t at) {
    kernel(&c.q, from + at * c.code_size(), n, cols, c.params, to + at * c.value_size());
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
}

} // namespace bitmill::bind
