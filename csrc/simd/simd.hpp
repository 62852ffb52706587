// SPDX-License-Identifier: MIT
// The vector layer: one logical vector of 16 lanes, whatever the registers are. This page is the
// contract of each verb; scalar.hpp is its definition, and tests/test_verbs.py and test_kernels.py
// hold every ISA to it.
//
//   f32x16 i32x16 f64x16            16 lanes of float, int32_t, double
//   load<T>(p)  load<T>(p, n)       T in float, f16, bf16, double -> f32x16. float16 and bfloat16
//   are
//                                   widened exactly, double is rounded to nearest even. With n,
//                                   lanes from n on are +0.0 and no byte behind the n-th element is
//                                   read.
//   store<T>(p, v)  store<T>(p,v,n) the reverse, rounded once to nearest even; with n, only n
//   elements load_u8 load_u16                bytes, halves -> i32x16, zero-extended; (p) or (p, n)
//   as above store_u8 store_u16              low byte, low half of each lane; (p, v) or (p, v, n)
//   splat(x)                        16 times x
//   bits_of(f32x16) float_of(i32x16) the same 32 bits under the other type
//   add sub mul div                 IEEE, one rounding, never fused; integers wrap around
//   min(a, b)  max(a, b)            a < b ? a : b  and  a > b ? a : b: b where either is NaN
//   and_ xor_                       bitwise, integers
//   sign_mask(v)                    -1 in negative lanes, else 0
//   to_i32(v)                       to nearest even; |v| must be below 2^31
//   to_f32(v)                       exact for |v| <= 2^24
//   to_f64(v)                       exact
//   abs(f64x16)                     clears the sign
//   reduce_min reduce_max(i32x16)   over all lanes
//   reduce_add reduce_max(f64x16)   in the tree 8+8, 4+4, 2+2, 1+1
//   pack64<B>(p, codes)             64 bytes with a code below 2^B each -> 8*B bytes, field i in
//   bits
//                                   i*B .. i*B + B - 1 of the little-endian stream
//   unpack64<B>(codes, p)           the reverse
//
// Every verb may touch any address: nothing is assumed about alignment.
#pragma once
#include "../table.hpp"
#include <string.h>

#if defined(_MSC_VER)
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
