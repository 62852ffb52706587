// SPDX-License-Identifier: MIT
// The types, and the tools that intrinsics are made of: an AVX2 instruction on both halves, a loop
// over lanes, and the merging and zeroing forms of either.
#pragma once

// Types of their own, not vectors of the compiler: an AVX-512 intrinsic that is missing here is a
// compile error and never an illegal instruction.
struct alignas(64) __m512i {
  __m256i half[2];
};
struct alignas(64) __m512 {
  __m256 half[2];
};
struct alignas(64) __m512d {
  __m256d half[2];
};
typedef unsigned char __mmask8;
typedef unsigned short __mmask16;
typedef unsigned int __mmask32;
typedef unsigned long long __mmask64;

#define EMULATED static inline __attribute__((always_inline))

namespace {
namespace emulated {

template <int Count> struct MaskFor;
template <> struct MaskFor<2> { typedef __mmask8 type; };
template <> struct MaskFor<4> { typedef __mmask8 type; };
template <> struct MaskFor<8> { typedef __mmask8 type; };
template <> struct MaskFor<16> { typedef __mmask16 type; };
template <> struct MaskFor<32> { typedef __mmask32 type; };
template <> struct MaskFor<64> { typedef __mmask64 type; };
// The mask with a bit for each T in a V.
template <class V, class T> using Mask = typename MaskFor<(int)(sizeof(V) / sizeof(T))>::type;

template <class T, int Count> struct Lanes {
  T at[Count];
};
template <class T, class V> EMULATED Lanes<T, (int)(sizeof(V) / sizeof(T))> lanes(V v) {
  Lanes<T, (int)(sizeof(V) / sizeof(T))> r;
  memcpy(&r, &v, sizeof v);
  return r;
}
template <class V, class L> EMULATED V vector(const L& l) {
  static_assert(sizeof(V) == sizeof(L), "a whole vector");
  V v;
  memcpy(&v, &l, sizeof v);
  return v;
}
template <class V> EMULATED V zero() {
  V v;
  memset(&v, 0, sizeof v);
  return v;
}
EMULATED bool on(uint64_t k, int i) { return k >> i & 1; }

// v where k has a bit, else src.
template <class T, class V> EMULATED V blend(V src, uint64_t k, V v) {
  auto r = lanes<T>(src);
  const auto a = lanes<T>(v);
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i) r.at[i] = on(k, i) ? a.at[i] : r.at[i];
  return vector<V>(r);
}
template <class T, class V> EMULATED V blend(uint64_t k, V v) { return blend<T>(zero<V>(), k, v); }

template <class T, class V, class F> EMULATED V each(V x, F f) {
  auto r = lanes<T>(x);
  for (T& lane : r.at) lane = (T)f(lane);
  return vector<V>(r);
}
template <class T, class V, class F> EMULATED V each(V x, V y, F f) {
  auto r = lanes<T>(x);
  const auto b = lanes<T>(y);
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  for (int i = 0; i < kCount; ++i) r.at[i] = (T)f(r.at[i], b.at[i]);
  return vector<V>(r);
}
// The mask of the lanes for which f says true.
template <class T, class V, class F> EMULATED Mask<V, T> which(V x, V y, F f) {
  const auto a = lanes<T>(x), b = lanes<T>(y);
  constexpr int kCount = (int)(sizeof(V) / sizeof(T));
  uint64_t k = 0;
  for (int i = 0; i < kCount; ++i) k |= (uint64_t)(f(a.at[i], b.at[i]) ? 1 : 0) << i;
  return (Mask<V, T>)k;
}

template <int Bytes> struct VectorOf;
template <> struct VectorOf<16> { typedef __m128i type; };
template <> struct VectorOf<32> { typedef __m256i type; };
template <> struct VectorOf<64> { typedef __m512i type; };

} // namespace emulated
} // namespace

// The merging and zeroing forms of a plain one with one, two operands; lanes of type T.
#define EMULATE_MASKED1(p, V, T, name, A)                                                          \
  EMULATED V p##_mask_##name(V src, emulated::Mask<V, T> k, A a) {                                 \
    return emulated::blend<T>(src, k, p##_##name(a));                                              \
  }                                                                                                \
  EMULATED V p##_maskz_##name(emulated::Mask<V, T> k, A a) {                                       \
    return emulated::blend<T>(k, p##_##name(a));                                                   \
  }
#define EMULATE_MASKED2(p, V, T, name, A, B)                                                       \
  EMULATED V p##_mask_##name(V src, emulated::Mask<V, T> k, A a, B b) {                            \
    return emulated::blend<T>(src, k, p##_##name(a, b));                                           \
  }                                                                                                \
  EMULATED V p##_maskz_##name(emulated::Mask<V, T> k, A a, B b) {                                  \
    return emulated::blend<T>(k, p##_##name(a, b));                                                \
  }
#define EMULATE_MASKED3(p, V, T, name, A, B, C)                                                    \
  EMULATED V p##_mask_##name(V src, emulated::Mask<V, T> k, A a, B b, C c) {                       \
    return emulated::blend<T>(src, k, p##_##name(a, b, c));                                        \
  }                                                                                                \
  EMULATED V p##_maskz_##name(emulated::Mask<V, T> k, A a, B b, C c) {                             \
    return emulated::blend<T>(k, p##_##name(a, b, c));                                             \
  }

// The 512-bit form of an AVX2 intrinsic: each half. B is the type of a second operand that both
// halves share.
#define EMULATE_PAIR1(V, name)                                                                     \
  EMULATED V _mm512_##name(V a) {                                                                  \
    return {{_mm256_##name(a.half[0]), _mm256_##name(a.half[1])}};                                 \
  }
#define EMULATE_PAIR2(V, name)                                                                     \
  EMULATED V _mm512_##name(V a, V b) {                                                             \
    return {{_mm256_##name(a.half[0], b.half[0]), _mm256_##name(a.half[1], b.half[1])}};           \
  }
#define EMULATE_PAIR_SHARED(V, name, B)                                                            \
  EMULATED V _mm512_##name(V a, B b) {                                                             \
    return {{_mm256_##name(a.half[0], b), _mm256_##name(a.half[1], b)}};                           \
  }

// For the three widths of integer vectors.
#define EMULATE_WIDTHS(X, ...)                                                                     \
  X(_mm512, __m512i, __VA_ARGS__)                                                                  \
  X(_mm256, __m256i, __VA_ARGS__)                                                                  \
  X(_mm, __m128i, __VA_ARGS__)
