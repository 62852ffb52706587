// SPDX-License-Identifier: MIT
// The regression of the values of a group on their codes. Twin: Regression in bitmill/reference/mse.py.
#pragma once
#include "sums.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

class Regression {
 public:
  // For the codes of this scale and of this offset from the centre.
  Regression(const Group& g, double centre, double scale, double offset, Span span)
      : centre_(centre), scale_(scale) {
    if (g.w)
      sum<true>(g, 1 / scale, offset, span);
    else
      sum<false>(g, 1 / scale, offset, span);
    const double slope = n_ * xq_ - q_ * x_, spread = n_ * qq_ - q_ * q_;
    if (slope > 0 && spread > kLeastSpread * (n_ * qq_)) scale_ = slope / spread;
  }

  double scale() const { return scale_; }
  double offset_for(double scale) const { return (x_ - scale * q_) / n_ + centre_; }
  double scale_for(double offset) const {
    return qq_ <= 0 ? scale_ : (xq_ - (offset - centre_) * q_) / qq_;
  }

 private:
  template <bool kWeighted> void sum(const Group& g, double u, double offset, Span span) {
    const f64x8 by = splat_f64(u), m = splat_f64(offset), c = splat_f64(centre_),
                lo = splat_f64(span.lo), hi = splat_f64(span.hi);
    f64x8 n = splat_f64(0), x = n, xq = n, qq = n, q = n;
    each_eight<kWeighted>(g, [&](f64x8 value, f64x8 w, auto present) {
      const f64x8 v = present(sub(value, c));
      const f64x8 code = present(codes_of(sub(v, m), by, lo, hi)), square = mul(code, code);
      const f64x8 wv = kWeighted ? mul(w, v) : v;
      n = add(n, present(w)), x = add(x, wv);
      xq = add(xq, mul(wv, code));
      qq = add(qq, kWeighted ? mul(w, square) : square);
      q = add(q, kWeighted ? mul(w, code) : code);
    });
    n_ = reduce_add(n), x_ = reduce_add(x), xq_ = reduce_add(xq), qq_ = reduce_add(qq);
    q_ = reduce_add(q);
  }

  double centre_, scale_, n_, x_, xq_, qq_, q_;
};

} // namespace
} // namespace bitmill::BITMILL_ISA
