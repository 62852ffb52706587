// SPDX-License-Identifier: MIT
// Integer arithmetic, lane by lane.
#pragma once

// Two operands: the AVX2 instruction in each half; lanes of type T for the masked forms.
#define EMULATE_SAME(name, T)                                                                      \
  EMULATE_PAIR2(__m512i, name)                                                                     \
  EMULATE_MASKED2(_mm512, __m512i, T, name, __m512i, __m512i)                                      \
  EMULATE_MASKED2(_mm256, __m256i, T, name, __m256i, __m256i)                                      \
  EMULATE_MASKED2(_mm, __m128i, T, name, __m128i, __m128i)
EMULATE_SAME(add_epi8, int8_t)
EMULATE_SAME(add_epi16, int16_t)
EMULATE_SAME(add_epi32, int32_t)
EMULATE_SAME(add_epi64, int64_t)
EMULATE_SAME(sub_epi8, int8_t)
EMULATE_SAME(sub_epi16, int16_t)
EMULATE_SAME(sub_epi32, int32_t)
EMULATE_SAME(sub_epi64, int64_t)
EMULATE_SAME(adds_epi8, int8_t)
EMULATE_SAME(adds_epi16, int16_t)
EMULATE_SAME(adds_epu8, int8_t)
EMULATE_SAME(adds_epu16, int16_t)
EMULATE_SAME(subs_epi8, int8_t)
EMULATE_SAME(subs_epi16, int16_t)
EMULATE_SAME(subs_epu8, int8_t)
EMULATE_SAME(subs_epu16, int16_t)
EMULATE_SAME(avg_epu8, int8_t)
EMULATE_SAME(avg_epu16, int16_t)
EMULATE_SAME(mullo_epi16, int16_t)
EMULATE_SAME(mullo_epi32, int32_t)
EMULATE_SAME(mulhi_epi16, int16_t)
EMULATE_SAME(mulhi_epu16, int16_t)
EMULATE_SAME(mulhrs_epi16, int16_t)
EMULATE_SAME(mul_epi32, int64_t)
EMULATE_SAME(mul_epu32, int64_t)
EMULATE_SAME(madd_epi16, int32_t)
EMULATE_SAME(maddubs_epi16, int16_t)
EMULATE_SAME(min_epi8, int8_t)
EMULATE_SAME(min_epi16, int16_t)
EMULATE_SAME(min_epi32, int32_t)
EMULATE_SAME(min_epu8, int8_t)
EMULATE_SAME(min_epu16, int16_t)
EMULATE_SAME(min_epu32, int32_t)
EMULATE_SAME(max_epi8, int8_t)
EMULATE_SAME(max_epi16, int16_t)
EMULATE_SAME(max_epi32, int32_t)
EMULATE_SAME(max_epu8, int8_t)
EMULATE_SAME(max_epu16, int16_t)
EMULATE_SAME(max_epu32, int32_t)
EMULATE_SAME(packs_epi16, int8_t)
EMULATE_SAME(packs_epi32, int16_t)
EMULATE_SAME(packus_epi16, int8_t)
EMULATE_SAME(packus_epi32, int16_t)
EMULATE_SAME(unpacklo_epi8, int8_t)
EMULATE_SAME(unpacklo_epi16, int16_t)
EMULATE_SAME(unpacklo_epi32, int32_t)
EMULATE_SAME(unpacklo_epi64, int64_t)
EMULATE_SAME(unpackhi_epi8, int8_t)
EMULATE_SAME(unpackhi_epi16, int16_t)
EMULATE_SAME(unpackhi_epi32, int32_t)
EMULATE_SAME(unpackhi_epi64, int64_t)
EMULATE_SAME(shuffle_epi8, int8_t)
EMULATE_SAME(sllv_epi32, int32_t)
EMULATE_SAME(sllv_epi64, int64_t)
EMULATE_SAME(srlv_epi32, int32_t)
EMULATE_SAME(srlv_epi64, int64_t)
EMULATE_SAME(srav_epi32, int32_t)
#undef EMULATE_SAME
EMULATE_PAIR2(__m512i, sad_epu8)

// What AVX2 lacks: an expression of the lanes x and y.
#define EMULATE_LANES2_AT(p, V, name, T, expression)                                               \
  EMULATED V p##_##name(V a, V b) {                                                                \
    return emulated::each<T>(a, b, [](T x, T y) { return expression; });                           \
  }                                                                                                \
  EMULATE_MASKED2(p, V, T, name, V, V)
#define EMULATE_LANES2(name, T, ...) EMULATE_WIDTHS(EMULATE_LANES2_AT, name, T, (__VA_ARGS__))
EMULATE_LANES2(min_epi64, int64_t, x < y ? x : y)
EMULATE_LANES2(max_epi64, int64_t, x > y ? x : y)
EMULATE_LANES2(min_epu64, uint64_t, x < y ? x : y)
EMULATE_LANES2(max_epu64, uint64_t, x > y ? x : y)
EMULATE_LANES2(mullo_epi64, uint64_t, x* y)
EMULATE_LANES2(sllv_epi16, uint16_t, y < 16 ? x << y : 0)
EMULATE_LANES2(srlv_epi16, uint16_t, y < 16 ? x >> y : 0)
EMULATE_LANES2(srav_epi16, int16_t, x >> ((uint16_t)y < 16 ? y : 15))
EMULATE_LANES2(srav_epi64, int64_t, x >> ((uint64_t)y < 64 ? y : 63))
EMULATE_LANES2(rolv_epi32, uint32_t, x << (y & 31) | x >> (-y & 31))
EMULATE_LANES2(rorv_epi32, uint32_t, x >> (y & 31) | x << (-y & 31))
EMULATE_LANES2(rolv_epi64, uint64_t, x << (y & 63) | x >> (-y & 63))
EMULATE_LANES2(rorv_epi64, uint64_t, x >> (y & 63) | x << (-y & 63))
EMULATE_LANES2(and_epi32, uint32_t, x& y)
EMULATE_LANES2(and_epi64, uint64_t, x& y)
EMULATE_LANES2(or_epi32, uint32_t, x | y)
EMULATE_LANES2(or_epi64, uint64_t, x | y)
EMULATE_LANES2(xor_epi32, uint32_t, x ^ y)
EMULATE_LANES2(xor_epi64, uint64_t, x ^ y)
EMULATE_LANES2(andnot_epi32, uint32_t, ~x & y)
EMULATE_LANES2(andnot_epi64, uint64_t, ~x & y)
#undef EMULATE_LANES2
#undef EMULATE_LANES2_AT
EMULATED __m512i _mm512_and_si512(__m512i a, __m512i b) { return _mm512_and_epi64(a, b); }
EMULATED __m512i _mm512_or_si512(__m512i a, __m512i b) { return _mm512_or_epi64(a, b); }
EMULATED __m512i _mm512_xor_si512(__m512i a, __m512i b) { return _mm512_xor_epi64(a, b); }
EMULATED __m512i _mm512_andnot_si512(__m512i a, __m512i b) { return _mm512_andnot_epi64(a, b); }

// One operand.
#define EMULATE_LANES1_AT(p, V, name, T, expression)                                               \
  EMULATED V p##_##name(V a) {                                                                     \
    return emulated::each<T>(a, [](T x) { return expression; });                                   \
  }                                                                                                \
  EMULATE_MASKED1(p, V, T, name, V)
#define EMULATE_LANES1(name, T, ...) EMULATE_WIDTHS(EMULATE_LANES1_AT, name, T, (__VA_ARGS__))
EMULATE_LANES1(lzcnt_epi32, uint32_t, _lzcnt_u32(x))
EMULATE_LANES1(lzcnt_epi64, uint64_t, _lzcnt_u64(x))
EMULATE_LANES1_AT(_mm512, __m512i, abs_epi64, int64_t, (x < 0 ? 0 - (uint64_t)x : (uint64_t)x))
#undef EMULATE_LANES1
#undef EMULATE_LANES1_AT
EMULATE_PAIR1(__m512i, abs_epi8)
EMULATE_PAIR1(__m512i, abs_epi16)
EMULATE_PAIR1(__m512i, abs_epi32)
#define EMULATE_ABS(p, V, T, name) EMULATE_MASKED1(p, V, T, name, V)
EMULATE_WIDTHS(EMULATE_ABS, int8_t, abs_epi8)
EMULATE_WIDTHS(EMULATE_ABS, int16_t, abs_epi16)
EMULATE_WIDTHS(EMULATE_ABS, int32_t, abs_epi32)
#undef EMULATE_ABS

// The same shift for all lanes, from an integer (a constant on AVX-512) and from a register.
#define EMULATE_SHIFT(name, T)                                                                     \
  EMULATE_PAIR_SHARED(__m512i, name, unsigned)                                                     \
  EMULATE_MASKED2(_mm512, __m512i, T, name, __m512i, unsigned)                                     \
  EMULATE_MASKED2(_mm256, __m256i, T, name, __m256i, unsigned)                                     \
  EMULATE_MASKED2(_mm, __m128i, T, name, __m128i, unsigned)
EMULATE_SHIFT(slli_epi16, int16_t)
EMULATE_SHIFT(slli_epi32, int32_t)
EMULATE_SHIFT(slli_epi64, int64_t)
EMULATE_SHIFT(srli_epi16, int16_t)
EMULATE_SHIFT(srli_epi32, int32_t)
EMULATE_SHIFT(srli_epi64, int64_t)
EMULATE_SHIFT(srai_epi16, int16_t)
EMULATE_SHIFT(srai_epi32, int32_t)
#undef EMULATE_SHIFT
#define EMULATE_SHIFT_BY(name, T)                                                                  \
  EMULATE_PAIR_SHARED(__m512i, name, __m128i)                                                      \
  EMULATE_MASKED2(_mm512, __m512i, T, name, __m512i, __m128i)
EMULATE_SHIFT_BY(sll_epi16, int16_t)
EMULATE_SHIFT_BY(sll_epi32, int32_t)
EMULATE_SHIFT_BY(sll_epi64, int64_t)
EMULATE_SHIFT_BY(srl_epi16, int16_t)
EMULATE_SHIFT_BY(srl_epi32, int32_t)
EMULATE_SHIFT_BY(srl_epi64, int64_t)
EMULATE_SHIFT_BY(sra_epi16, int16_t)
EMULATE_SHIFT_BY(sra_epi32, int32_t)
#undef EMULATE_SHIFT_BY
#define EMULATE_LANES_COUNT_AT(p, V, name, T, expression)                                          \
  EMULATED V p##_##name(V a, unsigned n) {                                                         \
    return emulated::each<T>(a, [=](T x) { return expression; });                                  \
  }                                                                                                \
  EMULATE_MASKED2(p, V, T, name, V, unsigned)
#define EMULATE_LANES_COUNT(name, T, ...)                                                          \
  EMULATE_WIDTHS(EMULATE_LANES_COUNT_AT, name, T, (__VA_ARGS__))
EMULATE_LANES_COUNT(srai_epi64, int64_t, x >> (n < 64 ? n : 63))
EMULATE_LANES_COUNT(rol_epi32, uint32_t, x << (n & 31) | x >> (-n & 31))
EMULATE_LANES_COUNT(ror_epi32, uint32_t, x >> (n & 31) | x << (-n & 31))
EMULATE_LANES_COUNT(rol_epi64, uint64_t, x << (n & 63) | x >> (-n & 63))
EMULATE_LANES_COUNT(ror_epi64, uint64_t, x >> (n & 63) | x << (-n & 63))
#undef EMULATE_LANES_COUNT
#undef EMULATE_LANES_COUNT_AT
EMULATE_PAIR_SHARED(__m512i, bslli_epi128, const int)
EMULATE_PAIR_SHARED(__m512i, bsrli_epi128, const int)

// Any function of three bits: bit 4*a + 2*b + c of the truth table.
namespace {
namespace emulated {
template <class T> EMULATED T ternary(T a, T b, T c, int table) {
  T r = 0;
  for (int i = 0; i < 8; ++i)
    if (table >> i & 1) r = (T)(r | ((i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c)));
  return r;
}
} // namespace emulated
} // namespace
#define EMULATE_TERNARY(p, V, T, name)                                                             \
  EMULATED V p##_##name(V a, V b, V c, int table) {                                                \
    auto x = emulated::lanes<uint64_t>(a);                                                         \
    const auto y = emulated::lanes<uint64_t>(b), z = emulated::lanes<uint64_t>(c);                 \
    for (int i = 0; i < (int)(sizeof a / 8); ++i)                                                  \
      x.at[i] = emulated::ternary(x.at[i], y.at[i], z.at[i], table);                               \
    return emulated::vector<V>(x);                                                                 \
  }                                                                                                \
  EMULATED V p##_mask_##name(V a, emulated::Mask<V, T> k, V b, V c, int table) {                   \
    return emulated::blend<T>(a, k, p##_##name(a, b, c, table));                                   \
  }                                                                                                \
  EMULATED V p##_maskz_##name(emulated::Mask<V, T> k, V a, V b, V c, int table) {                  \
    return emulated::blend<T>(k, p##_##name(a, b, c, table));                                      \
  }
EMULATE_WIDTHS(EMULATE_TERNARY, uint32_t, ternarylogic_epi32)
EMULATE_WIDTHS(EMULATE_TERNARY, uint64_t, ternarylogic_epi64)
#undef EMULATE_TERNARY

// VNNI: products of Count neighbours, A times B, added to a 32-bit lane; the s forms saturate.
namespace {
namespace emulated {
template <class A, class B, bool Saturate, class V> EMULATED V dot(V sum, V a, V b) {
  auto r = lanes<int32_t>(sum);
  const auto x = lanes<A>(a);
  const auto y = lanes<B>(b);
  constexpr int kCount = (int)(4 / sizeof(A)), kLanes = (int)(sizeof(V) / 4);
  for (int i = 0; i < kLanes; ++i) {
    int64_t total = r.at[i];
    for (int j = i * kCount; j < i * kCount + kCount; ++j) total += (int64_t)x.at[j] * y.at[j];
    if (Saturate)
      total = total < INT32_MIN ? INT32_MIN : total > INT32_MAX ? INT32_MAX : total;
    r.at[i] = (int32_t)(uint32_t)total;
  }
  return vector<V>(r);
}
} // namespace emulated
} // namespace
#define EMULATE_DOT(p, V, name, A, B, saturate)                                                    \
  EMULATED V p##_##name(V sum, V a, V b) { return emulated::dot<A, B, saturate>(sum, a, b); }      \
  EMULATED V p##_mask_##name(V sum, emulated::Mask<V, int32_t> k, V a, V b) {                      \
    return emulated::blend<int32_t>(sum, k, p##_##name(sum, a, b));                                \
  }                                                                                                \
  EMULATED V p##_maskz_##name(emulated::Mask<V, int32_t> k, V sum, V a, V b) {                     \
    return emulated::blend<int32_t>(k, p##_##name(sum, a, b));                                     \
  }
EMULATE_WIDTHS(EMULATE_DOT, dpbusd_epi32, uint8_t, int8_t, false)
EMULATE_WIDTHS(EMULATE_DOT, dpbusds_epi32, uint8_t, int8_t, true)
EMULATE_WIDTHS(EMULATE_DOT, dpwssd_epi32, int16_t, int16_t, false)
EMULATE_WIDTHS(EMULATE_DOT, dpwssds_epi32, int16_t, int16_t, true)
#undef EMULATE_DOT

// For each lane the earlier lanes that are equal to it.
#define EMULATE_CONFLICT(p, V, T, name)                                                            \
  EMULATED V p##_##name(V v) {                                                                     \
    const auto x = emulated::lanes<T>(v);                                                          \
    auto r = x;                                                                                    \
    for (int i = 0; i < (int)(sizeof v / sizeof(T)); ++i) {                                        \
      r.at[i] = 0;                                                                                 \
      for (int j = 0; j < i; ++j) r.at[i] |= (T)(x.at[i] == x.at[j]) << j;                         \
    }                                                                                              \
    return emulated::vector<V>(r);                                                                 \
  }
EMULATE_WIDTHS(EMULATE_CONFLICT, uint32_t, conflict_epi32)
EMULATE_WIDTHS(EMULATE_CONFLICT, uint64_t, conflict_epi64)
#undef EMULATE_CONFLICT

// Over all lanes; integers, so in any order. A masked one has `neutral` in the other lanes.
#define EMULATE_REDUCE(name, T, R, neutral, expression)                                            \
  EMULATED R _mm512_reduce_##name(__m512i v) {                                                     \
    const auto a = emulated::lanes<T>(v);                                                          \
    T x = a.at[0];                                                                                 \
    for (int i = 1; i < (int)(64 / sizeof(T)); ++i) {                                              \
      const T y = a.at[i];                                                                         \
      x = expression;                                                                              \
    }                                                                                              \
    return (R)x;                                                                                   \
  }                                                                                                \
  EMULATED R _mm512_mask_reduce_##name(emulated::Mask<__m512i, T> k, __m512i v) {                  \
    auto a = emulated::lanes<T>(v);                                                                \
    for (int i = 0; i < (int)(64 / sizeof(T)); ++i)                                                \
      if (!emulated::on(k, i)) a.at[i] = (T)neutral;                                               \
    return _mm512_reduce_##name(emulated::vector<__m512i>(a));                                     \
  }
EMULATE_REDUCE(add_epi32, uint32_t, int, 0, x + y)
EMULATE_REDUCE(add_epi64, uint64_t, long long, 0, x + y)
EMULATE_REDUCE(mul_epi32, uint32_t, int, 1, x* y)
EMULATE_REDUCE(and_epi32, uint32_t, int, -1, x& y)
EMULATE_REDUCE(and_epi64, uint64_t, long long, -1, x& y)
EMULATE_REDUCE(or_epi32, uint32_t, int, 0, x | y)
EMULATE_REDUCE(or_epi64, uint64_t, long long, 0, x | y)
EMULATE_REDUCE(min_epi32, int32_t, int, INT32_MAX, x < y ? x : y)
EMULATE_REDUCE(max_epi32, int32_t, int, INT32_MIN, x > y ? x : y)
EMULATE_REDUCE(min_epu32, uint32_t, unsigned, -1, x < y ? x : y)
EMULATE_REDUCE(max_epu32, uint32_t, unsigned, 0, x > y ? x : y)
EMULATE_REDUCE(min_epi64, int64_t, long long, INT64_MAX, x < y ? x : y)
EMULATE_REDUCE(max_epi64, int64_t, long long, INT64_MIN, x > y ? x : y)
EMULATE_REDUCE(min_epu64, uint64_t, unsigned long long, -1, x < y ? x : y)
EMULATE_REDUCE(max_epu64, uint64_t, unsigned long long, 0, x > y ? x : y)
#undef EMULATE_REDUCE
