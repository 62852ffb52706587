// SPDX-License-Identifier: MIT
// Good scales found quickly: many candidates side by side in integer arithmetic of 16 bits.
// Twin: bitmill/reference/search.py.
#pragma once
#include "sums.hpp"
#include <math.h>

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kLadder = 1 << 5, kZoom = 16, kMostSpans = 3;
constexpr double kMostScale = 1.15;
// By bits, in standard deviations.
constexpr double kLeastScales[9] = {0, 0.5, 0.3, 0.35, 0.2, 0.113, 0.0625, 0.034, 0.0185};
struct Step {
  double ratio, step;
};
constexpr Step kSteps[] = {
    {1.4142135623730951, 0.9888824684134271},
    {1.681792830507429, 0.9833701386785019},
    {2.0, 0.9778885363354327},
    {2.8284271247461903, 0.967016829644576},
    {4.0, 0.956265989496255},
    {8.0, 0.935121548815847},
    {16.0, 0.9144446426672516},
    {64.0, 0.8744523110597485},
    {256.0, 0.8362090045028373},
    {4096.0, 0.7646668443177352},
};
constexpr int kStepCount = sizeof kSteps / sizeof *kSteps;

// The places of every ladder, all of them or every second (1) or fourth (2), and those around a place.
struct Rungs {
  float at[3][kStepCount][kLadder] = {}, zoom[3][kStepCount][kZoom] = {};
  double ratio[kStepCount] = {}, step[3][kStepCount] = {},
         largest[3][kStepCount] = {}; // the last place over the step

  constexpr Rungs() {
    for (int k = 0; k < kStepCount; ++k) {
      double rung = 1, factor = kSteps[k].step;
      ratio[k] = kSteps[k].ratio;
      for (int i = 0; i < kLadder; ++i, rung /= kSteps[k].step)
        for (int s = 0; s < 3; ++s)
          if (i % (1 << s) == 0) at[s][k][i >> s] = (float)rung;
      for (int s = 0; s < 3; ++s, factor *= factor) {
        step[s][k] = factor;
        largest[s][k] = (double)at[s][k][(kLadder >> s) - 1] / factor;
        for (int j = 0; j < kZoom; ++j)
          zoom[s][k][j] = (float)(factor + (1 / factor - factor) * ((double)(j + 1) / (kZoom + 1)));
      }
    }
  }
};
constexpr Rungs kRungs;

// A group in 16 bits, with 32 zeros behind it: the values by which codes are chosen, w x and w.
struct Fixed {
  const int16_t *x, *wx, *w; // w may be null
  int64_t n;
  double unit, ratio;
};

// w (x - centre), rounded to 16 bits by `most`, the largest magnitude; returns the value of one step. `out`
// has room for 32 elements behind the last, which become 0.
BITMILL_INLINE double to_16_bits(const float* x, const float* w, float centre, int64_t n,
                                 float most, int16_t* out) {
  const float exact = 32767.0f / most, factor = exact < FLT_MAX ? exact : FLT_MAX;
  memset(out + n, 0, 64);
  each_vector(n, [&](int64_t i, auto lanes) {
    f32x16 v = sub(load(x + i, lanes), splat(centre));
    if (w) v = mul(load(w + i, lanes), v);
    store_u16((uint16_t*)out + i, to_i32(mul(v, splat(factor))), lanes);
  });
  return (double)most / 32767.0;
}

// The largest magnitude of w, or of w (x - centre).
inline float most_of(const float* w, const float* x, float centre, int64_t n) {
  i32x16 most = splat(0);
  each_vector(n, [&](int64_t i, auto lanes) { // w is 0 behind the end
    f32x16 v = load(w + i, lanes);
    if (x) v = mul(v, sub(load(x + i, lanes), splat(centre)));
    most = max(most, and_(bits_of(v), splat(0x7fffffff)));
  });
  float each[16], found = 0;
  store(each, float_of(most));
  for (float v : each) found = v > found ? v : found;
  return found;
}

// Sixteen candidates, each number twice: for the two elements of a pair.
struct Candidates {
  u8x64 times, plus, lo, hi;

  // Rounded, and limited to 32767; times are positive.
  BITMILL_INLINE void set_times(f32x16 t) { times = rounded(t); }
  BITMILL_INLINE void set_plus(f32x16 t) { plus = rounded(t); }

 private:
  static BITMILL_INLINE u8x64 rounded(f32x16 t) {
    return twice_i16(to_i32(min(max(t, splat(-32767.0f)), splat(32767.0f))));
  }
};

// Of w x q, w q^2, w q; as these are exact, so is each in every order.
struct CandidateSums {
  double xq[16], qq[16];
};

BITMILL_INLINE void add_to(f64x8* sums, i32x16 terms) {
  sums[0] = add(sums[0], first_f64(terms)), sums[1] = add(sums[1], second_f64(terms));
}
BITMILL_INLINE void write_two(double* p, const f64x8* v) {
  write_f64(p, v[0]), write_f64(p + 8, v[1]);
}

// Codes are clamp((((x times + 2^14) >> 15) + plus) >> shift, lo, hi).
template <bool kWeighted, bool kOffset>
void integer_sums(const Fixed& g, const Candidates& c, int shift, int bits, CandidateSums* out,
                  double* out_q) {
  constexpr int64_t kBlock = 64; // pairs: 2^7 products of at most 2^23
  const u8x64 times = c.times, plus = c.plus, lo = c.lo, hi = c.hi, one = splat_u16(1);
  const f64x8 zero = splat_f64(0);
  f64x8 all_xq[2] = {zero, zero}, all_qq[2] = {zero, zero}, all_q[2] = {zero, zero};
  const auto pair = [](const int16_t* p) { return bytes_of(splat(get((const int32_t*)p))); };
  i32x16 xq, qq, q_sum;
  const auto take = [&](int64_t i, auto present) {
    const u8x64 x = pair(g.x + i);
    const u8x64 shifted = right_i16(add_sat_i16(mul_q15(x, times), plus), shift);
    const u8x64 q = present(max_i16(min_i16(shifted, hi), lo));
    xq = add_dot_i16(xq, kWeighted ? pair(g.wx + i) : x, q);
    if constexpr (kWeighted) {
      const u8x64 w = pair(g.w + i);
      qq = add_dot_i16(qq, mul_q15(w, left_i16(q, 15 - bits)), q);
      if constexpr (kOffset) q_sum = add_dot_i16(q_sum, w, q);
    } else {
      qq = add_dot_i16(qq, q, q);
      if constexpr (kOffset) q_sum = add_dot_i16(q_sum, one, q);
    }
  };
  // Behind the end all is 0; only with an offset is the code of 0 another, and only its square counts then.
  constexpr bool kMasked = kOffset && !kWeighted;
  const int64_t pairs = kMasked ? g.n / 2 : (g.n + 1) / 2;
  for (int64_t p = 0; p < pairs || p == 0; p += kBlock) {
    xq = qq = q_sum = splat(0);
    const int64_t end = least(p + kBlock, pairs);
    for (int64_t i = p; i < end; ++i) take(2 * i, [](u8x64 q) { return q; });
    if constexpr (kMasked)
      if (p + kBlock >= pairs && g.n % 2)
        take(g.n - 1, [](u8x64 q) { return and_(q, bytes_of(splat(0xffff))); });
    add_to(all_xq, xq), add_to(all_qq, qq);
    if constexpr (kOffset) add_to(all_q, q_sum);
  }
  if constexpr (kWeighted)
    for (f64x8& sums : all_qq) sums = mul(sums, splat_f64((double)(1 << bits)));
  write_two(out->xq, all_xq), write_two(out->qq, all_qq);
  if constexpr (kOffset) write_two(out_q, all_q);
}

// Bits behind the point that 16 bits have left for the largest quotient.
BITMILL_INLINE int shift_for(double quotient) {
  uint64_t bits;
  memcpy(&bits, &quotient, 8);
  const int exponent = (int)(bits >> 52) - 1022; // quotient < 2^exponent
  return exponent > 15 ? 0 : exponent < 1 ? 14 : 15 - exponent;
}
BITMILL_SELDOM int shift_for(double unit, double scale, double last, double step) {
  return shift_for(32767.0 * unit / scale * last / step);
}

// The standard deviation, or the root of the mean square, to 12 bits.
BITMILL_INLINE double deviation_of(const Fixed& g, bool about_mean) {
  constexpr int64_t kBlock = 4 << 10; // 2^7 pairs a lane, of squares of at most 2^22
  const u8x64 sixteenth = splat_u16(1 << 11), one = splat_u16(1);
  f64x8 sums[2] = {splat_f64(0), splat_f64(0)}, squares[2] = {splat_f64(0), splat_f64(0)};
  for (int64_t from = 0; from < g.n; from += kBlock) {
    i32x16 s = splat(0), ss = splat(0);
    for (int64_t i = from; i < g.n && i < from + kBlock; i += 32) {
      const u8x64 y = mul_q15(load_bytes(g.x + i), sixteenth);
      ss = add(ss, dot_i16(y, y));
      if (about_mean) s = add(s, dot_i16(y, one));
    }
    add_to(sums, s), add_to(squares, ss);
  }
  const double sum = reduce_add(add(sums[0], sums[1]));
  const double square = reduce_add(add(squares[0], squares[1]));
  const double n = (double)g.n, mean = about_mean ? sum / n : 0;
  const double variance = square / n - mean * mean;
  return sqrt(variance > 0 ? variance : 0) * (16 * g.unit);
}

struct SpanScale {
  int span;
  double scale;
};

// The greatest gain (sum of w x q)^2 / (sum of w q^2) of candidates, the first that has it, and its sums.
struct Top {
  double gain = -1, xq = 0, qq = 0;
  int at = 0;
};

// Of `count` times 16; which is the best is not to be foreseen, so nothing branches on it.
BITMILL_INLINE Top top_of(const CandidateSums* sums, int count) {
  const f64x8 zero = splat_f64(0);
  f64x8 gain[2 * kMostSpans], most = zero;
  for (int k = 0; k < 2 * count; ++k) {
    const f64x8 xq = read_f64(sums[k / 2].xq + k % 2 * 8),
                qq = read_f64(sums[k / 2].qq + k % 2 * 8);
    gain[k] = greater(qq, zero, div(mul(xq, xq), qq), zero);
    most = max(most, gain[k]);
  }
  const double best = reduce_max(most);
  uint64_t bits = 0;
  for (int k = 0; k < 2 * count; ++k)
    bits |= (uint64_t)equal_bits(gain[k], splat_f64(best)) << 8 * k;
  const int at = lowest_bit(bits);
  return {best, sums[at >> 4].xq[at & 15], sums[at >> 4].qq[at & 15], at};
}

// Tries a ladder of scales for each of at most three spans, and scales around the best: for one group, in
// steps, each of which has little to do but long to wait, so that several groups take them together.
class Search {
 public:
  void start(const Fixed& group, const Span* spans, int count, int bits, Range limits,
             bool about_mean) {
    g_ = group, count_ = count, bits_ = bits;
    for (int s = 0; s < count; ++s) spans_[s] = spans[s];
    level_ = count == 3 ? 1 : (bits <= 4) + (count == 2);
    set_ladders(limits, kLeastScales[bits] * deviation_of(g_, about_mean));
  }

  void sum_ladders() {
    for (int k = 0; k < vectors(); ++k) {
      Candidates c;
      c.set_times(load(times_ + 16 * k));
      set_spans(c, 16 * k);
      sum(c, &sums_[k]);
    }
  }
  void choose_place() { tops_[0] = top_of(sums_, vectors()); }

  void sum_around() {
    const int span = this->span();
    Candidates c;
    c.set_times(mul(splat(times_[tops_[0].at]), load(kRungs.zoom[level_][rows_[span]])));
    c.lo = splat_u16((int32_t)spans_[span].lo), c.hi = splat_u16((int32_t)spans_[span].hi);
    sum(c, sums_);
  }
  void choose() { tops_[1] = top_of(sums_, 1); }

  int span() const { return tops_[0].at >> (5 - level_); }
  // The least-squares scale for the best codes.
  double scale() const {
    const Top& best = tops_[tops_[1].gain > tops_[0].gain];
    return g_.ratio * (best.qq > 0 ? best.xq / best.qq : 0);
  }

 private:
  int each() const { return kLadder >> level_; }
  int vectors() const { return each() * count_ / 16; }

  void set_ladders(Range limits, double low) {
    double units[kMostSpans]; // in scales
    shift_ = 14;
    for (int s = 0; s < count_; ++s) {
      const double scale = kMostScale * unclipped_scale(limits, spans_[s]);
      const int row = row_for(low, scale);
      rows_[s] = row, units[s] = g_.unit / scale;
      const int shift = shift_of(scale, units[s], row);
      shift_ = shift < shift_ ? shift : shift_;
    }
    const double one = (double)(1 << (15 + shift_));
    for (int s = 0; s < count_; ++s) {
      const float lowest =
          (float)(one * units[s]); // as of the quotient of both: a power of 2 rounds nothing
      const float* rungs = kRungs.at[level_][rows_[s]];
      for (int i = 0; i < each(); i += 16) // the next span's overwrite what is behind these
        store(times_ + s * each() + i, mul(splat(lowest), load(rungs + i)));
    }
  }

  // The first row whose ratio is large enough, or the last one.
  static int row_for(double low, double scale) {
    static_assert(kStepCount == 10, "eight ratios and one");
    const f64x8 one = splat_f64(1), ratios = read_f64(kRungs.ratio);
    const f64x8 small = greater(splat_f64(scale), mul(splat_f64(low), ratios), one, splat_f64(0));
    const uint32_t last = low * kSteps[8].ratio < scale;
    return lowest_bit(~(equal_bits(small, one) | last << 8));
  }

  // Divisions take long, and only the power of 2 counts: a product tells it but where it is near one.
  int shift_of(double scale, double unit, int row) const {
    const double last = (double)kRungs.at[level_][row][each() - 1];
    const double quotient = 32767.0 * unit * kRungs.largest[level_][row];
    const int shift = shift_for(quotient * (1 - 1e-9));
    if (shift == shift_for(quotient * (1 + 1e-9))) return shift;
    return shift_for(g_.unit, scale, last, kRungs.step[level_][row]);
  }

  // The codes of 16 candidates of the ladders, which may be of one span, or eight of each of two.
  void set_spans(Candidates& c, int from) const {
    constexpr int32_t kPlaces[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const Span first = spans_[from >> (5 - level_)], last = spans_[(from + 15) >> (5 - level_)];
    const i32x16 in_first = greater(splat(8), load_i32(kPlaces));
    c.lo = twice_i16(select(in_first, splat((int32_t)first.lo), splat((int32_t)last.lo)));
    c.hi = twice_i16(select(in_first, splat((int32_t)first.hi), splat((int32_t)last.hi)));
  }

  void sum(Candidates& c, CandidateSums* sums) const {
    c.plus = splat_u16(shift_ ? 1 << (shift_ - 1) : 0);
    if (g_.w)
      integer_sums<true, false>(g_, c, shift_, bits_, sums, nullptr);
    else
      integer_sums<false, false>(g_, c, shift_, bits_, sums, nullptr);
  }

  Fixed g_;
  Span spans_[kMostSpans];
  int count_, bits_, level_, shift_, rows_[kMostSpans];
  Top tops_[2];
  CandidateSums sums_[kMostSpans];
  float times_[16 * kMostSpans];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
