// SPDX-License-Identifier: MIT
// Parameters of least squared error, group by group. Twin: bitmill.reference.mse_params.
#pragma once
#include "alternate.hpp"
#include "regression.hpp"
#include "stored.hpp"
#include "sweep.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Values from which on a group is not searched for a zero-point or offset: codes might stand for more than
// the largest float.
constexpr double kTooLarge = 0x1p125;

// Parameters as they are stored, widened.
struct Choice {
  double scale;
  int32_t zero_point;
  double offset;
  bool raised; // the scale, to the smallest positive number
};

// One group, and the best that is known for it.
struct Task {
  int64_t at; // number of the group
  Group group;
  Range range;
  Choice best; // at first, what the rule makes of the range
  double error;
  int32_t first_zero_point; // that is tried
  SpanScale found;
  Choice fast; // what the fast search found, as it is stored
};

// The fits of several groups, step by step: what one waits for, another can use.
class Fits {
 public:
  Fits(const Quantizer& q, bool exact, int16_t* scratch, int64_t room)
      : q_(q), exact_(exact), scratch_(scratch), room_(room), most_(mse_groups(room)) {
    while ((q.qmax - q.qmin) >> bits_) ++bits_;
  }

  bool full() const { return count_ == most_; }
  int count() const { return count_; }
  const Task& operator[](int i) const { return tasks_[i]; }
  void clear() { count_ = 0; }

  // Adds a group with what the rule chose, unless that is what it keeps. Field by field: copying what was
  // just put together waits for it to arrive.
  BITMILL_INLINE bool add(int64_t at, const Group& group, const Range& range, const Choice& usual) {
    const double most = range.hi > -range.lo ? range.hi : -range.lo;
    const bool moves = q_.rule == kOffset || q_.rule == kAsymmetric; // its codes may go beyond the values
    if ((moves && most >= kTooLarge) || (q_.rule != kOffset && most == 0)) return false;
    Task& t = tasks_[count_++];
    t.at = at, t.error = HUGE_VAL;
    t.group.x = group.x, t.group.w = group.w, t.group.n = group.n;
    t.range.lo = range.lo, t.range.hi = range.hi;
    t.best.scale = usual.scale, t.best.zero_point = usual.zero_point;
    t.best.offset = usual.offset, t.best.raised = usual.raised;
    drop_idle_weights(&t.group, q_.rule == kOffset);
    return true;
  }

  // The best of what the rule chose and of what a search finds.
  void run() {
    if (q_.rule == kOffset)
      for (int i = 0; i < count_; ++i) fit_offset(tasks_[i]);
    else
      fit_scales();
  }

 private:
  Span span_for(int32_t zero_point) const {
    return {(double)(q_.qmin - zero_point), (double)(q_.qmax - zero_point)};
  }

  // Takes the first of the best of these and what is known: two take hardly longer than one, which may
  // be given twice.
  void consider(Task& t, const Choice& a, const Choice& b) const {
    const Choice* const two[2] = {&a, &b};
    Tried tried[2];
    bool possible[2];
    for (int k = 0; k < 2; ++k) {
      const Choice& c = *two[k];
      possible[k] = fabs(c.scale + c.offset) <= DBL_MAX && c.scale != 0;
      tried[k] = {c.scale, c.offset, span_for(c.zero_point)};
    }
    double errors[2];
    if (t.group.w)
      errors_of<true>(t.group, tried, errors);
    else
      errors_of<false>(t.group, tried, errors);
    const Choice* best = &t.best;
    for (int k = 0; k < 2; ++k) {
      const bool better = possible[k] & (errors[k] < t.error);
      best = better ? two[k] : best, t.error = better ? errors[k] : t.error;
    }
    t.best = *best;
  }

  // The group in 16 bits, less `centre`.
  Fixed fixed(const Task& t, float centre) const {
    const Group& g = t.group;
    int16_t *x = scratch_ + (&t - tasks_) * 3 * room_, *wx = x + room_, *w = wx + room_;
    const float up = (float)t.range.hi - centre, down = centre - (float)t.range.lo;
    const float most = up > down ? up : down;
    Fixed f = {x, x, nullptr, g.n, to_16_bits(g.x, nullptr, centre, g.n, most, x), 0};
    f.ratio = f.unit;
    if (!g.w) return f;
    const float product = most_of(g.w, g.x, centre, g.n), weight = most_of(g.w, nullptr, 0, g.n);
    f.wx = wx, f.w = w;
    f.ratio = to_16_bits(g.x, g.w, centre, g.n, product, wx);
    f.ratio /= to_16_bits(g.w, nullptr, 0, g.n, weight, w);
    return f;
  }

  void fit_scales() {
    Fixed in_16_bits[kMostTogether];
    for (int i = 0; i < count_; ++i) in_16_bits[i] = fixed(tasks_[i], 0);
    for (int i = 0; i < count_; ++i) start(tasks_[i], in_16_bits[i], searches_[i]);
    for (int i = 0; i < count_; ++i) searches_[i].sum_ladders();
    for (int i = 0; i < count_; ++i) searches_[i].choose_place();
    for (int i = 0; i < count_; ++i) searches_[i].sum_around();
    for (int i = 0; i < count_; ++i) searches_[i].choose();
    for (int i = 0; i < count_; ++i) finish(tasks_[i], searches_[i]);
    static_assert(kMostTogether == 16, "what a vector holds");
    float nearest[kMostTogether] = {};
    for (int i = 0; i < count_; ++i) nearest[i] = (float)tasks_[i].found.scale;
    store(nearest, as_stored(load(nearest), q_.scales));
    for (int i = 0; i < count_; ++i) consider_scale(tasks_[i], (double)nearest[i]);
  }

  void start(Task& t, const Fixed& in_16_bits, Search& search) const {
    const bool shifted = q_.rule == kAsymmetric;
    int32_t from = 0, to = 0; // zero-points near that of the range
    if (shifted) {
      from = t.best.zero_point == 0 ? 0 : t.best.zero_point - 1;
      to = t.best.zero_point == q_.qmax ? q_.qmax : t.best.zero_point + 1;
    }
    Span spans[kMostSpans];
    int count = 0;
    for (int32_t z = from; z <= to; ++z) spans[count++] = span_for(z);
    if (q_.rule == kSignedMax) spans[count++] = turned();
    search.start(in_16_bits, spans, count, bits_, t.range, shifted);
    t.first_zero_point = from;
  }

  Span turned() const { return {(double)-q_.qmax, (double)-q_.qmin}; }

  void finish(Task& t, const Search& search) {
    SpanScale found = {t.first_zero_point + search.span(), search.scale()};
    t.fast = choice(found, stored(found.scale, q_.scales));
    if (exact_) found = sweep(t, found.scale);
    t.found = found;
  }

  // A scale as it is stored, for a span.
  Choice choice(const SpanScale& found, double nearest) const {
    const bool shifted = q_.rule == kAsymmetric, raised = nearest == 0;
    if (raised) nearest = (double)smallest(q_.scales);
    const double sign = !shifted && found.span == 1 ? -1 : 1;
    return {sign * nearest, shifted ? found.span : 0, 0, raised};
  }

  // The optimum over both signs, or over all zero-points.
  SpanScale sweep(const Task& t, double guess) {
    sweep_.set(t.group, t.range);
    const int32_t last = q_.rule == kAsymmetric ? q_.qmax : 0;
    for (int32_t z = 0; z <= last; ++z) sweep_.run(z, span_for(z), guess);
    if (q_.rule == kSignedMax) sweep_.run(1, turned(), guess);
    return {sweep_.best().span, sweep_.best().scale};
  }

  void consider_scale(Task& t, double nearest) const {
    const Choice usual = t.best, first = choice(t.found, nearest);
    consider(t, usual, first);
    if (!exact_) return;
    const Neighbours next = neighbours(fabs(first.scale), q_.scales);
    Choice below = first, above = first;
    below.scale = copysign(next.below, first.scale),
    above.scale = copysign(next.above, first.scale);
    below.raised = above.raised = false;
    consider(t, below, above);
    consider(t, t.fast, t.fast);
  }

  void fit_offset(Task& t) const {
    const Group& g = t.group;
    const float centre = 0.5f * (float)t.range.lo + 0.5f * (float)t.range.hi;
    if (!differs_from(g, centre) || !has_weight(g, centre)) return;
    const double middle = (double)(1 << (bits_ - 1)), c = (double)centre;
    const Fixed in_16_bits = fixed(t, centre);
    const Line line = Alternate(in_16_bits, q_.qmax, bits_).run();
    const Regression fitted(g, c, line.scale, line.offset - middle * line.scale, span_for(0));
    const double first = stored(fitted.scale(), q_.scales);
    const Choice usual = t.best;
    consider(t, usual, {first, 0, stored(fitted.offset_for(first), q_.scales), false});
    const double offset = stored(fitted.offset_for(fitted.scale()), q_.scales);
    const Neighbours next = neighbours(offset, q_.scales);
    const auto with = [&](double m) {
      return Choice{stored(fitted.scale_for(m), q_.scales), 0, m, false};
    };
    consider(t, with(offset), with(next.below));
    const Choice last = with(next.above);
    consider(t, last, last);
  }

  static bool differs_from(const Group& g, float centre) {
    for (int64_t i = 0; i < g.n; ++i)
      if (g.x[i] - centre != 0) return true;
    return false;
  }

  const Quantizer& q_;
  const bool exact_;
  int16_t* const scratch_;
  const int64_t room_, most_;
  int bits_ = 0, count_ = 0;
  Task tasks_[kMostTogether];
  Search searches_[kMostTogether];
  Sweep sweep_;
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

// What the rule chose for group `at`.
BITMILL_INLINE Choice usual_choice(const Quantizer& q, Range range, Params params, int64_t at) {
  Choice c = {(double)load_float(params.scale, at, q.scales), 0, 0, false};
  if (params.zero_point) c.zero_point = ((const uint8_t*)params.zero_point)[at];
  if (params.offset) c.offset = (double)load_float(params.offset, at, q.scales);
  if (fabs(c.scale) == (double)smallest(q.scales)) c.raised = was_raised(q, range);
  return c;
}

BITMILL_INLINE void count(const Choice& c, Counts* counts) {
  counts->overflowed += !(fabs(c.scale + c.offset) <= DBL_MAX);
  counts->underflowed += c.raised;
}

// Stores what the fits found.
inline void finish(const Quantizer& q, Fits& fits, Params params, Counts* counts) {
  fits.run();
  for (int i = 0; i < fits.count(); ++i) {
    const Task& t = fits[i];
    put_float(params.scale, t.at, q.scales, t.best.scale);
    if (params.zero_point) ((uint8_t*)params.zero_point)[t.at] = (uint8_t)t.best.zero_point;
    if (params.offset) put_float(params.offset, t.at, q.scales, t.best.offset);
    count(t.best, counts);
  }
  fits.clear();
}

// Codes have at most 8 bits, `scratch` has room for three times mse_groups(room) groups of `room`.
// `params` holds what the rule made of lo and hi, the ranges of all groups, and takes what is better.
void mse_params(const Quantizer* q, const float* x, Block block, const float* w, int64_t w_step,
                const float* lo, const float* hi, bool exact, int16_t* scratch, int64_t room,
                Params params, Counts* counts) {
  Fits fits(*q, exact, scratch, room);
  int64_t at = 0;
  for (int64_t row = 0; row < block.rows; ++row, w = w ? w + w_step : w)
    for (int64_t col = 0; col < block.cols; col += block.group, ++at) {
      const int64_t n = least(block.group, block.cols - col);
      const Range range = {(double)lo[at], (double)hi[at]};
      const Choice usual = usual_choice(*q, range, params, at);
      const Group group = {x + row * block.cols + col, w ? w + col : nullptr, n};
      if (!fits.add(at, group, range, usual)) count(usual, counts);
      if (fits.full()) finish(*q, fits, params, counts);
    }
  finish(*q, fits, params, counts);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
