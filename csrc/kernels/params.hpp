// SPDX-License-Identifier: MIT
// A range to scale and zero-point or offset, once per group, and their storage (N2-N4).
// Twin: bitmill.reference.affine_params.
#pragma once
#include "ranges.hpp"
#include "steps.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// A float, rounded to the storage dtype and widened again.
BITMILL_INLINE float as_stored(float x, Float storage) {
  if (storage == kF16) return widen(narrow<f16>(x));
  if (storage == kBF16) return widen(narrow<bf16>(x));
  return x;
}
BITMILL_INLINE void store_float(void* p, int64_t i, float x, Float storage) {
  if (storage == kF16)
    put((f16*)p + i, narrow<f16>(x));
  else if (storage == kBF16)
    put((bf16*)p + i, narrow<bf16>(x));
  else
    put((float*)p + i, x);
}
BITMILL_INLINE float load_float(const void* p, int64_t i, Float storage) {
  if (storage == kF16) return widen(get((const f16*)p + i));
  if (storage == kBF16) return widen(get((const bf16*)p + i));
  return get((const float*)p + i);
}
BITMILL_INLINE float smallest(Float storage) {
  return storage == kF16 ? 0x1p-24f : storage == kBF16 ? 0x1p-133f : 0x1p-149f;
}

BITMILL_INLINE void store_zero_point(const Quantizer& q, void* p, int64_t i, int32_t zero_point) {
  if (q.wide_zero_point())
    put((uint16_t*)p + i, (uint16_t)zero_point);
  else
    put((uint8_t*)p + i, (uint8_t)zero_point);
}
BITMILL_INLINE int32_t load_zero_point(const Quantizer& q, const void* p, int64_t i) {
  return q.wide_zero_point() ? get((const uint16_t*)p + i) : get((const uint8_t*)p + i);
}

// What a group's codes are made with. `divisor` is the stored scale, or infinity where every code
// of the group is to be 0.
struct Group {
  float divisor, offset;
  int32_t zero_point;
};

// What each rule divides, and by what.
struct Quotient {
  float span, divisor;
};
BITMILL_INLINE Quotient quotient_of(const Quantizer& q, float lo, float hi) {
  const float absmax = -lo > hi ? -lo : hi, steps = (float)(q.qmax - q.qmin);
  switch (q.rule) {
  case kAbsmax: return {absmax, (float)q.qmax};
  case kFullRange: return {absmax, steps / 2};
  case kSignedMax: return {hi > -lo ? hi : lo, (float)q.qmin};
  default: return {hi - lo, steps};
  }
}

BITMILL_INLINE int32_t zero_point_of(const Quantizer& q, float lo, float scale) {
  float steps = -lo / scale;
  steps = steps > 0 ? steps : 0;
  steps = steps < (float)q.qmax ? steps : (float)q.qmax;
  return (int32_t)((steps + 0x1p23f) - 0x1p23f); // to nearest even
}

BITMILL_INLINE Group make_group(const Quantizer& q, Range range, Params out, int64_t i,
                                Counts* counts) {
  if (q.rule == kAsymmetric) {
    range.lo = range.lo < 0 ? range.lo : 0;
    range.hi = range.hi > 0 ? range.hi : 0;
  }
  const Quotient quotient = quotient_of(q, range.lo, range.hi);
  const float exact = quotient.span / quotient.divisor;
  float scale = as_stored(exact, q.scales);
  if (quotient.span == 0) {
    scale = 1;
  } else if (scale == 0) {
    scale = bits_of(exact) >> 31 ? -smallest(q.scales) : smallest(q.scales);
    ++counts->underflowed;
  }
  bool fits = is_finite(scale);
  Group group = {scale, 0, 0};
  store_float(out.scale, i, scale, q.scales);
  if (q.rule == kAsymmetric) {
    group.zero_point = fits ? zero_point_of(q, range.lo, scale) : 0;
    store_zero_point(q, out.zero_point, i, group.zero_point);
  } else if (q.rule == kOffset) {
    group.offset = as_stored(range.lo, q.scales) + 0.0f; // -0.0 becomes +0.0
    store_float(out.offset, i, group.offset, q.scales);
    fits = fits && is_finite(group.offset);
    if (range.lo == range.hi) group.divisor = float_of(0x7f800000u);
  }
  counts->overflowed += !fits;
  return group;
}

// The groups of `count` ranges; their parameters go to out[at], out[at + 1], ... A range that is not
// finite is counted and taken for 0 ... 0.
BITMILL_INLINE void make_groups(const Quantizer& q, const Range* ranges, int64_t count, Params out,
                                int64_t at, Group* groups, Counts* counts) {
  for (int64_t i = 0; i < count; ++i) {
    const bool finite = is_finite(ranges[i].lo) && is_finite(ranges[i].hi);
    counts->nonfinite += !finite;
    groups[i] = make_group(q, finite ? ranges[i] : Range{0, 0}, out, at + i, counts);
  }
}

BITMILL_INLINE Group load_group(const Quantizer& q, Params given, int64_t i) {
  return {load_float(given.scale, i, q.scales),
          given.offset ? load_float(given.offset, i, q.scales) : 0.0f,
          given.zero_point ? load_zero_point(q, given.zero_point, i) : 0};
}

BITMILL_INLINE Encoder encoder(const Quantizer& q, const Group& group) {
  return Encoder(q, splat(group.offset), splat(group.divisor), splat(group.zero_point));
}

BITMILL_INLINE Decoder decoder(const Quantizer& q, Params given, int64_t i) {
  const Group group = load_group(q, given, i);
  const float offset = given.offset ? group.offset : -0.0f;
  return Decoder(q, splat(offset), splat(group.divisor), splat(group.zero_point));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
