// SPDX-License-Identifier: MIT
// Floats as integers that have their order.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// The bits of |x|; those of NaN lie beyond infinity.
BITMILL_INLINE i32x16 magnitude(i32x16 bits) { return and_(bits, splat(0x7fffffff)); }
BITMILL_INLINE i32x16 magnitude(f32x16 x) { return magnitude(bits_of(x)); }

// Integers in the order of the floats (negative ones have their magnitude flipped); its own
// inverse.
BITMILL_INLINE i32x16 ordered(i32x16 bits) { return xor_(bits, magnitude(sign_mask(bits))); }
BITMILL_INLINE i32x16 ordered(f32x16 x) { return ordered(bits_of(x)); }

} // namespace
} // namespace bitmill::BITMILL_ISA
