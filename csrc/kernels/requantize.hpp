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
  template <class Lanes> BITMILL_INLINE i32x16 rest(const int32_t* p, Lanes lanes) const {
    return seldom(p, lane_count(lanes));
  }
  const i32x16 shift; // what encode_columns_by adds

 private:
  BITMILL_APART i32x16 seldom(const int32_t* p, int64_t lanes) const {
    return rescaled(lanes == 16 ? load_i32(p) : load_i32(p, lanes));
  }
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

// The same for 16 columns from i on where m.right. Rounding once then adds a whole number to the high half of
// the product and needs nothing of the low one; and no sum with the zero-point overflows.
template <bool TWICE> class RightRescaler {
 public:
  BITMILL_INLINE RightRescaler(const Multipliers& m, int64_t i, i32x16 zero_point)
      : multiplier_(load_i32(m.multiplier + i)), right_(xor_(load_i32(m.shift + i), splat(-1))) {
    const i32x16 added = add(add(zero_point, zero_point), splat(1));
    added_ = TWICE ? added : left_each(added, sub(right_, splat(1)));
    // x * m * 2 = x * (m * 2 - 2^32) + x * 2^32, and that multiplier has 32 bits.
    if (TWICE) multiplier_ = add(multiplier_, multiplier_);
  }
  BITMILL_INLINE i32x16 operator()(i32x16 x) const {
    if constexpr (TWICE) {
      const i32x16 product = add(mul_high(x, multiplier_, times_2_31(splat(1))), x);
      const i32x16 sided = add(product, sign_mask(x)); // a product of 0 becomes 0 all the same
      return right_each(add(right_each(sided, right_), added_), splat(1));
    } else {
      return right_each(add(mul_high(x, multiplier_), added_), right_);
    }
  }

 private:
  i32x16 multiplier_, right_, added_;
};

// Lines of codes of kRows rows.
template <bool TWICE>
BITMILL_INLINE int64_t rescale_lines(const int32_t* x, int64_t row_step, const Multipliers& m,
                                     i32x16 zero_point, const Stored& stored, int64_t n,
                                     uint8_t* const* to, bool past) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    i32x16 codes[kRows][4];
    BITMILL_NOT_UNROLLED for (int v = 0; v < 4; ++v) {
      const RightRescaler<TWICE> rescale(m, i + 16 * v, zero_point);
      BITMILL_UNROLLED for (int r = 0; r < kRows; ++r) {
        const int32_t* from = x + r * row_step + i + 16 * v;
        prefetch_far(from + kRows * row_step);
        codes[r][v] = rescale(load_i32(from));
      }
    }
    const u8x64 none = splat_u8(0);
    BITMILL_UNROLLED for (int r = 0; r < kRows; ++r) {
      const i32x16* c = codes[r];
      Put<uint8_t>{to[r], past}.bytes(
          i, stored.bytes(narrow<float>(c[0], c[1], none, c[2], c[3], none)));
    }
  }
  return i;
}

// Whole lines where m.right.
struct RescaledLines {
  bool any;
  const Columns& c;
  const Multipliers& m;
  const Stored& stored;
  int32_t zero_point;

  BITMILL_INLINE int64_t operator()(const int32_t* x, int64_t i, int64_t n, uint8_t* const* to,
                                    bool past) const {
    if constexpr (!kRegisters) return 0;
    const i32x16 zero_points = splat(zero_point);
    const Multipliers some = m.from(i);
    return m.twice ? rescale_lines<true>(x, c.row_step, some, zero_points, stored, n, to, past)
                   : rescale_lines<false>(x, c.row_step, some, zero_points, stored, n, to, past);
  }
};

void requantize(const Quantizer* q, const int32_t* x, Columns c, Multipliers m, void* codes) {
  const Stored stored(*q);
  const int32_t zero_point = m.zero_point - q->qmin;
  const auto rescaler_at = [&](int64_t i, auto lanes) {
    return Rescaler(load_i32(m.multiplier + i, lanes), load_i32(m.shift + i, lanes), m.twice,
                    splat(zero_point));
  };
  encode_columns_by(x, c, stored, (uint8_t*)codes, rescaler_at,
                    RescaledLines{kRegisters && m.right, c, m, stored, zero_point});
}

} // namespace
} // namespace bitmill::BITMILL_ISA
