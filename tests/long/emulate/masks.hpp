// SPDX-License-Identifier: MIT
// Mask registers, comparisons that give masks, and choices by mask.
#pragma once

#define EMULATE_MASK(n)                                                                            \
  EMULATED __mmask##n _kand_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)(a & b); }    \
  EMULATED __mmask##n _kor_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)(a | b); }     \
  EMULATED __mmask##n _kxor_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)(a ^ b); }    \
  EMULATED __mmask##n _kandn_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)(~a & b); }  \
  EMULATED __mmask##n _kxnor_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)~(a ^ b); }  \
  EMULATED __mmask##n _knot_mask##n(__mmask##n a) { return (__mmask##n)~a; }                       \
  EMULATED __mmask##n _kadd_mask##n(__mmask##n a, __mmask##n b) { return (__mmask##n)(a + b); }    \
  EMULATED __mmask##n _kshiftli_mask##n(__mmask##n a, unsigned i) {                                \
    return (__mmask##n)(i < n ? (uint64_t)a << i : 0);                                             \
  }                                                                                                \
  EMULATED __mmask##n _kshiftri_mask##n(__mmask##n a, unsigned i) {                                \
    return (__mmask##n)(i < n ? a >> i : 0);                                                       \
  }                                                                                                \
  EMULATED unsigned char _kortestz_mask##n##_u8(__mmask##n a, __mmask##n b) {                      \
    return (__mmask##n)(a | b) == 0;                                                               \
  }                                                                                                \
  EMULATED unsigned char _kortestc_mask##n##_u8(__mmask##n a, __mmask##n b) {                      \
    return (__mmask##n)~(a | b) == 0;                                                              \
  }                                                                                                \
  EMULATED unsigned char _ktestz_mask##n##_u8(__mmask##n a, __mmask##n b) { return (a & b) == 0; } \
  EMULATED unsigned char _ktestc_mask##n##_u8(__mmask##n a, __mmask##n b) {                        \
    return (__mmask##n)(~a & b) == 0;                                                              \
  }                                                                                                \
  EMULATED __mmask##n _load_mask##n(const __mmask##n* p) { return *p; }                            \
  EMULATED void _store_mask##n(__mmask##n* p, __mmask##n a) { *p = a; }
EMULATE_MASK(8)
EMULATE_MASK(16)
EMULATE_MASK(32)
EMULATE_MASK(64)
#undef EMULATE_MASK
EMULATED unsigned int _cvtmask8_u32(__mmask8 a) { return a; }
EMULATED unsigned int _cvtmask16_u32(__mmask16 a) { return a; }
EMULATED unsigned int _cvtmask32_u32(__mmask32 a) { return a; }
EMULATED unsigned long long _cvtmask64_u64(__mmask64 a) { return a; }
EMULATED __mmask8 _cvtu32_mask8(unsigned int a) { return (__mmask8)a; }
EMULATED __mmask16 _cvtu32_mask16(unsigned int a) { return (__mmask16)a; }
EMULATED __mmask32 _cvtu32_mask32(unsigned int a) { return a; }
EMULATED __mmask64 _cvtu64_mask64(unsigned long long a) { return a; }
EMULATED __mmask16 _mm512_kand(__mmask16 a, __mmask16 b) { return (__mmask16)(a & b); }
EMULATED __mmask16 _mm512_kor(__mmask16 a, __mmask16 b) { return (__mmask16)(a | b); }
EMULATED __mmask16 _mm512_kxor(__mmask16 a, __mmask16 b) { return (__mmask16)(a ^ b); }
EMULATED __mmask16 _mm512_kandn(__mmask16 a, __mmask16 b) { return (__mmask16)(~a & b); }
EMULATED __mmask16 _mm512_kxnor(__mmask16 a, __mmask16 b) { return (__mmask16)~(a ^ b); }
EMULATED __mmask16 _mm512_knot(__mmask16 a) { return (__mmask16)~a; }
EMULATED int _mm512_kortestz(__mmask16 a, __mmask16 b) { return (a | b) == 0; }
EMULATED int _mm512_kortestc(__mmask16 a, __mmask16 b) { return (a | b) == 0xffff; }
EMULATED int _mm512_mask2int(__mmask16 a) { return a; }
EMULATED __mmask16 _mm512_int2mask(int a) { return (__mmask16)a; }
EMULATED __mmask16 _mm512_kunpackb(__mmask16 a, __mmask16 b) {
  return (__mmask16)((a & 0xff) << 8 | (b & 0xff));
}
EMULATED __mmask32 _mm512_kunpackw(__mmask32 a, __mmask32 b) { return a << 16 | (b & 0xffff); }
EMULATED __mmask64 _mm512_kunpackd(__mmask64 a, __mmask64 b) {
  return a << 32 | (b & 0xffffffff);
}

#define EMULATE_CHOICE(p, V, T, suffix)                                                            \
  EMULATED V p##_mask_mov_##suffix(V src, emulated::Mask<V, T> k, V v) {                           \
    return emulated::blend<T>(src, k, v);                                                          \
  }                                                                                                \
  EMULATED V p##_maskz_mov_##suffix(emulated::Mask<V, T> k, V v) {                                 \
    return emulated::blend<T>(k, v);                                                               \
  }                                                                                                \
  EMULATED V p##_mask_blend_##suffix(emulated::Mask<V, T> k, V a, V b) {                           \
    return emulated::blend<T>(a, k, b);                                                            \
  }
EMULATE_WIDTHS(EMULATE_CHOICE, uint8_t, epi8)
EMULATE_WIDTHS(EMULATE_CHOICE, uint16_t, epi16)
EMULATE_WIDTHS(EMULATE_CHOICE, uint32_t, epi32)
EMULATE_WIDTHS(EMULATE_CHOICE, uint64_t, epi64)
EMULATE_CHOICE(_mm512, __m512, uint32_t, ps)
EMULATE_CHOICE(_mm256, __m256, uint32_t, ps)
EMULATE_CHOICE(_mm, __m128, uint32_t, ps)
EMULATE_CHOICE(_mm512, __m512d, uint64_t, pd)
EMULATE_CHOICE(_mm256, __m256d, uint64_t, pd)
EMULATE_CHOICE(_mm, __m128d, uint64_t, pd)
#undef EMULATE_CHOICE

// Lanes of ones for the bits of a mask, and the mask of the sign bits.
#define EMULATE_MOVM(p, V, T, size)                                                                \
  EMULATED V p##_movm_epi##size(emulated::Mask<V, T> k) {                                          \
    V ones;                                                                                        \
    memset(&ones, 0xff, sizeof ones);                                                              \
    return emulated::blend<T>(k, ones);                                                            \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_movepi##size##_mask(V v) {                                     \
    return emulated::which<T>(v, v, [](T x, T) { return x < 0; });                                 \
  }
EMULATE_WIDTHS(EMULATE_MOVM, int8_t, 8)
EMULATE_WIDTHS(EMULATE_MOVM, int16_t, 16)
EMULATE_WIDTHS(EMULATE_MOVM, int32_t, 32)
EMULATE_WIDTHS(EMULATE_MOVM, int64_t, 64)
#undef EMULATE_MOVM

namespace {
namespace emulated {

template <class T> EMULATED bool holds(T a, T b, int predicate) {
  switch (predicate & 7) {
  case 0: return a == b;
  case 1: return a < b;
  case 2: return a <= b;
  case 3: return false;
  case 4: return a != b;
  case 5: return a >= b;
  case 6: return a > b;
  default: return true;
  }
}

} // namespace emulated
} // namespace
typedef int _MM_CMPINT_ENUM;
enum {
  _MM_CMPINT_EQ,
  _MM_CMPINT_LT,
  _MM_CMPINT_LE,
  _MM_CMPINT_FALSE,
  _MM_CMPINT_NE,
  _MM_CMPINT_NLT,
  _MM_CMPINT_GE = _MM_CMPINT_NLT,
  _MM_CMPINT_NLE,
  _MM_CMPINT_GT = _MM_CMPINT_NLE,
  _MM_CMPINT_TRUE
};

#define EMULATE_COMPARISON(p, V, T, suffix, verb, predicate)                                       \
  EMULATED emulated::Mask<V, T> p##_##verb##_##suffix##_mask(V a, V b) {                           \
    return p##_cmp_##suffix##_mask(a, b, predicate);                                               \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_mask_##verb##_##suffix##_mask(emulated::Mask<V, T> k, V a,     \
                                                                  V b) {                           \
    return p##_mask_cmp_##suffix##_mask(k, a, b, predicate);                                       \
  }
#define EMULATE_COMPARE(p, V, T, suffix)                                                           \
  EMULATED emulated::Mask<V, T> p##_cmp_##suffix##_mask(V a, V b, int predicate) {                 \
    return emulated::which<T>(a, b,                                                                \
                              [=](T x, T y) { return emulated::holds(x, y, predicate); });         \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_mask_cmp_##suffix##_mask(emulated::Mask<V, T> k, V a, V b,     \
                                                             int predicate) {                      \
    return (emulated::Mask<V, T>)(k & p##_cmp_##suffix##_mask(a, b, predicate));                   \
  }                                                                                                \
  EMULATE_COMPARISON(p, V, T, suffix, cmpeq, 0)                                                    \
  EMULATE_COMPARISON(p, V, T, suffix, cmplt, 1)                                                    \
  EMULATE_COMPARISON(p, V, T, suffix, cmple, 2)                                                    \
  EMULATE_COMPARISON(p, V, T, suffix, cmpneq, 4)                                                   \
  EMULATE_COMPARISON(p, V, T, suffix, cmpge, 5)                                                    \
  EMULATE_COMPARISON(p, V, T, suffix, cmpgt, 6)
EMULATE_WIDTHS(EMULATE_COMPARE, int8_t, epi8)
EMULATE_WIDTHS(EMULATE_COMPARE, int16_t, epi16)
EMULATE_WIDTHS(EMULATE_COMPARE, int32_t, epi32)
EMULATE_WIDTHS(EMULATE_COMPARE, int64_t, epi64)
EMULATE_WIDTHS(EMULATE_COMPARE, uint8_t, epu8)
EMULATE_WIDTHS(EMULATE_COMPARE, uint16_t, epu16)
EMULATE_WIDTHS(EMULATE_COMPARE, uint32_t, epu32)
EMULATE_WIDTHS(EMULATE_COMPARE, uint64_t, epu64)
#undef EMULATE_COMPARE
#undef EMULATE_COMPARISON

#define EMULATE_TEST(p, V, T, suffix)                                                              \
  EMULATED emulated::Mask<V, T> p##_test_##suffix##_mask(V a, V b) {                               \
    return emulated::which<T>(a, b, [](T x, T y) { return (x & y) != 0; });                        \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_testn_##suffix##_mask(V a, V b) {                              \
    return emulated::which<T>(a, b, [](T x, T y) { return (x & y) == 0; });                        \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_mask_test_##suffix##_mask(emulated::Mask<V, T> k, V a, V b) {  \
    return (emulated::Mask<V, T>)(k & p##_test_##suffix##_mask(a, b));                             \
  }                                                                                                \
  EMULATED emulated::Mask<V, T> p##_mask_testn_##suffix##_mask(emulated::Mask<V, T> k, V a, V b) { \
    return (emulated::Mask<V, T>)(k & p##_testn_##suffix##_mask(a, b));                            \
  }
EMULATE_WIDTHS(EMULATE_TEST, uint8_t, epi8)
EMULATE_WIDTHS(EMULATE_TEST, uint16_t, epi16)
EMULATE_WIDTHS(EMULATE_TEST, uint32_t, epi32)
EMULATE_WIDTHS(EMULATE_TEST, uint64_t, epi64)
#undef EMULATE_TEST

// AVX2 has all 32 predicates for floats; its result is lanes of ones. The macro form because the
// predicate must be a constant: compile with optimisation.
EMULATED __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, const int predicate) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(a.half[0], b.half[0], predicate));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(a.half[1], b.half[1], predicate));
  return (__mmask16)(high << 8 | low);
}
EMULATED __mmask8 _mm512_cmp_pd_mask(__m512d a, __m512d b, const int predicate) {
  const int low = _mm256_movemask_pd(_mm256_cmp_pd(a.half[0], b.half[0], predicate));
  const int high = _mm256_movemask_pd(_mm256_cmp_pd(a.half[1], b.half[1], predicate));
  return (__mmask8)(high << 4 | low);
}
EMULATED __mmask8 _mm256_cmp_ps_mask(__m256 a, __m256 b, const int predicate) {
  return (__mmask8)_mm256_movemask_ps(_mm256_cmp_ps(a, b, predicate));
}
EMULATED __mmask8 _mm256_cmp_pd_mask(__m256d a, __m256d b, const int predicate) {
  return (__mmask8)_mm256_movemask_pd(_mm256_cmp_pd(a, b, predicate));
}
EMULATED __mmask8 _mm_cmp_ps_mask(__m128 a, __m128 b, const int predicate) {
  return (__mmask8)_mm_movemask_ps(_mm_cmp_ps(a, b, predicate));
}
EMULATED __mmask8 _mm_cmp_pd_mask(__m128d a, __m128d b, const int predicate) {
  return (__mmask8)_mm_movemask_pd(_mm_cmp_pd(a, b, predicate));
}
#define EMULATE_FLOAT_COMPARISON(M, V, suffix, verb, predicate)                                    \
  EMULATED M _mm512_##verb##_##suffix##_mask(V a, V b) {                                           \
    return _mm512_cmp_##suffix##_mask(a, b, predicate);                                            \
  }                                                                                                \
  EMULATED M _mm512_mask_##verb##_##suffix##_mask(M k, V a, V b) {                                 \
    return (M)(k & _mm512_cmp_##suffix##_mask(a, b, predicate));                                   \
  }
#define EMULATE_FLOAT_COMPARISONS(M, V, suffix)                                                    \
  EMULATED M _mm512_mask_cmp_##suffix##_mask(M k, V a, V b, const int predicate) {                 \
    return (M)(k & _mm512_cmp_##suffix##_mask(a, b, predicate));                                   \
  }                                                                                                \
  EMULATED M _mm512_cmp_round_##suffix##_mask(V a, V b, const int predicate, int) {                \
    return _mm512_cmp_##suffix##_mask(a, b, predicate);                                            \
  }                                                                                                \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpeq, _CMP_EQ_OQ)                                        \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmplt, _CMP_LT_OS)                                        \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmple, _CMP_LE_OS)                                        \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpunord, _CMP_UNORD_Q)                                   \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpneq, _CMP_NEQ_UQ)                                      \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpnlt, _CMP_NLT_US)                                      \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpnle, _CMP_NLE_US)                                      \
  EMULATE_FLOAT_COMPARISON(M, V, suffix, cmpord, _CMP_ORD_Q)
EMULATE_FLOAT_COMPARISONS(__mmask16, __m512, ps)
EMULATE_FLOAT_COMPARISONS(__mmask8, __m512d, pd)
#undef EMULATE_FLOAT_COMPARISONS
#undef EMULATE_FLOAT_COMPARISON
