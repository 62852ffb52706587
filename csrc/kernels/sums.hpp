// SPDX-License-Identifier: MIT
// What the searches for scales sum over a group, in double: element i is added to lane i mod 8, then the
// lanes 4+4, 2+2, 1+1. Only products that are exact are fused into sums: codes have at most 8 bits, and values,
// weights and scales 24. Twin: bitmill/reference/sums.py.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// A group of finite values; without weights every weight is 1.
struct Group {
  const float *x, *w;
  int64_t n;
};

// Whether some w (x - centre) is not 0.
BITMILL_INLINE bool has_weight(const Group& g, float centre) {
  if (!g.w) return true;
  for (int64_t i = 0; i < g.n; ++i)
    if (g.w[i] * (g.x[i] - centre) != 0) return true;
  return false;
}

// Whether some w is not 0.
BITMILL_INLINE bool has_any_weight(const Group& g) {
  if (!g.w) return true;
  for (int64_t i = 0; i < g.n; ++i)
    if (g.w[i] != 0) return true;
  return false;
}

// Of n qq - q q, as a share of n qq: what is less comes of rounding, and all codes are one.
constexpr double kLeastSpread = 1e-12;

// Leaves weights out by which no error counts: with an offset, values of 0 may have one.
BITMILL_INLINE void drop_idle_weights(Group* g, bool offset) {
  if (!(offset ? has_any_weight(*g) : has_weight(*g, 0))) g->w = nullptr;
}

// Codes from lo <= 0 to hi >= 0.
struct Span {
  double lo, hi;
};

// The least and the greatest value of a group.
struct Range {
  double lo, hi;
};

// The scale that limits no code; where no code but 0 is of use, any scale.
BITMILL_INLINE double unclipped_scale(Range range, Span span) {
  const double up = span.hi != 0 ? range.hi / span.hi : 0;
  const double down = span.lo != 0 ? range.lo / span.lo : 0;
  const double most = up > down ? up : down;
  return most > 0 ? most : range.hi > -range.lo ? range.hi : -range.lo;
}

// body(x, w, present) for eight elements at a time; `present` is 1, or 0 in lanes behind the end, and is
// multiplied only there. Without registers all go by way of memory, in one body.
template <bool kWeighted, class Body> BITMILL_INLINE void each_eight(const Group& g, Body body) {
  const auto all = [](f64x8 v) { return v; };
  int64_t i = 0;
  if constexpr (kRegisters)
    for (; i + 8 <= g.n; i += 8)
      body(load_f64(g.x + i), kWeighted ? load_f64(g.w + i) : splat_f64(1), all);
  for (; i < g.n; i += 8) {
    float x[8] = {}, w[8] = {}, here[8] = {};
    for (int64_t k = 0; k < 8 && i + k < g.n; ++k)
      x[k] = g.x[i + k], w[k] = kWeighted ? g.w[i + k] : 1, here[k] = 1;
    const f64x8 present = load_f64(here);
    body(load_f64(x), load_f64(w), [&](f64x8 v) { return mul(v, present); });
  }
}

// The nearest codes to t u.
BITMILL_INLINE f64x8 codes_of(f64x8 t, f64x8 u, f64x8 lo, f64x8 hi) {
  return round(min(max(mul(t, u), lo), hi));
}

// Scales whose sums are made side by side: what registers hold.
#if defined(BITMILL_ISA_AVX512)
constexpr int kScales = 4;
#else
constexpr int kScales = 2;
#endif

// Sums of w x q and w q^2 for the codes of kScales values of 1 / scale.
template <bool kWeighted>
BITMILL_INLINE void code_sums(const Group& g, const double* u, Span span, f64x8* xq, f64x8* qq) {
  const f64x8 lo = splat_f64(span.lo), hi = splat_f64(span.hi);
  f64x8 by[kScales], products[kScales], squares[kScales];
  for (int k = 0; k < kScales; ++k)
    by[k] = splat_f64(u[k]), products[k] = squares[k] = splat_f64(0);
  each_eight<kWeighted>(g, [&](f64x8 x, f64x8 w, auto) { // x is 0 behind the end
    const f64x8 wx = mul(w, x);
    for (int k = 0; k < kScales; ++k) {
      const f64x8 q = codes_of(x, by[k], lo, hi);
      if constexpr (kWeighted) {
        products[k] = add(products[k], mul(wx, q));
        squares[k] = add_product(squares[k], w, mul(q, q));
      } else {
        products[k] = add_product(products[k], x, q), squares[k] = add_product(squares[k], q, q);
      }
    }
  });
  for (int k = 0; k < kScales; ++k) xq[k] = products[k], qq[k] = squares[k];
}

// The same for `count`, which are in vectors of eight, as are the sums; these are 0 behind the last kScales.
template <bool kWeighted>
void code_sums(const Group& g, const double* u, int count, Span span, double* xq, double* qq) {
  for (int i = 0; i < count; i += 8) {
    f64x8 products[8], squares[8];
    for (int k = 0; k < 8; k += kScales)
      if (i + k < count)
        code_sums<kWeighted>(g, u + i + k, span, products + k, squares + k);
      else
        for (int j = k; j < k + kScales; ++j) products[j] = squares[j] = splat_f64(0);
    write_f64(xq + i, reduce_add_each(products)), write_f64(qq + i, reduce_add_each(squares));
  }
}

// Parameters whose error is asked for.
struct Tried {
  double scale, offset;
  Span span;
};

// Sums of w (x - offset - scale q)^2 for the nearest codes, for two at once.
template <bool kWeighted> void errors_of(const Group& g, const Tried t[2], double out[2]) {
  f64x8 u[2], s[2], m[2], lo[2], hi[2], sum[2];
  for (int k = 0; k < 2; ++k) {
    u[k] = splat_f64(1 / t[k].scale), s[k] = splat_f64(-t[k].scale), m[k] = splat_f64(t[k].offset);
    lo[k] = splat_f64(t[k].span.lo), hi[k] = splat_f64(t[k].span.hi), sum[k] = splat_f64(0);
  }
  each_eight<kWeighted>(g, [&](f64x8 x, f64x8 w, auto present) {
    for (int k = 0; k < 2; ++k) {
      const f64x8 v = sub(x, m[k]), q = codes_of(v, u[k], lo[k], hi[k]);
      const f64x8 d = present(add_product(v, s[k], q)), dd = mul(d, d);
      sum[k] = add(sum[k], kWeighted ? mul(w, dd) : dd);
    }
  });
  for (int k = 0; k < 2; ++k) out[k] = reduce_add(sum[k]);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
