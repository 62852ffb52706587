// SPDX-License-Identifier: MIT
// Single parameters as their dtype stores them, and the values next to these.
// Twin: bitmill/reference/stored.py.
#pragma once
#include "params.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Rounded to float, then to the dtype; zero is +0.0.
BITMILL_INLINE double stored(double value, Float storage) {
  const float x = (float)value;
  const float rounded = storage == kF16    ? widen(narrow<f16>(x))
                        : storage == kBF16 ? widen(narrow<bf16>(x))
                                           : x;
  return (double)rounded + 0.0;
}

// The numbers next below and above; both zeros count as one.
struct Neighbours {
  double below, above;
};
BITMILL_INLINE Neighbours neighbours(double value, Float storage) {
  const float x = (float)value;
  int32_t bits, ones; // whose order is that of the values, once negative ones are turned around
  if (storage == kF16)
    bits = (int16_t)narrow<f16>(x).bits, ones = 0x7fff;
  else if (storage == kBF16)
    bits = (int16_t)narrow<bf16>(x).bits, ones = 0x7fff;
  else
    bits = (int32_t)bits_of(x), ones = 0x7fffffff;
  const int32_t key = bits >= 0 ? bits : bits ^ ones;
  const auto value_of = [&](int32_t k) {
    const int32_t b = k >= 0 ? k : k ^ ones;
    const float v = storage == kF16    ? widen(f16{(uint16_t)b})
                    : storage == kBF16 ? widen(bf16{(uint16_t)b})
                                       : float_of((uint32_t)b);
    return (double)v + 0.0;
  };
  return {value_of(key - 1), value_of(key + 1)};
}

BITMILL_INLINE void put_float(void* p, int64_t i, Float storage, double value) {
  if (storage == kF16)
    put((f16*)p + i, narrow<f16>((float)value));
  else if (storage == kBF16)
    put((bf16*)p + i, narrow<bf16>((float)value));
  else
    put((float*)p + i, (float)value);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
