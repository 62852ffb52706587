// SPDX-License-Identifier: MIT
// Codes16 of simd.hpp by way of ranks.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

struct Codes16 {
  Thresholds16 thresholds;
  f32x16 order;
};
BITMILL_INLINE Codes16 codes16(const float* thresholds, const int32_t* order) {
  return {thresholds16(thresholds), load((const float*)order)};
}
BITMILL_INLINE i32x16 code16(const Codes16& c, f32x16 x) {
  return bits_of(lookup16(c.order, rank16(c.thresholds, x)));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
