// SPDX-License-Identifier: MIT
// The verbs of simd.hpp for AVX2 with F16C, BMI, LZCNT and MOVBE (x86-64-v3): two registers each.
#pragma once
#include <immintrin.h>

namespace bitmill::BITMILL_ISA {
namespace {

struct f32x16 {
  __m256 a, b;
};
struct i32x16 {
  __m256i a, b;
};
struct f64x8 {
  __m256d a, b;
};
struct u8x64 {
  __m256i a, b;
};

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// AVX2 has no masks for 8- and 16-bit elements: partial vectors go through 16 elements of stack.
template <class T> struct Padded {
  T at[16];
  BITMILL_INLINE Padded(const T* p, int64_t n) {
    memset(at, 0, sizeof at);
    memcpy(at, p, (size_t)n * sizeof(T));
  }
};

BITMILL_INLINE f32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
BITMILL_INLINE f32x16 load(const f16* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
BITMILL_INLINE __m256 from_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
BITMILL_INLINE f32x16 load(const bf16* p) {
  return {from_bf16(_mm_loadu_si128((const __m128i*)p)),
          from_bf16(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
BITMILL_INLINE __m256 from_f64(const double* p) {
  return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)),
                         _mm256_cvtpd_ps(_mm256_loadu_pd(p)));
}
BITMILL_INLINE f32x16 load(const double* p) { return {from_f64(p), from_f64(p + 8)}; }
template <class T> BITMILL_INLINE f32x16 load(const T* p, int64_t n) {
  return load(Padded<T>(p, n).at);
}

BITMILL_INLINE f64x8 to_f64(__m256 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
BITMILL_INLINE f64x8 load_f64(const float* p) {
  return {_mm256_cvtps_pd(_mm_loadu_ps(p)), _mm256_cvtps_pd(_mm_loadu_ps(p + 4))};
}
BITMILL_INLINE f64x8 load_f64(const f16* p) {
  return to_f64(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)));
}
BITMILL_INLINE f64x8 load_f64(const bf16* p) {
  return to_f64(from_bf16(_mm_loadu_si128((const __m128i*)p)));
}
BITMILL_INLINE f64x8 load_f64(const double* p) { return to_f64(from_f64(p)); }
// The low halves of 16 lanes, in order.
BITMILL_INLINE __m256i low_halves(__m256i a, __m256i b) {
  const __m256i low = _mm256_set1_epi32(0xffff);
  const __m256i mixed = _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
  return _mm256_permute4x64_epi64(mixed, 0xd8);
}
BITMILL_INLINE __m256i to_bf16_lanes(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, nan);
}
BITMILL_INLINE void store(float* p, f32x16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
template <class T> __m256i rounded(f32x16 x);
template <> BITMILL_INLINE __m256i rounded<f16>(f32x16 x) {
  return _mm256_set_m128i(_mm256_cvtps_ph(x.b, kNearest), _mm256_cvtps_ph(x.a, kNearest));
}
template <> BITMILL_INLINE __m256i rounded<bf16>(f32x16 x) {
  return low_halves(to_bf16_lanes(x.a), to_bf16_lanes(x.b));
}
BITMILL_INLINE void store(f16* p, f32x16 x) { _mm256_storeu_si256((__m256i*)p, rounded<f16>(x)); }
BITMILL_INLINE void store(bf16* p, f32x16 x) { _mm256_storeu_si256((__m256i*)p, rounded<bf16>(x)); }
template <class T> BITMILL_INLINE u8x64 rounded(f32x16 x, f32x16 y) {
  return {rounded<T>(x), rounded<T>(y)};
}
BITMILL_INLINE void store(double* p, f32x16 x) {
  const f64x8 low = to_f64(x.a), high = to_f64(x.b);
  _mm256_storeu_pd(p, low.a);
  _mm256_storeu_pd(p + 4, low.b);
  _mm256_storeu_pd(p + 8, high.a);
  _mm256_storeu_pd(p + 12, high.b);
}
template <class T> BITMILL_INLINE void store(T* p, f32x16 x, int64_t n) {
  T all[16];
  store(all, x);
  memcpy(p, all, (size_t)n * sizeof(T));
}

BITMILL_INLINE i32x16 load_u8(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)),
          _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
BITMILL_INLINE i32x16 load_u8(const uint8_t* p, int64_t n) {
  return load_u8(Padded<uint8_t>(p, n).at);
}
BITMILL_INLINE i32x16 load_u16(const uint16_t* p) {
  return {_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
BITMILL_INLINE i32x16 load_u16(const uint16_t* p, int64_t n) {
  return load_u16(Padded<uint16_t>(p, n).at);
}
BITMILL_INLINE i32x16 load_i8(const int8_t* p) {
  return {_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)),
          _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)))};
}
BITMILL_INLINE i32x16 load_i8(const int8_t* p, int64_t n) {
  return load_i8(Padded<int8_t>(p, n).at);
}
BITMILL_INLINE i32x16 load_i16(const int16_t* p) {
  return {_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
BITMILL_INLINE i32x16 load_i16(const int16_t* p, int64_t n) {
  return load_i16(Padded<int16_t>(p, n).at);
}
BITMILL_INLINE i32x16 load_i32(const int32_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 8))};
}
BITMILL_INLINE i32x16 load_i32(const int32_t* p, int64_t n) {
  return load_i32(Padded<int32_t>(p, n).at);
}
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 x) {
  const __m256i low = _mm256_set1_epi32(0xff);
  const __m256i halves = low_halves(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));
  _mm_storeu_si128((__m128i*)p, _mm_packus_epi16(_mm256_castsi256_si128(halves),
                                                 _mm256_extracti128_si256(halves, 1)));
}
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 x, int64_t n) {
  uint8_t all[16];
  store_u8(all, x);
  memcpy(p, all, (size_t)n);
}
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 x) {
  _mm256_storeu_si256((__m256i*)p, low_halves(x.a, x.b));
}
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 x, int64_t n) {
  uint16_t all[16];
  store_u16(all, x);
  memcpy(p, all, (size_t)n * 2);
}

BITMILL_INLINE f32x16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
BITMILL_INLINE i32x16 splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
BITMILL_INLINE i32x16 bits_of(f32x16 x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
BITMILL_INLINE f32x16 float_of(i32x16 x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}

// One verb on both halves.
#define BITMILL_BOTH(type, verb, instruction)                                                      \
  BITMILL_INLINE type verb(type x, type y) {                                                       \
    return {instruction(x.a, y.a), instruction(x.b, y.b)};                                         \
  }
BITMILL_BOTH(f32x16, add, _mm256_add_ps)
BITMILL_BOTH(f32x16, sub, _mm256_sub_ps)
BITMILL_BOTH(f32x16, mul, _mm256_mul_ps)
BITMILL_BOTH(f32x16, div, _mm256_div_ps)
BITMILL_BOTH(f32x16, min, _mm256_min_ps)
BITMILL_BOTH(f32x16, max, _mm256_max_ps)
BITMILL_BOTH(f64x8, add, _mm256_add_pd)
BITMILL_BOTH(f64x8, sub, _mm256_sub_pd)
BITMILL_BOTH(f64x8, mul, _mm256_mul_pd)
BITMILL_BOTH(f64x8, div, _mm256_div_pd)
BITMILL_BOTH(f64x8, min, _mm256_min_pd)
BITMILL_BOTH(f64x8, max, _mm256_max_pd)
BITMILL_BOTH(i32x16, add, _mm256_add_epi32)
BITMILL_BOTH(i32x16, sub, _mm256_sub_epi32)
BITMILL_BOTH(i32x16, mul, _mm256_mullo_epi32)
BITMILL_BOTH(i32x16, min, _mm256_min_epi32)
BITMILL_BOTH(i32x16, max, _mm256_max_epi32)
BITMILL_BOTH(i32x16, and_, _mm256_and_si256)
BITMILL_BOTH(i32x16, xor_, _mm256_xor_si256)
BITMILL_BOTH(i32x16, max_u32, _mm256_max_epu32)
BITMILL_BOTH(i32x16, greater, _mm256_cmpgt_epi32)
BITMILL_BOTH(i32x16, equal, _mm256_cmpeq_epi32)
BITMILL_BOTH(u8x64, or_, _mm256_or_si256)
BITMILL_BOTH(u8x64, and_, _mm256_and_si256)
BITMILL_BOTH(u8x64, add_u8, _mm256_add_epi8)
BITMILL_BOTH(u8x64, lookup16, _mm256_shuffle_epi8)
BITMILL_BOTH(u8x64, min_u8, _mm256_min_epu8)
BITMILL_BOTH(u8x64, max_u16, _mm256_max_epu16)
BITMILL_BOTH(u8x64, max_i16, _mm256_max_epi16)
BITMILL_BOTH(u8x64, min_i16, _mm256_min_epi16)
BITMILL_BOTH(u8x64, add_sat_i16, _mm256_adds_epi16)
BITMILL_BOTH(u8x64, mul_q15, _mm256_mulhrs_epi16)
#undef BITMILL_BOTH
BITMILL_INLINE i32x16 left_each(i32x16 x, i32x16 n) {
  return {_mm256_sllv_epi32(x.a, n.a), _mm256_sllv_epi32(x.b, n.b)};
}
BITMILL_INLINE i32x16 right_each(i32x16 x, i32x16 n) {
  return {_mm256_srav_epi32(x.a, n.a), _mm256_srav_epi32(x.b, n.b)};
}
// Products of even lanes, and of odd ones, in 64 bits; the high halves of these are wanted. Copying lanes takes half as long as shifting them.
BITMILL_INLINE __m256i odd_lanes(__m256i x) {
  return _mm256_castps_si256(_mm256_movehdup_ps(_mm256_castsi256_ps(x)));
}
BITMILL_INLINE __m256i high_halves(__m256i even, __m256i odd) {
  return _mm256_blend_epi32(odd_lanes(even), odd, 0xaa);
}
struct i64x16 { // even lanes, odd lanes, of either half
  __m256i even_a, odd_a, even_b, odd_b;
};
BITMILL_INLINE i64x16 times_2_31(i32x16 x) {
  const auto even = [](__m256i v) { return _mm256_srli_epi64(_mm256_slli_epi64(v, 32), 1); };
  const auto odd = [](__m256i v) { return _mm256_slli_epi64(_mm256_srli_epi64(v, 32), 31); };
  return {even(x.a), odd(x.a), even(x.b), odd(x.b)};
}
BITMILL_INLINE __m256i mul_high(__m256i x, __m256i y, __m256i even, __m256i odd) {
  return high_halves(_mm256_add_epi64(_mm256_mul_epi32(x, y), even),
                     _mm256_add_epi64(_mm256_mul_epi32(odd_lanes(x), odd_lanes(y)), odd));
}
BITMILL_INLINE i32x16 mul_high(i32x16 x, i32x16 y, i64x16 z) {
  return {mul_high(x.a, y.a, z.even_a, z.odd_a), mul_high(x.b, y.b, z.even_b, z.odd_b)};
}
BITMILL_INLINE __m256i mul_high(__m256i x, __m256i y) {
  return high_halves(_mm256_mul_epi32(x, y), _mm256_mul_epi32(odd_lanes(x), odd_lanes(y)));
}
BITMILL_INLINE i32x16 mul_high(i32x16 x, i32x16 y) {
  return {mul_high(x.a, y.a), mul_high(x.b, y.b)};
}
BITMILL_INLINE __m256i mul_q31(__m256i x, __m256i y) {
  const auto twice = [](__m256i v) {
    return _mm256_add_epi64(_mm256_add_epi64(v, v), _mm256_set1_epi64x(int64_t(1) << 31));
  };
  return high_halves(twice(_mm256_mul_epi32(x, y)),
                     twice(_mm256_mul_epi32(odd_lanes(x), odd_lanes(y))));
}
BITMILL_INLINE i32x16 mul_q31(i32x16 x, i32x16 y) { return {mul_q31(x.a, y.a), mul_q31(x.b, y.b)}; }
BITMILL_INLINE u8x64 left_i16(u8x64 x, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm256_sll_epi16(x.a, count), _mm256_sll_epi16(x.b, count)};
}
BITMILL_INLINE u8x64 right_i16(u8x64 x, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm256_sra_epi16(x.a, count), _mm256_sra_epi16(x.b, count)};
}
BITMILL_INLINE i32x16 dot_i16(u8x64 x, u8x64 y) {
  return {_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)};
}
BITMILL_INLINE i32x16 add_dot_i16(i32x16 sum, u8x64 x, u8x64 y) { return add(sum, dot_i16(x, y)); }
BITMILL_INLINE uint32_t equal_bits(f64x8 x, f64x8 y) {
  return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(x.a, y.a, _CMP_EQ_OQ)) |
         (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd(x.b, y.b, _CMP_EQ_OQ)) << 4;
}
BITMILL_INLINE f64x8 greater(f64x8 a, f64x8 b, f64x8 x, f64x8 y) {
  return {_mm256_blendv_pd(y.a, x.a, _mm256_cmp_pd(a.a, b.a, _CMP_GT_OQ)),
          _mm256_blendv_pd(y.b, x.b, _mm256_cmp_pd(a.b, b.b, _CMP_GT_OQ))};
}
BITMILL_INLINE f64x8 first_f64(i32x16 x) {
  return {_mm256_cvtepi32_pd(_mm256_castsi256_si128(x.a)),
          _mm256_cvtepi32_pd(_mm256_extracti128_si256(x.a, 1))};
}
BITMILL_INLINE f64x8 second_f64(i32x16 x) { return first_f64({x.b, x.b}); }
BITMILL_INLINE f64x8 first_f64(f32x16 x) { return to_f64(x.a); }
BITMILL_INLINE f64x8 second_f64(f32x16 x) { return to_f64(x.b); }
BITMILL_INLINE f64x8 read_f64(const double* p) {
  return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}
BITMILL_INLINE void write_f64(double* p, f64x8 x) {
  _mm256_storeu_pd(p, x.a);
  _mm256_storeu_pd(p + 4, x.b);
}
BITMILL_INLINE f64x8 round(f64x8 x) {
  return {_mm256_round_pd(x.a, kNearest), _mm256_round_pd(x.b, kNearest)};
}

BITMILL_INLINE f32x16 add_product(f32x16 sum, f32x16 x, f32x16 y) {
  return {_mm256_fmadd_ps(x.a, y.a, sum.a), _mm256_fmadd_ps(x.b, y.b, sum.b)};
}
BITMILL_INLINE f64x8 add_product(f64x8 sum, f64x8 x, f64x8 y) {
  return {_mm256_fmadd_pd(x.a, y.a, sum.a), _mm256_fmadd_pd(x.b, y.b, sum.b)};
}
BITMILL_INLINE f64x8 splat_f64(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }

BITMILL_INLINE i32x16 greater(f32x16 x, f32x16 y) {
  return {_mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
          _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ))};
}
BITMILL_INLINE i32x16 select(i32x16 mask, i32x16 x, i32x16 y) {
  return {_mm256_blendv_epi8(y.a, x.a, mask.a), _mm256_blendv_epi8(y.b, x.b, mask.b)};
}
BITMILL_INLINE uint32_t sign_bits(i32x16 x) {
  return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(x.a)) |
         (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(x.b)) << 8;
}
// Row m: the numbers of the bits that m does not have, in order.
struct LaneOrders {
  uint8_t at[256][8];
};
BITMILL_INLINE int64_t store_unless(int32_t* p, __m256i x, __m256i mask) {
  static constexpr LaneOrders orders = [] {
    LaneOrders o{};
    for (int m = 0; m < 256; ++m)
      for (int lane = 0, n = 0; lane < 8; ++lane)
        if (!(m >> lane & 1)) o.at[m][n++] = (uint8_t)lane;
    return o;
  }();
  const int m = _mm256_movemask_ps(_mm256_castsi256_ps(mask));
  const __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)orders.at[m]));
  _mm256_storeu_si256((__m256i*)p, _mm256_permutevar8x32_epi32(x, order));
  return 8 - _mm_popcnt_u32((unsigned)m);
}
BITMILL_INLINE int64_t store_unless(int32_t* p, i32x16 x, i32x16 mask) {
  const int64_t n = store_unless(p, x.a, mask.a);
  return n + store_unless(p + n, x.b, mask.b);
}
// The remainder x - q * s corrects a first quotient q by less than an ulp; with the correctly rounded
// reciprocal that makes it the IEEE quotient: tests/long/prove_quotients.sh tries every pair of
// fractions whose quotient is near enough to half-way for this to be in doubt.
BITMILL_INLINE __m256 quotient(__m256 x, __m256 s, __m256 r) {
  const __m256 q = _mm256_mul_ps(x, r);
  return _mm256_fmadd_ps(_mm256_fnmadd_ps(q, s, x), r, q);
}
BITMILL_INLINE f32x16 quotient(f32x16 x, f32x16 s, f32x16 r) {
  return {quotient(x.a, s.a, r.a), quotient(x.b, s.b, r.b)};
}

BITMILL_INLINE f32x16 gather(const float* p, i32x16 i) {
  return {_mm256_i32gather_ps(p, i.a, 4), _mm256_i32gather_ps(p, i.b, 4)};
}
BITMILL_INLINE __m256 lookup16(f32x16 table, __m256i i) {
  const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)); // bit 3 as the sign
  return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.a, i),
                          _mm256_permutevar8x32_ps(table.b, i), high);
}
BITMILL_INLINE f32x16 lookup16(f32x16 table, i32x16 i) {
  return {lookup16(table, i.a), lookup16(table, i.b)};
}
// A binary search whose steps read registers: 1, 2, 4 and 8 thresholds. A comparison gives -1, so what is
// known of the rank is counted down, and the tables lie in that order.
struct Thresholds16 {
  __m256 step8, step4, step2, step1;
};
BITMILL_INLINE Thresholds16 thresholds16(const float* p) {
  return {_mm256_set1_ps(p[7]), _mm256_setr_ps(p[3], p[3], p[3], p[11], p[3], p[3], p[3], p[11]),
          _mm256_setr_ps(p[1], p[13], p[9], p[5], p[1], p[13], p[9], p[5]),
          _mm256_setr_ps(p[0], p[14], p[12], p[10], p[8], p[6], p[4], p[2])};
}
BITMILL_INLINE __m256i rank16(const Thresholds16& t, __m256 x) {
  const auto above = [&](__m256 probe) {
    return _mm256_castps_si256(_mm256_cmp_ps(x, probe, _CMP_GT_OQ));
  };
  const auto twice_and = [](__m256i r, __m256i bit) {
    return _mm256_add_epi32(_mm256_add_epi32(r, r), bit);
  };
  __m256i r = above(t.step8);
  r = twice_and(r, above(_mm256_permutevar_ps(t.step4, r)));
  r = twice_and(r, above(_mm256_permutevar_ps(t.step2, r)));
  r = twice_and(r, above(_mm256_permutevar8x32_ps(t.step1, r)));
  return _mm256_sub_epi32(_mm256_setzero_si256(), r);
}
BITMILL_INLINE i32x16 rank16(const Thresholds16& t, f32x16 x) {
  return {rank16(t, x.a), rank16(t, x.b)};
}
BITMILL_INLINE i32x16 sign_mask(i32x16 x) {
  return {_mm256_srai_epi32(x.a, 31), _mm256_srai_epi32(x.b, 31)};
}
BITMILL_INLINE i32x16 left_i32(i32x16 x, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm256_sll_epi32(x.a, count), _mm256_sll_epi32(x.b, count)};
}
BITMILL_INLINE i32x16 right_i32(i32x16 x, int n) {
  const __m128i count = _mm_cvtsi32_si128(n);
  return {_mm256_sra_epi32(x.a, count), _mm256_sra_epi32(x.b, count)};
}
// Rounds as MXCSR says, like all arithmetic here: parallel.cpp sets it to nearest even.
BITMILL_INLINE i32x16 to_i32(f32x16 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
BITMILL_INLINE f32x16 to_f32(i32x16 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}

BITMILL_INLINE double reduce_max(f64x8 x) {
  const __m256d four = _mm256_max_pd(x.a, x.b);
  const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}
BITMILL_INLINE double reduce_add(f64x8 x) {
  const __m256d four = _mm256_add_pd(x.a, x.b);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// Four sums: the pairs of 0 and 2, 1 and 3 in turn, so that they come out in order.
BITMILL_INLINE __m256d reduce4(const f64x8* v) {
  __m256d x[4];
  for (int i = 0; i < 4; ++i) x[i] = _mm256_add_pd(v[i].a, v[i].b);
  for (int i = 0; i < 2; ++i)
    x[i] = _mm256_add_pd(_mm256_permute2f128_pd(x[i], x[i + 2], 0x20),
                         _mm256_permute2f128_pd(x[i], x[i + 2], 0x31));
  return _mm256_add_pd(_mm256_unpacklo_pd(x[0], x[1]), _mm256_unpackhi_pd(x[0], x[1]));
}
BITMILL_INLINE f64x8 reduce_add_each(const f64x8* v) { return {reduce4(v), reduce4(v + 4)}; }

// For measuring alone: as many multiply-accumulates at a time as registers hold. Without VNNI, the
// widening form of the dot product, which saturates.
constexpr int kAccumulators = 6;
BITMILL_INLINE __m256i add_dot_u8i8(__m256i sum, __m256i x, __m256i y) {
  const __m256i pairs = _mm256_maddubs_epi16(x, y);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
BITMILL_INLINE i32x16 add_dot_u8i8(i32x16 sum, i32x16 x, i32x16 y) {
  return {add_dot_u8i8(sum.a, x.a, y.a), add_dot_u8i8(sum.b, x.b, y.b)};
}

BITMILL_INLINE u8x64 load_bytes(const void* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
}
BITMILL_INLINE void store_bytes(void* p, u8x64 x) {
  _mm256_storeu_si256((__m256i*)p, x.a);
  _mm256_storeu_si256((__m256i*)p + 1, x.b);
}
BITMILL_INLINE void store_quarters(uint8_t* p, uint8_t* q, uint8_t* r, uint8_t* s, u8x64 x) {
  _mm_storeu_si128((__m128i*)p, _mm256_castsi256_si128(x.a));
  _mm_storeu_si128((__m128i*)q, _mm256_extracti128_si256(x.a, 1));
  _mm_storeu_si128((__m128i*)r, _mm256_castsi256_si128(x.b));
  _mm_storeu_si128((__m128i*)s, _mm256_extracti128_si256(x.b, 1));
}
BITMILL_INLINE void stream_bytes(void* p, u8x64 x) {
  _mm256_stream_si256((__m256i*)p, x.a);
  _mm256_stream_si256((__m256i*)p + 1, x.b);
}
BITMILL_INLINE u8x64 bytes_of(f32x16 x) {
  return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)};
}
BITMILL_INLINE u8x64 bytes_of(i32x16 x) { return {x.a, x.b}; }
BITMILL_INLINE u8x64 twice_i16(i32x16 x) {
  const auto both = [](__m256i v) { return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xaa); };
  return {both(x.a), both(x.b)};
}
BITMILL_INLINE void end_stream() { _mm_sfence(); }
BITMILL_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
BITMILL_INLINE void prefetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

BITMILL_INLINE u8x64 splat_u8(int32_t x) {
  return {_mm256_set1_epi8((char)x), _mm256_set1_epi8((char)x)};
}
BITMILL_INLINE u8x64 splat_u16(int32_t x) {
  return {_mm256_set1_epi16((short)x), _mm256_set1_epi16((short)x)};
}

template <class T> f32x16 first_of(u8x64 x);
template <class T> f32x16 second_of(u8x64 x);
template <> BITMILL_INLINE f32x16 first_of<f16>(u8x64 x) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(x.a)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(x.a, 1))};
}
template <> BITMILL_INLINE f32x16 second_of<f16>(u8x64 x) { return first_of<f16>({x.b, x.b}); }
// Even elements, then odd ones: a shift and a mask instead of two widenings.
template <> BITMILL_INLINE f32x16 first_of<bf16>(u8x64 x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(x.a, 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(x.b, 16))};
}
template <> BITMILL_INLINE f32x16 second_of<bf16>(u8x64 x) {
  const __m256i high = _mm256_set1_epi32(-0x10000);
  return {_mm256_castsi256_ps(_mm256_and_si256(x.a, high)),
          _mm256_castsi256_ps(_mm256_and_si256(x.b, high))};
}

// 32 codes of four registers; packing works on halves of registers, which the permutation undoes.
BITMILL_INLINE __m256i narrow32(__m256i a, __m256i b, __m256i c, __m256i d, __m256i shift) {
  const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), shift);
  const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), shift);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
template <class T>
BITMILL_INLINE u8x64 narrow(i32x16 a, i32x16 b, u8x64 s, i32x16 c, i32x16 d, u8x64 t) {
  return {narrow32(a.a, a.b, b.a, b.b, s.a), narrow32(c.a, c.b, d.a, d.b, t.a)};
}
// 32 codes whose even and odd ones come apart.
BITMILL_INLINE __m256i join32(i32x16 even, i32x16 odd, __m256i shift) {
  const __m256i low = _mm256_blend_epi16(even.a, _mm256_slli_epi32(odd.a, 16), 0xaa);
  const __m256i high = _mm256_blend_epi16(even.b, _mm256_slli_epi32(odd.b, 16), 0xaa);
  return _mm256_permute4x64_epi64(
      _mm256_packus_epi16(_mm256_adds_epi16(low, shift), _mm256_adds_epi16(high, shift)), 0xd8);
}
template <>
BITMILL_INLINE u8x64 narrow<bf16>(i32x16 a, i32x16 b, u8x64 s, i32x16 c, i32x16 d, u8x64 t) {
  return {join32(a, b, s.a), join32(c, d, t.a)};
}

// Lane i of the result: op over the lanes of v[i].
template <class Op> BITMILL_INLINE __m256i reduce8(const i32x16* v, Op op) {
  __m256i x[8];
  for (int i = 0; i < 8; ++i) x[i] = op(v[i].a, v[i].b);
  for (int i = 0; i < 4; ++i)
    x[i] = op(_mm256_unpacklo_epi32(x[2 * i], x[2 * i + 1]),
              _mm256_unpackhi_epi32(x[2 * i], x[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    x[i] = op(_mm256_unpacklo_epi64(x[2 * i], x[2 * i + 1]),
              _mm256_unpackhi_epi64(x[2 * i], x[2 * i + 1]));
  return op(_mm256_permute2x128_si256(x[0], x[1], 0x20),
            _mm256_permute2x128_si256(x[0], x[1], 0x31));
}
BITMILL_INLINE i32x16 reduce_max_each(const i32x16* v) {
  const auto op = [](__m256i x, __m256i y) { return _mm256_max_epi32(x, y); };
  return {reduce8(v, op), reduce8(v + 8, op)};
}
BITMILL_INLINE i32x16 reduce_min_each(const i32x16* v) {
  const auto op = [](__m256i x, __m256i y) { return _mm256_min_epi32(x, y); };
  return {reduce8(v, op), reduce8(v + 8, op)};
}

// Where mask has a bit, that of a, else that of b.
BITMILL_INLINE __m256i select(__m256i mask, __m256i a, __m256i b) {
  return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
}
template <int B, int LANE> BITMILL_INLINE __m256i field_mask() {
  return _mm256_set1_epi64x((int64_t)low_bits(B * LANE / 16, LANE));
}

// Byte indices of a shuffle within each half of a register; 0x80 gives zero.
struct ByteOrder {
  alignas(32) uint8_t at[32];
};
BITMILL_INLINE __m256i shuffle(__m256i x, const ByteOrder& order) {
  return _mm256_shuffle_epi8(x, _mm256_load_si256((const __m256i*)order.at));
}

// join8 of bits.hpp in four 64-bit lanes, then the B bytes of two neighbours side by side.
template <int B> BITMILL_INLINE __m256i pack32(__m256i x) {
  static constexpr ByteOrder order = [] {
    ByteOrder o{};
    for (int i = 0; i < 32; ++i)
      o.at[i] = (uint8_t)(i % 16 < 2 * B ? i % 16 / B * 8 + i % 16 % B : 0x80);
    return o;
  }();
  x = select(field_mask<B, 16>(), x, _mm256_srli_epi64(x, 8 - B));
  x = select(field_mask<B, 32>(), x, _mm256_srli_epi64(x, 16 - 2 * B));
  x = select(field_mask<B, 64>(), x, _mm256_srli_epi64(x, 32 - 4 * B));
  return shuffle(x, order);
}
// Stores of 16 bytes overlap, so they go to a buffer first.
template <int B> BITMILL_INLINE void pack64(uint8_t* p, u8x64 codes) {
  const __m256i low = pack32<B>(codes.a), high = pack32<B>(codes.b);
  uint8_t buffer[6 * B + 16];
  _mm_storeu_si128((__m128i*)buffer, _mm256_castsi256_si128(low));
  _mm_storeu_si128((__m128i*)(buffer + 2 * B), _mm256_extracti128_si256(low, 1));
  _mm_storeu_si128((__m128i*)(buffer + 4 * B), _mm256_castsi256_si128(high));
  _mm_storeu_si128((__m128i*)(buffer + 6 * B), _mm256_extracti128_si256(high, 1));
  memcpy(p, buffer, 8 * B);
}

// Pairs of bytes as a + 16 * b, by one multiplication, then the low bytes of those.
BITMILL_INLINE __m256i nibbles(u8x64 x) {
  const __m256i weights = _mm256_set1_epi16(0x1001);
  const __m256i a = _mm256_maddubs_epi16(x.a, weights), b = _mm256_maddubs_epi16(x.b, weights);
  return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
}
BITMILL_INLINE u8x64 nibbles(u8x64 a, u8x64 b) { return {nibbles(a), nibbles(b)}; }
template <> BITMILL_INLINE void pack64<4>(uint8_t* p, u8x64 codes) {
  _mm256_storeu_si256((__m256i*)p, nibbles(codes));
}

// The B bytes of four groups of eight fields into 64-bit lanes, then split8 of bits.hpp.
template <int B> BITMILL_INLINE __m256i unpack32(const uint8_t* p) {
  static constexpr ByteOrder order = [] {
    ByteOrder o{};
    for (int i = 0; i < 32; ++i) o.at[i] = (uint8_t)(i % 8 < B ? i % 16 / 8 * B + i % 8 : 0x80);
    return o;
  }();
  __m256i x = _mm256_set_m128i(_mm_loadu_si128((const __m128i*)(p + 2 * B)),
                               _mm_loadu_si128((const __m128i*)p));
  x = shuffle(x, order);
  const __m256i m4 = field_mask<B, 64>(), m2 = field_mask<B, 32>(), m1 = field_mask<B, 16>();
  x = _mm256_or_si256(_mm256_and_si256(m4, x),
                      _mm256_slli_epi64(_mm256_andnot_si256(m4, x), 32 - 4 * B));
  x = _mm256_or_si256(_mm256_and_si256(m2, x),
                      _mm256_slli_epi64(_mm256_andnot_si256(m2, x), 16 - 2 * B));
  return _mm256_or_si256(_mm256_and_si256(m1, x),
                         _mm256_slli_epi64(_mm256_andnot_si256(m1, x), 8 - B));
}
template <int B> BITMILL_INLINE u8x64 unpack64(const uint8_t* p) {
  uint8_t buffer[6 * B + 16];
  memcpy(buffer, p, 8 * B);
  return {unpack32<B>(buffer), unpack32<B>(buffer + 4 * B)};
}

// Low and high fields of each byte side by side.
template <> BITMILL_INLINE u8x64 unpack64<4>(const uint8_t* p) {
  const __m256i x = _mm256_permute4x64_epi64(_mm256_loadu_si256((const __m256i*)p), 0xd8);
  const __m256i fields = _mm256_set1_epi8(15);
  const __m256i low = _mm256_and_si256(x, fields);
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(x, 4), fields);
  return {_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
