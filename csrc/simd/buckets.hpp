// SPDX-License-Identifier: MIT
// Codes16 of simd.hpp where one instruction looks up one of 32 lanes.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

// Codes by 32 buckets of equal width, if no two thresholds share one: then one comparison decides within
// the bucket. x * factor and the rounding of it grow with x, so thresholds of other buckets lie on the side
// where their buckets do.
constexpr float kBucket0 = 0x1.8p23f; // a float that stands for its last bits
struct Buckets {
  __m512 low, high, factor, thresholds[2];
  __m512i below[2], above[2];
};
BITMILL_INLINE __m512i bucket(const Buckets& b, __m512 x) {
  const __m512 within = _mm512_min_ps(_mm512_max_ps(x, b.low), b.high);
  return _mm512_castps_si512(_mm512_fmadd_ps(within, b.factor, _mm512_set1_ps(kBucket0)));
}
struct Codes16 {
  bool bucketed;
  Buckets buckets;
  Thresholds16 thresholds;
  __m512 order;
};
// What lies in each bucket, by the low five bits of its number.
struct BucketTables {
  alignas(64) float thresholds[32];
  alignas(64) int32_t below[32], above[32];
};
// False if a bucket holds two of the n thresholds, which lie in the buckets `places`, from -15 to 15.
inline bool fill(BucketTables& b, int n, const float* thresholds, const int32_t* places,
                 const int32_t* order) {
  int k = 0;
  for (int32_t place = -16; place <= 15; ++place) {
    const int i = place & 31;
    b.thresholds[i] = 0, b.below[i] = b.above[i] = order[k];
    if (k == n || places[k] != place) continue;
    b.thresholds[i] = thresholds[k];
    while (k < n && thresholds[k] == b.thresholds[i]) ++k;
    if (k < n && places[k] == place) return false;
    b.above[i] = order[k];
  }
  return true;
}
inline bool prepare(Buckets& b, const float* thresholds, const int32_t* order) {
  int n = 0;
  while (n < 15 && thresholds[n] <= FLT_MAX) ++n;
  if (n == 0) return false;
  const float most = -thresholds[0] > thresholds[n - 1] ? -thresholds[0] : thresholds[n - 1];
  if (!(most > 0x1p-100f && most < 0x1p100f)) return false;
  // Beyond the last threshold, but in its bucket.
  b.low = _mm512_set1_ps(-1.02f * most), b.high = _mm512_set1_ps(1.02f * most);
  b.factor = _mm512_set1_ps(15 / most);
  alignas(64) int32_t places[16];
  const __m512i numbers = bucket(b, _mm512_maskz_loadu_ps(0x7fff, thresholds));
  _mm512_store_si512(places,
                     _mm512_sub_epi32(numbers, _mm512_castps_si512(_mm512_set1_ps(kBucket0))));
  BucketTables tables;
  if (!fill(tables, n, thresholds, places, order)) return false;
  for (int i = 0; i < 2; ++i) {
    b.thresholds[i] = _mm512_load_ps(tables.thresholds + 16 * i);
    b.below[i] = _mm512_load_si512(tables.below + 16 * i);
    b.above[i] = _mm512_load_si512(tables.above + 16 * i);
  }
  return true;
}
BITMILL_INLINE Codes16 codes16(const float* thresholds, const int32_t* order) {
  Codes16 c;
  c.bucketed = prepare(c.buckets, thresholds, order);
  c.thresholds = thresholds16(thresholds);
  c.order = _mm512_loadu_ps(order);
  return c;
}
BITMILL_INLINE i32x16 code16(const Codes16& c, f32x16 x) {
  if (!c.bucketed) return bits_of(lookup16(c.order, rank16(c.thresholds, x)));
  const Buckets& b = c.buckets;
  const __m512i at = bucket(b, x);
  const __m512 threshold = _mm512_permutex2var_ps(b.thresholds[0], at, b.thresholds[1]);
  const __mmask16 above = _mm512_cmp_ps_mask(x, threshold, _CMP_GT_OQ);
  const __m512i code = _mm512_permutex2var_epi32(b.below[0], at, b.below[1]);
  return {
      _mm512_mask_blend_epi32(above, code, _mm512_permutex2var_epi32(b.above[0], at, b.above[1]))};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
