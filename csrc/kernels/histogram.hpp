// SPDX-License-Identifier: MIT
// Counts of values in bins whose width is a power of two. Twin: bitmill.reference.histogram.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// floor(x / 2^exponent), exactly: y = x / 2^exponent has lost bits only if it is subnormal, and then its
// integer part is 0, so that the sign of x decides (y itself may be -0.0). Numbers beyond 32 bits and NaN
// come out near -2^31.
BITMILL_INLINE i32x16 bin_of(f32x16 x, f32x16 factor, f32x16 factor2) {
  const f32x16 y = mul(mul(x, factor), factor2);
  const i32x16 nearest = to_i32(y), zero = splat(0);
  const i32x16 above =
      select(equal(nearest, zero), greater(splat(0.0f), x), greater(to_f32(nearest), y));
  return add(nearest, above); // -1 where the nearest integer lies above
}

// Adds to `counts`: kCopies histograms, one after the other, of slots for what lies below the window, its
// bins, and what lies above. Neighbours go to different copies: where all values have one bin, each
// increment would wait for the one before.
template <class T>
void histogram(const void* x_, int64_t count, BinWindow window, uint32_t* counts) {
  constexpr int64_t kAtOnce = 256;
  const T* x = (const T*)x_;
  const f32x16 factor = splat(window.factor), factor2 = splat(window.factor2);
  const i32x16 first = splat(window.first), below = splat(-1), above = splat(window.bins);
  uint32_t* copies[kCopies];
  for (int k = 0; k < kCopies; ++k) copies[k] = counts + k * window.slots() + 1;
  for (int64_t start = 0; start < count; start += kAtOnce) {
    const int64_t n = least(kAtOnce, count - start);
    int16_t bins[kAtOnce];
    each_vector(n, [&](int64_t i, auto lanes) {
      const i32x16 bin = sub(bin_of(load(x + start + i, lanes), factor, factor2), first);
      store_u16((uint16_t*)bins + i, max(min(bin, above), below), lanes);
    });
    int64_t i = 0;
    for (; i + kCopies <= n; i += kCopies)
      for (int k = 0; k < kCopies; ++k) ++copies[k][bins[i + k]];
    for (; i < n; ++i) ++copies[0][bins[i]];
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
