// SPDX-License-Identifier: MIT
// Bindings of the affine kernels. A Quantizer comes as the tuple (qmin, qmax, rule, scales, bits).
#include "buffers.hpp"
#include "quantizer.hpp"
#include <numeric>
#include <vector>

namespace bitmill::bind {
namespace {

// One call: values [rows, cols], their codes or words, and the parameters of their groups.
class AffineCall {
 public:
  AffineCall(const py::tuple& quantizer, int type, int64_t rows, int64_t cols, int64_t group)
      : q_(quantizer_of(quantizer)), block_{rows, cols, group, false}, type_(float_type(type)) {
    const Block& block = block_;
    require(block.group > 0 || block.rows * block.cols == 0, "bitmill._core: a group is empty");
  }

  const Quantizer& q() const { return q_; }
  Float type() const { return type_; }

  const char* values(const py::array& x) const { return input(x, count(), item_size(type_)); }
  char* values(py::array& x) const { return output(x, count(), item_size(type_)); }
  const char* codes(const py::array& x) const { return input(x, code_count(), code_size()); }
  char* codes(py::array& x) const { return output(x, code_count(), code_size()); }

  // Where the parameters of all groups lie; with `writable`, those of the quantizer's rule.
  Params params(const py::object& scale, const py::object& zero_point, const py::object& offset,
                bool writable) const {
    return params_of(q_, block_.rows * block_.groups(), scale, zero_point, offset, writable);
  }

  // Called with the piece's block, the offsets of its first value and code in bytes, and of its
  // first group; `i` is its index below pieces().count(). A group that fills the row may be cut if
  // its one set of parameters is known beforehand.
  Pieces pieces(bool known_params) const {
    const int64_t words = q_.bits ? 64 : 1; // 64 codes fill whole words at every width
    if (block_.group < block_.cols)
      return Pieces(block_.rows, block_.cols, std::lcm(block_.group, words));
    return Pieces(block_.rows, block_.cols, known_params ? words : block_.cols);
  }
  template <class One>
  void each(const Pieces& pieces, int64_t bytes_out, int threads, const One& one) const {
    run(pieces.count(), count() * item_size(type_), threads, [&](int64_t i) {
      const auto p = pieces[i];
      one(i, Block{p.rows, p.cols, block_.group, streams(bytes_out)},
          (p.row * block_.cols + p.col) * item_size(type_), code_byte(p.row, p.col),
          p.row * block_.groups() + p.col / block_.group);
    });
  }

 private:
  int64_t count() const { return block_.rows * block_.cols; }
  int64_t words() const { return words_of(block_.cols, q_.bits); }
  int64_t code_size() const { return q_.bits ? 4 : q_.wide() ? 2 : 1; }
  int64_t code_count() const { return block_.rows * (q_.bits ? words() : block_.cols); }
  int64_t code_byte(int64_t row, int64_t col) const {
    return q_.bits ? (row * words() + col * q_.bits / 32) * 4
                   : (row * block_.cols + col) * code_size();
  }

  Quantizer q_;
  Block block_;
  Float type_;
};

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
  const Params params = params_of(q, count, scale, zero_point, offset, true);
  const float *low = (const float*)input(lo, count, 4), *high = (const float*)input(hi, count, 4);
  const auto kernel = kernels().affine->affine_params[0];
  const Pieces pieces(1, count, 1);
  std::vector<Counts> counts((size_t)pieces.count());
  run(pieces.count(), count * 8, 1, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(&q, low + p.col, high + p.col, p.cols, params_from(q, params, p.col),
           &counts[(size_t)i]);
  });
  return counts_tuple(counts);
}

py::tuple affine_quantize(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                          int64_t cols, int64_t group, const py::object& scale,
                          const py::object& zero_point, const py::object& offset, py::array& codes,
                          int threads) {
  const AffineCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, true);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().affine->affine_quantize[taken_as(call.type())];
  Buffers buffers;
  const Pieces pieces = call.pieces(false);
  std::vector<Counts> counts((size_t)pieces.count());
  call.each(pieces, codes.nbytes(), threads,
            [&](int64_t i, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), x_.at, block, params_from(call.q(), params, at), to + code,
                       &counts[(size_t)i]);
            });
  buffers.check();
  return counts_tuple(counts);
}

void affine_encode(const py::tuple& quantizer, const py::array& x, int type, int64_t rows,
                   int64_t cols, int64_t group, const py::object& scale,
                   const py::object& zero_point, const py::object& offset, py::array& codes,
                   int threads) {
  const AffineCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, false);
  const char* from = call.values(x);
  char* to = call.codes(codes);
  const auto kernel = kernels().affine->affine_encode[taken_as(call.type())];
  Buffers buffers;
  call.each(call.pieces(true), codes.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Taken x_(from + value, call.type(), block.rows * block.cols, buffers);
              if (x_.at)
                kernel(&call.q(), x_.at, block, params_from(call.q(), params, at), to + code);
            });
  buffers.check();
}

void affine_decode(const py::tuple& quantizer, const py::array& codes, int64_t rows, int64_t cols,
                   int64_t group, const py::object& scale, const py::object& zero_point,
                   const py::object& offset, py::array& out, int type, int threads) {
  const AffineCall call(quantizer, type, rows, cols, group);
  const Params params = call.params(scale, zero_point, offset, false);
  const char* from = call.codes(codes);
  char* to = call.values(out);
  const auto kernel = kernels().affine->affine_decode[taken_as(call.type())];
  Buffers buffers;
  call.each(call.pieces(true), out.nbytes(), threads,
            [&](int64_t, Block block, int64_t value, int64_t code, int64_t at) {
              const Given y(to + value, call.type(), block.rows * block.cols, buffers);
              if (!y.at) return;
              kernel(&call.q(), from + code, block, params_from(call.q(), params, at), y.at);
              y.finish();
            });
  buffers.check();
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
