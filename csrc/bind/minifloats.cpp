// SPDX-License-Identifier: MIT
// Bindings of the minifloat kernels. A format comes as the tuple (exponent bits, mantissa bits, largest
// value, whether there is an infinity).
#include "buffers.hpp"
#include <numeric>

namespace bitmill::bind {
namespace {

Minifloat format_of(const py::tuple& t) {
  const char* const mistake = "bitmill._core: a format is out of range";
  require(t.size() == 4, mistake);
  const Minifloat f = {py::cast<int32_t>(t[0]), py::cast<int32_t>(t[1]), py::cast<float>(t[2]),
                       py::cast<bool>(t[3])};
  require(f.exponent >= 2 && f.exponent <= 5 && f.mantissa >= 1 && f.mantissa <= 3, mistake);
  require(f.bits() == 4 || f.bits() == 6 || f.bits() == 8, mistake);
  return f;
}

// One call: values [rows, cols], their codes or words, and the scales of their groups.
class FloatCall {
 public:
  FloatCall(const py::tuple& format, int type, int64_t rows, int64_t cols, int64_t group,
            const py::array& scale, bool packed)
      : f_(format_of(format)), type_(float_type(type)), rows_(rows), cols_(cols), group_(group),
        packed_(packed) {
    require(group > 0 || rows * cols == 0, "bitmill._core: a group is empty");
    scale_ = (const float*)input(scale, rows * groups(), 4);
  }

  const Minifloat* format() const { return &f_; }
  Float type() const { return type_; }
  int64_t count() const { return rows_ * cols_; }
  int64_t code_size() const { return packed_ ? 4 : 1; }
  int64_t code_count() const { return rows_ * (packed_ ? words() : cols_); }

  // one(block, values before it, bytes of codes before it, its scales) for every piece.
  template <class One> void each(int64_t bytes_out, int threads, const One& one) const {
    const int64_t words_align = packed_ ? 64 : 1; // 64 codes fill whole words
    const Pieces pieces(rows_, cols_, group_ < cols_ ? std::lcm(group_, words_align) : words_align);
    run(pieces.count(), count() * item_size(type_), threads, [&](int64_t i) {
      const auto p = pieces[i];
      const int64_t byte =
          packed_ ? (p.row * words() + p.col * f_.bits() / 32) * 4 : p.row * cols_ + p.col;
      one(Block{p.rows, p.cols, group_, streams(bytes_out)}, p.row * cols_ + p.col, byte,
          scale_ + p.row * groups() + p.col / group_);
    });
  }

 private:
  int64_t words() const { return words_of(cols_, f_.bits()); }
  int64_t groups() const { return Block{rows_, cols_, group_, false}.groups(); }

  Minifloat f_;
  Float type_;
  int64_t rows_, cols_, group_;
  bool packed_;
  const float* scale_;
};

void float_encode(const py::tuple& format, const py::array& x, int type, int64_t rows, int64_t cols,
                  int64_t group, const py::array& scale, bool packed, py::array& codes,
                  int threads) {
  const FloatCall call(format, type, rows, cols, group, scale, packed);
  const char* from = input(x, call.count(), item_size(call.type()));
  char* to = output(codes, call.code_count(), call.code_size());
  const auto kernel = kernels().minifloats->float_encode[0];
  Buffers buffers;
  call.each(codes.nbytes(), threads,
            [&](Block block, int64_t value, int64_t byte, const float* scales) {
              const Taken x_(from + value * item_size(call.type()), call.type(), kF32,
                             block.rows * block.cols, buffers);
              if (x_.at)
                kernel(call.format(), (const float*)x_.at, block, scales, packed, to + byte);
            });
  buffers.check();
}

void float_decode(const py::tuple& format, const py::array& codes, int64_t rows, int64_t cols,
                  int64_t group, const py::array& scale, bool packed, py::array& out, int type,
                  int threads) {
  const FloatCall call(format, type, rows, cols, group, scale, packed);
  const char* from = input(codes, call.code_count(), call.code_size());
  char* to = output(out, call.count(), item_size(call.type()));
  const auto kernel = kernels().minifloats->float_decode[0];
  Buffers buffers;
  call.each(out.nbytes(), threads,
            [&](Block block, int64_t value, int64_t byte, const float* scales) {
              const Given y(to + value * item_size(call.type()), call.type(), kF32,
                            block.rows * block.cols, buffers);
              if (!y.at) return;
              kernel(call.format(), from + byte, block, scales, packed, (float*)y.at);
              y.finish();
            });
  buffers.check();
}

} // namespace

void add_minifloats(py::module_& m) {
  using py::arg;
  m.def("float_encode", &float_encode, arg("format"), arg("x").noconvert(), arg("type"),
        arg("rows"), arg("cols"), arg("group"), arg("scale").noconvert(), arg("packed"),
        arg("codes").noconvert(), arg("threads"));
  m.def("float_decode", &float_decode, arg("format"), arg("codes").noconvert(), arg("rows"),
        arg("cols"), arg("group"), arg("scale").noconvert(), arg("packed"), arg("out").noconvert(),
        arg("type"), arg("threads"));
}

} // namespace bitmill::bind
