// SPDX-License-Identifier: MIT
// Parameters of least squared error, group by group. Twin: bitmill.reference.mse_params.
#pragma once
#include "alternate.hpp"
#include "regression.hpp"
#include "stored.hpp"
#include "sweep.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Parameters as they are stored, widened.
struct Choice {
  double scale;
  int32_t zero_point;
  double offset;
  bool raised; // the scale, to the smallest positive number
};

// The fit of one group.
class Fit {
 public:
  Fit(const Quantizer& q, bool exact, int16_t* scratch, int64_t room)
      : q_(q), exact_(exact), scratch_(scratch), room_(room) {
    while ((q.qmax - q.qmin) >> bits_) ++bits_;
  }

  // The best of `usual` and of what a search finds.
  Choice run(const Group& group, Range range, const Choice& usual) {
    g_ = group, range_ = range, best_ = usual;
    if (!has_weight(g_, 0)) g_.w = nullptr;
    least_ = error_of(usual);
    if (q_.rule == kOffset)
      fit_offset();
    else if (range.lo != 0 || range.hi != 0)
      fit_scale(usual);
    return best_;
  }

 private:
  Span span_for(int32_t zero_point) const {
    return {(double)(q_.qmin - zero_point), (double)(q_.qmax - zero_point)};
  }

  double error_of(const Choice& c) const {
    if (!(fabs(c.scale + c.offset) <= DBL_MAX) || c.scale == 0) return HUGE_VAL;
    return bitmill::BITMILL_ISA::error_of(g_, c.scale, c.offset, span_for(c.zero_point));
  }

  void consider(const Choice& c) {
    const double error = error_of(c);
    if (error < least_) least_ = error, best_ = c;
  }

  // The group in 16 bits, less `centre`.
  Fixed fixed(float centre) const {
    int16_t *x = scratch_, *wx = x + room_, *w = wx + room_;
    const float up = (float)range_.hi - centre, down = centre - (float)range_.lo;
    const float most = up > down ? up : down;
    Fixed f = {x, x, nullptr, g_.n, to_16_bits(g_.x, nullptr, centre, g_.n, most, x), 0};
    f.ratio = f.unit;
    if (!g_.w) return f;
    const float product = most_of(g_.w, g_.x, centre, g_.n),
                weight = most_of(g_.w, nullptr, 0, g_.n);
    f.wx = wx, f.w = w;
    f.ratio = to_16_bits(g_.x, g_.w, centre, g_.n, product, wx);
    f.ratio /= to_16_bits(g_.w, nullptr, 0, g_.n, weight, w);
    return f;
  }

  void fit_scale(const Choice& usual) {
    const bool turned = q_.rule == kSignedMax, shifted = q_.rule == kAsymmetric;
    int32_t from = 0, to = 0; // zero-points near that of the range
    if (shifted) {
      from = usual.zero_point == 0 ? 0 : usual.zero_point - 1;
      to = usual.zero_point == q_.qmax ? q_.qmax : usual.zero_point + 1;
    }
    Span spans[kMostSpans];
    int count = 0;
    for (int32_t z = from; z <= to; ++z) spans[count++] = span_for(z);
    if (turned) spans[count++] = {(double)-q_.qmax, (double)-q_.qmin};
    const Fixed in_16_bits = fixed(0);
    SpanScale found = Search(in_16_bits, spans, count, bits_).run(range_, shifted);
    if (exact_) found = sweep(found, shifted ? -1 : count, spans);
    const int32_t zero_point = !shifted ? 0 : exact_ ? found.span : from + found.span;
    consider_scale(found.scale, zero_point, turned && found.span == 1 ? -1 : 1);
  }

  // The optimum over `count` spans, or over all zero-points if that is -1.
  SpanScale sweep(const SpanScale& found, int count, const Span* spans) {
    Best best;
    Sweep sweep(g_, range_, &best);
    if (count >= 0)
      for (int i = 0; i < count; ++i) sweep.run(i, spans[i], found.scale);
    else
      for (int32_t z = 0; z <= q_.qmax; ++z) sweep.run(z, span_for(z), found.scale);
    return {best.span, best.scale};
  }

  void consider_scale(double scale, int32_t zero_point, double sign) {
    double nearest = stored(scale, q_.scales);
    const bool raised = nearest == 0;
    if (raised) nearest = (double)smallest(q_.scales);
    consider({sign * nearest, zero_point, 0, raised});
    if (!exact_) return;
    const Neighbours next = neighbours(nearest, q_.scales);
    consider({sign * next.below, zero_point, 0, false});
    consider({sign * next.above, zero_point, 0, false});
  }

  void fit_offset() {
    const float centre = 0.5f * (float)range_.lo + 0.5f * (float)range_.hi;
    if (!differs_from(centre) || !has_weight(g_, centre)) return;
    const double middle = (double)(1 << (bits_ - 1)), c = (double)centre;
    const Fixed in_16_bits = fixed(centre);
    const Line line = Alternate(in_16_bits, q_.qmax, bits_).run();
    const Regression fitted(g_, c, line.scale, line.offset - middle * line.scale, span_for(0));
    const double first = stored(fitted.scale(), q_.scales);
    consider({first, 0, stored(fitted.offset_for(first), q_.scales), false});
    const double offset = stored(fitted.offset_for(fitted.scale()), q_.scales);
    const Neighbours next = neighbours(offset, q_.scales);
    const double near[] = {offset, next.below, next.above};
    for (double m : near) consider({stored(fitted.scale_for(m), q_.scales), 0, m, false});
  }

  bool differs_from(float centre) const {
    for (int64_t i = 0; i < g_.n; ++i)
      if (g_.x[i] - centre != 0) return true;
    return false;
  }

  const Quantizer& q_;
  const bool exact_;
  int16_t* const scratch_;
  const int64_t room_;
  int bits_ = 0;
  Group g_ = {};
  Range range_ = {};
  Choice best_ = {};
  double least_ = 0;
};

// Whether the rule raised the scale of this range.
BITMILL_SELDOM bool was_raised(const Quantizer& q, Range range) {
  Counts counts = {};
  uint32_t scale, offset;
  uint16_t zero_point;
  make_params(q, {splat((float)range.lo), splat((float)range.hi)}, {&scale, &zero_point, &offset},
              0, (int64_t)1, &counts);
  return counts.underflowed > 0;
}

// Codes have at most 8 bits, `scratch` room for three groups of `room`. `params` holds what the rule made of lo and hi, the ranges of all groups, and takes what is better.
void mse_params(const Quantizer* q, const float* x, Block block, const float* w, int64_t w_step,
                const float* lo, const float* hi, bool exact, int16_t* scratch, int64_t room,
                Params params, Counts* counts) {
  Fit fit(*q, exact, scratch, room);
  int64_t at = 0;
  for (int64_t row = 0; row < block.rows; ++row, w = w ? w + w_step : w)
    for (int64_t col = 0; col < block.cols; col += block.group, ++at) {
      const int64_t n = least(block.group, block.cols - col);
      const Range range = {(double)lo[at], (double)hi[at]};
      Choice usual = {(double)load_float(params.scale, at, q->scales), 0, 0, false};
      if (params.zero_point) usual.zero_point = ((const uint8_t*)params.zero_point)[at];
      if (params.offset) usual.offset = (double)load_float(params.offset, at, q->scales);
      if (fabs(usual.scale) == (double)smallest(q->scales)) usual.raised = was_raised(*q, range);
      const Group group = {x + row * block.cols + col, w ? w + col : nullptr, n};
      const Choice best = fit.run(group, range, usual);
      put_float(params.scale, at, q->scales, best.scale);
      if (params.zero_point) ((uint8_t*)params.zero_point)[at] = (uint8_t)best.zero_point;
      if (params.offset) put_float(params.offset, at, q->scales, best.offset);
      counts->overflowed += !(fabs(best.scale + best.offset) <= DBL_MAX);
      counts->underflowed += best.raised;
    }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
