// SPDX-License-Identifier: MIT
// Scales and offsets of groups as few bits each, with a step that a super-block of them shares.
// Twin: bitmill.reference.two_level_params.
#pragma once
#include "stored.hpp"
#include "sums.hpp"
#include <math.h>

namespace bitmill::BITMILL_ISA {
namespace {

// The value of one code, and the largest code.
struct CodeStep {
  double value, top;
  bool raised;

  BITMILL_INLINE double code(double of) const {
    const double q = rounded(of / value);
    return q < 0 ? 0 : q > top ? top : q;
  }
  BITMILL_INLINE double value_of(double code) const { return (double)(float)(value * code); }

 private:
  // To nearest even; larger numbers than there are codes come out as some such number.
  static BITMILL_INLINE double rounded(double x) { return (x + 0x1.8p52) - 0x1.8p52; }
};

// The step for the one of `count` values that lies furthest from 0, or for their magnitudes.
BITMILL_INLINE CodeStep step_for(const float* values, int64_t count, bool magnitudes, double top,
                                 Float storage) {
  float lo = magnitudes ? fabsf(values[0]) : values[0], hi = lo;
  for (int64_t i = 1; i < count; ++i) {
    const float v = magnitudes ? fabsf(values[i]) : values[i];
    lo = v < lo ? v : lo, hi = v > hi ? v : hi;
  }
  const double most = (double)(hi > -lo ? hi : lo);
  if (most == 0) return {1, top, false};
  const double value = stored(most / top, storage);
  if (value != 0) return {value, top, false};
  return {copysign((double)smallest(storage), most), top, true};
}

struct TwoLevelCodes {
  double scale, offset;
};

// The codes of least error, of the nearest ones and their neighbours.
inline TwoLevelCodes best_codes(const Group& g, double scale, double offset, const CodeStep& step,
                                const CodeStep& offset_step, Span span) {
  constexpr double kNear[] = {0, -1, 1};
  const double sign = scale < 0 ? -1 : 1, code = step.code(sign * scale);
  const double first = code < 1 ? 1 : code, offset_code = offset_step.code(offset);
  if (scale == 0) return {0, offset_code};
  TwoLevelCodes codes[10];
  Tried tried[10];
  int count = 0;
  for (double near : kNear)
    for (double near_offset : kNear) {
      const double a = first + near, b = offset_code + near_offset;
      if (a < 1 || a > step.top || b < 0 || b > offset_step.top) continue;
      codes[count] = {sign * a, b};
      tried[count++] = {sign * step.value_of(a), offset_step.value_of(b), span};
    }
  if (count % 2) tried[count] = tried[count - 1];
  int best = 0;
  double least = HUGE_VAL;
  for (int i = 0; i < count; i += 2) {
    double errors[2];
    if (g.w)
      errors_of<true>(g, tried + i, errors);
    else
      errors_of<false>(g, tried + i, errors);
    for (int k = 0; k < 2 && i + k < count; ++k)
      if (errors[k] < least) least = errors[k], best = i + k;
  }
  return codes[best];
}

BITMILL_INLINE int32_t zero_point_at(const Quantizer& q, const void* p, int64_t i) {
  return !p ? 0 : q.wide_zero_point() ? get((const uint16_t*)p + i) : ((const uint8_t*)p)[i];
}

// One super-block: `count` groups of a row from x on, whose parameters are from index `at` on.
inline void quantize_params(const Quantizer& q, Group g, int64_t group, int64_t count,
                            const TwoLevel& t, int64_t at, int64_t block, Counts* counts) {
  const double top = (double)((1 << t.bits) - 1);
  const double scale_top = t.is_signed ? (double)((1 << (t.bits - 1)) - 1) : top;
  const CodeStep step = step_for(t.scale + at, count, true, scale_top, q.scales);
  CodeStep offset_step = {1, 0, false};
  put_float(t.super_scale, block, q.scales, step.value);
  counts->underflowed += step.raised;
  if (t.offset) {
    offset_step = step_for(t.offset + at, count, false, top, q.scales);
    put_float(t.super_offset, block, q.scales, offset_step.value);
  }
  if (!(fabs(step.value + offset_step.value) <= DBL_MAX)) {
    ++counts->overflowed;
    return;
  }
  const int64_t end = g.n;
  const float *x = g.x, *w = g.w;
  for (int64_t i = 0; i < count; ++i) {
    g.x = x + i * group, g.w = w ? w + i * group : w, g.n = least(group, end - i * group);
    drop_idle_weights(&g, t.offset);
    const int32_t z = zero_point_at(q, t.zero_point, at + i);
    const Span span = {(double)(q.qmin - z), (double)(q.qmax - z)};
    const double offset = t.offset ? (double)t.offset[at + i] : 0;
    const TwoLevelCodes best =
        best_codes(g, (double)t.scale[at + i], offset, step, offset_step, span);
    t.scale_codes[at + i] = (uint8_t)(int32_t)best.scale;
    if (t.offset) t.offset_codes[at + i] = (uint8_t)best.offset;
  }
}

void two_level_params(const Quantizer* q, const float* x, Block block, const float* w,
                      int64_t w_step, const TwoLevel* t, Counts* counts) {
  const int64_t groups = block.groups(), blocks = (groups - 1) / t->super_groups + 1;
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = b * t->super_groups, col = first * block.group;
      const int64_t count = least(t->super_groups, groups - first);
      const int64_t n = least(count * block.group, block.cols - col);
      const float* weights = w ? w + row * w_step + col : nullptr;
      quantize_params(*q, {x + row * block.cols + col, weights, n}, block.group, count, *t,
                      row * groups + first, row * blocks + b, counts);
    }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
