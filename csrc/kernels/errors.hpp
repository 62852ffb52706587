// SPDX-License-Identifier: MIT
// Error sums of one block of at most 4,096 pairs, in double, 16 lanes side by side (N9).
// Twins: bitmill.reference.error_sums, bitmill.reference.weighed_error.
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

// The first of `count` pairs with this squared difference; 0 if there is none, as where values are not
// finite.
template <class T>
BITMILL_INLINE int64_t first_of_square(const T* x, const float* y, int64_t count, double square) {
  const f64x8 wanted = splat_f64(square);
  const auto found = [&](const T* a, const float* b) {
    const f64x8 d = sub(load_f64(a), load_f64(b));
    return equal_bits(mul(d, d), wanted);
  };
  int64_t i = 0;
  uint32_t bits = 0;
  for (; i + 8 <= count && !(bits = found(x + i, y + i));) i += 8;
  if (!bits && i < count) {
    T last_x[8] = {};
    float last_y[8] = {};
    memcpy(last_x, x + i, (size_t)(count - i) * sizeof(T));
    memcpy(last_y, y + i, (size_t)(count - i) * sizeof(float));
    bits = found(last_x, last_y);
  }
  if (!bits) return 0;
  for (; !(bits & 1); bits >>= 1) ++i;
  return i;
}

// The last pairs are filled up with zeros, which add nothing.
template <class T> void error_sums(const void* x_, const float* y, int64_t count, BlockSums* out) {
  constexpr int64_t kPairs = 512; // stay in L1 from one half to the other
  const T* x = (const T*)x_;
  Sums low, high;
  double most = 0;
  int64_t from = 0; // where the pairs begin of which one is the first with `most`
  for (int64_t i = 0, n; i < count; i += n) {
    n = least(count - i, kPairs);
    const int64_t whole = n & -16, rest = n - whole;
    take_half(x + i, y + i, whole, &low);
    take_half(x + i + 8, y + i + 8, whole, &high);
    if (rest) {
      T last_x[16] = {};
      float last_y[16] = {};
      memcpy(last_x, x + i + whole, (size_t)rest * sizeof(T));
      memcpy(last_y, y + i + whole, (size_t)rest * sizeof(float));
      low.take(last_x, last_y);
      high.take(last_x + 8, last_y + 8);
    }
    const double seen = reduce_max(max(low.most, high.most));
    if (seen > most) most = seen, from = i;
  }
  const int64_t near = least(count - from, kPairs);
  *out = {reduce_add(add(low.xx, high.xx)),
          reduce_add(add(low.yy, high.yy)),
          reduce_add(add(low.xy, high.xy)),
          reduce_add(add(low.dd, high.dd)),
          most,
          from + first_of_square(x + from, y + from, near, most)};
}

// w·(x - y)^2 of 16 pairs, added to the sums of 16 lanes.
struct WeighedSums {
  f64x8 low = splat_f64(0), high = low;

  BITMILL_INLINE void take(const float* x, const float* y, const float* w) {
    low = add(low, term(x, y, w));
    high = add(high, term(x + 8, y + 8, w + 8));
  }
  static BITMILL_INLINE f64x8 term(const float* x, const float* y, const float* w) {
    const f64x8 d = sub(load_f64(x), load_f64(y));
    return mul(load_f64(w), mul(d, d));
  }
};

inline void weighed_error(const float* x, const float* y, const float* w, int64_t count,
                          double* out) {
  WeighedSums sums;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) sums.take(x + i, y + i, w + i);
  if (i < count) {
    float last[3][16] = {};
    const size_t bytes = (size_t)(count - i) * sizeof(float);
    memcpy(last[0], x + i, bytes);
    memcpy(last[1], y + i, bytes);
    memcpy(last[2], w + i, bytes);
    sums.take(last[0], last[1], last[2]);
  }
  *out = reduce_add(add(sums.low, sums.high));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
