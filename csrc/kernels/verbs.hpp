// SPDX-License-Identifier: MIT
// The verbs of simd.hpp as functions of 16 lanes of 32 bits, so that every ISA can be compared with
// the scalar definition. Loads, stores and packing are compared through the kernels.
#pragma once
#include "../simd/simd.hpp"
#include "../verbs.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

BITMILL_INLINE i32x16 to_bits(i32x16 x) { return x; }
BITMILL_INLINE i32x16 to_bits(f32x16 x) { return bits_of(x); }
BITMILL_INLINE i32x16 to_bits(int32_t x) { return splat(x); }
BITMILL_INLINE i32x16 to_bits(u8x64 x) {
  int32_t bits[16];
  store_bytes(bits, x);
  return load_i32(bits);
}

// a and b are loaded whole if n is 16, else in part.
void apply_verb(int verb, const int32_t* a, const int32_t* b, int64_t n, int32_t* out) {
  const i32x16 i = n == 16 ? load_i32(a) : load_i32(a, n),
               j = n == 16 ? load_i32(b) : load_i32(b, n);
  const f32x16 x = float_of(i), y = float_of(j);
  i32x16 result = splat(0);
  switch (verb) {
#define BITMILL_VERB(name, expression)                                                             \
  case verb_##name: result = to_bits(expression); break;
    BITMILL_VERBS(BITMILL_VERB)
#undef BITMILL_VERB
  default: break;
  }
  store((float*)out, float_of(result));
}

} // namespace
} // namespace bitmill::BITMILL_ISA
