// SPDX-License-Identifier: MIT
// Ranges to scales and zero-points or offsets, 16 groups at a time, and their storage (N2-N4).
// Twin: bitmill.reference.affine_params.
#pragma once
#include "ranges.hpp"
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Rounded to the storage dtype and widened again.
template <class T> BITMILL_INLINE f32x16 through(f32x16 x) {
  T stored[16];
  store(stored, x);
  return load(stored);
}
BITMILL_INLINE f32x16 as_stored(f32x16 x, Float storage) {
  if (storage == kF16) return through<f16>(x);
  if (storage == kBF16) return through<bf16>(x);
  return x;
}
template <class Lanes>
BITMILL_INLINE void store_floats(void* p, int64_t i, f32x16 x, Float storage, Lanes lanes) {
  if (storage == kF16)
    store((f16*)p + i, x, lanes);
  else if (storage == kBF16)
    store((bf16*)p + i, x, lanes);
  else
    store((float*)p + i, x, lanes);
}
template <class Lanes>
BITMILL_INLINE f32x16 load_floats(const void* p, int64_t i, Float storage, Lanes lanes) {
  if (storage == kF16) return load((const f16*)p + i, lanes);
  if (storage == kBF16) return load((const bf16*)p + i, lanes);
  return load((const float*)p + i, lanes);
}
BITMILL_INLINE float load_float(const void* p, int64_t i, Float storage) {
  if (storage == kF16) return widen(get((const f16*)p + i));
  if (storage == kBF16) return widen(get((const bf16*)p + i));
  return get((const float*)p + i);
}
BITMILL_INLINE float smallest(Float storage) {
  return storage == kF16 ? 0x1p-24f : storage == kBF16 ? 0x1p-133f : 0x1p-149f;
}

template <class Lanes>
BITMILL_INLINE void store_zero_points(const Quantizer& q, void* p, int64_t i, i32x16 zero_point,
                                      Lanes lanes) {
  if (q.wide_zero_point())
    store_u16((uint16_t*)p + i, zero_point, lanes);
  else
    store_u8((uint8_t*)p + i, zero_point, lanes);
}
template <class Lanes>
BITMILL_INLINE i32x16 load_zero_points(const Quantizer& q, const void* p, int64_t i, Lanes lanes) {
  return q.wide_zero_point() ? load_u16((const uint16_t*)p + i, lanes)
                             : load_u8((const uint8_t*)p + i, lanes);
}

BITMILL_INLINE int32_t load_zero_point(const Quantizer& q, const void* p, int64_t i) {
  return q.wide_zero_point() ? get((const uint16_t*)p + i) : get((const uint8_t*)p + i);
}

// One bit for each lane that holds a group; others never count.
template <class Lanes> BITMILL_INLINE uint32_t lane_bits(Lanes lanes) {
  return (1u << lane_count(lanes)) - 1;
}
template <class Lanes> BITMILL_INLINE int64_t count_lanes(i32x16 mask, Lanes lanes) {
  int64_t count = 0;
  for (uint32_t bits = sign_bits(mask) & lane_bits(lanes); bits; bits &= bits - 1)
    ++count; // seldom any
  return count;
}
BITMILL_INLINE f32x16 select(i32x16 mask, f32x16 a, f32x16 b) {
  return float_of(select(mask, bits_of(a), bits_of(b)));
}
BITMILL_INLINE i32x16 not_finite(f32x16 x) { return greater(magnitude(x), splat(0x7f7fffff)); }
BITMILL_INLINE i32x16 is_zero(f32x16 x) { return equal(magnitude(x), splat(0)); }

// What each rule divides, and by what.
struct Quotient {
  f32x16 span;
  float divisor;
};
BITMILL_INLINE Quotient quotient_of(const Quantizer& q, f32x16 lo, f32x16 hi) {
  const float steps = (float)(q.qmax - q.qmin);
  switch (q.rule) {
  case kAbsmax: return {max(negate(lo), hi), (float)q.qmax};
  case kFullRange: return {max(negate(lo), hi), steps / 2};
  case kSignedMax: return {select(greater(hi, negate(lo)), hi, lo), (float)q.qmin};
  default: return {sub(hi, lo), steps};
  }
}

BITMILL_INLINE i32x16 zero_point_of(const Quantizer& q, f32x16 lo, f32x16 scale) {
  return to_i32(min(max(div(negate(lo), scale), splat(0.0f)), splat((float)q.qmax)));
}

// What the codes of 16 groups are made with. `scale` is as stored, or infinity where every code of the
// group is to be 0.
struct Made {
  f32x16 scale, offset;
  i32x16 zero_point;
};

// The scales span / divisor of as many groups as there are lanes, stored from index `at` on and widened
// again; `empty` where the span is 0.
template <class Lanes>
BITMILL_INLINE f32x16 store_scales(f32x16 span, float divisor, float empty, Float storage,
                                   void* out, int64_t at, Lanes lanes, Counts* counts) {
  const f32x16 exact = div(span, splat(divisor)), rounded = as_stored(exact, storage);
  const i32x16 none = is_zero(span);
  // The smallest positive number, with the sign of the quotient, where rounding gave zero.
  const i32x16 sign = and_(bits_of(exact), splat((int32_t)0x80000000));
  const f32x16 raised = float_of(xor_(bits_of(splat(smallest(storage))), sign));
  const f32x16 scale = select(none, splat(empty), select(is_zero(rounded), raised, rounded));
  // As masks, 0 is greater than -1: rounded to zero, though the span is not.
  counts->underflowed += count_lanes(greater(none, is_zero(rounded)), lanes);
  store_floats(out, at, scale, storage, lanes);
  return scale;
}

// Parameters of as many groups as there are lanes, stored from index `at` on. Ranges are finite.
template <class Lanes>
Made make_params(const Quantizer& q, Ranges range, Params out, int64_t at, Lanes lanes,
                 Counts* counts) {
  if (q.rule == kAsymmetric) {
    range.lo = min(range.lo, splat(0.0f));
    range.hi = max(range.hi, splat(0.0f));
  }
  const Quotient quotient = quotient_of(q, range.lo, range.hi);
  const f32x16 scale =
      store_scales(quotient.span, quotient.divisor, 1.0f, q.scales, out.scale, at, lanes, counts);
  i32x16 overflow = not_finite(scale);
  Made made = {scale, splat(0.0f), splat(0)};
  if (q.rule == kAsymmetric) {
    made.zero_point = select(overflow, splat(0), zero_point_of(q, range.lo, scale));
    store_zero_points(q, out.zero_point, at, made.zero_point, lanes);
  } else if (q.rule == kOffset) {
    made.offset = add(as_stored(range.lo, q.scales), splat(0.0f)); // -0.0 becomes +0.0
    store_floats(out.offset, at, made.offset, q.scales, lanes);
    overflow = select(overflow, overflow, not_finite(made.offset));
    made.scale = select(is_zero(quotient.span), splat(float_of(0x7f800000u)), scale);
  }
  counts->overflowed += count_lanes(overflow, lanes);
  return made;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
