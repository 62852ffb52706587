// SPDX-License-Identifier: MIT
// Bindings of the integer matrix products.
#include "patches.hpp"
#include "requantizer.hpp"

namespace bitmill::bind {
namespace {

// One call: x made ready once, then patches of the product, which threads share.
class MatmulCall {
 public:
  MatmulCall(int64_t rows, int64_t cols, int64_t depth, int threads)
      : whole_{rows, cols, depth}, threads_(threads) {
    require(rows >= 0 && cols >= 0 && depth >= 0, "bitmill._core: a matrix has a negative size");
  }

  // Makes x [rows, depth] ready; `flips` says that it is uint8.
  void take(const char* x, bool flips) {
    const auto kernel = kernels().matmul->pack_rows[0];
    packed_ = buffers_.get<char>(whole_.rows * whole_.fours() * kMostBytesOfFour + 1);
    sums_ = buffers_.get<int32_t>(whole_.rows + 1);
    buffers_.check();
    const int64_t tiles = steps(whole_.rows, kMostTileRows);
    run(tiles, whole_.rows * whole_.depth, threads_, [&](int64_t i) {
      const int64_t row = i * kMostTileRows;
      kernel(x, whole_, row, std::min(kMostTileRows, whole_.rows - row), flips, packed_.get(),
             sums_.get());
    });
  }
  const void* packed() const { return packed_.get(); }
  const int32_t* sums() const { return sums_.get(); }

  // make(whole, patch, memory) for all patches.
  template <class Make> void each(int64_t memory_bytes, const Make& make) {
    each_patch(whole_, memory_bytes, threads_,
               [&](const Patch& patch, void* memory) { make(whole_, patch, memory); });
  }

 private:
  Product whole_;
  int threads_;
  Buffers buffers_;
  std::unique_ptr<char[]> packed_;
  std::unique_ptr<int32_t[]> sums_;
};

// x is int8 [rows, depth], w int8 [cols, depth], out int32 [rows, cols].
void matmul_int8(const py::array& x, const py::array& w, int64_t rows, int64_t cols, int64_t depth,
                 py::array& out, int threads) {
  const char *from = input(x, rows * depth, 1), *weights = input(w, cols * depth, 1);
  int32_t* to = (int32_t*)output(out, rows * cols, 4);
  MatmulCall call(rows, cols, depth, threads);
  call.take(from, false);
  const auto kernel = kernels().matmul->matmul_int8[0];
  call.each(kSumsBytes + kPanelsBytes, [&](const Product& whole, const Patch& patch, void* memory) {
    kernel(call.packed(), weights, whole, patch, call.sums(), memory, to);
  });
}

const char* panels(const py::array& w, int64_t cols, int64_t depth) {
  return input(w, steps(cols, kPanel) * kPanel * steps(depth, 4) * 4, 1);
}

// make(x made ready, w, the product, a patch, terms, memory) for all patches. x is int8, or uint8 if `flips`,
// [rows, depth]; w is uint8 in panels; w_zero_point is uint8, bias int32, or None.
template <class Make>
void each_sums(const py::array& x, bool flips, const py::array& w, const py::array& w_zero_point,
               const py::object& bias, int64_t rows, int64_t cols, int64_t depth,
               int64_t memory_bytes, int threads, const Make& make) {
  MatmulCall call(rows, cols, depth, threads);
  const char *from = input(x, rows * depth, 1), *weights = panels(w, cols, depth);
  SumTerms terms{nullptr, (const uint8_t*)input(w_zero_point, cols, 1),
                 (const int32_t*)optional(bias, cols, 4, false)};
  call.take(from, flips);
  terms.x_sum = call.sums();
  call.each(memory_bytes, [&](const Product& whole, const Patch& patch, void* memory) {
    make(call.packed(), weights, whole, patch, terms, memory);
  });
}

// out is int32 [rows, cols].
void matmul_sums(const py::array& x, bool flips, const py::array& w, const py::array& w_zero_point,
                 const py::object& bias, int64_t rows, int64_t cols, int64_t depth, py::array& out,
                 int threads) {
  int32_t* to = (int32_t*)output(out, rows * cols, 4);
  const auto kernel = kernels().matmul->matmul_sums[0];
  each_sums(x, flips, w, w_zero_point, bias, rows, cols, depth, kSumsBytes, threads,
            [&](auto... given) { kernel(given..., to); });
}

// codes are int8 or uint8 [rows, cols]; multiplier and shift are int32 [cols].
void matmul_requantized(const py::array& x, bool flips, const py::array& w,
                        const py::array& w_zero_point, const py::object& bias, int64_t rows,
                        int64_t cols, int64_t depth, const py::array& multiplier,
                        const py::array& shift, int32_t zero_point, int32_t qmin, int32_t qmax,
                        bool twice, py::array& codes, int threads) {
  const Requantizer r = requantizer_of(multiplier, shift, cols, zero_point, qmin, qmax, twice);
  char* to = output(codes, rows * cols, 1);
  const auto kernel = kernels().matmul->matmul_requantized[0];
  each_sums(x, flips, w, w_zero_point, bias, rows, cols, depth, kSumsBytes + kCodesBytes, threads,
            [&](const void* ready, const void* weights, const Product& whole, const Patch& patch,
                const SumTerms& terms,
                void* memory) { kernel(ready, weights, whole, patch, terms, &r, memory, to); });
}

// x is int8, or uint8 if `flips`, [rows, depth]; x_params are its scales, float, and zero-points as int8 codes
// have them, int32; w is uint8 in panels; w_params are scales, float, zero-points, uint8, and sums, int32.
void matmul_w8a8(const py::array& x, bool flips, const py::tuple& x_params, const py::array& w,
                 const py::tuple& w_params, const py::object& bias, int64_t rows, int64_t cols,
                 int64_t depth, py::array& out, int type, int threads) {
  const Float t = float_type(type);
  require(t != kF64, "bitmill._core: no such output");
  const char* from = input(x, rows * depth, 1);
  const char* weights = panels(w, cols, depth);
  const auto param = [](const py::tuple& params, size_t i, int64_t count, int64_t size) {
    return optional(params[i], count, size, false);
  };
  char* to = output(out, rows * cols, item_size(t));
  MatmulCall call(rows, cols, depth, threads);
  const Dequantizer d{(const float*)param(x_params, 0, rows, 4),
                      (const int32_t*)param(x_params, 1, rows, 4),
                      nullptr,
                      (const float*)param(w_params, 0, cols, 4),
                      (const uint8_t*)param(w_params, 1, cols, 1),
                      (const int32_t*)param(w_params, 2, cols, 4),
                      (const float*)optional(bias, cols, 4, false)};
  call.take(from, flips);
  const auto kernel = kernels().matmul->matmul_w8a8[t];
  call.each(kSumsBytes, [&](const Product& whole, const Patch& patch, void* memory) {
    Dequantizer given = d;
    given.x_sum = call.sums();
    kernel(call.packed(), weights, whole, patch, given, memory, to);
  });
}

} // namespace

void add_matmul(py::module_& m) {
  using py::arg;
  m.def("matmul_int8", &matmul_int8, arg("x").noconvert(), arg("w").noconvert(), arg("rows"),
        arg("cols"), arg("depth"), arg("out").noconvert(), arg("threads"));
  m.def("matmul_sums", &matmul_sums, arg("x").noconvert(), arg("flips"), arg("w").noconvert(),
        arg("w_zero_point").noconvert(), arg("bias").none(true), arg("rows"), arg("cols"),
        arg("depth"), arg("out").noconvert(), arg("threads"));
  m.def("matmul_requantized", &matmul_requantized, arg("x").noconvert(), arg("flips"),
        arg("w").noconvert(), arg("w_zero_point").noconvert(), arg("bias").none(true), arg("rows"),
        arg("cols"), arg("depth"), arg("multiplier").noconvert(), arg("shift").noconvert(),
        arg("zero_point"), arg("qmin"), arg("qmax"), arg("twice"), arg("codes").noconvert(),
        arg("threads"));
  m.def("matmul_w8a8", &matmul_w8a8, arg("x").noconvert(), arg("flips"), arg("x_params"),
        arg("w").noconvert(), arg("w_params"), arg("bias").none(true), arg("rows"), arg("cols"),
        arg("depth"), arg("out").noconvert(), arg("type"), arg("threads"));
}

} // namespace bitmill::bind
