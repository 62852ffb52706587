// SPDX-License-Identifier: MIT
// Error sums of one block of at most 4,096 pairs, in double, 16 lanes side by side (N9).
// Twin: bitmill.reference.error_sums.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Eight of the 16 lanes: the sums of all of them would not fit into AVX2's registers, which is also why
// the greatest difference is kept squared.
struct Sums {
  f64x8 xx = splat_f64(0), yy = xx, xy = xx, dd = xx, most = xx;

  template <class T> BITMILL_INLINE void take(const T* x, const float* y) {
    const f64x8 a = load_f64(x), b = load_f64(y), d = sub(a, b), square = mul(d, d);
    xx = add_product(xx, a, a);
    yy = add_product(yy, b, b);
    xy = add_product(xy, a, b);
    dd = add(dd, square);
    most = max(most, square);
  }
};

// The first or the second eight of every 16 pairs, of which there are count / 16.
template <class T>
BITMILL_INLINE void take_half(const T* x, const float* y, int64_t count, Sums* sums) {
  Sums s = *sums;
  for (int64_t i = 0; i < count; i += 16) s.take(x + i, y + i);
  *sums = s;
}

// The last pairs are filled up with zeros, which add nothing.
template <class T> void error_sums(const void* x_, const float* y, int64_t count, BlockSums* out) {
  constexpr int64_t kPairs = 512; // stay in L1 from one half to the other
  const T* x = (const T*)x_;
  Sums low, high;
  while (count >= 16) {
    const int64_t n = least(count, kPairs) & -16;
    take_half(x, y, n, &low);
    take_half(x + 8, y + 8, n, &high);
    x += n, y += n, count -= n;
  }
  if (count > 0) {
    T last_x[16] = {};
    float last_y[16] = {};
    memcpy(last_x, x, (size_t)count * sizeof(T));
    memcpy(last_y, y, (size_t)count * sizeof(float));
    low.take(last_x, last_y);
    high.take(last_x + 8, last_y + 8);
  }
  *out = {reduce_add(add(low.xx, high.xx)), reduce_add(add(low.yy, high.yy)),
          reduce_add(add(low.xy, high.xy)), reduce_add(add(low.dd, high.dd)),
          reduce_max(max(low.most, high.most))};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
