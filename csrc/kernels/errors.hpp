// SPDX-License-Identifier: MIT
// Error sums of one block of at most 4,096 pairs, in double, 16 lanes side by side (N9).
// Twin: bitmill.reference.error_sums.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

template <class T> void error_sums(const void* x_, const float* y, int64_t count, BlockSums* out) {
  const T* x = (const T*)x_;
  f64x16 xx = splat_f64(0), yy = xx, xy = xx, dd = xx, most = xx;
  each_vector(count, [&](int64_t i, auto lanes) {
    const f64x16 a = to_f64(load(x + i, lanes)), b = to_f64(load(y + i, lanes)), d = sub(a, b);
    xx = add_product(xx, a, a);
    yy = add_product(yy, b, b);
    xy = add_product(xy, a, b);
    dd = add(dd, mul(d, d));
    most = max(most, abs(d));
  });
  *out = {reduce_add(xx), reduce_add(yy), reduce_add(xy), reduce_add(dd), reduce_max(most)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
