// SPDX-License-Identifier: MIT
// Scale and offset of a group by alternating fits from 32 starts, in 16 bits.
// Twin: bitmill/reference/alternate.py.
#pragma once
#include "search.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kRounds = 6, kLongRounds = 24, kLong = 1024, kStarts = 32, kMiddles = 12, kEnds = 10;

struct Line {
  double scale, offset; // of code 2^(bits - 1)
};

class Alternate {
 public:
  Alternate(const Fixed& group, int qmax, int bits) : g_(group), bits_(bits) {
    const double middle = (double)(1 << (bits - 1));
    span_ = {-middle, (double)qmax - middle};
    n_ = (double)g_.n;
    int64_t x = 0, w = 0;
    for (int64_t i = 0; i < g_.n; ++i) x += g_.wx[i];
    if (g_.w) {
      for (int64_t i = 0; i < g_.n; ++i) w += g_.w[i];
      n_ = (double)w;
    }
    x_ = (double)x;
    start((double)qmax, middle);
  }

  Line run() {
    bool better = true;
    const int rounds = g_.n > kLong ? kLongRounds : kRounds; // long groups take longer to settle
    for (int round = 0; round < rounds && better; ++round) {
      better = false;
      for (int from = 0; from < kStarts; from += 16) better |= step(from);
    }
    int top = 0;
    for (int i = 1; i < kStarts; ++i) top = gain_[i] > gain_[top] ? i : top;
    return {scale_[top], offset_[top]};
  }

 private:
  void start(double qmax, double middle) {
    const double half = 32767.0 * g_.unit, widest = 2 * half / qmax;
    const double typical = kLeastScales[bits_] * deviation_of(g_, true) / widest;
    const double low = typical > 1.0 / 64 ? typical : 1.0 / 64;
    const double mid = low < 0.5 ? low : 0.5, end = low < 0.55 ? low : 0.55;
    const double mid_step = (1.0775 - mid) / (kMiddles - 1), end_step = (1.045 - end) / (kEnds - 1);
    for (int k = 0; k < kStarts; ++k) {
      const int i = k < kMiddles ? k : (k - kMiddles) % kEnds;
      const double s = widest * (k < kMiddles ? mid + mid_step * i : end + end_step * i);
      scale_[k] = s;
      offset_[k] = k < kMiddles           ? (middle - 0.5 * qmax) * s
                   : k < kMiddles + kEnds ? middle * s - half
                                          : half - (qmax - middle) * s;
      gain_[k] = 0;
    }
    const int fine = shift_for(half / (widest * (mid < end ? mid : end)));
    shift_ = fine < 15 - bits_ ? fine : 15 - bits_;
  }

  // Of 16 starts, and whether one got better.
  bool step(int from) {
    Candidates c;
    CandidateSums sums;
    double q[16];
    set(c, from);
    if (g_.w)
      integer_sums<true, true>(g_, c, shift_, bits_, &sums, q);
    else
      integer_sums<false, true>(g_, c, shift_, bits_, &sums, q);
    return fit(sums, q, scale_ + from, offset_ + from, gain_ + from);
  }

  // The numbers of Candidates for codes (x - offset) / scale.
  void set(Candidates& c, int from) const {
    const int shift = shift_;
    const f64x8 one = splat_f64((double)(1 << (15 + shift)) * g_.unit);
    const f64x8 step = splat_f64((double)(1 << shift));
    const f64x8 half = splat_f64(shift ? (double)(1 << (shift - 1)) : 0);
    double times[16], plus[16];
    for (int k = 0; k < 16; k += 8) {
      const f64x8 u = div(splat_f64(1), read_f64(scale_ + from + k));
      write_f64(times + k, mul(one, u));
      write_f64(plus + k, sub(half, mul(mul(step, read_f64(offset_ + from + k)), u)));
    }
    c.set_times(load(times)), c.set_plus(load(plus));
    c.lo = splat_u16((int32_t)span_.lo), c.hi = splat_u16((int32_t)span_.hi);
  }

  // Regressions, taken where they are better; whether some were.
  bool fit(const CandidateSums& sums, const double* q_sums, double* scales, double* offsets,
           double* gains) const {
    const f64x8 zero = splat_f64(0), n = splat_f64(n_), ratio = splat_f64(g_.ratio);
    const f64x8 x = splat_f64(x_), ratio_x = splat_f64(g_.ratio * x_);
    f64x8 most = zero;
    for (int k = 0; k < 16; k += 8, scales += 8, offsets += 8, gains += 8) {
      const f64x8 q = read_f64(q_sums + k), nqq = mul(n, read_f64(sums.qq + k));
      const f64x8 before = read_f64(gains);
      const f64x8 slope = sub(mul(n, read_f64(sums.xq + k)), mul(q, x)),
                  spread = sub(nqq, mul(q, q));
      f64x8 gain = div(mul(slope, slope), spread);
      gain = greater(spread, mul(splat_f64(kLeastSpread), nqq), greater(slope, zero, gain, zero),
                     zero);
      const f64x8 scale = mul(ratio, div(slope, spread));
      const f64x8 offset = div(sub(ratio_x, mul(scale, q)), n);
      most = max(most, greater(gain, before, gain, zero));
      write_f64(scales, greater(gain, before, scale, read_f64(scales)));
      write_f64(offsets, greater(gain, before, offset, read_f64(offsets)));
      write_f64(gains, greater(gain, before, gain, before));
    }
    return reduce_max(most) > 0;
  }

  const Fixed& g_;
  const int bits_;
  int shift_ = 0;
  Span span_;
  double n_, x_;
  double scale_[kStarts], offset_[kStarts], gain_[kStarts];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
