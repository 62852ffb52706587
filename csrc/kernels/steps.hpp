// SPDX-License-Identifier: MIT
// One vector of values to codes and back: the arithmetic of N1, N3 and N11 that every affine kernel
// shares. Twins: bitmill.reference.affine.encode and decode.
//
// q = clamp(rint((x - offset) / scale) + zero_point, qmin, qmax). x / scale, not x * (1 / scale): for
// scale 0.00214854861 and x 0.273939937 the first gives 127.499992 -> 127, the second 127.5 -> 128.
// An encoder gives the rounded quotient; Stored adds zero_point - qmin, clamps to 0 ... qmax - qmin, and
// makes the sum what is stored.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Parameters of one group, or of 16 columns: shift is zero_point - qmin, reciprocal 1 / scale, and the
// offset 0 where there is none, since x - 0 is x.
struct Steps {
  f32x16 scale, reciprocal, offset;
  i32x16 shift;
};

// For any scale, infinity among them. The bounds are whole numbers, so clamping before rounding gives
// the same codes as after it, and to_i32 never sees a value out of range.
struct DividingEncoder {
  f32x16 offset, scale, low, high;

  BITMILL_INLINE DividingEncoder(const Steps& s, i32x16 top)
      : offset(s.offset), scale(s.scale), low(to_f32(sub(splat(0), s.shift))),
        high(to_f32(sub(top, s.shift))) {}
  BITMILL_INLINE i32x16 operator()(f32x16 x) const {
    return to_i32(min(max(div(sub(x, offset), scale), low), high));
  }
};

// For values that the scale was made for, so that |x / scale| stays below 2^9 with codes of at most 8
// bits, and scales of kLeastScale ... kMostScale; no offset.
struct FittedEncoder {
  f32x16 scale, reciprocal;

  BITMILL_INLINE FittedEncoder(const Steps& s, i32x16) : scale(s.scale), reciprocal(s.reciprocal) {}
  BITMILL_INLINE i32x16 operator()(f32x16 x) const {
    return to_i32(quotient(x, scale, reciprocal));
  }
};

// For any values, and scales of kLeastScale ... kMostScale. Limiting x to 2^14 scales changes no code of
// at most 8 bits, and the quotient stays where it is exact and its integer fits 16 bits.
struct LimitedEncoder {
  f32x16 offset, scale, reciprocal, least, most;

  BITMILL_INLINE LimitedEncoder(const Steps& s, i32x16)
      : offset(s.offset), scale(s.scale), reciprocal(s.reciprocal) {
    const i32x16 limit = bits_of(mul(s.scale, splat(0x1p14f)));
    most = float_of(and_(limit, splat(0x7fffffff)));
    least = float_of(xor_(bits_of(most), splat((int32_t)0x80000000)));
  }
  BITMILL_INLINE i32x16 operator()(f32x16 x) const {
    return to_i32(quotient(min(max(sub(x, offset), least), most), scale, reciprocal));
  }
};

// How quotients are stored.
struct Stored {
  i32x16 top, base;
  u8x64 top_bytes, base_bytes;

  BITMILL_INLINE explicit Stored(const Quantizer& q)
      : top(splat(q.qmax - q.qmin)), base(splat(q.qmin + q.offset_binary())),
        top_bytes(splat_u8(q.qmax - q.qmin)), base_bytes(splat_u8(q.qmin + q.offset_binary())) {}

  BITMILL_INLINE i32x16 lanes(i32x16 quotient, i32x16 shift) const {
    return add(min(max(add(quotient, shift), splat(0)), top), base);
  }
  BITMILL_INLINE u8x64 bytes(u8x64 shifted) const {
    return add_u8(min_u8(shifted, top_bytes), base_bytes);
  }
};

// 64 codes of at most 8 bits; each half has an encoder and a shift, splat in 16 bits, of its own.
template <class T, class Encode>
BITMILL_INLINE u8x64 encode64(const T* x, const Encode& first, u8x64 shift, const Encode& second,
                              u8x64 second_shift, const Stored& stored) {
  const Two v = load_two(x), w = load_two(x + 32);
  return stored.bytes(
      narrow<T>(first(v.a), first(v.b), shift, second(w.a), second(w.b), second_shift));
}

// fl(fl(q - zero_point) * scale) + offset. Codes are widened with their sign; fields of packed codes carry
// a bias. Where there is no offset it is -0.0, the number that changes no sum: +0.0 would turn -0.0 into
// +0.0.
struct Decoder {
  i32x16 bias;
  f32x16 scale, offset;

  BITMILL_INLINE Decoder(const Quantizer& q, f32x16 scale_, i32x16 zero_point, f32x16 offset_)
      : bias(add(splat(q.offset_binary()), zero_point)), scale(scale_), offset(offset_) {}

  BITMILL_INLINE f32x16 operator()(i32x16 field) const {
    return add(mul(to_f32(sub(field, bias)), scale), offset);
  }
};

// Codes of one or two bytes under one name.
template <class Lanes> BITMILL_INLINE i32x16 load_code(const uint8_t* p, Lanes lanes) {
  return load_u8(p, lanes);
}
template <class Lanes> BITMILL_INLINE i32x16 load_code(const int8_t* p, Lanes lanes) {
  return load_i8(p, lanes);
}
template <class Lanes> BITMILL_INLINE i32x16 load_code(const uint16_t* p, Lanes lanes) {
  return load_u16(p, lanes);
}
template <class Lanes> BITMILL_INLINE i32x16 load_code(const int16_t* p, Lanes lanes) {
  return load_i16(p, lanes);
}
template <class Lanes> BITMILL_INLINE void store_code(uint8_t* p, i32x16 q, Lanes lanes) {
  store_u8(p, q, lanes);
}
template <class Lanes> BITMILL_INLINE void store_code(uint16_t* p, i32x16 q, Lanes lanes) {
  store_u16(p, q, lanes);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
