// SPDX-License-Identifier: MIT
// Intrinsics of AVX-512, emulated here or compiled for it: the same as what AVX2 instructions make,
// on many inputs; and a digest of every other result, for comparing two builds. Prints a line for
// each; exit status 1 if an equation failed.
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

namespace {

constexpr int kRounds = 2000;

struct Input {
  __m512i a, b, c;
  uint64_t k;
};

uint64_t next(uint64_t& state) { // xorshift*
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 2685821657736338717u;
}

// Random bits, whole words of awkward floats and integers, or small bytes.
__m512i words(uint64_t& state, int kind) {
  static const uint32_t awkward[] = {
      0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x3f800000,
      0xbf800000, 0x3f000000, 0x3fc00000, 0x40200000, 0xc0200000, 0x4b000001, 0x4effffff,
      0x4f000000, 0xcf000000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7f800001,
      0xffa00001, 0x7fc00000, 0xffc12345, 0x33000000, 0x33000001, 0x387fc000, 0x387fe000,
      0x38800000, 0x477fefff, 0x477ff000, 0xffffffff};
  alignas(64) uint32_t w[16];
  for (uint32_t& x : w) {
    x = (uint32_t)(next(state) >> 32);
    if (kind == 1) x = awkward[x % 32];
    if (kind == 2) x = (x & 0x3fffff) | ((next(state) >> 40) % 40 + 0x6c) << 23 | (x & 0x80000000);
    if (kind == 3) x &= 0x0f0f0f0f;
  }
  return _mm512_load_si512(w);
}

__m256i low(__m512i x) { return _mm512_castsi512_si256(x); }
__m256i high(__m512i x) { return _mm512_extracti64x4_epi64(x, 1); }
__m512i join(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
__m512i join(__m256 low, __m256 high) {
  return join(_mm256_castps_si256(low), _mm256_castps_si256(high));
}
__m512 ps(__m512i x) { return _mm512_castsi512_ps(x); }
__m512d pd(__m512i x) { return _mm512_castsi512_pd(x); }
__m256 ps(__m256i x) { return _mm256_castsi256_ps(x); }
__m512i whole(__m512 x) { return _mm512_castps_si512(x); }
__m512i whole(__m512d x) { return _mm512_castpd_si512(x); }
__m512i whole(__m256i x) { return _mm512_zextsi256_si512(x); }
__m512i whole(__m256 x) { return whole(_mm256_castps_si256(x)); }
__m512i whole(__m128i x) { return _mm512_zextsi128_si512(x); }
__m512i whole(uint64_t k) { return _mm512_setr_epi64((long long)k, 0, 0, 0, 0, 0, 0, 0); }

// One NaN for all: which operand's NaN comes out depends on the compiler's order of operands.
__m512i plain(__m512 x) {
  return whole(_mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_ps(7)));
}
__m512i plain(__m512d x) {
  return whole(_mm512_mask_mov_pd(x, _mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q), _mm512_set1_pd(7)));
}

constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
constexpr int kUp = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;
constexpr int kDown = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
constexpr int kZero = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

// Left: AVX-512; right: AVX2 on halves.
#define EQUATIONS(X)                                                                               \
  X(cmpgt_epi8, _mm512_movm_epi8(_mm512_cmpgt_epi8_mask(a, b)),                                    \
    join(_mm256_cmpgt_epi8(low(a), low(b)), _mm256_cmpgt_epi8(high(a), high(b))))                  \
  X(cmpeq_epi16, _mm512_movm_epi16(_mm512_cmpeq_epi16_mask(a, b)),                                 \
    join(_mm256_cmpeq_epi16(low(a), low(b)), _mm256_cmpeq_epi16(high(a), high(b))))                \
  X(cmpgt_epi32, _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a, b)),                                 \
    join(_mm256_cmpgt_epi32(low(a), low(b)), _mm256_cmpgt_epi32(high(a), high(b))))                \
  X(cmple_epu8, _mm512_movm_epi8(_mm512_cmple_epu8_mask(a, b)),                                    \
    join(_mm256_cmpeq_epi8(_mm256_min_epu8(low(a), low(b)), low(a)),                               \
         _mm256_cmpeq_epi8(_mm256_min_epu8(high(a), high(b)), high(a))))                           \
  X(movepi8_mask, whole((uint64_t)_mm512_movepi8_mask(a)),                                         \
    whole((uint64_t)(uint32_t)_mm256_movemask_epi8(high(a)) << 32 |                                \
          (uint32_t)_mm256_movemask_epi8(low(a))))                                                 \
  X(movepi32_mask, whole((uint64_t)_mm512_movepi32_mask(a)),                                       \
    whole((uint64_t)(uint32_t)_mm256_movemask_ps(ps(high(a))) << 8 |                               \
          (uint32_t)_mm256_movemask_ps(ps(low(a)))))                                               \
  X(mask_blend_epi8, _mm512_mask_blend_epi8(_mm512_movepi8_mask(c), a, b),                         \
    join(_mm256_blendv_epi8(low(a), low(b), low(c)),                                               \
         _mm256_blendv_epi8(high(a), high(b), high(c))))                                           \
  X(maskz_mov_ps, _mm512_castps_si512(_mm512_maskz_mov_ps(_mm512_movepi32_mask(c), ps(a))),        \
    join(_mm256_blendv_ps(_mm256_setzero_ps(), ps(low(a)), ps(low(c))),                            \
         _mm256_blendv_ps(_mm256_setzero_ps(), ps(high(a)), ps(high(c)))))                         \
  X(ternarylogic_ca, _mm512_ternarylogic_epi64(a, b, c, 0xca),                                     \
    join(_mm256_or_si256(_mm256_and_si256(low(a), low(b)), _mm256_andnot_si256(low(a), low(c))),   \
         _mm256_or_si256(_mm256_and_si256(high(a), high(b)),                                       \
                         _mm256_andnot_si256(high(a), high(c)))))                                  \
  X(permutexvar_epi32, whole(low(_mm512_permutexvar_epi32(                                         \
                           _mm512_and_si512(b, _mm512_set1_epi32(7)), a))),                        \
    whole(_mm256_permutevar8x32_epi32(low(a), low(b))))                                            \
  X(permutexvar_epi8, whole(_mm512_castsi512_si128(_mm512_permutexvar_epi8(                        \
                          _mm512_and_si512(b, _mm512_set1_epi8(15)), a))),                         \
    whole(_mm_shuffle_epi8(_mm512_castsi512_si128(a),                                              \
                           _mm_and_si128(_mm512_castsi512_si128(b), _mm_set1_epi8(15)))))          \
  X(permutex2var_epi32, whole(low(_mm512_permutex2var_epi32(                                       \
                            a, _mm512_or_si512(_mm512_and_si512(b, _mm512_set1_epi32(7)),          \
                                               _mm512_set1_epi32(16)),                             \
                            c))),                                                                  \
    whole(_mm256_permutevar8x32_epi32(low(c), low(b))))                                            \
  X(multishift, _mm512_and_si512(_mm512_multishift_epi64_epi8(b, a), _mm512_set1_epi64(255)),      \
    join(_mm256_and_si256(                                                                         \
             _mm256_or_si256(                                                                      \
                 _mm256_srlv_epi64(low(a), _mm256_and_si256(low(b), _mm256_set1_epi64x(63))),      \
                 _mm256_sllv_epi64(low(a),                                                         \
                                   _mm256_sub_epi64(_mm256_set1_epi64x(64),                        \
                                                    _mm256_and_si256(low(b),                       \
                                                                     _mm256_set1_epi64x(63))))),   \
             _mm256_set1_epi64x(255)),                                                             \
         _mm256_and_si256(                                                                         \
             _mm256_or_si256(                                                                      \
                 _mm256_srlv_epi64(high(a), _mm256_and_si256(high(b), _mm256_set1_epi64x(63))),    \
                 _mm256_sllv_epi64(high(a),                                                        \
                                   _mm256_sub_epi64(_mm256_set1_epi64x(64),                        \
                                                    _mm256_and_si256(high(b),                      \
                                                                     _mm256_set1_epi64x(63))))),   \
             _mm256_set1_epi64x(255))))                                                            \
  X(cvtepu8_epi16, _mm512_cvtepu8_epi16(low(a)),                                                   \
    join(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(low(a))),                                     \
         _mm256_cvtepu8_epi16(_mm256_extracti128_si256(low(a), 1))))                               \
  X(cvtepi16_epi32, _mm512_cvtepi16_epi32(low(a)),                                                 \
    join(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(low(a))),                                    \
         _mm256_cvtepi16_epi32(_mm256_extracti128_si256(low(a), 1))))                              \
  X(cvtsepi32_epi16, whole(_mm512_cvtsepi32_epi16(a)),                                             \
    whole(_mm256_permute4x64_epi64(_mm256_packs_epi32(low(a), high(a)), 0xd8)))                    \
  X(cvtusepi16_epi8, whole(_mm512_cvtusepi16_epi8(_mm512_min_epu16(a, _mm512_set1_epi16(32767)))), \
    whole(_mm256_permute4x64_epi64(                                                                \
        _mm256_packus_epi16(_mm256_min_epu16(low(a), _mm256_set1_epi16(32767)),                    \
                            _mm256_min_epu16(high(a), _mm256_set1_epi16(32767))),                  \
        0xd8)))                                                                                    \
  X(cvtepi32_epi16, whole(_mm512_cvtepi32_epi16(a)),                                               \
    whole(_mm256_permute4x64_epi64(                                                                \
        _mm256_packus_epi32(_mm256_and_si256(low(a), _mm256_set1_epi32(0xffff)),                   \
                            _mm256_and_si256(high(a), _mm256_set1_epi32(0xffff))),                 \
        0xd8)))                                                                                    \
  X(dpbusd_epi32, _mm512_dpbusd_epi32(c, _mm512_srli_epi16(_mm512_slli_epi16(a, 9), 9), b),        \
    join(dot(low(c), _mm256_srli_epi16(_mm256_slli_epi16(low(a), 9), 9), low(b)),                  \
         dot(high(c), _mm256_srli_epi16(_mm256_slli_epi16(high(a), 9), 9), high(b))))              \
  X(cvt_roundps_epi32_nearest, _mm512_cvt_roundps_epi32(ps(a), kNearest),                          \
    join(_mm256_cvtps_epi32(ps(low(a))), _mm256_cvtps_epi32(ps(high(a)))))                         \
  X(cvt_roundps_epi32_down, _mm512_cvt_roundps_epi32(ps(a), kDown),                                \
    join(_mm256_cvttps_epi32(_mm256_round_ps(ps(low(a)), kDown)),                                  \
         _mm256_cvttps_epi32(_mm256_round_ps(ps(high(a)), kDown))))                                \
  X(cvtps_ph, whole(_mm512_cvtps_ph(ps(a), kNearest)),                                             \
    whole(_mm256_set_m128i(_mm256_cvtps_ph(ps(high(a)), _MM_FROUND_TO_NEAREST_INT),                \
                           _mm256_cvtps_ph(ps(low(a)), _MM_FROUND_TO_NEAREST_INT))))               \
  X(fmadd_ps, plain(_mm512_fmadd_ps(ps(a), ps(b), ps(c))),                                         \
    plain(ps(join(_mm256_fmadd_ps(ps(low(a)), ps(low(b)), ps(low(c))),                             \
                  _mm256_fmadd_ps(ps(high(a)), ps(high(b)), ps(high(c)))))))

__m256i dot(__m256i c, __m256i a, __m256i b) { // a below 128 in even bytes and 0 in odd ones
  return _mm256_add_epi32(c, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)));
}

struct Bytes {
  alignas(64) unsigned char at[64];
};
__m512i stored(Bytes before, __m512i v, uint64_t k) {
  _mm512_mask_storeu_epi8(before.at, k, v);
  return _mm512_load_si512(before.at);
}

#define DIGESTS(X)                                                                                 \
  X(add_epi8, _mm512_add_epi8(a, b))                                                               \
  X(adds_epi16, _mm512_adds_epi16(a, b))                                                           \
  X(subs_epu8, _mm512_subs_epu8(a, b))                                                             \
  X(mask_add_epi16, _mm512_mask_add_epi16(c, (__mmask32)k, a, b))                                  \
  X(mullo_epi64, _mm512_mullo_epi64(a, b))                                                         \
  X(madd_epi16, _mm512_madd_epi16(a, b))                                                           \
  X(maddubs_epi16, _mm512_maddubs_epi16(a, b))                                                     \
  X(mulhrs_epi16, _mm512_mulhrs_epi16(a, b))                                                       \
  X(min_epu16, _mm512_min_epu16(a, b))                                                             \
  X(max_epi64, _mm512_max_epi64(a, b))                                                             \
  X(min_epu64, _mm512_min_epu64(a, b))                                                             \
  X(abs_epi64, _mm512_abs_epi64(a))                                                                \
  X(packs_epi32, _mm512_packs_epi32(a, b))                                                         \
  X(packus_epi16, _mm512_packus_epi16(a, b))                                                       \
  X(maskz_packus_epi32, _mm512_maskz_packus_epi32((__mmask32)k, a, b))                             \
  X(unpackhi_epi8, _mm512_unpackhi_epi8(a, b))                                                     \
  X(mask_shuffle_epi8, _mm512_mask_shuffle_epi8(c, k, a, b))                                       \
  X(sllv_epi16, _mm512_sllv_epi16(a, _mm512_and_si512(b, _mm512_set1_epi16(31))))                  \
  X(srlv_epi16, _mm512_srlv_epi16(a, _mm512_and_si512(b, _mm512_set1_epi16(31))))                  \
  X(srav_epi16, _mm512_srav_epi16(a, _mm512_and_si512(b, _mm512_set1_epi16(31))))                  \
  X(srav_epi16_any, _mm512_srav_epi16(a, b))                                                       \
  X(sllv_epi32, _mm512_sllv_epi32(a, _mm512_and_si512(b, _mm512_set1_epi32(63))))                  \
  X(srlv_epi64, _mm512_srlv_epi64(a, _mm512_and_si512(b, _mm512_set1_epi64(127))))                 \
  X(srav_epi64, _mm512_srav_epi64(a, _mm512_and_si512(b, _mm512_set1_epi64(127))))                 \
  X(rolv_epi32, _mm512_rolv_epi32(a, b))                                                           \
  X(rorv_epi64, _mm512_rorv_epi64(a, b))                                                           \
  X(srai_epi64, _mm512_srai_epi64(a, 17))                                                          \
  X(mask_srai_epi32, _mm512_mask_srai_epi32(c, (__mmask16)k, a, 5))                                \
  X(slli_epi16, _mm512_slli_epi16(a, 3))                                                           \
  X(bslli_epi128, _mm512_bslli_epi128(a, 5))                                                       \
  X(lzcnt_epi32, _mm512_lzcnt_epi32(a))                                                            \
  X(conflict_epi32, _mm512_conflict_epi32(a))                                                      \
  X(mask_ternarylogic, _mm512_mask_ternarylogic_epi32(a, (__mmask16)k, b, c, 0x96))                \
  X(ternarylogic_1b, _mm512_ternarylogic_epi32(a, b, c, 0x1b))                                     \
  X(dpbusd_any, _mm512_dpbusd_epi32(c, a, b))                                                      \
  X(dpbusds, _mm512_dpbusds_epi32(c, a, b))                                                        \
  X(dpwssd, _mm512_dpwssd_epi32(c, a, b))                                                          \
  X(dpwssds, _mm512_dpwssds_epi32(c, a, b))                                                        \
  X(sad_epu8, _mm512_sad_epu8(a, b))                                                               \
  X(permutexvar_epi8_all, _mm512_permutexvar_epi8(b, a))                                           \
  X(permutexvar_epi16, _mm512_permutexvar_epi16(b, a))                                             \
  X(permutexvar_epi64, _mm512_permutexvar_epi64(b, a))                                             \
  X(permutex2var_epi8, _mm512_permutex2var_epi8(a, b, c))                                          \
  X(permutex2var_epi16, _mm512_permutex2var_epi16(a, b, c))                                        \
  X(maskz_permutex2var_epi32, _mm512_maskz_permutex2var_epi32((__mmask16)k, a, b, c))              \
  X(permutex2var_ps, whole(_mm512_permutex2var_ps(ps(a), b, ps(c))))                               \
  X(multishift_all, _mm512_multishift_epi64_epi8(b, a))                                            \
  X(shuffle_i32x4, _mm512_shuffle_i32x4(a, b, 0x4e))                                               \
  X(shuffle_epi32, _mm512_shuffle_epi32(a, _MM_PERM_ENUM(0x1b)))                                   \
  X(permutex_epi64, _mm512_permutex_epi64(a, 0xd8))                                                \
  X(alignr_epi8, _mm512_alignr_epi8(a, b, 7))                                                      \
  X(alignr_epi32, _mm512_alignr_epi32(a, b, 5))                                                    \
  X(extracti32x4, whole(_mm512_extracti32x4_epi32(a, 2)))                                          \
  X(inserti32x8, _mm512_inserti32x8(a, low(b), 1))                                                 \
  X(extractf32x8, whole(_mm512_extractf32x8_ps(ps(a), 1)))                                         \
  X(broadcast_i32x4, _mm512_broadcast_i32x4(_mm512_castsi512_si128(a)))                            \
  X(maskz_compress, _mm512_maskz_compress_epi32((__mmask16)k, a))                                  \
  X(maskz_loadu_epi8, _mm512_maskz_loadu_epi8(k, &a))                                              \
  X(mask_loadu_epi16, _mm512_mask_loadu_epi16(b, (__mmask32)k, &a))                                \
  X(maskz_loadu_ps, whole(_mm512_maskz_loadu_ps((__mmask16)k, &a)))                                \
  X(maskz_loadu_pd, whole(_mm512_maskz_loadu_pd((__mmask8)k, &a)))                                 \
  X(mask_storeu_epi8, stored(*(const Bytes*)&b, a, k))                                             \
  X(cmp_epu16, whole((uint64_t)_mm512_cmp_epu16_mask(a, b, _MM_CMPINT_NLE)))                       \
  X(cmplt_epi64, whole((uint64_t)_mm512_cmplt_epi64_mask(a, b)))                                   \
  X(mask_cmpneq_epi8, whole((uint64_t)_mm512_mask_cmpneq_epi8_mask(k, a, b)))                      \
  X(test_epi8, whole((uint64_t)_mm512_test_epi8_mask(a, b)))                                       \
  X(testn_epi16, whole((uint64_t)_mm512_testn_epi16_mask(a, b)))                                   \
  X(cmp_ps_unord, whole((uint64_t)_mm512_cmp_ps_mask(ps(a), ps(b), _CMP_UNORD_Q)))                 \
  X(cmp_ps_lt, whole((uint64_t)_mm512_cmp_ps_mask(ps(a), ps(b), _CMP_LT_OQ)))                      \
  X(cmp_ps_nle, whole((uint64_t)_mm512_cmp_ps_mask(ps(a), ps(b), _CMP_NLE_UQ)))                    \
  X(cmp_pd_ge, whole((uint64_t)_mm512_cmp_pd_mask(pd(a), pd(b), _CMP_GE_OQ)))                      \
  X(fpclass_ps, whole((uint64_t)_mm512_fpclass_ps_mask(ps(a), 0x99)))                              \
  X(fpclass_ps_rest, whole((uint64_t)_mm512_fpclass_ps_mask(ps(a), 0x66)))                         \
  X(kshiftri, whole((uint64_t)_kshiftri_mask64(k, 5)))                                             \
  X(kunpackw, whole((uint64_t)_mm512_kunpackw((__mmask32)k, (__mmask32)(k >> 32))))                \
  X(add_ps, plain(_mm512_add_ps(ps(a), ps(b))))                                                    \
  X(mul_ps, plain(_mm512_mul_ps(ps(a), ps(b))))                                                    \
  X(div_ps, plain(_mm512_div_ps(ps(a), ps(b))))                                                    \
  X(div_pd, plain(_mm512_div_pd(pd(a), pd(b))))                                                    \
  X(sqrt_ps, plain(_mm512_sqrt_ps(ps(a))))                                                         \
  X(min_ps, whole(_mm512_min_ps(ps(a), ps(b))))                                                    \
  X(max_ps, whole(_mm512_max_ps(ps(a), ps(b))))                                                    \
  X(max_pd, whole(_mm512_max_pd(pd(a), pd(b))))                                                    \
  X(abs_ps, whole(_mm512_abs_ps(ps(a))))                                                           \
  X(fnmadd_ps, plain(_mm512_fnmadd_ps(ps(a), ps(b), ps(c))))                                       \
  X(fmsub_ps, plain(_mm512_fmsub_ps(ps(a), ps(b), ps(c))))                                         \
  X(fmadd_pd, plain(_mm512_fmadd_pd(pd(a), pd(b), pd(c))))                                         \
  X(mask3_fmadd_ps, plain(_mm512_mask3_fmadd_ps(ps(a), ps(b), ps(c), (__mmask16)k)))               \
  X(add_round_ps_up, plain(_mm512_add_round_ps(ps(a), ps(b), kUp)))                                \
  X(mul_round_ps_down, plain(_mm512_mul_round_ps(ps(a), ps(b), kDown)))                            \
  X(div_round_ps_zero, plain(_mm512_div_round_ps(ps(a), ps(b), kZero)))                            \
  X(sub_round_pd_up, plain(_mm512_sub_round_pd(pd(a), pd(b), kUp)))                                \
  X(fmadd_round_ps_up, plain(_mm512_fmadd_round_ps(ps(a), ps(b), ps(c), kUp)))                     \
  X(fnmadd_round_pd_down, plain(_mm512_fnmadd_round_pd(pd(a), pd(b), pd(c), kDown)))               \
  X(roundscale_nearest, whole(_mm512_roundscale_ps(ps(a), kNearest)))                              \
  X(roundscale_down, whole(_mm512_roundscale_ps(ps(a), kDown)))                                    \
  X(roundscale_pd_zero, whole(_mm512_roundscale_pd(pd(a), kZero)))                                 \
  X(cvt_roundps_epi32_up, _mm512_cvt_roundps_epi32(ps(a), kUp))                                    \
  X(cvttps_epi32, _mm512_cvttps_epi32(ps(a)))                                                      \
  X(cvtepi32_ps, whole(_mm512_cvtepi32_ps(a)))                                                     \
  X(cvt_roundepi32_ps_nearest, whole(_mm512_cvt_roundepi32_ps(a, kNearest)))                       \
  X(cvt_roundepi32_ps_zero, whole(_mm512_cvt_roundepi32_ps(a, kZero)))                             \
  X(cvtepu32_ps, whole(_mm512_cvtepu32_ps(a)))                                                     \
  X(cvtepi32_pd, whole(_mm512_cvtepi32_pd(low(a))))                                                \
  X(cvtps_pd, whole(_mm512_cvtps_pd(ps(low(a)))))                                                  \
  X(cvt_roundpd_ps_nearest, whole(_mm512_cvt_roundpd_ps(pd(a), kNearest)))                         \
  X(cvt_roundpd_ps_up, whole(_mm512_cvt_roundpd_ps(pd(a), kUp)))                                   \
  X(cvtpd_epi32, whole(_mm512_cvtpd_epi32(pd(a))))                                                 \
  X(cvtph_ps, whole(_mm512_cvtph_ps(low(a))))                                                      \
  X(cvtps_ph_up, whole(_mm512_cvtps_ph(ps(a), kUp)))                                               \
  X(cvtepi8_epi32, _mm512_cvtepi8_epi32(_mm512_castsi512_si128(a)))                                \
  X(cvtepu16_epi64, _mm512_cvtepu16_epi64(_mm512_castsi512_si128(a)))                              \
  X(cvtepi32_epi8, whole(_mm512_cvtepi32_epi8(a)))                                                 \
  X(cvtsepi32_epi8, whole(_mm512_cvtsepi32_epi8(a)))                                               \
  X(cvtusepi32_epi8, whole(_mm512_cvtusepi32_epi8(a)))                                             \
  X(mask_cvtsepi32_epi8, whole(_mm512_mask_cvtsepi32_epi8(_mm512_castsi512_si128(b), (__mmask16)k, \
                                                          a)))                                     \
  X(cvtsepi16_epi8, whole(_mm512_cvtsepi16_epi8(a)))                                               \
  X(cvtusepi16_epi8_all, whole(_mm512_cvtusepi16_epi8(a)))                                         \
  X(cvtusepi32_epi16, whole(_mm512_cvtusepi32_epi16(a)))                                           \
  X(cvtepi64_epi16, whole(_mm512_cvtepi64_epi16(a)))                                               \
  X(cvtsepi64_epi32, whole(_mm512_cvtsepi64_epi32(a)))                                             \
  X(vl_cvtepi32_epi8, whole(_mm256_cvtepi32_epi8(low(a))))                                         \
  X(vl_mask_sub_epi8, whole(_mm256_mask_sub_epi8(low(c), (__mmask32)k, low(a), low(b))))           \
  X(vl_permutexvar_epi8, whole(_mm256_permutexvar_epi8(low(b), low(a))))                           \
  X(reduce_max_epi32, whole((uint64_t)_mm512_reduce_max_epi32(a)))                                 \
  X(reduce_min_epu32, whole((uint64_t)_mm512_reduce_min_epu32(a)))                                 \
  X(reduce_add_epi64, whole((uint64_t)_mm512_reduce_add_epi64(a)))                                 \
  X(reduce_add_ps, plain(_mm512_set1_ps(_mm512_reduce_add_ps(ps(a)))))                             \
  X(reduce_max_pd, plain(_mm512_set1_pd(_mm512_reduce_max_pd(pd(a)))))

bool failed = false;

#define COMPARE(name, left, right)                                                                 \
  __attribute__((noinline)) void check_##name(const Input* inputs) {                               \
    for (int i = 0; i < kRounds; ++i) {                                                            \
      const __m512i a = inputs[i].a, b = inputs[i].b, c = inputs[i].c;                             \
      const __m512i x = left, y = right;                                                           \
      (void)a, (void)b, (void)c;                                                                   \
      if (memcmp(&x, &y, 64) == 0) continue;                                                       \
      printf("FAILED %s, input %d\n", #name, i);                                                   \
      failed = true;                                                                               \
      return;                                                                                      \
    }                                                                                              \
    printf("equal  %s\n", #name);                                                                  \
  }
EQUATIONS(COMPARE)

#define DIGEST(name, expression)                                                                   \
  __attribute__((noinline)) void digest_##name(const Input* inputs) {                              \
    uint64_t hash = 14695981039346656037u; /* FNV-1a */                                            \
    for (int i = 0; i < kRounds; ++i) {                                                            \
      const __m512i a = inputs[i].a, b = inputs[i].b, c = inputs[i].c;                             \
      const uint64_t k = inputs[i].k;                                                              \
      (void)a, (void)b, (void)c, (void)k;                                                          \
      const __m512i x = expression;                                                                \
      unsigned char bytes[64];                                                                     \
      memcpy(bytes, &x, 64);                                                                       \
      for (unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;                      \
    }                                                                                              \
    printf("%016llx %s\n", (unsigned long long)hash, #name);                                       \
  }
DIGESTS(DIGEST)

Input inputs[kRounds];

} // namespace

int main() {
  uint64_t state = 20261123;
  for (int i = 0; i < kRounds; ++i) {
    Input& in = inputs[i];
    in = {words(state, i & 3), words(state, i >> 2 & 3), words(state, i >> 4 & 3), next(state)};
  }
#define RUN_CHECK(name, left, right) check_##name(inputs);
  EQUATIONS(RUN_CHECK)
#define RUN_DIGEST(name, expression) digest_##name(inputs);
  DIGESTS(RUN_DIGEST)
  return failed;
}
