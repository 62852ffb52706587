// SPDX-License-Identifier: MIT
// Bindings of pack and unpack.
#include "bind.hpp"
#include <atomic>

namespace bitmill::bind {
namespace {

struct Words {
  int bits;
  int64_t cols;
  int64_t per_row() const { return words_of(cols, bits); }
  int64_t at(int64_t row, int64_t col) const { return row * per_row() + col * bits / 32; }
};

uint8_t bias_of(int bits, bool is_signed) { return (uint8_t)(is_signed ? 1 << (bits - 1) : 0); }

// Returns whether every code fitted.
bool pack(const py::array& codes, int64_t rows, int64_t cols, int bits, bool is_signed,
          py::array& out, int threads) {
  require(bits >= 1 && bits <= 8, "bitmill._core: bits is out of range");
  if (rows == 0) return true; // cols may be anything
  const Words words{bits, cols};
  const uint8_t* from = (const uint8_t*)input(codes, rows * cols, 1);
  uint32_t* to = (uint32_t*)output(out, rows * words.per_row(), 4);
  const auto kernel = kernels().pack->pack[bits];
  const Pieces pieces(rows, cols, 64);
  const bool past = streams(out.nbytes()); // with the GIL: it asks the dtype
  std::atomic<bool> fits{true};
  run(pieces.count(), rows * cols, threads, [&](int64_t i) {
    const auto p = pieces[i];
    bool out_of_range = false;
    kernel(from + p.row * cols + p.col, {p.rows, p.cols, p.cols, past}, bias_of(bits, is_signed),
           to + words.at(p.row, p.col), &out_of_range);
    if (out_of_range) fits.store(false, std::memory_order_relaxed);
  });
  return fits.load();
}

void unpack(const py::array& packed, int64_t rows, int64_t cols, int bits, bool is_signed,
            py::array& out, int threads) {
  require(bits >= 1 && bits <= 8, "bitmill._core: bits is out of range");
  if (rows == 0) return; // cols may be anything
  const Words words{bits, cols};
  const uint32_t* from = (const uint32_t*)input(packed, rows * words.per_row(), 4);
  uint8_t* to = (uint8_t*)output(out, rows * cols, 1);
  const auto kernel = kernels().pack->unpack[bits];
  const Pieces pieces(rows, cols, 64);
  const bool past = streams(out.nbytes()); // with the GIL: it asks the dtype
  run(pieces.count(), rows * cols, threads, [&](int64_t i) {
    const auto p = pieces[i];
    kernel(from + words.at(p.row, p.col), {p.rows, p.cols, p.cols, past}, bias_of(bits, is_signed),
           to + p.row * cols + p.col);
  });
}

} // namespace

void add_pack(py::module_& m) {
  using py::arg;
  m.def("pack", &pack, arg("codes").noconvert(), arg("rows"), arg("cols"), arg("bits"),
        arg("is_signed"), arg("out").noconvert(), arg("threads"));
  m.def("unpack", &unpack, arg("packed").noconvert(), arg("rows"), arg("cols"), arg("bits"),
        arg("is_signed"), arg("out").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
