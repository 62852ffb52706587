// SPDX-License-Identifier: MIT
// Products with Hadamard matrices, by doubling: n log n additions a row. Twin: bitmill.reference.hadamard.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Lanes a and b that are `h` apart become a + b and a - b.
class LanePairs {
 public:
  BITMILL_INLINE explicit LanePairs(int32_t h) {
    int32_t lanes[16];
    for (int32_t i = 0; i < 16; ++i) lanes[i] = i;
    const i32x16 lane = load_i32(lanes);
    other_ = xor_(lane, splat(h));
    is_b_ = equal(and_(lane, splat(h)), splat(h));
  }
  BITMILL_INLINE f32x16 operator()(f32x16 v) const {
    const f32x16 other = lookup16(v, other_);
    return float_of(select(is_b_, bits_of(sub(other, v)), bits_of(add(v, other))));
  }

 private:
  i32x16 other_, is_b_;
};

// The factors, and pairs less than 16 apart.
BITMILL_INLINE void rotate_lanes(const float* x, const Rotation& r, int64_t span, float* out) {
  const LanePairs by1(1), by2(2), by4(4), by8(8);
  each_vector(r.length, [&](int64_t i, auto lanes) {
    f32x16 v = mul(load(x + i, lanes), load(r.factors + i, lanes));
    if (span > 1) v = by1(v);
    if (span > 2) v = by2(v);
    if (span > 4) v = by4(v);
    if (span > 8) v = by8(v);
    store(out + i, v, lanes);
  });
}

// Pairs h apart, a multiple of 16.
BITMILL_INLINE void rotate_pairs(float* y, int64_t n, int64_t h) {
  for (int64_t start = 0; start < n; start += 2 * h)
    for (int64_t i = start; i < start + h; i += 16) {
      const f32x16 a = load(y + i), b = load(y + i + h);
      store(y + i, add(a, b));
      store(y + i + h, sub(a, b));
    }
}

// Pairs h apart, then those 2 h apart, in one go over the row.
BITMILL_INLINE void rotate_fours(float* y, int64_t n, int64_t h) {
  for (int64_t start = 0; start < n; start += 4 * h)
    for (int64_t i = start; i < start + h; i += 16) {
      float* at = y + i;
      const f32x16 a = load(at), b = load(at + h), c = load(at + 2 * h), d = load(at + 3 * h);
      const f32x16 ab = add(a, b), a_b = sub(a, b), cd = add(c, d), c_d = sub(c, d);
      store(at, add(ab, cd));
      store(at + h, add(a_b, c_d));
      store(at + 2 * h, sub(ab, cd));
      store(at + 3 * h, sub(a_b, c_d));
    }
}

// Of the pieces of a row, `span` long, each becomes a sum of all with signs: four at a time, so that none waits
// for its own last addition.
BITMILL_INLINE void rotate_pieces(float* y, const Rotation& r, int64_t span) {
  for (int64_t i = 0; i < span; i += 16)
    with_lanes(least(span - i, 16), [&](auto lanes) {
      f32x16 piece[kMostOrder];
      for (int64_t k = 0; k < r.order; ++k) piece[k] = load(y + k * span + i, lanes);
      for (int64_t to = 0; to < r.order; to += 4) {
        f32x16 sum[4] = {piece[0], piece[0], piece[0], piece[0]};
        for (int64_t k = 1; k < r.order; ++k)
          for (int64_t j = 0; j < 4; ++j) // the matrix is symmetric
            sum[j] = add(sum[j], mul(piece[k], splat(r.signs[k * r.order + to + j])));
        for (int64_t j = 0; j < 4; ++j) store(y + (to + j) * span + i, sum[j], lanes);
      }
    });
}

void hadamard(const float* x, int64_t rows, Rotation r, float* out) {
  const int64_t span = r.length / r.order;
  for (int64_t row = 0; row < rows; ++row, x += r.length, out += r.length) {
    rotate_lanes(x, r, span, out);
    int64_t h = 16;
    if constexpr (kRegisters) // else they are only more code
      for (; 4 * h <= span; h *= 4) rotate_fours(out, r.length, h);
    for (; 2 * h <= span; h *= 2) rotate_pairs(out, r.length, h);
    if (r.order > 1) rotate_pieces(out, r, span);
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
