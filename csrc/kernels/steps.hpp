// SPDX-License-Identifier: MIT
// One vector of values to codes and back: the arithmetic of N1, N3 and N11 that every affine kernel
// shares. Twins: bitmill.reference.affine.encode and decode.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// q = clamp(rint((x - offset) / scale) + zero_point, qmin, qmax) + offset_binary.
// x / scale, not x * (1 / scale): for scale 0.00214854861 and x 0.273939937 the first gives
// 127.499992 -> 127, the second 127.5 -> 128. The bounds are whole numbers, so clamping before
// rounding gives the same codes as after it, and to_i32 never sees a value out of range.
// Without an offset, x - 0 is x.
struct Encoder {
  f32x16 offset, scale, low, high;
  i32x16 shift;

  BITMILL_INLINE Encoder(const Quantizer& q, f32x16 offset_, f32x16 scale_, i32x16 zero_point)
      : offset(offset_), scale(scale_), low(to_f32(sub(splat(q.qmin), zero_point))),
        high(to_f32(sub(splat(q.qmax), zero_point))),
        shift(add(zero_point, splat(q.offset_binary()))) {}

  BITMILL_INLINE i32x16 operator()(f32x16 x) const {
    const f32x16 quotient = div(sub(x, offset), scale);
    return add(to_i32(min(max(quotient, low), high)), shift);
  }
};

// fl(fl(q - zero_point) * scale) + offset. A stored field becomes q by flipping its sign bit where
// codes are two's complement, and subtracting the bias. Without an offset, -0.0 is added: it is the
// number that changes no sum, while +0.0 would turn -0.0 into +0.0.
struct Decoder {
  i32x16 flip, bias;
  f32x16 scale, offset;

  BITMILL_INLINE Decoder(const Quantizer& q, f32x16 offset_, f32x16 scale_, i32x16 zero_point)
      : flip(splat(q.bits == 0 && q.qmin < 0 ? (q.wide() ? 0x8000 : 0x80) : 0)),
        bias(add(add(flip, splat(q.offset_binary())), zero_point)), scale(scale_), offset(offset_) {
  }

  BITMILL_INLINE f32x16 operator()(i32x16 field) const {
    return add(mul(to_f32(sub(xor_(field, flip), bias)), scale), offset);
  }
};

// Codes of one or two bytes under one name.
template <class Lanes> BITMILL_INLINE i32x16 load_code(const uint8_t* p, Lanes lanes) {
  return load_u8(p, lanes);
}
template <class Lanes> BITMILL_INLINE i32x16 load_code(const uint16_t* p, Lanes lanes) {
  return load_u16(p, lanes);
}
template <class Lanes> BITMILL_INLINE void store_code(uint8_t* p, i32x16 q, Lanes lanes) {
  store_u8(p, q, lanes);
}
template <class Lanes> BITMILL_INLINE void store_code(uint16_t* p, i32x16 q, Lanes lanes) {
  store_u16(p, q, lanes);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
