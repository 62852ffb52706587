// SPDX-License-Identifier: MIT
// What affine codes lose, without the codes: the sum of (x - decode(encode(x)))^2 over a block of at most
// 4,096 values of a row, in the order of error_sums (N9). Twin: bitmill.reference.affine_error.
#pragma once
#include "groups.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Sums of 16 lanes.
struct SquareSums {
  f64x8 low = splat_f64(0), high = low;

  BITMILL_INLINE void take(f32x16 x, f32x16 y) {
    const f64x8 first = sub(first_f64(x), first_f64(y)), second = sub(second_f64(x), second_f64(y));
    low = add(low, mul(first, first));
    high = add(high, mul(second, second));
  }
  // For a difference that is a float: its square is exact in double.
  BITMILL_INLINE void take(f32x16 d) {
    const f64x8 first = first_f64(d), second = second_f64(d);
    low = add_product(low, first, first);
    high = add_product(high, second, second);
  }
};

// Values by way of their codes.
template <class Encode> class RoundTrip {
 public:
  BITMILL_INLINE RoundTrip(const Steps& s, i32x16 top)
      : encode_(s, top), low_(sub(splat(0), s.shift)), high_(sub(top, s.shift)),
        // A scale of infinity means codes 0, which stand for 0 or the offset.
        scale_(select(not_finite(s.scale), splat(0.0f), s.scale)), offset_(s.offset) {}

  BITMILL_INLINE f32x16 operator()(f32x16 x) const {
    const i32x16 code = min(max(encode_(x), low_), high_);
    return add(mul(to_f32(code), scale_), offset_);
  }

 private:
  Encode encode_;
  i32x16 low_, high_;
  f32x16 scale_, offset_;
};

// n values of one group, a multiple of 16, with a scale that has a reciprocal and no offset. False, and sums
// that mean nothing, if some value is more than a scale from the one it is decoded to, or no code means 0. Else these are within a
// factor of 2 of each other, or the latter is 0: their difference is a float (Sterbenz). Limiting x to what
// the first and the last code stand for limits the codes: of fl(code * scale), code is again the code.
template <class T>
BITMILL_INLINE bool near_error(const T* x, int64_t n, const Steps& s, i32x16 top,
                               SquareSums& sums) {
  const f32x16 first = mul(to_f32(sub(splat(0), s.shift)), s.scale);
  const f32x16 last = mul(to_f32(sub(top, s.shift)), s.scale);
  const f32x16 least = min(first, last), most = max(first, last);
  i32x16 farthest = splat(0);
  for (int64_t i = 0; i < n; i += 16) {
    const f32x16 v = load(x + i);
    const i32x16 code = to_i32(quotient(min(max(v, least), most), s.scale, s.reciprocal));
    const f32x16 d = sub(v, mul(to_f32(code), s.scale));
    farthest = max(farthest, magnitude(d));
    sums.take(d);
  }
  const i32x16 far = greater(farthest, magnitude(s.scale)), no_zero = greater(s.shift, top);
  return (sign_bits(far) | sign_bits(no_zero)) == 0;
}

// The parameters of groups from one on, as many as fit, loaded when they are asked for.
class NextGroups {
 public:
  BITMILL_INLINE NextGroups(const Quantizer& q, Params given, int64_t count)
      : q_(q), given_(given), count_(count) {}
  // Those of group g, and of the 15 behind it as far as there are so many.
  BITMILL_INLINE const Groups& around(int64_t g) {
    if (g < end_ && (g + 16 <= end_ || end_ == count_)) return groups_;
    begin_ = g, end_ = least(g + Groups::kMost, count_);
    load_groups(q_, given_, begin_, end_ - begin_, groups_);
    return groups_;
  }
  BITMILL_INLINE int64_t index(int64_t g) const { return g - begin_; }

 private:
  const Quantizer& q_;
  Params given_;
  int64_t count_, begin_ = 0, end_ = 0;
  Groups groups_;
};

// use(trip) with what makes values of these steps into codes and back.
template <class Use>
BITMILL_INLINE void with_trip(const Quantizer& q, const Steps& steps, bool divides, Use use) {
  const i32x16 top = splat(q.qmax - q.qmin);
  if (divides)
    use(RoundTrip<DividingEncoder>(steps, top));
  else
    use(RoundTrip<LimitedEncoder>(steps, top));
}

// `count` values of a row, at most 16, of several groups; `at` is where they begin, behind the first group.
// Sums come and go as values, so that they stay in registers where nothing of this is called.
template <class T>
BITMILL_SELDOM SquareSums mixed_error(const Quantizer& q, const T* x, int64_t count, int64_t at,
                                      int64_t group, NextGroups& next, SquareSums sums) {
  const Groups& groups = next.around(at / group);
  float scale[16], reciprocal[16], offset[16];
  int32_t shift[16];
  for (int64_t k = 0; k < 16; ++k) {
    const int64_t g = next.index((at + least(k, count - 1)) / group);
    scale[k] = groups.scale[g], reciprocal[k] = groups.reciprocal[g];
    offset[k] = groups.offset[g], shift[k] = groups.shift[g];
  }
  const Steps steps = {load(scale), load(reciprocal), load(offset), load_i32(shift)};
  float values[16], decoded[16];
  store(values, load(x, count));
  with_trip(q, steps, groups.divides || q.wide(),
            [&](const auto& trip) { store(decoded, trip(load(values))); });
  for (int64_t k = count; k < 16; ++k) decoded[k] = 0;
  sums.take(load(values), load(decoded));
  return sums;
}

// n values of one group, a multiple of 16, whatever their parameters are.
template <class T>
BITMILL_SELDOM SquareSums far_error(const Quantizer& q, const T* x, int64_t n, const Groups& groups,
                                    int64_t g, SquareSums sums) {
  with_trip(q, groups[g], groups.divides || q.wide(), [&](const auto& trip) {
    for (int64_t i = 0; i < n; i += 16) {
      const f32x16 v = load(x + i);
      sums.take(v, trip(v));
    }
  });
  return sums;
}

// The first value is at index `first` of the first group whose parameters are given.
template <class T>
void affine_error(const Quantizer* q, const void* x_, int64_t count, int64_t first, int64_t group,
                  Params given, double* out) {
  const T* x = (const T*)x_;
  const i32x16 top = splat(q->qmax - q->qmin);
  const bool never_near = given.offset || q->wide();
  NextGroups next(*q, given, (first + count - 1) / group + 1);
  SquareSums sums;
  int64_t g = 0, left = group - first; // of which so many values are to come
  for (int64_t i = 0, n; i < count; i += n) {
    n = least(count - i, left) & -16;
    if (n == 0) {
      n = least(count - i, 16);
      sums = mixed_error(*q, x + i, n, first + i, group, next, sums);
      g = (first + i + n) / group, left = (g + 1) * group - (first + i + n);
      continue;
    }
    const Groups& groups = next.around(g);
    SquareSums more = sums;
    if (never_near || groups.divides || !near_error(x + i, n, groups[next.index(g)], top, more))
      more = far_error(*q, x + i, n, groups, next.index(g), sums);
    sums = more;
    left -= n;
    if (left == 0) ++g, left = group;
  }
  *out = reduce_add(add(sums.low, sums.high));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
