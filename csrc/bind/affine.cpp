// SPDX-License-Identifier: MIT
// Bindings of the affine kernels. A Quantizer comes as the tuple (qmin, qmax, rule, scales, bits).
#include "bind.hpp"
#include "quantizer.hpp"
#include <numeric>

namespace bitmill::bind {
namespace {

// The parameters of all groups, and those from group `at` on.
class AllParams {
 public:
  AllParams(const Quantizer& q, int64_t count, const py::object& scale,
            const py::object& zero_point, const py::object& offset, bool writable)
      : scale_size_(item_size(q.scales)), zero_size_(q.wide_zero_point() ? 2 : 1),
        scale_(optional(scale, count, scale_size_, writable)),
        zero_point_(optional(zero_point, count, zero_size_, writable)),
        offset_(optional(offset, count, scale_size_, writable)) {}
  Params from(int64_t at) const {
    return {scale_ + at * scale_size_, zero_point_ ? zero_point_ + at * zero_size_ : nullptr,
            offset_ ? offset_ + at * scale_size_ : nullptr};
  }

 private:
  int64_t scale_size_, zero_size_;
  char *scale_, *zero_point_, *offset_;
};

// Codes or words of a matrix: its size, and the byte at which a piece starts. Pieces of packed rows
// start at multiples of 64 codes, which fill whole words at every width.
struct Codes {
  const Quantizer& q;
  int64_t cols;
  int64_t words() const { return (cols * q.bits + 31) / 32; }
  int64_t size() const { return q.bits ? 4 : q.wide() ? 2 : 1; }
  int64_t count(int64_t rows) const { return rows * (q.bits ? words() : cols); }
  int64_t byte(int64_t row, int64_t col) const {
    return q.bits ? (row * words() + col * q.bits / 32) * 4 : (row * cols + col) * size();
  }
};

// Pieces start at whole groups, and at whole words; a group that fills the row may be cut if
// `divisible`, since its one set of parameters is known.
Pieces pieces_of(const Block& block, const Quantizer& q, bool divisible) {
  const int64_t words = q.bits ? 64 : 1;
  if (block.group >= block.cols)
    return Pieces(block.rows, block.cols, divisible ? words : block.cols);
  return Pieces(block.rows, block.cols, std::lcm(block.group, words));
}

py::tuple counts_tuple(const std::vector<Counts>& all) {
  Counts sum{};
  for (const Counts& c : all) {
    sum.nonfinite += c.nonfinite;
    sum.overflowed += c.overflowed;
    sum.underflowed += c.underflowed;
  }
  return py::make_tuple(sum.nonfinite, sum.overflowed, sum.underflowed);
}

py::tuple affine_params(const py::tuple& quantizer, const py::array& lo, const py::array& hi,
                        const py::object& scale, const py::object& zero_point,
                        const py::object& offset) {
  const Quantizer q = quantizer_of(quantizer);
  const int64_t count = lo.size();
  const AllParams params(q, count, scale, zero_point, offset, true);
  const float *low = (const float*)input(lo, count, 4), *high = (const float*)input(hi, count, 4);
  const auto kernel = kernels().affine->affine_params[0];
  const Pieces pieces(1, count, 1);
  std::vector<Counts> counts((size_t)pieces.count());
  run(pieces.count(), count * 8, 1, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, low + p.col, high + p.col, p.cols, params.from(p.col), &counts[(size_t)i]);
  });
  return counts_tuple(counts);
}

py::tuple affine_quantize(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                          int64_t cols, int64_t group, const py::object& scale,
                          const py::object& zero_point, const py::object& offset, py::array& codes,
                          int threads) {
  const Quantizer q = quantizer_of(quantizer);
  const Block all{rows, cols, group};
  const Float t = (Float)type;
  const int64_t size = item_size(t);
  const Codes out{q, cols};
  const AllParams params(q, rows * all.groups(), scale, zero_point, offset, true);
  const char* from = input(x, rows * cols, size);
  char* to = output(codes, out.count(rows), out.size());
  const auto kernel = kernels().affine->affine_quantize[t];
  const Pieces pieces = pieces_of(all, q, false);
  std::vector<Counts> counts((size_t)pieces.count());
  run(pieces.count(), rows * cols * size, threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, from + (p.row * cols + p.col) * size, Block{p.rows, p.cols, group},
           params.from(p.row * all.groups() + p.col / group), to + out.byte(p.row, p.col),
           &counts[(size_t)i]);
  });
  return counts_tuple(counts);
}

void affine_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                   int64_t cols, int64_t group, const py::object& scale,
                   const py::object& zero_point, const py::object& offset, py::array& codes,
                   int threads) {
  const Quantizer q = quantizer_of(quantizer);
  const Block all{rows, cols, group};
  const Float t = (Float)type;
  const int64_t size = item_size(t);
  const Codes out{q, cols};
  const AllParams params(q, rows * all.groups(), scale, zero_point, offset, false);
  const char* from = input(x, rows * cols, size);
  char* to = output(codes, out.count(rows), out.size());
  const auto kernel = kernels().affine->affine_encode[t];
  const Pieces pieces = pieces_of(all, q, true);
  run(pieces.count(), rows * cols * size, threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, from + (p.row * cols + p.col) * size, Block{p.rows, p.cols, group},
           params.from(p.row * all.groups() + p.col / group), to + out.byte(p.row, p.col));
  });
}

void affine_decode(const py::tuple& quantizer, const py::array& codes, int64_t rows, int64_t cols,
                   int64_t group, const py::object& scale, const py::object& zero_point,
                   const py::object& offset, py::array& out, int type, int threads) {
  const Quantizer q = quantizer_of(quantizer);
  const Block all{rows, cols, group};
  const Float t = (Float)type;
  const int64_t size = item_size(t);
  const Codes in{q, cols};
  const AllParams params(q, rows * all.groups(), scale, zero_point, offset, false);
  const char* from = input(codes, in.count(rows), in.size());
  char* to = output(out, rows * cols, size);
  const auto kernel = kernels().affine->affine_decode[t];
  const Pieces pieces = pieces_of(all, q, true);
  run(pieces.count(), rows * cols * size, threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, from + in.byte(p.row, p.col), Block{p.rows, p.cols, group},
           params.from(p.row * all.groups() + p.col / group), to + (p.row * cols + p.col) * size);
  });
}

} // namespace

void add_affine(py::module_& m) {
  using py::arg;
  m.def("affine_params", &affine_params, arg("quantizer"), arg("lo").noconvert(),
        arg("hi").noconvert(), arg("scale"), arg("zero_point"), arg("offset"));
  m.def("affine_quantize", &affine_quantize, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("codes").noconvert(), arg("threads"));
  m.def("affine_encode", &affine_encode, arg("quantizer"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("codes").noconvert(), arg("threads"));
  m.def("affine_decode", &affine_decode, arg("quantizer"), arg("codes").noconvert(), arg("rows"),
        arg("cols"), arg("group"), arg("scale"), arg("zero_point"), arg("offset"),
        arg("out").noconvert(), arg("type"), arg("threads"));
}

} // namespace bitmill::bind
