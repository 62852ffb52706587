// SPDX-License-Identifier: MIT
// The vector layer: one logical vector of 16 lanes, whatever the registers are. This page is the
// contract of each verb; scalar.hpp is its definition, and tests/test_verbs.py and test_kernels.py
// hold every ISA to it.
//
//   f32x16 i32x16                16 lanes of float, int32_t; f64x8: 8 lanes of double
//   load(p, lanes)               float, f16, bf16 (widened exactly), double (rounded) -> f32x16.
//                                `lanes` is Whole() or a number below 16: lanes from there on are
//                                +0.0, and no byte behind the last element is read
//   store(p, v, lanes)           the reverse, rounded once to nearest even
//   load_u8 load_u16             bytes, halves (zero-extended) -> i32x16; (p, lanes)
//   load_i8 load_i16 load_i32    the same with their sign, and words
//   store_u8 store_u16           low byte, low half of each lane; (p, v, lanes)
//   store_unless(p, v, mask)     the lanes of v where the mask is 0 side by side from p on, where there is
//                                room for 16; returns how many. What is behind them is unspecified
//   splat(x)                     16 times x
//   bits_of(v) float_of(v)       the same 32 bits under the other type
//   add sub mul div              IEEE, one rounding, never fused; integers wrap around
//   min(a, b) max(a, b)          a < b ? a : b and a > b ? a : b: b where either is NaN
//   mul(a, b)                    of integers: the low 32 bits
//   and_ xor_                    bitwise, integers
//   max_u32                      of unsigned lanes
//   greater(a, b) equal(a, b)    -1 where true, else 0; equal compares integers
//   select(mask, a, b)           a where the mask is -1, b where it is 0
//   sign_bits(v)                 one bit per lane, set where it is negative
//   sign_mask(v)                 -1 in negative lanes, else 0
//   left_i32(v, n)               v << n, n = 0 ... 31
//   right_i32(v, n)              v >> n with the sign
//   left_each(v, n) right_each   the same by the lanes of n, 0 ... 31
//   times_2_31(v)                i64x16: v * 2^31, v >= 0
//   mul_high(a, b, c)            (a * b + c) >> 32 of signed lanes, c an i64x16; the sum must fit 64 bits
//   mul_high(a, b)               (a * b) >> 32
//   mul_q31(a, b)                (a * b + 2^30) >> 31; -2^31 for -2^31 times itself
//   quotient(x, s, r)            div(x, s) to the bit, given r = 1 / s, where 2^-90 <= |s| <= 2^90 and
//                                2^-3 <= |x / s| < 2^31; a smaller quotient may come out as any number
//                                below 2^-2, which rounds to the same code
//   to_i32(v)                    to nearest even; -2^31 for NaN and where 32 bits are too few
//   to_f32(v)                    to nearest even; exact for |v| <= 2^24
//   load_f64(p)                  8 elements of any T -> f64x8, by way of float
//   u8x64                        64 bytes: load_bytes(p), store_bytes(p, v),
//                                store_quarters(p, q, r, s, v)
//   bytes_of(v)                  the same 64 bytes of an f32x16 or i32x16
//   twice_i16(v)                 both halves of a lane are its low half
//   stream_bytes(p, v)           past the caches; p is a multiple of 64. Whoever streams calls
//                                end_stream() before others may read
//   or_ and_                     bitwise, bytes
//   add_u8 min_u8                bytes; sums wrap around
//   max_u16 max_i16 min_i16      of 32 lanes of 16 bits
//   add_sat_i16                  of 16-bit lanes, limited to -2^15 ... 2^15 - 1
//   mul_q15(a, b)                (a * b + 2^14) >> 15 of 16-bit lanes; not for -2^15 times itself
//   left_i16(v, n)               v << n of 16-bit lanes, n = 0 ... 15
//   right_i16(v, n)              v >> n with the sign
//   dot_i16(a, b)                i32x16: a[2i] * b[2i] + a[2i + 1] * b[2i + 1]
//   add_dot_i16(sum, a, b)       sum + dot_i16(a, b)
//   add_dot_u8i8(sum, a, b)      i32x16: sum + four products each, of bytes of a, unsigned, and of b, signed;
//                                neighbours' products must add up to less than 2^15 in magnitude
//   splat_u8(x) splat_u16(x)     64 times, 32 times x
//   first_of<T> second_of<T>     32 elements (f16, bf16) in 64 bytes as two vectors, in an order of T's
//                                own; load_two(p) reads any T in that order
//   rounded<T>(a, b)             what store makes of a, then of b as f16 or bf16: 64 bytes
//   narrow<T>(a, b, s, c, d, t)  two load_two as 64 bytes in the order of memory: a and b plus s, c and d
//                                plus t, saturated to 0 ... 255. s and t are splat_u16 of numbers of at
//                                most 2^10; bf16 wants lanes of at most 2^14
//   gather(p, i)                 f32x16: p[i[0]], p[i[1]], ...; no index is negative
//   lookup16(table, i)           f32x16: lanes of `table` by the low four bits of each lane of i; of two u8x64,
//                                whose table is the same 16 bytes four times: by each byte of i, below 16
//   Thresholds16                 15 floats in ascending order, behind which fewer are filled up with infinity:
//                                thresholds16(p) prepares them once, and
//   rank16(thresholds, v)        i32x16: how many of them are below v; 0 for NaN
//   Codes16                      codes16(p, order) prepares thresholds and 16 integers once, and
//   code16(codes, v)             i32x16: order[rank16(thresholds, v)]
//   prefetch(p)                  asks for the line at p; p may be any address
//   prefetch_far(p)              the same for what is read later: as far as L2, which has more room, and can
//                                wait for more lines at a time
//   round(v)                     f64x8: to nearest even, |v| < 2^51
//   greater(a, b, x, y)          f64x8: x where a > b, y elsewhere and where either is NaN
//   equal_bits(a, b)             f64x8: one bit per lane, set where equal
//   first_f64(v) second_f64(v)   lanes 0 ... 7 and 8 ... 15 of an i32x16 or f32x16 -> f64x8
//   read_f64(p) write_f64(p, v)  8 doubles as they are
//   add_product(sum, a, b)       sum + a * b, rounded once; of f64x8, a and b are floats, whose product is
//                                exact: fused or not, the bits are the same
//   reduce_max_each(v)           lane i: the maximum over the lanes of v[i], for 16 vectors of i32;
//   reduce_min_each(v)           the minimum
//   reduce_add_each(v)           f64x8, lane i: reduce_add(v[i]), for 8 vectors
//   reduce_add reduce_max        over all lanes of an f64x8, in the tree 4+4, 2+2, 1+1
//   pack64<B>(p, v)              64 bytes with a code below 2^B each -> 8*B bytes, field i in bits
//                                i*B .. i*B + B - 1 of the little-endian stream
//   unpack64<B>(p)               the reverse
//   nibbles(a, b)                what pack64<4> makes of a, then of b: 64 bytes
//
// Every verb may touch any address: nothing is assumed about alignment.
#pragma once
#include "../table.hpp"
#include <string.h>

#if defined(_MSC_VER)
#pragma fp_contract(off) // before VS 2022, /fp:precise contracts
#define BITMILL_INLINE __forceinline
#elif defined(BITMILL_ISA_SCALAR)
// Loops of 16 in the place of instructions: inlined everywhere, they would take minutes to compile.
#define BITMILL_INLINE inline
#else
#define BITMILL_INLINE inline __attribute__((always_inline))
#endif

// What runs seldom is kept small and out of the way; what many call is compiled once.
#if defined(__GNUC__)
#define BITMILL_SELDOM __attribute__((noinline, cold))
#define BITMILL_APART __attribute__((noinline))
#define BITMILL_NOT_UNROLLED _Pragma("GCC unroll 1")
#else
#define BITMILL_SELDOM
#define BITMILL_APART
#define BITMILL_NOT_UNROLLED
#endif
// Before the compiler decides what stays in registers: arrays of vectors that it unrolls later do not.
#if defined(__GNUC__) && !defined(BITMILL_ISA_SCALAR)
#define BITMILL_UNROLLED _Pragma("GCC unroll 16")
#else
#define BITMILL_UNROLLED
#endif

#include "halves.hpp"
// clang-format off
#include "bits.hpp"

#if defined(BITMILL_ISA_SCALAR)
#include "scalar.hpp"
#include "ranks.hpp"
#elif defined(BITMILL_ISA_AVX2)
#include "avx2.hpp"
#include "ranks.hpp"
#elif defined(BITMILL_ISA_AVX512)
#include "avx512.hpp"
#include "buckets.hpp"
#else
#error "one BITMILL_ISA_<NAME> must be defined"
#endif
// clang-format on

namespace bitmill::BITMILL_ISA {
namespace {

// 32 elements that were read together.
struct Two {
  f32x16 a, b;
};
// Each ISA says in which order bfloat16 comes; other elements are read as they lie.
template <class T> BITMILL_INLINE Two load_two(const T* p) { return {load(p), load(p + 16)}; }
BITMILL_INLINE Two load_two(const bf16* p) {
  const u8x64 raw = load_bytes(p);
  return {first_of<bf16>(raw), second_of<bf16>(raw)};
}

// All 16 lanes, known when the code is compiled; elsewhere `lanes` is a number.
struct Whole {};

template <class T> BITMILL_INLINE f32x16 load(const T* p, Whole) { return load(p); }
template <class T> BITMILL_INLINE void store(T* p, f32x16 v, Whole) { store(p, v); }
BITMILL_INLINE i32x16 load_u8(const uint8_t* p, Whole) { return load_u8(p); }
BITMILL_INLINE i32x16 load_u16(const uint16_t* p, Whole) { return load_u16(p); }
BITMILL_INLINE i32x16 load_i8(const int8_t* p, Whole) { return load_i8(p); }
BITMILL_INLINE i32x16 load_i16(const int16_t* p, Whole) { return load_i16(p); }
BITMILL_INLINE i32x16 load_i32(const int32_t* p, Whole) { return load_i32(p); }
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 v, Whole) { store_u8(p, v); }
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 v, Whole) { store_u16(p, v); }

// Asks for the `bytes` that a loop will read when it has gone kAhead bytes further than p. The CPU's own prefetching follows the reads that are on their way, and these wait for arithmetic: encoding
// int8 rows went from 60 to 88 % of the memory's speed with it (Zen 3).
constexpr int64_t kAhead = 4096, kFarAhead = 3 * 4096; // the latter for prefetch_far
BITMILL_INLINE void prefetch_ahead(const void* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) prefetch((const char*)p + kAhead + i);
}

// Whether a whole vector has a body of its own: without registers that would only be more code.
#if defined(BITMILL_ISA_SCALAR)
constexpr bool kRegisters = false;
#else
constexpr bool kRegisters = true;
#endif

BITMILL_INLINE int64_t lane_count(Whole) { return 16; }
BITMILL_INLINE int64_t lane_count(int64_t lanes) { return lanes; }
BITMILL_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// body(lanes) for the first `n` lanes, 1 ... 16.
template <class Body> BITMILL_INLINE void with_lanes(int64_t n, Body body) {
  if constexpr (kRegisters)
    if (n == 16) return body(Whole());
  body(n);
}

// body(i, lanes) for every vector of `count` elements: one body, so that the last elements obey the
// same arithmetic as the first.
template <class Body> BITMILL_INLINE void each_vector(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    if constexpr (kRegisters)
      body(i, Whole());
    else
      body(i, (int64_t)16);
  if (i < count) body(i, count - i);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
