// SPDX-License-Identifier: MIT
// Constants, casts, and the parts of a register.
#pragma once

EMULATED __m512i _mm512_setzero_si512() { return emulated::zero<__m512i>(); }
EMULATED __m512i _mm512_setzero_epi32() { return emulated::zero<__m512i>(); }
EMULATED __m512 _mm512_setzero_ps() { return emulated::zero<__m512>(); }
EMULATED __m512d _mm512_setzero_pd() { return emulated::zero<__m512d>(); }
EMULATED __m512i _mm512_undefined_epi32() { return emulated::zero<__m512i>(); }
EMULATED __m512 _mm512_undefined_ps() { return emulated::zero<__m512>(); }
EMULATED __m512d _mm512_undefined_pd() { return emulated::zero<__m512d>(); }

#define EMULATE_BOTH(V, name, T, half)                                                             \
  EMULATED V _mm512_##name(T x) { return {{half(x), half(x)}}; }
EMULATE_BOTH(__m512i, set1_epi8, char, _mm256_set1_epi8)
EMULATE_BOTH(__m512i, set1_epi16, short, _mm256_set1_epi16)
EMULATE_BOTH(__m512i, set1_epi32, int, _mm256_set1_epi32)
EMULATE_BOTH(__m512i, set1_epi64, long long, _mm256_set1_epi64x)
EMULATE_BOTH(__m512, set1_ps, float, _mm256_set1_ps)
EMULATE_BOTH(__m512d, set1_pd, double, _mm256_set1_pd)
EMULATE_BOTH(__m512i, broadcastb_epi8, __m128i, _mm256_broadcastb_epi8)
EMULATE_BOTH(__m512i, broadcastw_epi16, __m128i, _mm256_broadcastw_epi16)
EMULATE_BOTH(__m512i, broadcastd_epi32, __m128i, _mm256_broadcastd_epi32)
EMULATE_BOTH(__m512i, broadcastq_epi64, __m128i, _mm256_broadcastq_epi64)
EMULATE_BOTH(__m512, broadcastss_ps, __m128, _mm256_broadcastss_ps)
EMULATE_BOTH(__m512d, broadcastsd_pd, __m128d, _mm256_broadcastsd_pd)
EMULATE_BOTH(__m512i, broadcast_i32x4, __m128i, _mm256_broadcastsi128_si256)
EMULATE_BOTH(__m512i, broadcast_i64x2, __m128i, _mm256_broadcastsi128_si256)
EMULATE_BOTH(__m512i, broadcast_i32x8, __m256i, )
EMULATE_BOTH(__m512i, broadcast_i64x4, __m256i, )
EMULATE_BOTH(__m512, broadcast_f32x8, __m256, )
EMULATE_BOTH(__m512d, broadcast_f64x4, __m256d, )
EMULATED __m512 _mm512_broadcast_f32x4(__m128 x) {
  return {{_mm256_set_m128(x, x), _mm256_set_m128(x, x)}};
}
EMULATED __m512d _mm512_broadcast_f64x2(__m128d x) {
  return {{_mm256_set_m128d(x, x), _mm256_set_m128d(x, x)}};
}
#undef EMULATE_BOTH

#define EMULATE_SET1(p, V, T, name, A) EMULATE_MASKED1(p, V, T, name, A)
EMULATE_WIDTHS(EMULATE_SET1, int8_t, set1_epi8, char)
EMULATE_WIDTHS(EMULATE_SET1, int16_t, set1_epi16, short)
EMULATE_WIDTHS(EMULATE_SET1, int32_t, set1_epi32, int)
EMULATE_WIDTHS(EMULATE_SET1, int8_t, broadcastb_epi8, __m128i)
EMULATE_WIDTHS(EMULATE_SET1, int16_t, broadcastw_epi16, __m128i)
EMULATE_WIDTHS(EMULATE_SET1, int32_t, broadcastd_epi32, __m128i)
EMULATE_WIDTHS(EMULATE_SET1, int64_t, broadcastq_epi64, __m128i)
EMULATE_MASKED1(_mm512, __m512i, int64_t, set1_epi64, long long)
EMULATE_MASKED1(_mm512, __m512, int32_t, broadcastss_ps, __m128)
EMULATE_MASKED1(_mm512, __m512i, int32_t, broadcast_i32x4, __m128i)
EMULATE_MASKED1(_mm512, __m512i, int64_t, broadcast_i64x4, __m256i)
#undef EMULATE_SET1

EMULATED __m512i _mm512_set_epi64(long long h, long long g, long long f, long long e, long long d,
                                  long long c, long long b, long long a) {
  return {{_mm256_set_epi64x(d, c, b, a), _mm256_set_epi64x(h, g, f, e)}};
}
EMULATED __m512i _mm512_setr_epi64(long long a, long long b, long long c, long long d, long long e,
                                   long long f, long long g, long long h) {
  return _mm512_set_epi64(h, g, f, e, d, c, b, a);
}
EMULATED __m512d _mm512_setr_pd(double a, double b, double c, double d, double e, double f,
                                double g, double h) {
  return {{_mm256_setr_pd(a, b, c, d), _mm256_setr_pd(e, f, g, h)}};
}
EMULATED __m512d _mm512_set_pd(double h, double g, double f, double e, double d, double c, double b,
                               double a) {
  return _mm512_setr_pd(a, b, c, d, e, f, g, h);
}
EMULATED __m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i,
                                   int j, int k, int l, int m, int n, int o, int p) {
  return {{_mm256_setr_epi32(a, b, c, d, e, f, g, h), _mm256_setr_epi32(i, j, k, l, m, n, o, p)}};
}
EMULATED __m512i _mm512_set_epi32(int p, int o, int n, int m, int l, int k, int j, int i, int h,
                                  int g, int f, int e, int d, int c, int b, int a) {
  return _mm512_setr_epi32(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
}
EMULATED __m512 _mm512_setr_ps(float a, float b, float c, float d, float e, float f, float g,
                               float h, float i, float j, float k, float l, float m, float n,
                               float o, float p) {
  return {{_mm256_setr_ps(a, b, c, d, e, f, g, h), _mm256_setr_ps(i, j, k, l, m, n, o, p)}};
}
EMULATED __m512 _mm512_set_ps(float p, float o, float n, float m, float l, float k, float j,
                              float i, float h, float g, float f, float e, float d, float c,
                              float b, float a) {
  return _mm512_setr_ps(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
}
EMULATED __m512i _mm512_set4_epi32(int d, int c, int b, int a) {
  return _mm512_broadcast_i32x4(_mm_set_epi32(d, c, b, a));
}
EMULATED __m512i _mm512_setr4_epi32(int a, int b, int c, int d) {
  return _mm512_set4_epi32(d, c, b, a);
}

// The same bits under another type; to a wider one, the new bits (undefined by Intel) are zero.
#define EMULATE_CAST(name, From, To)                                                               \
  EMULATED To _mm512_##name(From x) {                                                              \
    To r = emulated::zero<To>();                                                                   \
    memcpy(&r, &x, sizeof x < sizeof r ? sizeof x : sizeof r);                                     \
    return r;                                                                                      \
  }
EMULATE_CAST(castps_si512, __m512, __m512i)
EMULATE_CAST(castps_pd, __m512, __m512d)
EMULATE_CAST(castpd_si512, __m512d, __m512i)
EMULATE_CAST(castpd_ps, __m512d, __m512)
EMULATE_CAST(castsi512_ps, __m512i, __m512)
EMULATE_CAST(castsi512_pd, __m512i, __m512d)
EMULATE_CAST(castsi512_si256, __m512i, __m256i)
EMULATE_CAST(castsi512_si128, __m512i, __m128i)
EMULATE_CAST(castps512_ps256, __m512, __m256)
EMULATE_CAST(castps512_ps128, __m512, __m128)
EMULATE_CAST(castpd512_pd256, __m512d, __m256d)
EMULATE_CAST(castpd512_pd128, __m512d, __m128d)
EMULATE_CAST(castsi256_si512, __m256i, __m512i)
EMULATE_CAST(castsi128_si512, __m128i, __m512i)
EMULATE_CAST(castps256_ps512, __m256, __m512)
EMULATE_CAST(castps128_ps512, __m128, __m512)
EMULATE_CAST(castpd256_pd512, __m256d, __m512d)
EMULATE_CAST(castpd128_pd512, __m128d, __m512d)
EMULATE_CAST(zextsi256_si512, __m256i, __m512i)
EMULATE_CAST(zextsi128_si512, __m128i, __m512i)
EMULATE_CAST(zextps256_ps512, __m256, __m512)
EMULATE_CAST(zextps128_ps512, __m128, __m512)
EMULATE_CAST(zextpd256_pd512, __m256d, __m512d)
EMULATE_CAST(zextpd128_pd512, __m128d, __m512d)
#undef EMULATE_CAST
EMULATED int _mm512_cvtsi512_si32(__m512i x) { return emulated::lanes<int32_t>(x).at[0]; }
EMULATED float _mm512_cvtss_f32(__m512 x) { return emulated::lanes<float>(x).at[0]; }
EMULATED double _mm512_cvtsd_f64(__m512d x) { return emulated::lanes<double>(x).at[0]; }

// Part `i` of a register, and a register with it replaced.
#define EMULATE_PARTS(p, V, part, Part, suffix)                                                    \
  EMULATED Part p##_extract##part##suffix(V v, int i) {                                            \
    Part r;                                                                                        \
    i &= (int)(sizeof(V) / sizeof r) - 1;                                                          \
    memcpy(&r, (const char*)&v + (size_t)i * sizeof r, sizeof r);                                  \
    return r;                                                                                      \
  }                                                                                                \
  EMULATED V p##_insert##part(V v, Part x, int i) {                                                \
    i &= (int)(sizeof(V) / sizeof x) - 1;                                                          \
    memcpy((char*)&v + (size_t)i * sizeof x, &x, sizeof x);                                        \
    return v;                                                                                      \
  }
EMULATE_PARTS(_mm512, __m512i, i32x4, __m128i, _epi32)
EMULATE_PARTS(_mm512, __m512i, i64x2, __m128i, _epi64)
EMULATE_PARTS(_mm512, __m512i, i32x8, __m256i, _epi32)
EMULATE_PARTS(_mm512, __m512i, i64x4, __m256i, _epi64)
EMULATE_PARTS(_mm512, __m512, f32x4, __m128, _ps)
EMULATE_PARTS(_mm512, __m512, f32x8, __m256, _ps)
EMULATE_PARTS(_mm512, __m512d, f64x2, __m128d, _pd)
EMULATE_PARTS(_mm512, __m512d, f64x4, __m256d, _pd)
EMULATE_PARTS(_mm256, __m256i, i32x4, __m128i, _epi32)
EMULATE_PARTS(_mm256, __m256i, i64x2, __m128i, _epi64)
EMULATE_PARTS(_mm256, __m256, f32x4, __m128, _ps)
EMULATE_PARTS(_mm256, __m256d, f64x2, __m128d, _pd)
#undef EMULATE_PARTS
