// SPDX-License-Identifier: MIT
// Values over a scale to floats of 4, 6 or 8 bits, and back. Twins: bitmill.reference.float_encode,
// float_decode. One body serves all formats: what they differ in are numbers.
#pragma once
#include "codes.hpp"
#include "decode.hpp"
#include "keys.hpp"
#include "pack.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int kMantissa = 23, kBias = 127; // of float32

// The exponent of the subnormal and the least normal numbers.
BITMILL_INLINE int32_t least_exponent(const Minifloat& f) { return 2 - (1 << (f.exponent - 1)); }
BITMILL_INLINE int32_t power_of_two(int32_t exponent) { return (exponent + kBias) << kMantissa; }

// |q| = steps * 2^(e - mantissa) with e the exponent of |q|, or that of the subnormals if this is more: adding
// 2^(e - mantissa + 23), whose last bit is worth one step, rounds to whole steps, to nearest even. Normal
// numbers have 2^mantissa ... 2^(mantissa + 1) steps, and steps that fill the exponent's range are the next
// exponent's first: so the code is steps plus the exponent's distance from the least one.
struct FloatEncoder {
  i32x16 most, least, raise, sign;
  int32_t drop;

  BITMILL_INLINE explicit FloatEncoder(const Minifloat& f)
      : most(bits_of(splat(f.most))), least(splat(power_of_two(least_exponent(f)))),
        raise(splat((kMantissa - f.mantissa) << kMantissa)), sign(splat(1 << (f.bits() - 1))),
        drop(kMantissa - f.mantissa) {}

  BITMILL_INLINE i32x16 operator()(f32x16 x, f32x16 scale) const {
    const f32x16 q = div(x, scale);
    const i32x16 size = min(magnitude(q), most);
    const i32x16 exponent = max(and_(size, splat(0x7f800000)), least);
    const i32x16 shift = add(exponent, raise);
    const i32x16 steps = sub(bits_of(add(float_of(size), float_of(shift))), shift);
    const i32x16 code = add(right_i32(sub(exponent, least), drop), steps);
    return add(code, and_(greater(splat(0.0f), q), sign)); // -0.0 is not below 0
  }
};

// Not by way of float32's subnormal numbers, with which some CPUs are slow.
struct FloatDecoder {
  f32x16 step;
  i32x16 sizes, one, top, bias, infinity;
  int32_t drop, to_sign;

  BITMILL_INLINE explicit FloatDecoder(const Minifloat& f)
      : step(float_of(splat(power_of_two(least_exponent(f) - f.mantissa)))),
        sizes(splat((1 << (f.bits() - 1)) - 1)), one(splat(1 << f.mantissa)),
        bias(splat(power_of_two(least_exponent(f) - 1))), drop(kMantissa - f.mantissa),
        to_sign(32 - f.bits()) {
    top = splat(((int32_t)bits_of(f.most) - power_of_two(least_exponent(f) - 1)) >> drop);
    infinity = f.has_infinity ? add(top, splat(1)) : splat(-1);
  }

  BITMILL_INLINE f32x16 operator()(i32x16 code, f32x16 scale) const {
    const i32x16 size = and_(code, sizes);
    const i32x16 normal = add(left_i32(size, drop), bias);
    const i32x16 finite = select(greater(one, size), bits_of(mul(to_f32(size), step)), normal);
    const i32x16 special =
        select(equal(size, infinity), splat(0x7f800000), splat(0x7fc00000)); // NaN
    const i32x16 value = select(greater(size, top), special, finite);
    const i32x16 sign = and_(left_i32(code, to_sign), splat((int32_t)0x80000000));
    return mul(float_of(xor_(value, sign)), scale);
  }
};

// Packers of the widths below 8 bits that there are.
BITMILL_INLINE PackRow pack_row_of(const Minifloat& f) {
  return f.bits() == 4 ? pack_row<4> : pack_row<6>;
}
BITMILL_INLINE UnpackRow unpack_row_of(const Minifloat& f) {
  return f.bits() == 4 ? unpack_row<4> : unpack_row<6>;
}

void float_encode(const Minifloat* f, const float* x, Block block, const float* scale, bool packed,
                  void* codes) {
  const FloatEncoder encode(*f);
  ByteCodes out(packed ? pack_row_of(*f) : nullptr, codes, block.streams);
  for (int64_t row = 0; row < block.rows; ++row) {
    f32x16 divisor = splat(1.0f);
    int64_t rest = 0; // of the group
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = least(left, kChunk);
      uint8_t* to = out.room();
      for (int64_t done = 0; done < n;) {
        if (rest == 0) divisor = splat(*scale++), rest = block.group;
        const int64_t part = least(n - done, rest);
        each_vector(part, [&](int64_t i, auto lanes) {
          prefetch_ahead(x + i, 64);
          store_u8(to + done + i, encode(load(x + i, lanes), divisor), lanes);
        });
        x += part, done += part, rest -= part;
      }
      out.give(n);
      left -= n;
    }
    out.end_row();
  }
  out.finish();
  end_stream();
}

void float_decode(const Minifloat* f, const void* codes, Block block, const float* scale,
                  bool packed, float* out) {
  GivenBytes given(packed ? unpack_row_of(*f) : nullptr, f->bits(), codes, block.cols);
  const FloatDecoder decode(*f);
  decode_rows(given, block, out, [&](int64_t group) {
    const f32x16 factor = splat(scale[group]);
    return [&decode, factor](i32x16 code) { return decode(code, factor); };
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
