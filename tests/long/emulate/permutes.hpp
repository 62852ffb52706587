// SPDX-License-Identifier: MIT
// Lanes in another order.
#pragma once

namespace {
namespace emulated {

// Lane i is lane index[i] of v; of a and b side by side.
template <class T, class V, class I> EMULATED V permuted(I index, V v) {
  const auto x = lanes<T>(v);
  const auto at = lanes<T>(index);
  auto r = x;
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i) r.at[i] = x.at[at.at[i] & (kCount - 1)];
  return vector<V>(r);
}
template <class T, class V, class I> EMULATED V permuted(V a, I index, V b) {
  const auto x = lanes<T>(a), y = lanes<T>(b);
  const auto at = lanes<T>(index);
  auto r = x;
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i) {
    const int lane = (int)(at.at[i] & (kCount - 1));
    r.at[i] = at.at[i] & kCount ? y.at[lane] : x.at[lane];
  }
  return vector<V>(r);
}

// Bits i * Bits .. of a constant.
template <int Bits> EMULATED int field(int immediate, int i) {
  return immediate >> i * Bits & ((1 << Bits) - 1);
}

} // namespace emulated
} // namespace

#define EMULATE_PERMUTES(p, V, I, T, suffix)                                                       \
  EMULATED V p##_permutexvar_##suffix(I index, V v) { return emulated::permuted<T>(index, v); }    \
  EMULATE_MASKED2(p, V, T, permutexvar_##suffix, I, V)                                             \
  EMULATED V p##_permutex2var_##suffix(V a, I index, V b) {                                        \
    return emulated::permuted<T>(a, index, b);                                                     \
  }                                                                                                \
  EMULATED V p##_mask_permutex2var_##suffix(V a, emulated::Mask<V, T> k, I index, V b) {           \
    return emulated::blend<T>(a, k, emulated::permuted<T>(a, index, b));                           \
  }                                                                                                \
  EMULATED V p##_mask2_permutex2var_##suffix(V a, I index, emulated::Mask<V, T> k, V b) {          \
    V kept;                                                                                        \
    memcpy(&kept, &index, sizeof kept);                                                            \
    return emulated::blend<T>(kept, k, emulated::permuted<T>(a, index, b));                        \
  }                                                                                                \
  EMULATED V p##_maskz_permutex2var_##suffix(emulated::Mask<V, T> k, V a, I index, V b) {          \
    return emulated::blend<T>(k, emulated::permuted<T>(a, index, b));                              \
  }
#define EMULATE_INTEGER_PERMUTES(p, V, T, suffix) EMULATE_PERMUTES(p, V, V, T, suffix)
EMULATE_WIDTHS(EMULATE_INTEGER_PERMUTES, uint8_t, epi8)
EMULATE_WIDTHS(EMULATE_INTEGER_PERMUTES, uint16_t, epi16)
EMULATE_WIDTHS(EMULATE_INTEGER_PERMUTES, uint32_t, epi32)
EMULATE_WIDTHS(EMULATE_INTEGER_PERMUTES, uint64_t, epi64)
EMULATE_PERMUTES(_mm512, __m512, __m512i, uint32_t, ps)
EMULATE_PERMUTES(_mm256, __m256, __m256i, uint32_t, ps)
EMULATE_PERMUTES(_mm512, __m512d, __m512i, uint64_t, pd)
#undef EMULATE_INTEGER_PERMUTES
#undef EMULATE_PERMUTES
EMULATED __m512i _mm512_permutevar_epi32(__m512i index, __m512i v) {
  return _mm512_permutexvar_epi32(index, v);
}

// Eight bits from each of eight places of a 64-bit lane.
#define EMULATE_MULTISHIFT(p, V, T, name)                                                          \
  EMULATED V p##_##name(V control, V v) {                                                          \
    const auto x = emulated::lanes<uint64_t>(v);                                                   \
    auto r = emulated::lanes<uint8_t>(control);                                                    \
    for (int i = 0; i < (int)sizeof v; ++i) {                                                      \
      const int by = r.at[i] & 63;                                                                 \
      r.at[i] = (uint8_t)(x.at[i / 8] >> by | x.at[i / 8] << (-by & 63));                          \
    }                                                                                              \
    return emulated::vector<V>(r);                                                                 \
  }                                                                                                \
  EMULATE_MASKED2(p, V, T, name, V, V)
EMULATE_WIDTHS(EMULATE_MULTISHIFT, uint8_t, multishift_epi64_epi8)
#undef EMULATE_MULTISHIFT

// Within each 128 or 256 bits, by a constant.
typedef int _MM_PERM_ENUM; // without the names of its values
EMULATED __m256i _mm256_permutex_epi64(__m256i v, const int imm) {
  return _mm256_permute4x64_epi64(v, imm);
}
EMULATED __m256d _mm256_permutex_pd(__m256d v, const int imm) {
  return _mm256_permute4x64_pd(v, imm);
}
#define EMULATE_SHUFFLE1(V, T, name)                                                               \
  EMULATE_PAIR_SHARED(V, name, const int)                                                          \
  EMULATE_MASKED2(_mm512, V, T, name, V, const int)
EMULATE_SHUFFLE1(__m512i, int32_t, shuffle_epi32)
EMULATE_SHUFFLE1(__m512i, int16_t, shufflehi_epi16)
EMULATE_SHUFFLE1(__m512i, int16_t, shufflelo_epi16)
EMULATE_SHUFFLE1(__m512, int32_t, permute_ps)
EMULATE_SHUFFLE1(__m512i, int64_t, permutex_epi64)
EMULATE_SHUFFLE1(__m512d, int64_t, permutex_pd)
#undef EMULATE_SHUFFLE1
EMULATED __m512 _mm512_shuffle_ps(__m512 a, __m512 b, const int imm) {
  return {{_mm256_shuffle_ps(a.half[0], b.half[0], imm),
           _mm256_shuffle_ps(a.half[1], b.half[1], imm)}};
}
EMULATED __m512d _mm512_shuffle_pd(__m512d a, __m512d b, const int imm) {
  return {{_mm256_shuffle_pd(a.half[0], b.half[0], imm & 15),
           _mm256_shuffle_pd(a.half[1], b.half[1], imm >> 4 & 15)}};
}
EMULATED __m512d _mm512_permute_pd(__m512d v, const int imm) {
  return _mm512_shuffle_pd(v, v, imm);
}
EMULATED __m512i _mm512_alignr_epi8(__m512i a, __m512i b, const int imm) {
  return {{_mm256_alignr_epi8(a.half[0], b.half[0], imm),
           _mm256_alignr_epi8(a.half[1], b.half[1], imm)}};
}
EMULATE_MASKED3(_mm512, __m512i, int8_t, alignr_epi8, __m512i, __m512i, const int)

// The lanes of b and then a, from lane `imm` on.
#define EMULATE_ALIGN(p, V, T, name)                                                               \
  EMULATED V p##_##name(V a, V b, int imm) {                                                       \
    constexpr int kCount = (int)(sizeof a / sizeof(T));                                            \
    T both[2 * kCount];                                                                            \
    memcpy(both, &b, sizeof b);                                                                    \
    memcpy(both + kCount, &a, sizeof a);                                                           \
    return emulated::load<V>(both + (imm & (kCount - 1)));                                         \
  }                                                                                                \
  EMULATE_MASKED3(p, V, T, name, V, V, int)
EMULATE_WIDTHS(EMULATE_ALIGN, uint32_t, alignr_epi32)
EMULATE_WIDTHS(EMULATE_ALIGN, uint64_t, alignr_epi64)
#undef EMULATE_ALIGN

// 128-bit parts: two of a, then two of b.
#define EMULATE_PARTS(V, T, name)                                                                  \
  EMULATED V _mm512_##name(V a, V b, int imm) {                                                    \
    const auto x = emulated::lanes<__m128i>(a), y = emulated::lanes<__m128i>(b);                   \
    auto r = x;                                                                                    \
    for (int i = 0; i < 4; ++i)                                                                    \
      r.at[i] = (i < 2 ? x : y).at[emulated::field<2>(imm, i)];                                    \
    return emulated::vector<V>(r);                                                                 \
  }                                                                                                \
  EMULATE_MASKED3(_mm512, V, T, name, V, V, int)
EMULATE_PARTS(__m512i, uint32_t, shuffle_i32x4)
EMULATE_PARTS(__m512i, uint64_t, shuffle_i64x2)
EMULATE_PARTS(__m512, uint32_t, shuffle_f32x4)
EMULATE_PARTS(__m512d, uint64_t, shuffle_f64x2)
#undef EMULATE_PARTS
