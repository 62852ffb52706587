// SPDX-License-Identifier: MIT
// The definition of the verbs of tile.hpp.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kTileRows = 1, kTileVectors = 1;
constexpr int kFewVectors = 1;
constexpr bool kSmallProducts = false;

struct PackedFour {
  int8_t at[4];
};
using Four = PackedFour;
using Weights = u8x64;

BITMILL_INLINE PackedFour packed_four(uint32_t x) {
  PackedFour four;
  memcpy(four.at, &x, 4);
  return four;
}
BITMILL_INLINE Four splat_four(const PackedFour* p) { return *p; }
BITMILL_INLINE Weights weights_of(u8x64 w) { return w; }
BITMILL_INLINE i32x16 add_dot4(i32x16 sum, const Weights& w, Four x) {
  for (int i = 0; i < 64; ++i)
    sum.v[i / 4] = (int32_t)((uint32_t)sum.v[i / 4] + (uint32_t)(w.v[i] * x.at[i % 4]));
  return sum;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
