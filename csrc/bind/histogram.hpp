// SPDX-License-Identifier: MIT
// Binding of the histogram: pieces are counted in parallel, and added up; whole numbers do not mind in
// which order. Part of ranges.cpp: every object with bindings takes 15 kB of pybind11's code.
#pragma once
#include "bind.hpp"
#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>

namespace bitmill::bind {
namespace {

// Space to count in for each of so many threads, which a task borrows.
class Scratch {
 public:
  Scratch(int threads, const BinWindow& most)
      : size_(most.copies * most.slots()), taken_(new std::atomic<bool>[(size_t)threads]()),
        memory_(new uint32_t[(size_t)(threads * size_)]) {}

  // use(zeros for this window). There are as many spaces as threads, so that one is free.
  template <class Use> void borrow(const BinWindow& window, const Use& use) {
    int64_t i = 0;
    while (taken_[(size_t)i].exchange(true, std::memory_order_acquire)) ++i;
    uint32_t* const space = memory_.get() + i * size_;
    std::fill_n(space, window.copies * window.slots(), 0u);
    use(space);
    taken_[(size_t)i].store(false, std::memory_order_release);
  }

 private:
  const int64_t size_;
  const std::unique_ptr<std::atomic<bool>[]> taken_;
  const std::unique_ptr<uint32_t[]> memory_;
};

constexpr int64_t kSpan = 1 << 19; // values that are counted before the copies are added up
constexpr int64_t kLong = 1 << 15; // fewer are not worth more than one copy

BinWindow window_of(int exponent, int first, int bins, int64_t count) {
  const int some = std::min(-exponent, 100);
  return {std::ldexp(1.0f, some), std::ldexp(1.0f, -exponent - some), first, bins,
          count < kLong ? 1 : kMostCopies};
}

void add_copies(const uint32_t* counts, const BinWindow& window, int64_t* out) {
  for (int k = 0; k < window.copies; ++k)
    for (int64_t bin = 0; bin < window.bins; ++bin)
      out[bin] += counts[k * window.slots() + 1 + bin];
}

// `out` is [rows, bins]; each row has a window of its own.
void histogram(const py::array& x, int type, int64_t rows, int64_t cols, const py::array& exponent,
               const py::array& first, int bins, py::array& out, int threads) {
  require(bins >= 1 && bins <= 32767, "bitmill._core: bins is out of range");
  const Float t = float_type(type);
  const int64_t size = item_size(t), spans = (cols + kSpan - 1) / kSpan;
  const char* from = input(x, rows * cols, size);
  const int32_t* exponents = (const int32_t*)input(exponent, rows, 4);
  const int32_t* firsts = (const int32_t*)input(first, rows, 4);
  int64_t* to = (int64_t*)output(out, rows * bins, 8);
  const auto kernel = kernels().ranges->histogram[t];
  threads = (int)std::min<int64_t>(threads, std::max<int64_t>(1, rows * spans));
  Scratch scratch(threads, window_of(0, 0, bins, kLong));
  std::mutex adding;
  run(rows * spans, rows * cols * size, threads, [&](int64_t i) {
    const int64_t row = i / spans, col = i % spans * kSpan, count = std::min(kSpan, cols - col);
    const BinWindow window = window_of(exponents[row], firsts[row], bins, count);
    scratch.borrow(window, [&](uint32_t* counts) {
      kernel(from + (row * cols + col) * size, count, window, counts);
      const std::lock_guard<std::mutex> lock(adding);
      add_copies(counts, window, to + row * bins);
    });
  });
}

void add_histogram(py::module_& m) {
  using py::arg;
  m.def("histogram", &histogram, arg("x").noconvert(), arg("type"), arg("rows"), arg("cols"),
        arg("exponent").noconvert(), arg("first").noconvert(), arg("bins"), arg("out").noconvert(),
        arg("threads"));
}

} // namespace
} // namespace bitmill::bind
