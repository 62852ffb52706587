// SPDX-License-Identifier: MIT
// The vector layer: one logical vector of 16 lanes, whatever the registers are. This page is the
// contract of each verb; scalar.hpp is its definition, and tests/test_verbs.py and test_kernels.py
// hold every ISA to it.
//
//   f32x16 i32x16 f64x16         16 lanes of float, int32_t, double
//   load(p, lanes)               float, f16, bf16 (widened exactly), double (rounded) -> f32x16.
//                                `lanes` is Whole() or a number below 16: lanes from there on are
//                                +0.0, and no byte behind the last element is read
//   store(p, v, lanes)           the reverse, rounded once to nearest even
//   load_u8 load_u16 load_i32    bytes, halves (zero-extended), words -> i32x16; (p, lanes)
//   store_u8 store_u16           low byte, low half of each lane; (p, v, lanes)
//   splat(x)                     16 times x
//   bits_of(v) float_of(v)       the same 32 bits under the other type
//   add sub mul div              IEEE, one rounding, never fused; integers wrap around
//   min(a, b) max(a, b)          a < b ? a : b and a > b ? a : b: b where either is NaN
//   and_ xor_                    bitwise, integers
//   sign_mask(v)                 -1 in negative lanes, else 0
//   to_i32(v)                    to nearest even; |v| must be below 2^31
//   to_f32(v)                    exact for |v| <= 2^24
//   to_f64(v)                    exact
//   abs(v)                       f64x16: clears the sign
//   u8x64                        64 bytes: load_bytes(p), store_bytes(p, v)
//   stream_bytes(p, v)           past the caches; p is a multiple of 64. Whoever streams calls
//                                end_stream() before others may read
//   or_                          bitwise, bytes
//   reduce_min reduce_max        over all lanes of an i32x16
//   reduce_add reduce_max        over all lanes of an f64x16, in the tree 8+8, 4+4, 2+2, 1+1
//   pack64<B>(p, codes)          64 bytes with a code below 2^B each -> 8*B bytes, field i in bits
//                                i*B .. i*B + B - 1 of the little-endian stream
//   unpack64<B>(codes, p)        the reverse
//
// Every verb may touch any address: nothing is assumed about alignment.
#pragma once
#include "../table.hpp"
#include <string.h>

#if defined(_MSC_VER)
#pragma fp_contract(off) // before VS 2022, /fp:precise contracts
#define BITMILL_INLINE __forceinline
#else
#define BITMILL_INLINE inline __attribute__((always_inline))
#endif

#include "halves.hpp"
// clang-format off
#include "bits.hpp"
// clang-format on

#if defined(BITMILL_ISA_SCALAR)
#include "scalar.hpp"
#elif defined(BITMILL_ISA_AVX2)
#include "avx2.hpp"
#elif defined(BITMILL_ISA_AVX512)
#include "avx512.hpp"
#else
#error "one BITMILL_ISA_<NAME> must be defined"
#endif

namespace bitmill::BITMILL_ISA {
namespace {

// All 16 lanes, known when the code is compiled; elsewhere `lanes` is a number.
struct Whole {};

template <class T> BITMILL_INLINE f32x16 load(const T* p, Whole) { return load(p); }
template <class T> BITMILL_INLINE void store(T* p, f32x16 v, Whole) { store(p, v); }
BITMILL_INLINE i32x16 load_u8(const uint8_t* p, Whole) { return load_u8(p); }
BITMILL_INLINE i32x16 load_u16(const uint16_t* p, Whole) { return load_u16(p); }
BITMILL_INLINE i32x16 load_i32(const int32_t* p, Whole) { return load_i32(p); }
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 v, Whole) { store_u8(p, v); }
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 v, Whole) { store_u16(p, v); }

// body(i, lanes) for every vector of `count` elements: one body, so that the last elements obey the
// same arithmetic as the first.
template <class Body> BITMILL_INLINE void each_vector(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) body(i, Whole());
  if (i < count) body(i, count - i);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
