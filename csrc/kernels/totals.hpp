// SPDX-License-Identifier: MIT
// What k-means asks of data before it solves: how often each pattern of 16 bits occurs, and sums over
// segments. Twins: bitmill.reference.value_counts, segment_sums.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Two tables of counts, side by side: where a value follows itself, its count is not waited for. Weights are
// added in order.
void value_counts(const uint16_t* x, const float* w, int64_t count, uint32_t* counts,
                  double* sums) {
  constexpr int64_t kPatterns = 65536;
  uint32_t* const others = counts + kPatterns;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    uint64_t four;
    memcpy(&four, x + i, sizeof four);
    ++counts[four & 0xffff];
    ++others[four >> 16 & 0xffff];
    ++counts[four >> 32 & 0xffff];
    ++others[four >> 48];
  }
  for (; i < count; ++i) ++counts[get(x + i)];
  for (i = 0; i < kPatterns; ++i) counts[i] += others[i];
  if (!w) return;
  for (i = 0; i < count; ++i) sums[get(x + i)] += (double)w[i];
}

// Element i is added to lane i mod 8, then the lanes 4+4, 2+2, 1+1.
void segment_sums(const float* x, const float* w, int64_t count, double center, Sums* out) {
  f64x8 weight = splat_f64(0), first = weight, square = weight;
  const f64x8 c = splat_f64(center);
  const auto take = [&](f64x8 values, f64x8 weights) {
    const f64x8 d = sub(values, c), wd = mul(weights, d);
    weight = add(weight, weights), first = add(first, wd), square = add(square, mul(wd, d));
  };
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) take(load_f64(x + i), w ? load_f64(w + i) : splat_f64(1));
  if (i < count) {
    float values[8] = {}, weights[8] = {};
    for (int64_t k = 0; i + k < count; ++k) values[k] = x[i + k], weights[k] = w ? w[i + k] : 1;
    take(load_f64(values), load_f64(weights));
  }
  *out = {reduce_add(weight), reduce_add(first), reduce_add(square)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
