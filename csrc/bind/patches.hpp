// SPDX-License-Identifier: MIT
// A product of matrices cut into patches, which threads share.
#pragma once
#include "buffers.hpp"
#include <algorithm>

namespace bitmill::bind {

inline int64_t steps(int64_t count, int64_t step) { return (count + step - 1) / step; }

// make(patch, memory) for all patches, with so many bytes of memory at a multiple of 64. Those of the same rows of
// x, which threads then have in their common cache, are neighbours.
template <class Make>
void each_patch(const Product& whole, int64_t memory_bytes, int threads, const Make& make) {
  constexpr int64_t kLine = 64, kFast = 8; // rows of x that take as long as to read those of w
  const int64_t spans = steps(whole.cols, kSpan);
  const int64_t work = whole.cols * whole.depth * (1 + whole.rows / kFast);
  Buffers buffers;
  run(steps(whole.rows, kMostRows) * spans, work, threads, [&](int64_t i) {
    const auto memory = buffers.get<char>(memory_bytes + kLine);
    if (!memory) return;
    const int64_t row = i / spans * kMostRows, col = i % spans * kSpan;
    const Patch patch{row, std::min(kMostRows, whole.rows - row), col,
                      std::min(kSpan, whole.cols - col)};
    make(patch, memory.get() + (kLine - (uintptr_t)memory.get() % kLine));
  });
  buffers.check();
}

} // namespace bitmill::bind
