// SPDX-License-Identifier: MIT
// Counts of values in bins whose width is a power of two. Twin: bitmill.reference.histogram.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// floor(x / 2^exponent), exactly: y = x / 2^exponent has lost bits only if it is subnormal, and then its
// integer part is 0, so that the sign of x decides (y itself may be -0.0). Numbers beyond 32 bits and NaN
// come out near -2^31: in no window, since those begin at -2^24 or later.
BITMILL_INLINE i32x16 bin_of(f32x16 x, f32x16 factor, f32x16 factor2) {
  const f32x16 y = mul(mul(x, factor), factor2);
  const i32x16 nearest = to_i32(y), zero = splat(0);
  const i32x16 above =
      select(equal(nearest, zero), greater(splat(0.0f), x), greater(to_f32(nearest), y));
  return add(nearest, above); // -1 where the nearest integer lies above
}

// Adds to `counts`: window.copies histograms, one after the other, of slots for what lies below the
// window, its bins, and what lies above. Neighbours go to different copies: where all values have one bin,
// each increment might wait for the one before. Bins are found kLag values before they are counted, so that
// the CPU does both side by side: a block after the other took 1.3 times as long (Zen 4).
void count_floats(const float* x, int64_t count, const BinWindow& window, uint32_t* counts) {
  constexpr int64_t kRing = 256, kLag = kRing - 16;
  const f32x16 factor = splat(window.factor), factor2 = splat(window.factor2);
  const i32x16 first = splat(window.first), below = splat(-1), above = splat(window.bins);
  uint32_t* copies[kMostCopies];
  for (int k = 0; k < kMostCopies; ++k) copies[k] = counts + k % window.copies * window.slots() + 1;
  int16_t ring[kRing];
  int64_t counted = 0;
  each_vector(count, [&](int64_t i, auto lanes) {
    const i32x16 bin = sub(bin_of(load(x + i, lanes), factor, factor2), first);
    store_u16((uint16_t*)ring + i % kRing, max(min(bin, above), below), lanes);
    if (i < kLag) return;
    const int16_t* bins = ring + counted % kRing;
    for (int k = 0; k < 16; ++k) ++copies[k % kMostCopies][bins[k]];
    counted += 16;
  });
  for (; counted < count; ++counted) ++copies[0][ring[counted % kRing]];
}

// Other types are widened some at a time: a body of their own would only be more code.
template <class T>
void histogram(const void* x_, int64_t count, BinWindow window, uint32_t* counts) {
  const T* x = (const T*)x_;
  float some[4096];
  for (int64_t start = 0; start < count; start += 4096) {
    const int64_t n = least(4096, count - start);
    each_vector(n,
                [&](int64_t i, auto lanes) { store(some + i, load(x + start + i, lanes), lanes); });
    count_floats(some, n, window, counts);
  }
}
template <>
void histogram<float>(const void* x, int64_t count, BinWindow window, uint32_t* counts) {
  count_floats((const float*)x, count, window, counts);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
