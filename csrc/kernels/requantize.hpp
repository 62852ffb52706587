// SPDX-License-Identifier: MIT
// Sums of integer products to codes of one byte, in integers alone, with a multiplier per column. Twin:
// bitmill.reference.requantize.
#pragma once
#include "columns.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// round(x * multiplier * 2^(shift - 31)) for 16 columns. A negative shift is one to the right, behind the
// product; another one is to the left, before it. `twice`: the product is rounded, halves up, and rounded again
// where it is shifted, halves away from zero. Else it is shifted and then rounded, halves up.
class Rescaler {
 public:
  BITMILL_INLINE Rescaler(i32x16 multiplier, i32x16 exponent, bool twice, i32x16 shift_)
      : shift(shift_), multiplier_(multiplier), twice_(twice) {
    const i32x16 zero = splat(0), right = sign_mask(exponent);
    // One bit less goes to the right, and one more to the left, as mul_high gives half of what mul_q31 gives.
    right_ = max(xor_(exponent, splat(-1)), zero);
    lifts_ = sign_bits(right) != 0xffff;
    if (lifts_) {
      // The multiplier is at least 2^30: beyond this x, products are above 2^9, and no other code.
      const i32x16 most = max(right_each(splat(1 << 11), max(exponent, zero)), splat(1));
      most_ = select(right, splat(0x7fffffff), most);
      least_ = add(sub(zero, most_), right);
      left_ = min(max(add(exponent, splat(twice ? 0 : 1)), zero), splat(30));
    }
    if (twice) {
      away_ = right;
      one_ = and_(right, splat(1));
    } else {
      round_ = times_2_31(left_each(splat(1), right_));
    }
  }
  BITMILL_INLINE i32x16 operator()(const int32_t* p, Whole) const { return rescaled(load_i32(p)); }
  // Compiled once: few vectors are partial.
  BITMILL_APART i32x16 operator()(const int32_t* p, int64_t lanes) const {
    return rescaled(load_i32(p, lanes));
  }
  const i32x16 shift; // what encode_columns_by adds

 private:
  BITMILL_INLINE i32x16 rescaled(i32x16 x) const {
    if (lifts_) x = left_each(min(max(x, least_), most_), left_);
    if (!twice_) return right_each(mul_high(x, multiplier_, round_), right_);
    const i32x16 product = mul_q31(x, multiplier_);
    const i32x16 sided = add(product, and_(sign_mask(product), away_));
    return right_each(add(right_each(sided, right_), one_), one_);
  }

  i32x16 multiplier_, most_, least_, left_, right_, away_, one_;
  i64x16 round_;
  bool twice_, lifts_;
};

void requantize(const Quantizer* q, const int32_t* x, Columns c, Multipliers m, void* codes) {
  encode_columns_by(x, c, Stored(*q), (uint8_t*)codes, [&](int64_t i, auto lanes) {
    return Rescaler(load_i32(m.multiplier + i, lanes), load_i32(m.shift + i, lanes), m.twice,
                    splat(m.zero_point - q->qmin));
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
