// SPDX-License-Identifier: MIT
// The verbs of tile.hpp for AVX2, by products of 16 bits: vpmaddubsw, which takes bytes, saturates from
// 129 * 127 * 2 on. Bytes 0 and 2, and 1 and 3, of each lane are pairs of 16 bits, so that no byte moves.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kTileRows = 4, kTileVectors = 1; // 8 registers of sums, 4 of weights, 2 of x
constexpr int kFewVectors = 1;
constexpr bool kSmallProducts = true;

struct PackedFour {
  int16_t even[2], odd[2];
};
struct Four {
  __m256i even, odd;
};
struct Weights {
  __m256i even_a, odd_a, even_b, odd_b;
};

BITMILL_INLINE PackedFour packed_four(uint32_t x) {
  return {{(int8_t)x, (int8_t)(x >> 16)}, {(int8_t)(x >> 8), (int8_t)(x >> 24)}};
}
BITMILL_INLINE __m256i splat_pair(const int16_t* p) {
  int32_t pair;
  memcpy(&pair, p, 4);
  return _mm256_set1_epi32(pair);
}
BITMILL_INLINE Four splat_four(const PackedFour* p) {
  return {splat_pair(p->even), splat_pair(p->odd)};
}
BITMILL_INLINE Weights weights_of(u8x64 w) {
  const __m256i low = _mm256_set1_epi16(255);
  return {_mm256_and_si256(w.a, low), _mm256_srli_epi16(w.a, 8), _mm256_and_si256(w.b, low),
          _mm256_srli_epi16(w.b, 8)};
}
// In this order one register is enough for x. GCC would add the products of a lane to each other first, and run
// out of registers: 152 instead of 182 GOPS (Zen 4).
BITMILL_INLINE __m256i in_order(__m256i x) {
#if defined(__GNUC__)
  __asm__("" : "+x"(x));
#endif
  return x;
}
BITMILL_INLINE __m256i add_madd(__m256i sum, __m256i w, __m256i x) {
  return in_order(_mm256_add_epi32(sum, in_order(_mm256_madd_epi16(w, x))));
}
BITMILL_INLINE i32x16 add_dot4(i32x16 sum, const Weights& w, const Four& x) {
  const __m256i a = add_madd(sum.a, w.even_a, x.even), b = add_madd(sum.b, w.even_b, x.even);
  return {add_madd(a, w.odd_a, x.odd), add_madd(b, w.odd_b, x.odd)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
