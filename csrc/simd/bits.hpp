// SPDX-License-Identifier: MIT
// Bit fields by halving: eight codes in the bytes of a 64-bit word, joined to 8*B adjacent bits and
// split again, each step joining (splitting) neighbours of half the size.
#pragma once
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bitmill's bit streams are written for little-endian machines"
#endif

namespace bitmill::BITMILL_ISA {
namespace {

// The low `bits` of every `lane` bits of a 64-bit word.
constexpr uint64_t low_bits(int bits, int lane) {
  uint64_t mask = 0;
  for (int at = 0; at < 64; at += lane) mask |= ((uint64_t(1) << bits) - 1) << at;
  return mask;
}

// The number of the lowest bit that is set; some bit is.
BITMILL_INLINE int lowest_bit(uint64_t x) {
#if defined(__GNUC__)
  return __builtin_ctzll(x);
#else
  int at = 0;
  for (; !(x & 1); x >>= 1) ++at;
  return at;
#endif
}

template <int B> BITMILL_INLINE uint64_t join8(uint64_t x) {
  constexpr uint64_t m1 = low_bits(B, 16), m2 = low_bits(2 * B, 32), m4 = low_bits(4 * B, 64);
  x = (x & m1) | (x >> (8 - B) & ~m1);
  x = (x & m2) | (x >> (16 - 2 * B) & ~m2);
  return (x & m4) | (x >> (32 - 4 * B) & ~m4);
}

template <int B> BITMILL_INLINE uint64_t split8(uint64_t x) {
  constexpr uint64_t m1 = low_bits(B, 16), m2 = low_bits(2 * B, 32), m4 = low_bits(4 * B, 64);
  x = (x & m4) | (x & ~m4) << (32 - 4 * B);
  x = (x & m2) | (x & ~m2) << (16 - 2 * B);
  return (x & m1) | (x & ~m1) << (8 - B);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
