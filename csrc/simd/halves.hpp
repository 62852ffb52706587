// SPDX-License-Identifier: MIT
// One float16 or bfloat16 at a time: what the vector layer does to lanes, for values that come once
// per group. Integer arithmetic, so the same on every ISA.
#pragma once
#include "../table.hpp"
#include <string.h>

namespace bitmill::BITMILL_ISA {
namespace {

// One element at any address.
template <class T> BITMILL_INLINE T get(const T* p) {
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}
template <class T> BITMILL_INLINE void put(T* p, T value) { memcpy(p, &value, sizeof value); }

BITMILL_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

BITMILL_INLINE float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

BITMILL_INLINE float widen(float x) { return x; }

BITMILL_INLINE float widen(bf16 x) { return float_of((uint32_t)x.bits << 16); }

BITMILL_INLINE float widen(f16 x) {
  const uint32_t sign = (uint32_t)(x.bits & 0x8000) << 16;
  const uint32_t exponent = x.bits >> 10 & 0x1f, fraction = x.bits & 0x3ff;
  if (exponent == 0) return float_of(sign | bits_of((float)fraction * 0x1p-24f));
  if (exponent == 31)
    return float_of(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000u : 0));
  return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

BITMILL_INLINE float widen(double x) { return (float)x; }

template <class T> T narrow(float x);

template <> BITMILL_INLINE float narrow<float>(float x) { return x; }
template <> BITMILL_INLINE double narrow<double>(float x) { return (double)x; }

template <> BITMILL_INLINE bf16 narrow<bf16>(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return {(uint16_t)(bits >> 16 | 0x40)};
  return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

template <> BITMILL_INLINE f16 narrow<f16>(float x) {
  const uint32_t bits = bits_of(x), magnitude = bits & 0x7fffffff;
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  if (magnitude > 0x7f800000) return {(uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff))};
  if (magnitude >= 0x477ff000) return {(uint16_t)(sign | 0x7c00)}; // 65520 and more: infinity
  if (magnitude < 0x38800000) // below 2^-14: 0.5 has the spacing of float16's subnormals
    return {(uint16_t)(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)))};
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return {(uint16_t)(sign | (rounded - (112u << 23)) >> 13)};
}

} // namespace
} // namespace bitmill::BITMILL_ISA
