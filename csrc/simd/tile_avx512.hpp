// SPDX-License-Identifier: MIT
// The verbs of tile.hpp for AVX-512 with VNNI, whose vpdpbusd adds four products of bytes to each lane.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kTileRows = 8, kTileVectors = 3; // 24 registers of sums, 3 of weights, 1 of x
constexpr int kFewVectors = 3;
constexpr bool kSmallProducts = false;

struct PackedFour {
  int32_t bytes;
};
using Four = i32x16;
using Weights = u8x64;

BITMILL_INLINE PackedFour packed_four(uint32_t x) { return {(int32_t)x}; }
BITMILL_INLINE Four splat_four(const PackedFour* p) { return splat(p->bytes); }
BITMILL_INLINE Weights weights_of(u8x64 w) { return w; }
BITMILL_INLINE i32x16 add_dot4(i32x16 sum, Weights w, Four x) {
  return {_mm512_dpbusd_epi32(sum.v, w.v, x.v)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
