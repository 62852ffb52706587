// SPDX-License-Identifier: MIT
// Values of a table, and the codes of those that are nearest: in registers for 16 codes, by gathers for
// 256.
#pragma once
#include "params.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// q = x * fl(1 / scale), 0 under a scale of 0.
struct Scaled {
  f32x16 factor;

  BITMILL_INLINE explicit Scaled(float s) : factor(splat(s == 0 ? 0.0f : 1.0f / s)) {}
  BITMILL_INLINE f32x16 operator()(f32x16 x) const { return mul(x, factor); }
};

// Whether the reciprocal could overflow: then q = x / scale.
BITMILL_INLINE bool divides(float s) { return s != 0 && s > -FLT_MIN && s < FLT_MIN; }

struct Lookup16 {
  Codes16 codes;
  f32x16 values;

  BITMILL_INLINE explicit Lookup16(const LookupTable& t)
      : codes(codes16(t.thresholds, t.order)), values(load(t.values)) {}
  // The code of the value nearest to q, and that value; the value of a code, which is below 16.
  BITMILL_INLINE i32x16 code(f32x16 q) const { return code16(codes, q); }
  BITMILL_INLINE f32x16 nearest(f32x16 q) const { return lookup16(values, code(q)); }
  BITMILL_INLINE f32x16 value(i32x16 code) const { return lookup16(values, min(code, splat(15))); }
};

// Functions of their own: the gathers take long enough.
struct Lookup256 {
  const float *thresholds, *order, *values;

  BITMILL_INLINE explicit Lookup256(const LookupTable& t)
      : thresholds(t.thresholds), order((const float*)t.order), values(t.values) {}
  BITMILL_APART i32x16 code(f32x16 q) const {
    i32x16 rank = splat(0); // of which another bit is found in each step
    for (int32_t bit = 128; bit > 0; bit /= 2) {
      const f32x16 probe = gather(thresholds, add(rank, splat(bit - 1)));
      rank = add(rank, and_(greater(q, probe), splat(bit)));
    }
    return bits_of(gather(order, rank));
  }
  BITMILL_INLINE f32x16 nearest(f32x16 q) const { return value(code(q)); }
  BITMILL_APART f32x16 value(i32x16 code) const { return gather(values, code); }
};

// use(lookup) with the kind of lookup that the table takes.
template <class Use> BITMILL_INLINE void with_lookup(const LookupTable& table, Use use) {
  if (table.wide)
    use(Lookup256(table));
  else
    use(Lookup16(table));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
