// SPDX-License-Identifier: MIT
// Bindings of the table kernels. Tables come as bitmill._lookup.padded makes them: the tuple (values,
// thresholds, order, divisor, empty), with arrays of a row for each table.
#include "call.hpp"

namespace bitmill::bind {
namespace {

class Lookups {
 public:
  Lookups(const py::tuple& t, int64_t rows, int64_t rows_per_table)
      : rows_per_table_(rows_per_table) {
    require(t.size() == 5 && rows_per_table > 0, "bitmill._core: there are no tables");
    const auto values = py::cast<py::array>(t[0]);
    const int64_t tables = rows == 0 ? 1 : (rows - 1) / rows_per_table + 1;
    codes_ = values.size() / tables;
    require(codes_ == 16 || codes_ == 256, "bitmill._core: a table has another size");
    first_ = {(const float*)input(values, tables * codes_, 4),
              (const float*)input(py::cast<py::array>(t[1]), tables * codes_, 4),
              (const int32_t*)input(py::cast<py::array>(t[2]), tables * codes_, 4),
              codes_ == 256,
              py::cast<float>(t[3]),
              py::cast<float>(t[4])};
  }
  LookupTable operator[](int64_t i) const {
    LookupTable table = first_;
    table.values += i * codes_, table.thresholds += i * codes_, table.order += i * codes_;
    return table;
  }
  // run(table, first row, rows) for the rows of every table among these.
  template <class Run> void each(int64_t row, int64_t rows, const Run& run) const {
    for (int64_t end = row + rows; row < end;) {
      const int64_t i = row / rows_per_table_;
      const int64_t n = std::min(end, (i + 1) * rows_per_table_) - row;
      run((*this)[i], row, n);
      row += n;
    }
  }

 private:
  LookupTable first_;
  int64_t codes_, rows_per_table_;
};

// The scale of group `at`, if there are scales.
char* scale_at(char* scale, const Quantizer& q, int64_t at) {
  return scale ? scale + at * item_size(q.scales) : nullptr;
}

py::tuple table_quantize(const py::tuple& quantizer, const py::tuple& table, const py::array& x,
                         int type, int64_t rows, int64_t cols, int64_t group,
                         const py::object& scale, py::array& codes, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const LookupTable lookup = Lookups(table, rows, rows)[0];
  char* scales = (char*)call.params(scale, py::none(), py::none(), true).scale;
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().tables->table_quantize[0];
  Buffers buffers;
  const Pieces pieces = call.pieces(false);
  std::vector<Counts> counts((size_t)pieces.count());
  call.each(pieces, codes.nbytes(), threads,
            [&](int64_t i, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), kF32, block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), &lookup, x_.at, block, scale_at(scales, call.q(), at), to + code,
                       &counts[(size_t)i]);
            });
  buffers.check();
  return counts_tuple(counts);
}

// use(table, part, done) for the parts of a block that share a table each; `done` rows of it come before. Its
// first row is row `first` of all.
template <class Use>
void each_table(const Lookups& lookups, const Block& block, int64_t first, const Use& use) {
  lookups.each(first, block.rows, [&](const LookupTable& table, int64_t row, int64_t n) {
    use(table, Block{n, block.cols, block.group, block.streams}, row - first);
  });
}

void table_encode(const py::tuple& quantizer, const py::tuple& tables, int64_t rows_per_table,
                  const py::array& x, int type, int64_t rows, int64_t cols, int64_t group,
                  const py::object& scale, py::array& codes, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Lookups lookups(tables, rows, rows_per_table);
  char* scales = call.scale(scale);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().tables->table_encode[0];
  Buffers buffers;
  call.each(call.pieces(true), codes.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), kF32, block.rows * block.cols, buffers);
              if (!x_.at) return;
              const auto encode = [&](const LookupTable& table, Block part, int64_t done) {
                kernel(&call.q(), &table, x_.at + 4 * done * block.cols, part,
                       scale_at(scales, call.q(), at + done * call.groups()),
                       to + code + done * call.row_bytes());
              };
              each_table(lookups, block, at / call.groups(), encode);
            });
  buffers.check();
}

void table_decode(const py::tuple& quantizer, const py::tuple& tables, int64_t rows_per_table,
                  const py::array& codes, int64_t rows, int64_t cols, int64_t group,
                  const py::object& scale, py::array& out, int type, int threads) {
  const GroupsCall call(quantizer, type, rows, cols, group);
  const Lookups lookups(tables, rows, rows_per_table);
  char* scales = call.scale(scale);
  const char* from = call.codes(codes);
  char* to = call.values(out);
  const auto kernel = kernels().tables->table_decode[0];
  Buffers buffers;
  call.each(call.pieces(true), out.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Given y(to + value, call.type(), kF32, block.rows * block.cols, buffers);
              if (!y.at) return;
              const auto decode = [&](const LookupTable& table, Block part, int64_t done) {
                kernel(&call.q(), &table, from + code + done * call.row_bytes(), part,
                       scale_at(scales, call.q(), at + done * call.groups()),
                       y.at + 4 * done * block.cols);
              };
              each_table(lookups, block, at / call.groups(), decode);
              y.finish();
            });
  buffers.check();
}

// Threads pay from smaller inputs on than where memory is the limit.
constexpr int64_t kWork = 4;

// `scales` is float32 [rows, groups, count], as are the sums in double; `importance` is None, or float32
// [cols] or [rows, cols].
void table_sums(const py::tuple& table, const py::array& x, int type, int64_t rows, int64_t cols,
                int64_t group, const py::object& importance, bool by_row, const py::array& scales,
                int64_t count, py::array& cross, py::array& square, int threads) {
  require(group > 0, "bitmill._core: a group is empty");
  const Block all{rows, cols, group, false};
  const Float t = float_type(type);
  const int64_t size = item_size(t), sums = rows * all.groups() * count;
  const LookupTable lookup = Lookups(table, rows, rows)[0];
  const char* from = input(x, rows * cols, size);
  const float* w = (const float*)optional(importance, by_row ? rows * cols : cols, 4, false);
  const float* tried = (const float*)input(scales, sums, 4);
  double *products = (double*)output(cross, sums, 8), *squares = (double*)output(square, sums, 8);
  const auto kernel = kernels().tables->table_sums[0];
  Buffers buffers;
  const Pieces pieces(rows, cols, group);
  run(pieces.count(), rows * cols * size * kWork * count, threads, [&](int64_t i) {
    const auto p = pieces[i];
    const Taken x_(from + (p.row * cols + p.col) * size, t, kF32, p.rows * p.cols, buffers);
    if (!x_.at) return;
    const int64_t at = (p.row * all.groups() + p.col / group) * count;
    kernel(&lookup, (const float*)x_.at, Block{p.rows, p.cols, group, false},
           w ? w + (by_row ? p.row * cols : 0) + p.col : nullptr, by_row ? cols : 0, tried + at,
           count, products + at, squares + at);
  });
  buffers.check();
}

} // namespace

void add_tables(py::module_& m) {
  using py::arg;
  m.def("table_quantize", &table_quantize, arg("quantizer"), arg("table"), arg("x").noconvert(),
        arg("type"), arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("codes").noconvert(),
        arg("threads"));
  m.def("table_encode", &table_encode, arg("quantizer"), arg("tables"), arg("rows_per_table"),
        arg("x").noconvert(), arg("type"), arg("rows"), arg("cols"), arg("group"),
        arg("scale").none(true), arg("codes").noconvert(), arg("threads"));
  m.def("table_decode", &table_decode, arg("quantizer"), arg("tables"), arg("rows_per_table"),
        arg("codes").noconvert(), arg("rows"), arg("cols"), arg("group"), arg("scale").none(true),
        arg("out").noconvert(), arg("type"), arg("threads"));
  m.def("table_sums", &table_sums, arg("table"), arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("group"), arg("importance").none(true), arg("by_row"),
        arg("scales").noconvert(), arg("count"), arg("cross").noconvert(),
        arg("square").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
