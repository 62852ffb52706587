// SPDX-License-Identifier: MIT
// The compiler's intrinsics, but for one that Bochs 2.7 gets wrong: its vcvtps2ph rounds half-way
// values up, 0x1p-25f to 0x1p-24, where CPUs round to even. First on the include path of what runs
// on Bochs. To nearest, the one rounding that bitmill uses.
#pragma once
#include_next <immintrin.h>

#ifdef __AVX512F__
// narrow<f16> of csrc/simd/halves.hpp, lane by lane.
static inline __attribute__((always_inline)) __m256i bochs_cvtps_ph(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i magnitude = _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
  const __m512i cut = _mm512_srli_epi32(magnitude, 13), one = _mm512_set1_epi32(1);
  const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x8000));
  const __m512i rounded = _mm512_add_epi32(
      magnitude, _mm512_add_epi32(_mm512_set1_epi32(0xfff), _mm512_and_si512(cut, one)));
  __m512i r = _mm512_srli_epi32(_mm512_sub_epi32(rounded, _mm512_set1_epi32(112 << 23)), 13);
  const __m512 half = _mm512_set1_ps(0.5f); // has the spacing of float16's subnormals
  const __m512 small = _mm512_add_ps(_mm512_castsi512_ps(magnitude), half);
  r = _mm512_mask_sub_epi32(
      r, _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(0x38800000)),
      _mm512_castps_si512(small), _mm512_castps_si512(half));
  r = _mm512_mask_mov_epi32(r, _mm512_cmpge_epi32_mask(magnitude, _mm512_set1_epi32(0x477ff000)),
                            _mm512_set1_epi32(0x7c00));
  r = _mm512_mask_or_epi32(r, _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x7f800000)),
                           _mm512_and_si512(cut, _mm512_set1_epi32(0x3ff)),
                           _mm512_set1_epi32(0x7e00));
  return _mm512_cvtepi32_epi16(_mm512_or_si512(r, sign));
}
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(v, rounding) ((void)(rounding), bochs_cvtps_ph(v))
#endif
