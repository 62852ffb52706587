// SPDX-License-Identifier: MIT
// Ranges of runs and of columns. Values are compared as integers: the bits of |x| order NaN beyond
// infinity, and ordered() below does the same for signed values, so that a result which is not
// finite says that the data are not. Twins: bitmill.reference.absmax, minmax, column_absmax,
// column_minmax.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

struct Range {
  float lo, hi;
};

BITMILL_INLINE bool is_finite(float x) { return (bits_of(x) & 0x7fffffff) < 0x7f800000; }

// Integers in the order of the floats (negative ones have their magnitude flipped); its own
// inverse.
BITMILL_INLINE i32x16 ordered(i32x16 bits) {
  return xor_(bits, and_(sign_mask(bits), splat(0x7fffffff)));
}
BITMILL_INLINE i32x16 ordered(f32x16 x) { return ordered(bits_of(x)); }
BITMILL_INLINE int32_t key_of(float x) {
  const int32_t bits = (int32_t)bits_of(x);
  return bits ^ (bits < 0 ? 0x7fffffff : 0);
}
BITMILL_INLINE float value_of(int32_t key) { // -0.0 becomes +0.0
  return float_of((uint32_t)(key ^ (key < 0 ? 0x7fffffff : 0))) + 0.0f;
}
BITMILL_INLINE i32x16 magnitude(f32x16 x) { return and_(bits_of(x), splat(0x7fffffff)); }

// max |x| of n values; 0 for none. Four accumulators hide the latency of the maximum.
template <class T> float run_absmax(const T* x, int64_t n) {
  i32x16 m0 = splat(0), m1 = m0, m2 = m0, m3 = m0;
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    m0 = max(m0, magnitude(load(x + i)));
    m1 = max(m1, magnitude(load(x + i + 16)));
    m2 = max(m2, magnitude(load(x + i + 32)));
    m3 = max(m3, magnitude(load(x + i + 48)));
  }
  for (; i + 16 <= n; i += 16) m0 = max(m0, magnitude(load(x + i)));
  if (i < n) m1 = max(m1, magnitude(load(x + i, n - i)));
  return float_of((uint32_t)reduce_max(max(max(m0, m1), max(m2, m3))));
}

// min and max of n >= 1 values. The last vector overlaps the one before it, which changes neither.
template <class T> Range run_minmax(const T* x, int64_t n) {
  if (n < 16) {
    int32_t lo = key_of(widen(get(x))), hi = lo;
    for (int64_t i = 1; i < n; ++i) {
      const int32_t key = key_of(widen(get(x + i)));
      lo = key < lo ? key : lo, hi = key > hi ? key : hi;
    }
    return {value_of(lo), value_of(hi)};
  }
  i32x16 lo0 = ordered(load(x + n - 16)), lo1 = lo0, hi0 = lo0, hi1 = lo0;
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const i32x16 k0 = ordered(load(x + i)), k1 = ordered(load(x + i + 16));
    lo0 = min(lo0, k0), lo1 = min(lo1, k1);
    hi0 = max(hi0, k0), hi1 = max(hi1, k1);
  }
  if (i + 16 <= n) {
    const i32x16 k = ordered(load(x + i));
    lo0 = min(lo0, k), hi0 = max(hi0, k);
  }
  return {value_of(reduce_min(min(lo0, lo1))), value_of(reduce_max(max(hi0, hi1)))};
}

// visit(run, length) for every group of one row, in order.
template <class T, class Visit>
BITMILL_INLINE void each_group(T* row, const Block& block, Visit visit) {
  for (int64_t left = block.cols; left > 0;) {
    const int64_t n = left < block.group ? left : block.group;
    visit(row, n);
    row += n, left -= n;
  }
}

template <class T> void absmax(const void* x, Block block, float* out) {
  for (int64_t row = 0; row < block.rows; ++row)
    each_group((const T*)x + row * block.cols, block,
               [&](const T* run, int64_t n) { *out++ = run_absmax(run, n); });
}

template <class T> void minmax(const void* x, Block block, float* lo, float* hi) {
  for (int64_t row = 0; row < block.rows; ++row)
    each_group((const T*)x + row * block.cols, block, [&](const T* run, int64_t n) {
      const Range range = run_minmax(run, n);
      *lo++ = range.lo, *hi++ = range.hi;
    });
}

// Columns: rows are read one after another and merged into `out`, which stays in cache; row_step
// elements lie between the starts of two rows.
template <class T>
void column_absmax(const void* x_, int64_t rows, int64_t cols, int64_t row_step, float* out) {
  memset(out, 0, (size_t)cols * sizeof(float));
  const T* x = (const T*)x_;
  for (int64_t row = 0; row < rows; ++row, x += row_step)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const i32x16 merged = max(bits_of(load(out + i, lanes)), magnitude(load(x + i, lanes)));
      store(out + i, float_of(merged), lanes);
    });
}

// `lo` and `hi` hold ordered keys until the last row is in.
template <class T>
void column_minmax(const void* x_, int64_t rows, int64_t cols, int64_t row_step, float* lo,
                   float* hi) {
  const T* x = (const T*)x_;
  for (int64_t i = 0; i < cols; ++i) lo[i] = float_of(0x7fffffffu), hi[i] = float_of(0x80000000u);
  for (int64_t row = 0; row < rows; ++row, x += row_step)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const i32x16 keys = ordered(load(x + i, lanes));
      store(lo + i, float_of(min(bits_of(load(lo + i, lanes)), keys)), lanes);
      store(hi + i, float_of(max(bits_of(load(hi + i, lanes)), keys)), lanes);
    });
  for (int64_t i = 0; i < cols; ++i) {
    lo[i] = value_of((int32_t)bits_of(lo[i]));
    hi[i] = value_of((int32_t)bits_of(hi[i]));
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
