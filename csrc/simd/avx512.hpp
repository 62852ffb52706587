// SPDX-License-Identifier: MIT
// The verbs of simd.hpp for AVX-512 (F, BW, CD, DQ, VL, VNNI, VBMI: Ice Lake, Zen 4 and later).
#pragma once
#include <immintrin.h>

namespace bitmill::BITMILL_ISA {
namespace {

using f32x16 = __m512;
struct i32x16 { // its own type, so that integer and double vectors are told apart
  __m512i v;
};
using f64x8 = __m512d;
struct u8x64 {
  __m512i v;
};

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

BITMILL_INLINE __mmask16 first(int64_t n) { return (__mmask16)((1u << n) - 1); }
BITMILL_INLINE __mmask8 first_low(int64_t n) { return (__mmask8)first(n); }
BITMILL_INLINE __mmask8 first_high(int64_t n) { return (__mmask8)(first(n) >> 8); }

BITMILL_INLINE f32x16 load(const float* p) { return _mm512_loadu_ps(p); }
BITMILL_INLINE f32x16 load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
BITMILL_INLINE f32x16 load(const f16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
BITMILL_INLINE f32x16 load(const f16* p, int64_t n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p));
}
BITMILL_INLINE f32x16 from_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
BITMILL_INLINE f32x16 load(const bf16* p) {
  return from_bf16(_mm256_loadu_si256((const __m256i*)p));
}
BITMILL_INLINE f32x16 load(const bf16* p, int64_t n) {
  return from_bf16(_mm256_maskz_loadu_epi16(first(n), p));
}
BITMILL_INLINE f32x16 from_f64(__m512d low, __m512d high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvt_roundpd_ps(low, kNearest)),
                            _mm512_cvt_roundpd_ps(high, kNearest), 1);
}
BITMILL_INLINE f32x16 load(const double* p) {
  return from_f64(_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8));
}
BITMILL_INLINE f32x16 load(const double* p, int64_t n) {
  return from_f64(_mm512_maskz_loadu_pd(first_low(n), p),
                  _mm512_maskz_loadu_pd(first_high(n), p + 8));
}

BITMILL_INLINE f64x8 load_f64(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
BITMILL_INLINE f64x8 load_f64(const f16* p) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)));
}
BITMILL_INLINE f64x8 load_f64(const bf16* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
}
BITMILL_INLINE f64x8 load_f64(const double* p) {
  return _mm512_cvtps_pd(_mm512_cvt_roundpd_ps(_mm512_loadu_pd(p), kNearest));
}
template <class T> __m256i rounded(f32x16 x);
template <> BITMILL_INLINE __m256i rounded<f16>(f32x16 x) { return _mm512_cvtps_ph(x, kNearest); }
// Not vcvtneps2bf16: it flushes subnormals to zero.
template <> BITMILL_INLINE __m256i rounded<bf16>(f32x16 x) {
  const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i even = _mm512_srli_epi32(
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
  const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(even, nan, quiet));
}
template <class T> BITMILL_INLINE u8x64 rounded(f32x16 x, f32x16 y) {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(rounded<T>(x)), rounded<T>(y), 1)};
}
BITMILL_INLINE void store(float* p, f32x16 x) { _mm512_storeu_ps(p, x); }
BITMILL_INLINE void store(float* p, f32x16 x, int64_t n) { _mm512_mask_storeu_ps(p, first(n), x); }
BITMILL_INLINE void store(f16* p, f32x16 x) { _mm256_storeu_si256((__m256i*)p, rounded<f16>(x)); }
BITMILL_INLINE void store(f16* p, f32x16 x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), rounded<f16>(x));
}
BITMILL_INLINE void store(bf16* p, f32x16 x) { _mm256_storeu_si256((__m256i*)p, rounded<bf16>(x)); }
BITMILL_INLINE void store(bf16* p, f32x16 x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), rounded<bf16>(x));
}
BITMILL_INLINE __m512d low_f64(f32x16 x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
BITMILL_INLINE __m512d high_f64(f32x16 x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
BITMILL_INLINE void store(double* p, f32x16 x) {
  _mm512_storeu_pd(p, low_f64(x));
  _mm512_storeu_pd(p + 8, high_f64(x));
}
BITMILL_INLINE void store(double* p, f32x16 x, int64_t n) {
  _mm512_mask_storeu_pd(p, first_low(n), low_f64(x));
  _mm512_mask_storeu_pd(p + 8, first_high(n), high_f64(x));
}

BITMILL_INLINE i32x16 load_u8(const uint8_t* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p))};
}
BITMILL_INLINE i32x16 load_u8(const uint8_t* p, int64_t n) {
  return {_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first(n), p))};
}
BITMILL_INLINE i32x16 load_u16(const uint16_t* p) {
  return {_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p))};
}
BITMILL_INLINE i32x16 load_u16(const uint16_t* p, int64_t n) {
  return {_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p))};
}
BITMILL_INLINE i32x16 load_i8(const int8_t* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))};
}
BITMILL_INLINE i32x16 load_i8(const int8_t* p, int64_t n) {
  return {_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first(n), p))};
}
BITMILL_INLINE i32x16 load_i16(const int16_t* p) {
  return {_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i*)p))};
}
BITMILL_INLINE i32x16 load_i16(const int16_t* p, int64_t n) {
  return {_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(first(n), p))};
}
BITMILL_INLINE i32x16 load_i32(const int32_t* p) { return {_mm512_loadu_si512(p)}; }
BITMILL_INLINE i32x16 load_i32(const int32_t* p, int64_t n) {
  return {_mm512_maskz_loadu_epi32(first(n), p)};
}
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 x) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(x.v));
}
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 x, int64_t n) {
  _mm_mask_storeu_epi8(p, first(n), _mm512_cvtepi32_epi8(x.v));
}
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(x.v));
}
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 x, int64_t n) {
  _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtepi32_epi16(x.v));
}

BITMILL_INLINE f32x16 splat(float x) { return _mm512_set1_ps(x); }
BITMILL_INLINE i32x16 splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
BITMILL_INLINE i32x16 bits_of(f32x16 x) { return {_mm512_castps_si512(x)}; }
BITMILL_INLINE f32x16 float_of(i32x16 x) { return _mm512_castsi512_ps(x.v); }

BITMILL_INLINE f32x16 add(f32x16 a, f32x16 b) { return _mm512_add_ps(a, b); }
BITMILL_INLINE f32x16 sub(f32x16 a, f32x16 b) { return _mm512_sub_ps(a, b); }
BITMILL_INLINE f32x16 mul(f32x16 a, f32x16 b) { return _mm512_mul_ps(a, b); }
BITMILL_INLINE f32x16 div(f32x16 a, f32x16 b) { return _mm512_div_ps(a, b); }
BITMILL_INLINE f32x16 min(f32x16 a, f32x16 b) { return _mm512_min_ps(a, b); }
BITMILL_INLINE f32x16 max(f32x16 a, f32x16 b) { return _mm512_max_ps(a, b); }

BITMILL_INLINE i32x16 add(i32x16 a, i32x16 b) { return {_mm512_add_epi32(a.v, b.v)}; }
BITMILL_INLINE i32x16 sub(i32x16 a, i32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
BITMILL_INLINE i32x16 mul(i32x16 a, i32x16 b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
BITMILL_INLINE i32x16 min(i32x16 a, i32x16 b) { return {_mm512_min_epi32(a.v, b.v)}; }
BITMILL_INLINE i32x16 max(i32x16 a, i32x16 b) { return {_mm512_max_epi32(a.v, b.v)}; }
BITMILL_INLINE i32x16 and_(i32x16 a, i32x16 b) { return {_mm512_and_si512(a.v, b.v)}; }
BITMILL_INLINE i32x16 xor_(i32x16 a, i32x16 b) { return {_mm512_xor_si512(a.v, b.v)}; }
BITMILL_INLINE i32x16 max_u32(i32x16 a, i32x16 b) { return {_mm512_max_epu32(a.v, b.v)}; }
BITMILL_INLINE i32x16 greater(i32x16 a, i32x16 b) {
  return {_mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a.v, b.v))};
}
BITMILL_INLINE i32x16 greater(f32x16 a, f32x16 b) {
  return {_mm512_movm_epi32(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ))};
}
BITMILL_INLINE i32x16 equal(i32x16 a, i32x16 b) {
  return {_mm512_movm_epi32(_mm512_cmpeq_epi32_mask(a.v, b.v))};
}
BITMILL_INLINE uint32_t sign_bits(i32x16 x) { return _mm512_movepi32_mask(x.v); }
constexpr int kSelect = 0xca; // mask ? a : b, as a truth table
BITMILL_INLINE i32x16 select(i32x16 mask, i32x16 a, i32x16 b) {
  return {_mm512_ternarylogic_epi32(mask.v, a.v, b.v, kSelect)};
}
// Compressed in the register: straight to memory it takes many times as long on Zen 4.
BITMILL_INLINE int64_t store_unless(int32_t* p, i32x16 x, i32x16 mask) {
  const __mmask16 kept = (__mmask16)~_mm512_movepi32_mask(mask.v);
  _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(kept, x.v));
  return _mm_popcnt_u32(kept);
}
// See avx2.hpp.
BITMILL_INLINE f32x16 quotient(f32x16 x, f32x16 s, f32x16 r) {
  const f32x16 q = _mm512_mul_ps(x, r);
  return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, s, x), r, q);
}

BITMILL_INLINE f32x16 gather(const float* p, i32x16 i) { return _mm512_i32gather_ps(i.v, p, 4); }
BITMILL_INLINE f32x16 lookup16(f32x16 table, i32x16 i) { return _mm512_permutexvar_ps(i.v, table); }
// A binary search whose steps read registers: thresholds from 7, 3, 1 and 0 on, at the lanes of the
// ranks that are still possible.
struct Thresholds16 {
  __m512 step8, step4, step2, step1;
};
BITMILL_INLINE Thresholds16 thresholds16(const float* p) {
  const __m512 t = _mm512_maskz_loadu_ps(0x7fff, p);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto from = [&](int n) {
    return _mm512_permutexvar_ps(_mm512_add_epi32(lanes, _mm512_set1_epi32(n)), t);
  };
  return {_mm512_permutexvar_ps(_mm512_set1_epi32(7), t), from(3), from(1), t};
}
BITMILL_INLINE i32x16 rank16(const Thresholds16& t, f32x16 x) {
  __m512i r =
      _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(x, t.step8, _CMP_GT_OQ), _mm512_set1_epi32(8));
  const auto step = [&](__m512 thresholds, int bit) {
    const __m512 probe = _mm512_permutexvar_ps(r, thresholds);
    r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(x, probe, _CMP_GT_OQ), r,
                             _mm512_set1_epi32(bit));
  };
  step(t.step4, 4);
  step(t.step2, 2);
  step(t.step1, 1);
  return {r};
}
BITMILL_INLINE i32x16 sign_mask(i32x16 a) { return {_mm512_srai_epi32(a.v, 31)}; }
// By numbers in lanes, as left_i16.
BITMILL_INLINE i32x16 left_i32(i32x16 a, int n) {
  return {_mm512_sllv_epi32(a.v, _mm512_set1_epi32(n))};
}
BITMILL_INLINE i32x16 right_i32(i32x16 a, int n) {
  return {_mm512_srav_epi32(a.v, _mm512_set1_epi32(n))};
}
BITMILL_INLINE i32x16 left_each(i32x16 a, i32x16 n) { return {_mm512_sllv_epi32(a.v, n.v)}; }
BITMILL_INLINE i32x16 right_each(i32x16 a, i32x16 n) { return {_mm512_srav_epi32(a.v, n.v)}; }
// See avx2.hpp.
BITMILL_INLINE __m512i odd_lanes(__m512i x) {
  return _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(x)));
}
BITMILL_INLINE __m512i high_halves(__m512i even, __m512i odd) {
  return _mm512_castps_si512(
      _mm512_mask_movehdup_ps(_mm512_castsi512_ps(odd), 0x5555, _mm512_castsi512_ps(even)));
}
struct i64x16 { // even lanes, odd lanes
  __m512i even, odd;
};
BITMILL_INLINE i64x16 times_2_31(i32x16 a) {
  return {_mm512_srli_epi64(_mm512_slli_epi64(a.v, 32), 1),
          _mm512_slli_epi64(_mm512_srli_epi64(a.v, 32), 31)};
}
BITMILL_INLINE i32x16 mul_high(i32x16 a, i32x16 b, i64x16 c) {
  return {high_halves(_mm512_add_epi64(_mm512_mul_epi32(a.v, b.v), c.even),
                      _mm512_add_epi64(_mm512_mul_epi32(odd_lanes(a.v), odd_lanes(b.v)), c.odd))};
}
BITMILL_INLINE i32x16 mul_high(i32x16 a, i32x16 b) {
  return {
      high_halves(_mm512_mul_epi32(a.v, b.v), _mm512_mul_epi32(odd_lanes(a.v), odd_lanes(b.v)))};
}
BITMILL_INLINE i32x16 mul_q31(i32x16 a, i32x16 b) {
  const auto twice = [](__m512i v) {
    return _mm512_add_epi64(_mm512_add_epi64(v, v), _mm512_set1_epi64(int64_t(1) << 31));
  };
  return {high_halves(twice(_mm512_mul_epi32(a.v, b.v)),
                      twice(_mm512_mul_epi32(odd_lanes(a.v), odd_lanes(b.v))))};
}

BITMILL_INLINE i32x16 to_i32(f32x16 x) { return {_mm512_cvt_roundps_epi32(x, kNearest)}; }
BITMILL_INLINE f32x16 to_f32(i32x16 x) { return _mm512_cvt_roundepi32_ps(x.v, kNearest); }

BITMILL_INLINE f32x16 add_product(f32x16 sum, f32x16 x, f32x16 y) {
  return _mm512_fmadd_ps(x, y, sum);
}
BITMILL_INLINE f64x8 add_product(f64x8 sum, f64x8 x, f64x8 y) { return _mm512_fmadd_pd(x, y, sum); }
BITMILL_INLINE f64x8 splat_f64(double x) { return _mm512_set1_pd(x); }
BITMILL_INLINE f64x8 add(f64x8 x, f64x8 y) { return _mm512_add_pd(x, y); }
BITMILL_INLINE f64x8 sub(f64x8 x, f64x8 y) { return _mm512_sub_pd(x, y); }
BITMILL_INLINE f64x8 mul(f64x8 x, f64x8 y) { return _mm512_mul_pd(x, y); }
BITMILL_INLINE f64x8 min(f64x8 x, f64x8 y) { return _mm512_min_pd(x, y); }
BITMILL_INLINE f64x8 max(f64x8 x, f64x8 y) { return _mm512_max_pd(x, y); }

BITMILL_INLINE double reduce_max(f64x8 x) { return _mm512_reduce_max_pd(x); }
BITMILL_INLINE double reduce_add(f64x8 eight) {
  const __m256d four =
      _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// The halves of 0 and 2, 4 and 6, then the quarters of these four, so that the sums come out in order.
BITMILL_INLINE f64x8 reduce_add_each(const f64x8* v) {
  const auto halves = [](f64x8 x, f64x8 y) {
    return _mm512_add_pd(_mm512_shuffle_f64x2(x, y, 0x44), _mm512_shuffle_f64x2(x, y, 0xee));
  };
  const auto quarters = [](f64x8 x, f64x8 y) {
    return _mm512_add_pd(_mm512_shuffle_f64x2(x, y, 0x88), _mm512_shuffle_f64x2(x, y, 0xdd));
  };
  const f64x8 even = quarters(halves(v[0], v[2]), halves(v[4], v[6]));
  const f64x8 odd = quarters(halves(v[1], v[3]), halves(v[5], v[7]));
  return _mm512_add_pd(_mm512_unpacklo_pd(even, odd), _mm512_unpackhi_pd(even, odd));
}

// For measuring alone: as many multiply-accumulates at a time as hide their latency.
constexpr int kAccumulators = 12;
BITMILL_INLINE i32x16 add_dot_u8i8(i32x16 sum, i32x16 a, i32x16 b) {
  return {_mm512_dpbusd_epi32(sum.v, a.v, b.v)};
}

BITMILL_INLINE u8x64 load_bytes(const void* p) { return {_mm512_loadu_si512(p)}; }
BITMILL_INLINE void store_bytes(void* p, u8x64 x) { _mm512_storeu_si512(p, x.v); }
BITMILL_INLINE void store_quarters(uint8_t* p, uint8_t* q, uint8_t* r, uint8_t* s, u8x64 x) {
  _mm_storeu_si128((__m128i*)p, _mm512_castsi512_si128(x.v));
  _mm_storeu_si128((__m128i*)q, _mm512_extracti32x4_epi32(x.v, 1));
  _mm_storeu_si128((__m128i*)r, _mm512_extracti32x4_epi32(x.v, 2));
  _mm_storeu_si128((__m128i*)s, _mm512_extracti32x4_epi32(x.v, 3));
}
BITMILL_INLINE void stream_bytes(void* p, u8x64 x) { _mm512_stream_si512((__m512i*)p, x.v); }
BITMILL_INLINE u8x64 bytes_of(f32x16 x) { return {_mm512_castps_si512(x)}; }
BITMILL_INLINE u8x64 bytes_of(i32x16 x) { return {x.v}; }
BITMILL_INLINE u8x64 twice_i16(i32x16 x) {
  return {_mm512_mask_blend_epi16(0xaaaaaaaa, x.v, _mm512_slli_epi32(x.v, 16))};
}
BITMILL_INLINE void end_stream() { _mm_sfence(); }
BITMILL_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }
BITMILL_INLINE void prefetch_far(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }
BITMILL_INLINE u8x64 or_(u8x64 x, u8x64 y) { return {_mm512_or_si512(x.v, y.v)}; }
BITMILL_INLINE u8x64 and_(u8x64 x, u8x64 y) { return {_mm512_and_si512(x.v, y.v)}; }
BITMILL_INLINE u8x64 add_u8(u8x64 x, u8x64 y) { return {_mm512_add_epi8(x.v, y.v)}; }
BITMILL_INLINE u8x64 lookup16(u8x64 table, u8x64 i) { return {_mm512_shuffle_epi8(table.v, i.v)}; }
BITMILL_INLINE u8x64 min_u8(u8x64 x, u8x64 y) { return {_mm512_min_epu8(x.v, y.v)}; }
BITMILL_INLINE u8x64 max_u16(u8x64 x, u8x64 y) { return {_mm512_max_epu16(x.v, y.v)}; }
BITMILL_INLINE u8x64 max_i16(u8x64 x, u8x64 y) { return {_mm512_max_epi16(x.v, y.v)}; }
BITMILL_INLINE u8x64 min_i16(u8x64 x, u8x64 y) { return {_mm512_min_epi16(x.v, y.v)}; }
BITMILL_INLINE u8x64 add_sat_i16(u8x64 x, u8x64 y) { return {_mm512_adds_epi16(x.v, y.v)}; }
BITMILL_INLINE u8x64 mul_q15(u8x64 x, u8x64 y) { return {_mm512_mulhrs_epi16(x.v, y.v)}; }
// By numbers in lanes: by one in a register of its own takes twice as long.
BITMILL_INLINE u8x64 left_i16(u8x64 x, int n) {
  return {_mm512_sllv_epi16(x.v, _mm512_set1_epi16((short)n))};
}
BITMILL_INLINE u8x64 right_i16(u8x64 x, int n) {
  return {_mm512_srav_epi16(x.v, _mm512_set1_epi16((short)n))};
}
BITMILL_INLINE i32x16 dot_i16(u8x64 x, u8x64 y) { return {_mm512_madd_epi16(x.v, y.v)}; }
BITMILL_INLINE i32x16 add_dot_i16(i32x16 sum, u8x64 x, u8x64 y) {
  return {_mm512_dpwssd_epi32(sum.v, x.v, y.v)};
}
BITMILL_INLINE uint32_t equal_bits(f64x8 x, f64x8 y) {
  return _mm512_cmp_pd_mask(x, y, _CMP_EQ_OQ);
}
BITMILL_INLINE f64x8 div(f64x8 x, f64x8 y) { return _mm512_div_pd(x, y); }
BITMILL_INLINE f64x8 greater(f64x8 a, f64x8 b, f64x8 x, f64x8 y) {
  return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_GT_OQ), y, x);
}
BITMILL_INLINE f64x8 first_f64(i32x16 x) { return _mm512_cvtepi32_pd(_mm512_castsi512_si256(x.v)); }
BITMILL_INLINE f64x8 second_f64(i32x16 x) {
  return _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(x.v, 1));
}
BITMILL_INLINE f64x8 first_f64(f32x16 x) { return low_f64(x); }
BITMILL_INLINE f64x8 second_f64(f32x16 x) { return high_f64(x); }
BITMILL_INLINE f64x8 read_f64(const double* p) { return _mm512_loadu_pd(p); }
BITMILL_INLINE void write_f64(double* p, f64x8 x) { _mm512_storeu_pd(p, x); }
BITMILL_INLINE f64x8 round(f64x8 x) {
  return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
BITMILL_INLINE u8x64 splat_u8(int32_t x) { return {_mm512_set1_epi8((char)x)}; }
BITMILL_INLINE u8x64 splat_u16(int32_t x) { return {_mm512_set1_epi16((short)x)}; }

template <class T> f32x16 first_of(u8x64 x);
template <class T> f32x16 second_of(u8x64 x);
template <> BITMILL_INLINE f32x16 first_of<f16>(u8x64 x) {
  return _mm512_cvtph_ps(_mm512_castsi512_si256(x.v));
}
template <> BITMILL_INLINE f32x16 second_of<f16>(u8x64 x) {
  return _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x.v, 1));
}
// Even elements, then odd ones: a shift and a mask instead of two widenings.
template <> BITMILL_INLINE f32x16 first_of<bf16>(u8x64 x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(x.v, 16));
}
template <> BITMILL_INLINE f32x16 second_of<bf16>(u8x64 x) {
  return _mm512_castsi512_ps(_mm512_and_si512(x.v, _mm512_set1_epi32(-0x10000)));
}

// Packing works on quarters of registers, which the permutation undoes.
template <class T>
BITMILL_INLINE u8x64 narrow(i32x16 a, i32x16 b, u8x64 s, i32x16 c, i32x16 d, u8x64 t) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(a.v, b.v), s.v);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(c.v, d.v), t.v);
  return {_mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high))};
}
// 32 codes whose even and odd ones come apart.
BITMILL_INLINE __m512i join32(i32x16 even, i32x16 odd, u8x64 shift) {
  return _mm512_adds_epi16(
      _mm512_mask_blend_epi16(0xaaaaaaaa, even.v, _mm512_slli_epi32(odd.v, 16)), shift.v);
}
template <>
BITMILL_INLINE u8x64 narrow<bf16>(i32x16 a, i32x16 b, u8x64 s, i32x16 c, i32x16 d, u8x64 t) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  const __m512i packed = _mm512_packus_epi16(join32(a, b, s), join32(c, d, t));
  return {_mm512_permutexvar_epi64(order, packed)};
}

// Lane i of the result: op over the lanes of v[i].
template <class Op> BITMILL_INLINE i32x16 reduce16(const i32x16* v, Op op) {
  __m512i x[8];
  for (int i = 0; i < 8; ++i)
    x[i] = op(_mm512_unpacklo_epi32(v[2 * i].v, v[2 * i + 1].v),
              _mm512_unpackhi_epi32(v[2 * i].v, v[2 * i + 1].v));
  for (int i = 0; i < 4; ++i)
    x[i] = op(_mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]),
              _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]));
  for (int i = 0; i < 2; ++i)
    x[i] = op(_mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0x88),
              _mm512_shuffle_i32x4(x[2 * i], x[2 * i + 1], 0xdd));
  return {op(_mm512_shuffle_i32x4(x[0], x[1], 0x88), _mm512_shuffle_i32x4(x[0], x[1], 0xdd))};
}
BITMILL_INLINE i32x16 reduce_max_each(const i32x16* v) {
  return reduce16(v, [](__m512i x, __m512i y) { return _mm512_max_epi32(x, y); });
}
BITMILL_INLINE i32x16 reduce_min_each(const i32x16* v) {
  return reduce16(v, [](__m512i x, __m512i y) { return _mm512_min_epi32(x, y); });
}

// Byte indices of a permutation of 64 bytes.
struct ByteOrder {
  alignas(64) uint8_t at[64];
};

// join8 of bits.hpp in eight 64-bit lanes, then the B bytes of each lane side by side.
template <int B> BITMILL_INLINE void pack64(uint8_t* p, u8x64 codes) {
  static constexpr ByteOrder order = [] {
    ByteOrder o{};
    for (int i = 0; i < 8 * B; ++i) o.at[i] = (uint8_t)(i / B * 8 + i % B);
    return o;
  }();
  const __m512i m1 = _mm512_set1_epi64((int64_t)low_bits(B, 16));
  const __m512i m2 = _mm512_set1_epi64((int64_t)low_bits(2 * B, 32));
  const __m512i m4 = _mm512_set1_epi64((int64_t)low_bits(4 * B, 64));
  __m512i x = codes.v;
  x = _mm512_ternarylogic_epi64(m1, x, _mm512_srli_epi64(x, 8 - B), kSelect);
  x = _mm512_ternarylogic_epi64(m2, x, _mm512_srli_epi64(x, 16 - 2 * B), kSelect);
  x = _mm512_ternarylogic_epi64(m4, x, _mm512_srli_epi64(x, 32 - 4 * B), kSelect);
  x = _mm512_permutexvar_epi8(_mm512_load_si512(order.at), x);
  _mm512_mask_storeu_epi8(p, ~(uint64_t)0 >> (64 - 8 * B), x);
}

// Pairs of bytes as a + 16 * b, by one multiplication, then the low bytes of those.
BITMILL_INLINE u8x64 nibbles(u8x64 a, u8x64 b) {
  const __m512i weights = _mm512_set1_epi16(0x1001),
                order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  const __m512i low = _mm512_maddubs_epi16(a.v, weights), high = _mm512_maddubs_epi16(b.v, weights);
  return {_mm512_permutexvar_epi64(order, _mm512_packus_epi16(low, high))};
}

// The B bytes of each group of eight fields into a 64-bit lane, then the eight fields by one shift.
template <int B> BITMILL_INLINE u8x64 unpack64(const uint8_t* p) {
  static constexpr ByteOrder order = [] {
    ByteOrder o{};
    for (int i = 0; i < 64; ++i) o.at[i] = (uint8_t)((i / 8 * B + i % 8) & 63);
    return o;
  }();
  static constexpr ByteOrder shifts = [] {
    ByteOrder o{};
    for (int i = 0; i < 64; ++i) o.at[i] = (uint8_t)(i % 8 * B);
    return o;
  }();
  __m512i x = _mm512_maskz_loadu_epi8(~(uint64_t)0 >> (64 - 8 * B), p);
  x = _mm512_permutexvar_epi8(_mm512_load_si512(order.at), x);
  x = _mm512_multishift_epi64_epi8(_mm512_load_si512(shifts.at), x);
  return {_mm512_and_si512(x, _mm512_set1_epi8((char)((1 << B) - 1)))};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
