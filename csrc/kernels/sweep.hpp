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
// the width, so that some 50 scales are tried in all at 4 bits, of whatever length.
#pragma once
#include "sums.hpp"
#include <math.h>

namespace bitmill::BITMILL_ISA {
namespace {

// A scale for one of the spans, as the twin would choose it.
struct Best {
  double gain = 0, u = 0, scale = 1;
  int span = 0;
};

constexpr int kPoints = 256, kWords = kPoints / 64;

// Leads behind a breakpoint and not to the next one: two that differ do so by 2^-33 or more.
constexpr double kBeyond = 1 + 0x1p-40;
// More, relatively, than rounding does to a sum of eight lanes, or to a scale that was found by halving.
constexpr double kSlack = 1e-12;

// What is known at scales in falling order, u = 1 / scale: `gain` is what the best scale for its codes,
// `fit`, leaves of the sum of w x^2. Vectors may begin at the last.
struct Points {
  double scale[kPoints + 8], u[kPoints + 8], xq[kPoints + 8], qq[kPoints + 8], fit[kPoints + 8],
      gain[kPoints + 8];

  void copy(int to, const Points& p, int from) {
    scale[to] = p.scale[from], u[to] = p.u[from], xq[to] = p.xq[from], qq[to] = p.qq[from];
    fit[to] = p.fit[from], gain[to] = p.gain[from];
  }
};

class Sweep {
 public:
  Sweep() { memset(points_, 0, sizeof points_), memset(&added_, 0, sizeof added_); }

  // Begins with a group.
  BITMILL_APART void set(const Group& group, Range range) {
    g_ = group, best_ = {}, least_ = 0;
    most_ = range.hi > -range.lo ? range.hi : -range.lo;
    f64x8 squares = splat_f64(0), sizes = squares;
    const auto take = [&](f64x8 x, f64x8 w, auto) {
      squares = add(squares, mul(w, mul(x, x))), sizes = add(sizes, size_of(x));
    };
    if (g_.w)
      each_eight<true>(g_, take);
    else
      each_eight<false>(g_, take);
    sum_ = reduce_add(sizes);
    // More than rounding can do, which adds up with the length.
    margin_ = reduce_add(squares) * (kSlack + (double)g_.n * 0x1p-52);
  }

  // Tries a span; `guess` is a good scale, for it or for another.
  void run(int index, Span span, double guess) {
    index_ = index, span_ = span;
    for (int i = 0; i < kSeen; i += 8) write_f64(seen_ + i, splat_f64(0));
    least_ = best_.gain > least_ ? best_.gain : least_;
    start(guess > 0 ? guess : most_);
    refine(kDepth);
    try_waiting();
  }

  const Best& best() const { return best_; }

 private:
  static constexpr int kHalvings = 48, kSeen = 64, kDepth = 3;
  static constexpr double kFew = 24;

  // Halves the cells until few breakpoints are left, and tries these. Where the cells become too many, as they
  // do for fine codes of long groups, it goes on with each alone.
  void refine(int depth) {
    bound();
    for (int i = 0; i < kHalvings && breakpoints_ > kFew && 2 * count_ < kPoints; ++i) {
      halve();
      bound();
    }
    if (breakpoints_ > kFew && depth > 0)
      each_alone(depth - 1);
    else
      each_window([&](double from, double to) { try_between(from, to); });
  }

  BITMILL_SELDOM void each_alone(int depth) {
    const Points all = points_[now_];
    uint64_t alive[kWords];
    memcpy(alive, alive_, sizeof alive);
    for (int k = 0; k < kWords; ++k)
      for (uint64_t bits = alive[k]; bits; bits &= bits - 1) {
        const int i = 64 * k + lowest_bit(bits);
        for (int end = 0; end < 2; ++end) points_[now_].copy(end, all, i + end);
        count_ = 2;
        refine(depth);
      }
  }

  static BITMILL_INLINE f64x8 size_of(f64x8 x) { return max(x, sub(splat_f64(0), x)); }

  BITMILL_APART void sums_at(const double* u, int count, double* xq, double* qq) const {
    if (g_.w)
      code_sums<true>(g_, u, count, span_, xq, qq);
    else
      code_sums<false>(g_, u, count, span_, xq, qq);
  }

  // Looks at the first `count` scales.
  BITMILL_APART void look(Points& p, int count) {
    const f64x8 one = splat_f64(1), zero = splat_f64(0);
    for (int i = 0; i < count; i += 8) write_f64(p.u + i, div(one, read_f64(p.scale + i)));
    sums_at(p.u, count, p.xq, p.qq);
    f64x8 most = splat_f64(least_);
    for (int i = 0; i < count; i += 8) {
      const f64x8 xq = read_f64(p.xq + i), qq = read_f64(p.qq + i);
      const f64x8 fit = greater(qq, zero, div(xq, qq), zero), gain = mul(xq, fit);
      write_f64(p.fit + i, fit), write_f64(p.gain + i, gain);
      most = max(most, gain); // none behind `count`: sums are 0 there
    }
    least_ = reduce_max(most);
  }

  // Points from a scale at which all codes are zero down to one at which all are limited, dense about the
  // guess: elsewhere the error is so much greater that wide cells can be dropped.
  BITMILL_APART void start(double guess) {
    constexpr double kPlaces[] = {10,  6,    4,    2.8,  2.1,  1.65, 1.4,  1.25, 1.15, 1.08, 1.03,
                                  1.0, 0.96, 0.91, 0.85, 0.78, 0.7,  0.61, 0.5,  0.38, 0.25, 0.1};
    Points& p = points_[now_];
    count_ = 0;
    p.scale[count_++] = 2.000001 * most_;
    for (double place : kPlaces)
      if (place * guess < p.scale[0]) p.scale[count_++] = place * guess;
    p.scale[count_++] = 0x1p-200;
    look(p, count_);
  }

  // Which cells may have a better scale, and how many breakpoints these have at most, but for the last few.
  // Cell i lies between points i and i + 1.
  BITMILL_APART void bound() {
    const double steps = (double)g_.n * (span_.hi - span_.lo);
    f64x8 found = splat_f64(0);
    for (uint64_t& word : alive_) word = 0;
    for (int i = 0; i + 1 < count_; i += 8) {
      uint64_t bits;
      found = add(found, bound_eight(i, splat_f64(steps), &bits));
      alive_[i / 64] |= bits << i % 64;
    }
    breakpoints_ = reduce_add(found);
  }

  // Of eight cells: one bit for each that is alive; the numbers of their breakpoints.
  f64x8 bound_eight(int i, f64x8 steps, uint64_t* alive) const {
    const Points& p = points_[now_];
    const f64x8 zero = splat_f64(0), one = splat_f64(1);
    const f64x8 a = read_f64(p.scale + i + 1), b = read_f64(p.scale + i);
    const f64x8 a_qq = read_f64(p.qq + i + 1), b_qq = read_f64(p.qq + i);
    const f64x8 middle = mul(splat_f64(0.5), add(a, b)), width = sub(b, a);
    const f64x8 passed = sub(a_qq, b_qq), by = div(one, width);
    f64x8 at = sub(read_f64(p.xq + i + 1), read_f64(p.xq + i));
    at = add(at, at);
    // Limited to what they can be, as rounding may have it.
    const f64x8 early = min(max(mul(sub(mul(passed, b), at), by), zero), passed);
    const f64x8 late = min(max(mul(sub(at, mul(passed, a)), by), zero), passed);
    const auto outside = [&](f64x8 fit, f64x8 from, f64x8 to) {
      const f64x8 most = max(max(sub(from, fit), sub(fit, to)), zero);
      return mul(most, most);
    };
    const f64x8 a_lost = mul(a_qq, outside(read_f64(p.fit + i + 1), a, middle));
    const f64x8 b_lost = mul(b_qq, outside(read_f64(p.fit + i), middle, b));
    const f64x8 low =
        add(sub(read_f64(p.gain + i + 1), a_lost), mul(mul(early, middle), sub(middle, a)));
    const f64x8 high = add(sub(read_f64(p.gain + i), b_lost), mul(mul(late, b), sub(b, middle)));
    const f64x8 most = add(max(low, high), splat_f64(margin_));
    constexpr double kPlaces[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const f64x8 cells = splat_f64((double)(count_ - 1 - i));
    f64x8 lives = greater(splat_f64(least_), most, zero, one);
    lives = greater(cells, read_f64(kPlaces), lives, zero);
    *alive = equal_bits(lives, one);
    const f64x8 wide = sub(read_f64(p.u + i + 1), read_f64(p.u + i));
    return greater(lives, zero, min(mul(wide, splat_f64(sum_)), steps), zero);
  }

  // Puts a point into the middle of every cell that is left, and forgets points between others.
  BITMILL_APART void halve() {
    const Points& p = points_[now_];
    Points& next = points_[!now_];
    int places[kPoints / 2], count = 0, adds = 0;
    uint64_t before = 0;
    for (int k = 0; k < kWords; ++k) {
      for (uint64_t bits = alive_[k] | alive_[k] << 1 | before; bits; bits &= bits - 1) {
        const int bit = lowest_bit(bits), i = 64 * k + bit;
        const int after = (int)(alive_[k] >> bit & 1);
        next.copy(count, p, i);
        added_.scale[adds] = 0.5 * (p.scale[i] + p.scale[i + 1]);
        places[adds] = count + 1;
        adds += after, count += 1 + after;
      }
      before = alive_[k] >> 63;
    }
    look(added_, adds);
    for (int i = 0; i < adds; ++i) next.copy(places[i], added_, i);
    count_ = count, now_ = !now_;
  }

  // The first cell from `i` on that is alive, or that is not; kPoints if there is none.
  int next(int i, bool lives) const {
    uint64_t mask = ~(uint64_t)0 << i % 64;
    for (int k = i / 64; k < kWords; ++k, mask = ~(uint64_t)0) {
      const uint64_t bits = (lives ? alive_[k] : ~alive_[k]) & mask;
      if (bits) return 64 * k + lowest_bit(bits);
    }
    return kPoints;
  }

  // body(from, to) for the values of 1 / scale in cells that touch each other.
  template <class Body> void each_window(Body body) {
    const double* u = points_[now_].u;
    for (int i = next(0, true), end; i < kPoints; i = next(end, true)) {
      end = next(i, false);
      body(u[i] * (1 - kSlack), u[end] * (1 + kSlack));
    }
  }

  // The codes at `from`, and those behind every breakpoint up to `to`. The best scale lies where its codes
  // are the nearest, but these may begin before the cell.
  BITMILL_APART void try_between(double from, double to) {
    try_at(from);
    const f64x8 up = splat_f64(span_.hi), down = splat_f64(-span_.lo), first = splat_f64(from);
    const f64x8 last = splat_f64(to), zero = splat_f64(0), one = splat_f64(1);
    each_eight<false>(g_, [&](f64x8 x, f64x8, auto) {
      const f64x8 size = size_of(x), cap = greater(x, zero, up, down);
      const f64x8 step =
          round(min(mul(size, first), splat_f64(0x1p20))); // of the first behind `from`
      const f64x8 is_in = greater(add(step, splat_f64(0.5)), mul(size, last), zero, one);
      uint32_t bits = equal_bits(greater(cap, step, is_in, zero), one);
      if (bits == 0) return;
      double sizes[8], steps[8], caps[8];
      write_f64(sizes, size), write_f64(steps, step), write_f64(caps, cap);
      for (; bits; bits &= bits - 1) {
        const int k = lowest_bit(bits);
        for (double q = steps[k]; q < caps[k] && q + 0.5 <= sizes[k] * to; q += 1)
          try_behind((q + 0.5) / sizes[k]);
      }
    });
  }

  BITMILL_APART void try_behind(double breakpoint) {
    uint64_t bits;
    memcpy(&bits, &breakpoint, 8);
    double* seen = seen_ + (bits * 0x9e3779b97f4a7c15u >> 58);
    if (*seen == breakpoint) return; // equal values have equal breakpoints
    *seen = breakpoint;
    try_at(breakpoint * kBeyond);
  }

  void try_at(double u) {
    waiting_[waits_++] = u;
    if (waits_ == 8) try_waiting();
  }

  BITMILL_APART void try_waiting() {
    double xq[8], qq[8];
    sums_at(waiting_, waits_, xq, qq);
    const f64x8 products = read_f64(xq), squares = read_f64(qq), zero = splat_f64(0);
    const f64x8 gains = greater(squares, zero, div(mul(products, products), squares), zero);
    const double most = reduce_max(gains);
    if (waits_ > 0 && most > 0 && most >= best_.gain)
      for (uint64_t bits = equal_bits(gains, splat_f64(most)); bits; bits &= bits - 1) {
        const int k = lowest_bit(bits);
        if (k < waits_) take(waiting_[k], most, xq[k] / qq[k]);
      }
    waits_ = 0;
  }

  // Of equal ones the first span, and in it the larger scale.
  void take(double u, double gain, double fit) {
    const bool first = gain == best_.gain && index_ == best_.span && u < best_.u;
    if (gain > best_.gain || first) best_ = {gain, u, fit, index_};
  }

  Group g_ = {};
  Best best_;
  double most_ = 0, sum_ = 0, margin_ = 0, least_ = 0, breakpoints_ = 0, waiting_[8] = {};
  int index_ = 0, count_ = 0, waits_ = 0, now_ = 0;
  Span span_ = {};
  uint64_t alive_[kWords];
  Points points_[2], added_;
  double seen_[kSeen];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
