// SPDX-License-Identifier: MIT
// What the codes of the next groups are made with, in arrays from which vectors are filled.
#pragma once
#include "params.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Whether a scale is out of bounds for its reciprocal.
template <class Lanes> BITMILL_INLINE bool has_unusual(f32x16 scale, Lanes lanes) {
  const i32x16 least = bits_of(splat(kLeastScale)), most = bits_of(splat(kMostScale));
  const i32x16 size = magnitude(scale), within = min(max(size, least), most);
  return (sign_bits(equal(size, within)) & lane_bits(lanes)) != lane_bits(lanes);
}

// Those of a batch.
struct Groups {
  static constexpr int64_t kMost = kMostGroups;

  alignas(64) float scale[kMost], reciprocal[kMost];
  alignas(64) float offset[kMost] = {};
  alignas(64) int32_t shift[kMost];
  alignas(64) int32_t shift_twice[kMost]; // in both halves: splatting these is a mere load
  bool divides = false;                   // some scale is out of bounds for its reciprocal

  // Groups from i on, as many as there are lanes.
  template <class Lanes>
  BITMILL_INLINE void set(const Quantizer& q, int64_t i, const Made& made, Lanes lanes) {
    set_usual(q, i, made);
    store(offset + i, made.offset);
    divides |= has_unusual(made.scale, lanes);
  }
  // The same for scales that have reciprocals, and no offset.
  BITMILL_INLINE void set_usual(const Quantizer& q, int64_t i, const Made& made) {
    store(scale + i, made.scale);
    store(reciprocal + i, div(splat(1.0f), made.scale));
    const i32x16 shifts = sub(made.zero_point, splat(q.qmin));
    store((float*)shift + i, float_of(shifts));
    store_bytes(shift_twice + i, twice_i16(shifts));
  }
  BITMILL_INLINE u8x64 shift_i16(int64_t g) const { return bytes_of(splat(shift_twice[g])); }
  BITMILL_INLINE Steps operator[](int64_t g) const {
    return {splat(scale[g]), splat(reciprocal[g]), splat(offset[g]), splat(shift[g])};
  }
};

// Parameters of ranges as they usually are, if they are: then no scale is zero, infinite or NaN, so that
// nothing was, and nothing is to be counted.
template <bool kApart, class Lanes>
BITMILL_INLINE bool fit_usual(const Quantizer& q, const Ranges& r, Params out, int64_t at,
                              Lanes lanes, Groups& groups, int64_t i) {
  if (q.rule == kOffset) return false;
  // A NaN at one end may be hidden by the other, but not in their difference.
  if (kApart && q.rule != kAsymmetric && has_unusual(sub(r.hi, r.lo), lanes)) return false;
  const Quotient quotient = quotient_of(q, r.lo, r.hi);
  const f32x16 exact = div(quotient.span, splat(quotient.divisor));
  Made made = {as_stored(exact, q.scales), splat(0.0f), splat(0)};
  if (has_unusual(made.scale, lanes)) return false;
  store_floats(out.scale, at, made.scale, q.scales, lanes);
  if (q.rule == kAsymmetric) {
    made.zero_point = zero_point_of(q, r.lo, made.scale);
    store_zero_points(q, out.zero_point, at, made.zero_point, lanes);
  }
  groups.set_usual(q, i, made);
  return true;
}

// Parameters of any ranges. One that is not finite is counted and taken for 0 ... 0.
template <class Lanes>
BITMILL_SELDOM void fit_unusual(const Quantizer& q, Ranges r, Params out, int64_t at, Lanes lanes,
                                Groups& groups, int64_t i, Counts* counts) {
  const i32x16 low = not_finite(r.lo), bad = select(low, low, not_finite(r.hi));
  counts->nonfinite += count_lanes(bad, lanes);
  r.lo = select(bad, splat(0.0f), r.lo);
  r.hi = select(bad, splat(0.0f), r.hi);
  groups.set(q, i, make_params(q, r, out, at, lanes, counts), lanes);
}

// The parameters of `count` groups by what was found of them.
template <class Found>
void fit_groups(const Quantizer& q, const Found& found, int64_t count, Params out, int64_t at,
                Groups& groups, Counts* counts) {
  groups.divides = false;
  for (int64_t i = 0; i < count; i += 16) {
    Ranges r = found.ranges(i);
    if (q.rule == kAsymmetric) r = {min(splat(0.0f), r.lo), max(splat(0.0f), r.hi)}; // NaN stays
    with_lanes(least(count - i, 16), [&](auto lanes) {
      if (!fit_usual<Found::kApart>(q, r, out, at + i, lanes, groups, i))
        fit_unusual(q, r, out, at + i, lanes, groups, i, counts);
    });
  }
}

// The same for groups whose parameters are given, `count` of them from index `at` on.
inline void load_groups(const Quantizer& q, Params given, int64_t at, int64_t count,
                        Groups& groups) {
  groups.divides = false;
  for (int64_t i = 0; i < count; i += 16) {
    with_lanes(least(count - i, 16), [&](auto lanes) {
      Made made = {load_floats(given.scale, at + i, q.scales, lanes), splat(0.0f), splat(0)};
      if (given.offset) made.offset = load_floats(given.offset, at + i, q.scales, lanes);
      if (given.zero_point) made.zero_point = load_zero_points(q, given.zero_point, at + i, lanes);
      groups.set(q, i, made, lanes);
    });
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
