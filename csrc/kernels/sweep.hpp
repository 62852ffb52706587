// SPDX-License-Identifier: MIT
// The scale of least squared error over all real scales. The twin, bitmill/reference/sweep.py, tries every
// breakpoint, where a code changes; here those are left out that provably are no better.
//
// Let e(s) be the error at scale s with the nearest codes, A(s) and B(s) the sums of w |x q| and w q^2, and Q
// the error with the codes that are nearest at a, a parabola. On the way from a up to s an element may pass
// from code k + 1 to k, at s' >= a; from then on the lower code is better by c s (s - s'), c = w (2k + 1). So
//   e(s) = Q(s) - s [sum of c (s - s') over all that pass before s].
// Of all that pass up to b, the sum of c is B(a) - B(b), and that of c s' is 2 (A(a) - A(b)). With these two
// given, the bracket is largest if they pass at a and at b, since max(s - s', 0) is convex in s'. The share
// that then passes at a, a sum of c named early, gives
//   e(s) >= Q(s) - s (s - a) early,
// and likewise from b downwards. Cells between scales are halved, and dropped where this bound is above the
// least error found, until few breakpoints are left; these are tried. The slack falls with the square of
// the width, so that some 60 scales are tried in all, of whatever number there is.
#pragma once
#include "sums.hpp"
#include <math.h>

namespace bitmill::BITMILL_ISA {
namespace {

// What is known at a scale: `gain` is what the best scale for its codes, `fit`, leaves of the sum of w x^2.
struct Point {
  double scale, xq, qq, gain, fit;
};

// A scale for one of the spans, as the twin would choose it.
struct Best {
  double gain = 0, u = 0, scale = 1;
  int span = 0;
};

class Sweep {
 public:
  Sweep(const Group& group, Range range, Best* best) : g_(group), range_(range), best_(best) {
    double xx = 0;
    for (int64_t i = 0; i < g_.n; ++i) {
      const double size = fabs((double)g_.x[i]);
      xx += (g_.w ? (double)g_.w[i] : 1) * size * size, sum_ += size;
    }
    margin_ = xx * (1e-12 + (double)g_.n * 0x1p-52); // more than rounding can do
  }

  // Tries a span; `guess` is a good scale, for it or for another.
  void run(int index, Span span, double guess) {
    index_ = index, span_ = span;
    memset(seen_, 0, sizeof seen_);
    least_ = best_->gain > least_ ? best_->gain : least_;
    start(guess);
    for (int round = 0; round < kRounds && breakpoints() > kFew && 2 * count_ < kPoints; ++round)
      halve();
    each_window([&](double from, double to) { try_between(from, to); });
    try_pending();
  }

 private:
  static constexpr int kRounds = 48, kFew = 28, kPoints = 256, kSeen = 256;

  // Sets the points with these scales.
  void look(Point* const* points, int count) {
    for (int i = 0; i < count; i += 2) {
      Point* const two[2] = {points[i], points[i + 1 < count ? i + 1 : i]};
      const double u[2] = {1 / two[0]->scale, 1 / two[1]->scale};
      CodeSums sums[2];
      sums_at(u, sums);
      for (int k = 0; k < 2; ++k) set(*two[k], sums[k]);
    }
  }

  void sums_at(const double u[2], CodeSums out[2]) const {
    if (g_.w)
      code_sums<true>(g_, u, span_, out);
    else
      code_sums<false>(g_, u, span_, out);
  }

  void set(Point& p, const CodeSums& sums) {
    p.xq = sums.xq, p.qq = sums.qq;
    p.fit = sums.qq > 0 ? sums.xq / sums.qq : 0, p.gain = sums.xq * p.fit;
    least_ = p.gain > least_ ? p.gain : least_;
  }

  // Points from a scale at which all codes are zero down to one at which all are limited, dense about the
  // guess: elsewhere the error is so much greater that wide cells can be dropped.
  void start(double guess) {
    constexpr double kPlaces[] = {12, 8, 5, 3, 2, 1.55, 1.3, 1.1, 1.0, 0.9, 0.8, 0.68, 0.5, 0.3};
    Point* points[16];
    count_ = 0;
    points_[count_++].scale = 2.000001 * (range_.hi > -range_.lo ? range_.hi : -range_.lo);
    for (double place : kPlaces)
      if (place * guess < points_[0].scale) points_[count_++].scale = place * guess;
    points_[count_++].scale = 0x1p-200;
    for (int i = 0; i < count_; ++i) points[i] = &points_[i];
    look(points, count_);
    for (int i = 0; i + 1 < count_; ++i) alive_[i] = may_be_better(points_[i + 1], points_[i]);
  }

  // Whether a better scale may lie between those of a and b.
  bool may_be_better(const Point& a, const Point& b) const {
    const auto outside = [](double fit, double from, double to) {
      const double below = from - fit, above = fit - to, most = below > above ? below : above;
      return most > 0 ? most * most : 0;
    };
    const double middle = 0.5 * (a.scale + b.scale), width = b.scale - a.scale;
    const double passed = a.qq - b.qq, at = 2 * (a.xq - b.xq);
    double early = (passed * b.scale - at) / width, late = (at - passed * a.scale) / width;
    early = early < 0 ? 0 : early < passed ? early : passed; // as rounding may have it
    late = late < 0 ? 0 : late < passed ? late : passed;
    const double low =
        a.gain - a.qq * outside(a.fit, a.scale, middle) + early * middle * (middle - a.scale);
    const double high =
        b.gain - b.qq * outside(b.fit, middle, b.scale) + late * b.scale * (b.scale - middle);
    return (low > high ? low : high) + margin_ >= least_;
  }

  // Puts a point into the middle of every cell that is left, and forgets points between others.
  void halve() {
    Point* added[kPoints / 2 + 1];
    int count = 0, adds = 0;
    for (int i = 0; i < count_; ++i) {
      const bool before = i > 0 && alive_[i - 1], after = i + 1 < count_ && alive_[i];
      if (!before && !after) continue;
      other_[count] = points_[i];
      cell_[count] = after;
      ++count;
      if (!after) continue;
      other_[count].scale = 0.5 * (points_[i].scale + points_[i + 1].scale);
      added[adds++] = &other_[count];
      cell_[count++] = true;
    }
    look(added, adds);
    for (int i = 0; i < count; ++i) points_[i] = other_[i];
    for (int i = 0; i + 1 < count; ++i)
      alive_[i] = cell_[i] && may_be_better(points_[i + 1], points_[i]);
    count_ = count;
  }

  // How many breakpoints the cells have, at most and but for the last few.
  double breakpoints() const {
    const double most = (double)g_.n * (span_.hi - span_.lo);
    double found = 0;
    for (int i = 0; i + 1 < count_; ++i) {
      if (!alive_[i]) continue;
      const double inside = (1 / points_[i + 1].scale - 1 / points_[i].scale) * sum_;
      found += inside < most ? inside : most;
    }
    return found;
  }

  // body(from, to) for the values of 1 / scale in cells that touch each other.
  template <class Body> void each_window(Body body) {
    for (int i = 0, end; i + 1 < count_; i = end + 1) {
      for (end = i; end + 1 < count_ && alive_[end];) ++end;
      if (end > i) body(1 / points_[i].scale * (1 - 1e-12), 1 / points_[end].scale * (1 + 1e-12));
    }
  }

  // The codes at `from`, and those behind every breakpoint up to `to`. The best scale lies where its codes
  // are the nearest, but these may begin before the cell.
  void try_between(double from, double to) {
    try_at(from);
    for (int64_t i = 0; i < g_.n; ++i) {
      const double x = (double)g_.x[i], size = fabs(x), cap = x > 0 ? span_.hi : -span_.lo;
      double step = size * from + 0.5; // breakpoints below `from`
      if (step >= cap) continue;
      for (step = (double)(int64_t)step; step < cap && step + 0.5 <= size * to; step += 1)
        try_behind((step + 0.5) / size);
    }
  }

  void try_behind(double breakpoint) {
    uint64_t bits;
    memcpy(&bits, &breakpoint, 8);
    double* seen = seen_ + (bits * 0x9e3779b97f4a7c15u >> 56);
    if (*seen == breakpoint) return; // equal values have equal breakpoints
    *seen = breakpoint;
    try_at(breakpoint * (1 + 0x1p-40));
  }

  void try_at(double u) {
    pending_[waiting_++] = u;
    if (waiting_ == 2) try_pending();
  }

  void try_pending() {
    if (waiting_ == 0) return;
    if (waiting_ == 1) pending_[1] = pending_[0];
    CodeSums sums[2];
    sums_at(pending_, sums);
    for (int k = 0; k < waiting_; ++k) take(pending_[k], sums[k]);
    waiting_ = 0;
  }

  void take(double u, const CodeSums& sums) {
    if (sums.qq <= 0) return;
    const double gain = sums.xq * sums.xq / sums.qq;
    // Of equal ones the first span, and in it the larger scale.
    const bool first = gain == best_->gain && index_ == best_->span && u < best_->u;
    if (gain > best_->gain || first) *best_ = {gain, u, sums.xq / sums.qq, index_};
  }

  const Group& g_;
  const Range range_;
  Best* best_;
  double sum_ = 0, margin_ = 0, least_ = 0, pending_[2] = {};
  int index_ = 0, count_ = 0, waiting_ = 0;
  Span span_ = {};
  Point points_[kPoints], other_[kPoints];
  bool alive_[kPoints], cell_[kPoints];
  double seen_[kSeen];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
