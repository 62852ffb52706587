// SPDX-License-Identifier: MIT
// What k-means asks of data before it solves: how often each pattern of 16 bits occurs, and sums over
// values of 32 bits that begin alike. Twins: bitmill.reference.value_counts, bucket_sums.
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
  if (!w) return;
  for (i = 0; i < count; ++i) sums[get(x + i)] += (double)w[i];
}

// A float's bits; the two zeros are one value.
BITMILL_INLINE uint32_t bits_without_negative_zero(float x) {
  const uint32_t bits = bits_of(x);
  return bits << 1 ? bits : 0;
}

template <class Add>
BITMILL_INLINE void each_bucket(const float* x, int64_t count, const int32_t* slots, int shift,
                                Bucket* out, Add add) {
  const uint32_t rest = (1u << shift) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_without_negative_zero(x[i]);
    const int32_t slot = slots[bits >> 16];
    if (slot >= 0) add(out[slot + ((bits & 0xffff) >> shift)], bits & rest, i);
  }
}

// Weights are added in order.
void bucket_sums(const float* x, const float* w, int64_t count, const int32_t* slots, int shift,
                 Bucket* out) {
  if (!w)
    return each_bucket(x, count, slots, shift, out, [](Bucket& b, uint64_t rest, int64_t) {
      ++b.count;
      b.plain[0] += rest, b.plain[1] += rest * rest;
    });
  each_bucket(x, count, slots, shift, out, [w](Bucket& b, uint32_t rest, int64_t i) {
    const double weight = w[i], r = rest, first = weight * r;
    ++b.count;
    b.w += weight, b.weighted[0] += first, b.weighted[1] += first * r;
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
