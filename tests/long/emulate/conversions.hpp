// SPDX-License-Identifier: MIT
// Between widths and types.
#pragma once

// Widening: AVX2's instruction for 128 and 256 bits, a loop for 512.
namespace {
namespace emulated {
template <class To, class From, class R, class V> EMULATED R converted(V v) {
  const auto x = lanes<From>(v);
  Lanes<To, (int)(sizeof(R) / sizeof(To))> r;
  constexpr int kFrom = (int)(sizeof(V) / sizeof(From)), kTo = (int)(sizeof(R) / sizeof(To));
  for (int i = 0; i < kTo; ++i) r.at[i] = i < kFrom ? (To)x.at[i < kFrom ? i : 0] : (To)0;
  return vector<R>(r);
}
// To the nearest value of To.
template <class To, class From> EMULATED To saturated(From x) {
  constexpr bool kSigned = (To)-1 < (To)0;
  constexpr To kMax = kSigned ? (To)(((uint64_t)1 << (8 * sizeof(To) - 1)) - 1) : (To)-1;
  constexpr To kMin = kSigned ? (To)(-kMax - 1) : (To)0;
  return x > (From)kMax ? kMax : (From)-1 < (From)0 && x < (From)kMin ? kMin : (To)x;
}
} // namespace emulated
} // namespace
#define EMULATE_WIDEN(From, from, To, to, Half)                                                    \
  EMULATED __m512i _mm512_cvt##from##_##to(Half v) {                                               \
    return emulated::converted<To, From, __m512i>(v);                                              \
  }                                                                                                \
  EMULATE_MASKED1(_mm512, __m512i, To, cvt##from##_##to, Half)                                     \
  EMULATE_MASKED1(_mm256, __m256i, To, cvt##from##_##to, __m128i)                                  \
  EMULATE_MASKED1(_mm, __m128i, To, cvt##from##_##to, __m128i)
EMULATE_WIDEN(int8_t, epi8, int16_t, epi16, __m256i)
EMULATE_WIDEN(int8_t, epi8, int32_t, epi32, __m128i)
EMULATE_WIDEN(int8_t, epi8, int64_t, epi64, __m128i)
EMULATE_WIDEN(uint8_t, epu8, int16_t, epi16, __m256i)
EMULATE_WIDEN(uint8_t, epu8, int32_t, epi32, __m128i)
EMULATE_WIDEN(uint8_t, epu8, int64_t, epi64, __m128i)
EMULATE_WIDEN(int16_t, epi16, int32_t, epi32, __m256i)
EMULATE_WIDEN(int16_t, epi16, int64_t, epi64, __m128i)
EMULATE_WIDEN(uint16_t, epu16, int32_t, epi32, __m256i)
EMULATE_WIDEN(uint16_t, epu16, int64_t, epi64, __m128i)
EMULATE_WIDEN(int32_t, epi32, int64_t, epi64, __m256i)
EMULATE_WIDEN(uint32_t, epu32, int64_t, epi64, __m256i)
#undef EMULATE_WIDEN

// Narrowing: cut off, and saturated as signed (cvts) and unsigned (cvtus) numbers. What is left of
// a 128-bit result is zero; the masked store writes the lanes alone.
#define EMULATE_NARROW_AT(p, V, N, R, name, expression, From, To, to)                              \
  EMULATED R p##_##name(V v) {                                                                     \
    return emulated::converted<To, From, R>(                                                       \
        emulated::each<From>(v, [](From x) { return (From)(expression); }));                       \
  }                                                                                                \
  EMULATED R p##_mask_##name(R src, emulated::Mask<V, From> k, V v) {                              \
    constexpr uint64_t kAll = ~(uint64_t)0 >> (64 - sizeof(V) / sizeof(From));                     \
    return emulated::blend<To>(emulated::blend<To>(kAll, src), k, p##_##name(v));                  \
  }                                                                                                \
  EMULATED R p##_maskz_##name(emulated::Mask<V, From> k, V v) {                                    \
    return emulated::blend<To>(k, p##_##name(v));                                                  \
  }                                                                                                \
  EMULATED void p##_mask_##name##_store(void* at, emulated::Mask<V, From> k, V v) {                \
    emulated::store<To>(at, k, p##_##name(v));                                                     \
  }
#define EMULATE_NARROW_KIND(name, expression, From, To, to, R512)                                  \
  EMULATE_NARROW_AT(_mm512, __m512i, 512, R512, name, expression, From, To, to)                    \
  EMULATE_NARROW_AT(_mm256, __m256i, 256, __m128i, name, expression, From, To, to)                 \
  EMULATE_NARROW_AT(_mm, __m128i, 128, __m128i, name, expression, From, To, to)
#define EMULATE_NARROW_STORE(p, V, kind, from, to, From)                                           \
  EMULATED void p##_mask_##kind##from##_storeu_##to(void* at, emulated::Mask<V, From> k, V v) {    \
    p##_mask_##kind##from##_##to##_store(at, k, v);                                                \
  }
#define EMULATE_NARROW(Int, from, ToInt, to, R512)                                                 \
  EMULATE_NARROW_KIND(cvt##from##_##to, x, Int, ToInt, to, R512)                                   \
  EMULATE_NARROW_KIND(cvts##from##_##to, emulated::saturated<ToInt>(x), Int, ToInt, to, R512)      \
  EMULATE_NARROW_KIND(cvtus##from##_##to, emulated::saturated<u##ToInt>((u##Int)x), Int, ToInt,    \
                      to, R512)                                                                    \
  EMULATE_WIDTHS(EMULATE_NARROW_STORE, cvt, from, to, Int)                                         \
  EMULATE_WIDTHS(EMULATE_NARROW_STORE, cvts, from, to, Int)                                        \
  EMULATE_WIDTHS(EMULATE_NARROW_STORE, cvtus, from, to, Int)
EMULATE_NARROW(int16_t, epi16, int8_t, epi8, __m256i)
EMULATE_NARROW(int32_t, epi32, int8_t, epi8, __m128i)
EMULATE_NARROW(int32_t, epi32, int16_t, epi16, __m256i)
EMULATE_NARROW(int64_t, epi64, int8_t, epi8, __m128i)
EMULATE_NARROW(int64_t, epi64, int16_t, epi16, __m128i)
EMULATE_NARROW(int64_t, epi64, int32_t, epi32, __m256i)
#undef EMULATE_NARROW
#undef EMULATE_NARROW_STORE
#undef EMULATE_NARROW_KIND
#undef EMULATE_NARROW_AT

// Floats: the AVX2 and F16C instructions.
#define EMULATE_CONVERT(name, From, To, T)                                                         \
  EMULATED To _mm512_##name(From v) {                                                              \
    return {{_mm256_##name(v.half[0]), _mm256_##name(v.half[1])}};                                 \
  }                                                                                                \
  EMULATE_MASKED1(_mm512, To, T, name, From)
EMULATE_CONVERT(cvtps_epi32, __m512, __m512i, int32_t)
EMULATE_CONVERT(cvttps_epi32, __m512, __m512i, int32_t)
EMULATE_CONVERT(cvtepi32_ps, __m512i, __m512, int32_t)
#undef EMULATE_CONVERT
#define EMULATE_LONGER(name, From, Half, part, To)                                                 \
  EMULATED To _mm512_##name(From v) {                                                              \
    return {{_mm256_##name(part(v, 0)), _mm256_##name(part(v, 1))}};                               \
  }                                                                                                \
  EMULATE_MASKED1(_mm512, To, int64_t, name, From)
EMULATE_LONGER(cvtps_pd, __m256, __m128, _mm256_extractf128_ps, __m512d)
EMULATE_LONGER(cvtepi32_pd, __m256i, __m128i, _mm256_extracti128_si256, __m512d)
#undef EMULATE_LONGER
EMULATED __m512 _mm512_cvtph_ps(__m256i v) {
  return {{_mm256_cvtph_ps(_mm256_castsi256_si128(v)),
           _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))}};
}
EMULATE_MASKED1(_mm512, __m512, int32_t, cvtph_ps, __m256i)
EMULATED __m256i _mm512_cvtps_ph(__m512 v, const int rounding) {
  return _mm256_set_m128i(_mm256_cvtps_ph(v.half[1], rounding & 7),
                          _mm256_cvtps_ph(v.half[0], rounding & 7));
}
EMULATE_MASKED2(_mm512, __m256i, int16_t, cvtps_ph, __m512, const int)
EMULATED __m256i _mm512_cvt_roundps_ph(__m512 v, const int rounding) {
  return _mm512_cvtps_ph(v, rounding);
}
EMULATED __m256 _mm512_cvtpd_ps(__m512d v) {
  return _mm256_set_m128(_mm256_cvtpd_ps(v.half[1]), _mm256_cvtpd_ps(v.half[0]));
}
EMULATE_MASKED1(_mm512, __m256, int32_t, cvtpd_ps, __m512d)
EMULATED __m256i _mm512_cvtpd_epi32(__m512d v) {
  return _mm256_set_m128i(_mm256_cvtpd_epi32(v.half[1]), _mm256_cvtpd_epi32(v.half[0]));
}
EMULATED __m256i _mm512_cvttpd_epi32(__m512d v) {
  return _mm256_set_m128i(_mm256_cvttpd_epi32(v.half[1]), _mm256_cvttpd_epi32(v.half[0]));
}

// With embedded rounding (floats.hpp), and the ones whose rounding argument only silences
// exceptions.
#define EMULATE_ROUNDED_CONVERSION(name, H, R, instruction)                                        \
  namespace {                                                                                      \
  namespace emulated {                                                                             \
  EMULATED R name##_half(H v, int rounding) {                                                      \
    R r;                                                                                           \
    EMULATE_ROUNDED_HALF(instruction " %[v], %[r]", [r] "=&x"(r), [v] "x"(v));                     \
    return r;                                                                                      \
  }                                                                                                \
  }                                                                                                \
  }
EMULATE_ROUNDED_CONVERSION(cvt_roundps_epi32, __m256, __m256i, "vcvtps2dq")
EMULATE_ROUNDED_CONVERSION(cvt_roundepi32_ps, __m256i, __m256, "vcvtdq2ps")
EMULATE_ROUNDED_CONVERSION(cvt_roundpd_ps, __m256d, __m128, "vcvtpd2psy")
EMULATE_ROUNDED_CONVERSION(cvt_roundpd_epi32, __m256d, __m128i, "vcvtpd2dqy")
#undef EMULATE_ROUNDED_CONVERSION
EMULATED __m512i _mm512_cvt_roundps_epi32(__m512 v, int rounding) {
  return {{emulated::cvt_roundps_epi32_half(v.half[0], rounding),
           emulated::cvt_roundps_epi32_half(v.half[1], rounding)}};
}
EMULATE_MASKED2(_mm512, __m512i, int32_t, cvt_roundps_epi32, __m512, int)
EMULATED __m512 _mm512_cvt_roundepi32_ps(__m512i v, int rounding) {
  return {{emulated::cvt_roundepi32_ps_half(v.half[0], rounding),
           emulated::cvt_roundepi32_ps_half(v.half[1], rounding)}};
}
EMULATE_MASKED2(_mm512, __m512, int32_t, cvt_roundepi32_ps, __m512i, int)
EMULATED __m256 _mm512_cvt_roundpd_ps(__m512d v, int rounding) {
  return _mm256_set_m128(emulated::cvt_roundpd_ps_half(v.half[1], rounding),
                         emulated::cvt_roundpd_ps_half(v.half[0], rounding));
}
EMULATE_MASKED2(_mm512, __m256, int32_t, cvt_roundpd_ps, __m512d, int)
EMULATED __m256i _mm512_cvt_roundpd_epi32(__m512d v, int rounding) {
  return _mm256_set_m128i(emulated::cvt_roundpd_epi32_half(v.half[1], rounding),
                          emulated::cvt_roundpd_epi32_half(v.half[0], rounding));
}
EMULATED __m512d _mm512_cvt_roundps_pd(__m256 v, int) { return _mm512_cvtps_pd(v); }
EMULATED __m512 _mm512_cvt_roundph_ps(__m256i v, int) { return _mm512_cvtph_ps(v); }
EMULATED __m512i _mm512_cvtt_roundps_epi32(__m512 v, int) { return _mm512_cvttps_epi32(v); }
EMULATED __m256i _mm512_cvtt_roundpd_epi32(__m512d v, int) { return _mm512_cvttpd_epi32(v); }

// Unsigned: through a double, which holds every 32-bit integer and every float exactly.
EMULATED __m512d _mm512_cvtepu32_pd(__m256i v) {
  const __m256i flipped = _mm256_xor_si256(v, _mm256_set1_epi32(INT32_MIN));
  return _mm512_add_pd(_mm512_cvtepi32_pd(flipped), _mm512_set1_pd(0x1p31));
}
EMULATED __m512 _mm512_cvtepu32_ps(__m512i v) {
  return {{_mm512_cvtpd_ps(_mm512_cvtepu32_pd(v.half[0])),
           _mm512_cvtpd_ps(_mm512_cvtepu32_pd(v.half[1]))}};
}
