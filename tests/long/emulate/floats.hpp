// SPDX-License-Identifier: MIT
// Float arithmetic: always the AVX2 or FMA instruction itself, hence its NaNs, subnormals and
// rounding.
#pragma once

#define EMULATE_FLOATS2(name)                                                                      \
  EMULATE_PAIR2(__m512, name##_ps)                                                                 \
  EMULATE_PAIR2(__m512d, name##_pd)                                                                \
  EMULATE_MASKED2(_mm512, __m512, int32_t, name##_ps, __m512, __m512)                              \
  EMULATE_MASKED2(_mm256, __m256, int32_t, name##_ps, __m256, __m256)                              \
  EMULATE_MASKED2(_mm, __m128, int32_t, name##_ps, __m128, __m128)                                 \
  EMULATE_MASKED2(_mm512, __m512d, int64_t, name##_pd, __m512d, __m512d)
EMULATE_FLOATS2(add)
EMULATE_FLOATS2(sub)
EMULATE_FLOATS2(mul)
EMULATE_FLOATS2(div)
EMULATE_FLOATS2(min)
EMULATE_FLOATS2(max)
EMULATE_FLOATS2(and)
EMULATE_FLOATS2(or)
EMULATE_FLOATS2(xor)
EMULATE_FLOATS2(andnot)
EMULATE_FLOATS2(unpacklo)
EMULATE_FLOATS2(unpackhi)
#undef EMULATE_FLOATS2
#define EMULATE_FLOATS1(name, V, T)                                                                \
  EMULATE_PAIR1(V, name)                                                                           \
  EMULATE_MASKED1(_mm512, V, T, name, V)
EMULATE_FLOATS1(sqrt_ps, __m512, int32_t)
EMULATE_FLOATS1(sqrt_pd, __m512d, int64_t)
EMULATE_FLOATS1(movehdup_ps, __m512, int32_t)
EMULATE_FLOATS1(moveldup_ps, __m512, int32_t)
EMULATE_FLOATS1(movedup_pd, __m512d, int64_t)
#undef EMULATE_FLOATS1
EMULATED __m512 _mm512_abs_ps(__m512 x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
EMULATED __m512d _mm512_abs_pd(__m512d x) { return _mm512_andnot_pd(_mm512_set1_pd(-0.0), x); }
EMULATE_MASKED1(_mm512, __m512, int32_t, abs_ps, __m512)
EMULATE_MASKED1(_mm512, __m512d, int64_t, abs_pd, __m512d)

#define EMULATE_FMA(V, T, name)                                                                    \
  EMULATED V _mm512_##name(V a, V b, V c) {                                                        \
    return {{_mm256_##name(a.half[0], b.half[0], c.half[0]),                                       \
             _mm256_##name(a.half[1], b.half[1], c.half[1])}};                                     \
  }                                                                                                \
  EMULATED V _mm512_mask_##name(V a, emulated::Mask<V, T> k, V b, V c) {                           \
    return emulated::blend<T>(a, k, _mm512_##name(a, b, c));                                       \
  }                                                                                                \
  EMULATED V _mm512_mask3_##name(V a, V b, V c, emulated::Mask<V, T> k) {                          \
    return emulated::blend<T>(c, k, _mm512_##name(a, b, c));                                       \
  }                                                                                                \
  EMULATED V _mm512_maskz_##name(emulated::Mask<V, T> k, V a, V b, V c) {                          \
    return emulated::blend<T>(k, _mm512_##name(a, b, c));                                          \
  }
EMULATE_FMA(__m512, int32_t, fmadd_ps)
EMULATE_FMA(__m512, int32_t, fmsub_ps)
EMULATE_FMA(__m512, int32_t, fnmadd_ps)
EMULATE_FMA(__m512, int32_t, fnmsub_ps)
EMULATE_FMA(__m512d, int64_t, fmadd_pd)
EMULATE_FMA(__m512d, int64_t, fmsub_pd)
EMULATE_FMA(__m512d, int64_t, fnmadd_pd)
EMULATE_FMA(__m512d, int64_t, fnmsub_pd)
#undef EMULATE_FMA

// Embedded rounding: the instruction between two loads of MXCSR, in one piece so that nothing moves
// in between. No exception flag stays set (SAE).
namespace {
namespace emulated {
EMULATED unsigned mode_of(int rounding, unsigned now) {
  const unsigned masked = (now & ~0x3fu) | 0x1f80; // no flags, and no exception traps
  return rounding & _MM_FROUND_CUR_DIRECTION ? masked
                                             : (masked & ~0x6000u) | (unsigned)(rounding & 3) << 13;
}
} // namespace emulated
} // namespace
#define EMULATE_ROUNDED_HALF(instruction, result, ...)                                             \
  const unsigned now = _mm_getcsr(), then = emulated::mode_of(rounding, now);                      \
  __asm__ volatile("vldmxcsr %[then]\n\t" instruction "\n\tvldmxcsr %[now]"                        \
                   : result                                                                        \
                   : __VA_ARGS__, [then] "m"(then), [now] "m"(now))
#define EMULATE_ROUND2(V, H, T, name, instruction)                                                 \
  namespace {                                                                                      \
  namespace emulated {                                                                             \
  EMULATED H name##_half(H a, H b, int rounding) {                                                 \
    H r;                                                                                           \
    EMULATE_ROUNDED_HALF(instruction " %[b], %[a], %[r]", [r] "=&x"(r), [a] "x"(a), [b] "x"(b));   \
    return r;                                                                                      \
  }                                                                                                \
  }                                                                                                \
  }                                                                                                \
  EMULATED V _mm512_##name(V a, V b, int rounding) {                                               \
    return {{emulated::name##_half(a.half[0], b.half[0], rounding),                                \
             emulated::name##_half(a.half[1], b.half[1], rounding)}};                              \
  }                                                                                                \
  EMULATE_MASKED3(_mm512, V, T, name, V, V, int)
EMULATE_ROUND2(__m512, __m256, int32_t, add_round_ps, "vaddps")
EMULATE_ROUND2(__m512, __m256, int32_t, sub_round_ps, "vsubps")
EMULATE_ROUND2(__m512, __m256, int32_t, mul_round_ps, "vmulps")
EMULATE_ROUND2(__m512, __m256, int32_t, div_round_ps, "vdivps")
EMULATE_ROUND2(__m512, __m256, int32_t, min_round_ps, "vminps")
EMULATE_ROUND2(__m512, __m256, int32_t, max_round_ps, "vmaxps")
EMULATE_ROUND2(__m512d, __m256d, int64_t, add_round_pd, "vaddpd")
EMULATE_ROUND2(__m512d, __m256d, int64_t, sub_round_pd, "vsubpd")
EMULATE_ROUND2(__m512d, __m256d, int64_t, mul_round_pd, "vmulpd")
EMULATE_ROUND2(__m512d, __m256d, int64_t, div_round_pd, "vdivpd")
EMULATE_ROUND2(__m512d, __m256d, int64_t, min_round_pd, "vminpd")
EMULATE_ROUND2(__m512d, __m256d, int64_t, max_round_pd, "vmaxpd")
#undef EMULATE_ROUND2
#define EMULATE_ROUND_FMA(V, H, name, instruction)                                                 \
  namespace {                                                                                      \
  namespace emulated {                                                                             \
  EMULATED H name##_half(H a, H b, H c, int rounding) {                                            \
    EMULATE_ROUNDED_HALF(instruction " %[c], %[b], %[a]", [a] "+&x"(a), [b] "x"(b), [c] "x"(c));   \
    return a;                                                                                      \
  }                                                                                                \
  }                                                                                                \
  }                                                                                                \
  EMULATED V _mm512_##name(V a, V b, V c, int rounding) {                                          \
    return {{emulated::name##_half(a.half[0], b.half[0], c.half[0], rounding),                     \
             emulated::name##_half(a.half[1], b.half[1], c.half[1], rounding)}};                   \
  }
EMULATE_ROUND_FMA(__m512, __m256, fmadd_round_ps, "vfmadd213ps")
EMULATE_ROUND_FMA(__m512, __m256, fmsub_round_ps, "vfmsub213ps")
EMULATE_ROUND_FMA(__m512, __m256, fnmadd_round_ps, "vfnmadd213ps")
EMULATE_ROUND_FMA(__m512, __m256, fnmsub_round_ps, "vfnmsub213ps")
EMULATE_ROUND_FMA(__m512d, __m256d, fmadd_round_pd, "vfmadd213pd")
EMULATE_ROUND_FMA(__m512d, __m256d, fnmadd_round_pd, "vfnmadd213pd")
#undef EMULATE_ROUND_FMA

// To whole numbers only: a scale of 2^-m (the high half of the immediate) is not emulated.
EMULATED __m512 _mm512_roundscale_ps(__m512 x, const int imm) {
  if (imm >> 4) __builtin_trap();
  return {{_mm256_round_ps(x.half[0], imm & 15), _mm256_round_ps(x.half[1], imm & 15)}};
}
EMULATED __m512d _mm512_roundscale_pd(__m512d x, const int imm) {
  if (imm >> 4) __builtin_trap();
  return {{_mm256_round_pd(x.half[0], imm & 15), _mm256_round_pd(x.half[1], imm & 15)}};
}
EMULATED __m512 _mm512_roundscale_round_ps(__m512 x, const int imm, int) {
  return _mm512_roundscale_ps(x, imm);
}
EMULATE_MASKED2(_mm512, __m512, int32_t, roundscale_ps, __m512, const int)

// Bits of `classes`: quiet NaN, +0, -0, +inf, -inf, subnormal, below zero and finite, signalling
// NaN.
EMULATED __mmask16 _mm512_fpclass_ps_mask(__m512 v, int classes) {
  return emulated::which<uint32_t>(v, v, [=](uint32_t x, uint32_t) {
    const uint32_t magnitude = x & 0x7fffffff;
    const bool negative = x >> 31, nan = magnitude > 0x7f800000, quiet = x >> 22 & 1;
    int is = 0;
    if (nan) is |= quiet ? 0x01 : 0x80;
    if (magnitude == 0) is |= negative ? 0x04 : 0x02;
    if (magnitude == 0x7f800000) is |= negative ? 0x10 : 0x08;
    if (magnitude != 0 && magnitude < 0x800000) is |= 0x20;
    if (negative && magnitude != 0 && magnitude < 0x7f800000) is |= 0x40;
    return (is & classes) != 0;
  });
}
EMULATED __mmask16 _mm512_mask_fpclass_ps_mask(__mmask16 k, __m512 v, int classes) {
  return (__mmask16)(k & _mm512_fpclass_ps_mask(v, classes));
}

// Over all lanes, in GCC's order: 8 + 8 (4 + 4 for doubles), and so on by halves.
#define EMULATE_REDUCE_PS(name)                                                                    \
  EMULATED float _mm512_reduce_##name##_ps(__m512 v) {                                             \
    const __m256 eight = _mm256_##name##_ps(v.half[1], v.half[0]);                                 \
    const __m128 four =                                                                            \
        _mm_##name##_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));           \
    const __m128 two = _mm_##name##_ps(four, _mm_shuffle_ps(four, four, 0x4e));                    \
    return _mm_cvtss_f32(_mm_##name##_ps(two, _mm_shuffle_ps(two, two, 0xb1)));                    \
  }                                                                                                \
  EMULATED double _mm512_reduce_##name##_pd(__m512d v) {                                           \
    const __m256d four = _mm256_##name##_pd(v.half[1], v.half[0]);                                 \
    const __m128d two =                                                                            \
        _mm_##name##_pd(_mm256_extractf128_pd(four, 1), _mm256_castpd256_pd128(four));             \
    return _mm_cvtsd_f64(_mm_##name##_pd(two, _mm_shuffle_pd(two, two, 1)));                       \
  }
EMULATE_REDUCE_PS(add)
EMULATE_REDUCE_PS(mul)
EMULATE_REDUCE_PS(min)
EMULATE_REDUCE_PS(max)
#undef EMULATE_REDUCE_PS
