// SPDX-License-Identifier: MIT
// The definition of every verb of simd.hpp, in plain C++; correct on any machine.
#pragma once

namespace bitmill::BITMILL_ISA {
namespace {

struct f32x16 {
  float v[16];
};
struct i32x16 {
  int32_t v[16];
};
struct f64x8 {
  double v[8];
};
struct u8x64 {
  uint8_t v[64];
};

#define BITMILL_LANES(type, expression)                                                            \
  type r;                                                                                          \
  for (int i = 0; i < 16; ++i) r.v[i] = (expression);                                              \
  return r

template <class T> BITMILL_INLINE f32x16 load(const T* p) {
  BITMILL_LANES(f32x16, widen(get(p + i)));
}
template <class T> BITMILL_INLINE f32x16 load(const T* p, int64_t n) {
  BITMILL_LANES(f32x16, i < n ? widen(get(p + i)) : 0.0f);
}
template <class T> BITMILL_INLINE void store(T* p, f32x16 x) {
  for (int i = 0; i < 16; ++i) put(p + i, narrow<T>(x.v[i]));
}
template <class T> BITMILL_INLINE void store(T* p, f32x16 x, int64_t n) {
  for (int i = 0; i < n; ++i) put(p + i, narrow<T>(x.v[i]));
}

BITMILL_INLINE i32x16 load_u8(const uint8_t* p) { BITMILL_LANES(i32x16, p[i]); }
BITMILL_INLINE i32x16 load_u8(const uint8_t* p, int64_t n) {
  BITMILL_LANES(i32x16, i < n ? p[i] : 0);
}
BITMILL_INLINE i32x16 load_u16(const uint16_t* p) { BITMILL_LANES(i32x16, get(p + i)); }
BITMILL_INLINE i32x16 load_u16(const uint16_t* p, int64_t n) {
  BITMILL_LANES(i32x16, i < n ? get(p + i) : 0);
}
BITMILL_INLINE i32x16 load_i8(const int8_t* p) { BITMILL_LANES(i32x16, p[i]); }
BITMILL_INLINE i32x16 load_i8(const int8_t* p, int64_t n) {
  BITMILL_LANES(i32x16, i < n ? p[i] : 0);
}
BITMILL_INLINE i32x16 load_i16(const int16_t* p) { BITMILL_LANES(i32x16, get(p + i)); }
BITMILL_INLINE i32x16 load_i16(const int16_t* p, int64_t n) {
  BITMILL_LANES(i32x16, i < n ? get(p + i) : 0);
}
BITMILL_INLINE void store_u8(uint8_t* p, i32x16 x, int64_t n = 16) {
  for (int i = 0; i < n; ++i) p[i] = (uint8_t)x.v[i];
}
BITMILL_INLINE void store_u16(uint16_t* p, i32x16 x, int64_t n = 16) {
  for (int i = 0; i < n; ++i) put(p + i, (uint16_t)x.v[i]);
}

BITMILL_INLINE f32x16 splat(float x) { BITMILL_LANES(f32x16, x); }
BITMILL_INLINE i32x16 splat(int32_t x) { BITMILL_LANES(i32x16, x); }
BITMILL_INLINE i32x16 load_i32(const int32_t* p) { BITMILL_LANES(i32x16, get(p + i)); }
BITMILL_INLINE i32x16 load_i32(const int32_t* p, int64_t n) {
  BITMILL_LANES(i32x16, i < n ? get(p + i) : 0);
}

BITMILL_INLINE i32x16 bits_of(f32x16 x) { BITMILL_LANES(i32x16, (int32_t)bits_of(x.v[i])); }
BITMILL_INLINE f32x16 float_of(i32x16 x) { BITMILL_LANES(f32x16, float_of((uint32_t)x.v[i])); }

BITMILL_INLINE f32x16 add(f32x16 a, f32x16 b) { BITMILL_LANES(f32x16, a.v[i] + b.v[i]); }
BITMILL_INLINE f32x16 sub(f32x16 a, f32x16 b) { BITMILL_LANES(f32x16, a.v[i] - b.v[i]); }
BITMILL_INLINE f32x16 mul(f32x16 a, f32x16 b) { BITMILL_LANES(f32x16, a.v[i] * b.v[i]); }
BITMILL_INLINE f32x16 div(f32x16 a, f32x16 b) { BITMILL_LANES(f32x16, a.v[i] / b.v[i]); }
BITMILL_INLINE f32x16 min(f32x16 a, f32x16 b) {
  BITMILL_LANES(f32x16, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
BITMILL_INLINE f32x16 max(f32x16 a, f32x16 b) {
  BITMILL_LANES(f32x16, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}

BITMILL_INLINE i32x16 add(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i]));
}
BITMILL_INLINE i32x16 sub(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (int32_t)((uint32_t)a.v[i] - (uint32_t)b.v[i]));
}
BITMILL_INLINE i32x16 mul(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (int32_t)((uint32_t)a.v[i] * (uint32_t)b.v[i]));
}
BITMILL_INLINE i32x16 min(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, a.v[i] < b.v[i] ? a.v[i] : b.v[i]);
}
BITMILL_INLINE i32x16 max(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, a.v[i] > b.v[i] ? a.v[i] : b.v[i]);
}
BITMILL_INLINE i32x16 max_u32(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (uint32_t)a.v[i] > (uint32_t)b.v[i] ? a.v[i] : b.v[i]);
}
BITMILL_INLINE i32x16 greater(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, a.v[i] > b.v[i] ? -1 : 0);
}
BITMILL_INLINE i32x16 greater(f32x16 a, f32x16 b) {
  BITMILL_LANES(i32x16, a.v[i] > b.v[i] ? -1 : 0);
}
BITMILL_INLINE i32x16 equal(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, a.v[i] == b.v[i] ? -1 : 0);
}
BITMILL_INLINE i32x16 select(i32x16 mask, i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, mask.v[i] ? a.v[i] : b.v[i]);
}
BITMILL_INLINE uint32_t sign_bits(i32x16 x) {
  uint32_t bits = 0;
  for (int i = 0; i < 16; ++i) bits |= (uint32_t)(x.v[i] < 0) << i;
  return bits;
}
BITMILL_INLINE int64_t store_unless(int32_t* p, i32x16 x, i32x16 mask) {
  int64_t n = 0;
  for (int i = 0; i < 16; ++i) {
    p[n] = x.v[i];
    n += mask.v[i] == 0;
  }
  return n;
}
// In double the product is exact, and the sum rounded to an odd last bit unless it is exact, so that to round it
// again changes nothing (Boldo, Melquiond: When double rounding is odd).
BITMILL_INLINE float add_product(float sum, float a, float b) {
#if defined(__FP_FAST_FMAF)
  return __builtin_fmaf(a, b, sum);
#else
  const double product = (double)a * b, rounded = product + sum, part = rounded - product;
  const double rest = (product - (rounded - part)) + (sum - part);
  uint64_t bits;
  memcpy(&bits, &rounded, 8);
  if ((rest < 0 || rest > 0) && bits % 2 == 0) bits += (rest > 0) == (rounded > 0) ? 1 : -1;
  double odd;
  memcpy(&odd, &bits, 8);
  return (float)odd;
#endif
}
BITMILL_INLINE f32x16 add_product(f32x16 sum, f32x16 a, f32x16 b) {
  BITMILL_LANES(f32x16, add_product(sum.v[i], a.v[i], b.v[i]));
}
BITMILL_INLINE f32x16 quotient(f32x16 x, f32x16 s, f32x16) { return div(x, s); }

BITMILL_INLINE f32x16 gather(const float* p, i32x16 at) { BITMILL_LANES(f32x16, get(p + at.v[i])); }
BITMILL_INLINE f32x16 lookup16(f32x16 table, i32x16 at) {
  BITMILL_LANES(f32x16, table.v[at.v[i] & 15]);
}
struct Thresholds16 {
  float t[15];
};
BITMILL_INLINE Thresholds16 thresholds16(const float* p) {
  Thresholds16 r;
  memcpy(r.t, p, sizeof r.t);
  return r;
}
BITMILL_INLINE i32x16 rank16(const Thresholds16& thresholds, f32x16 x) {
  i32x16 r = {};
  for (float t : thresholds.t)
    for (int i = 0; i < 16; ++i) r.v[i] += t < x.v[i];
  return r;
}
BITMILL_INLINE i32x16 and_(i32x16 a, i32x16 b) { BITMILL_LANES(i32x16, a.v[i] & b.v[i]); }
BITMILL_INLINE i32x16 xor_(i32x16 a, i32x16 b) { BITMILL_LANES(i32x16, a.v[i] ^ b.v[i]); }
BITMILL_INLINE i32x16 sign_mask(i32x16 a) { BITMILL_LANES(i32x16, a.v[i] < 0 ? -1 : 0); }
BITMILL_INLINE i32x16 left_i32(i32x16 a, int n) {
  BITMILL_LANES(i32x16, (int32_t)((uint32_t)a.v[i] << n));
}
BITMILL_INLINE i32x16 right_i32(i32x16 a, int n) { BITMILL_LANES(i32x16, a.v[i] >> n); }
BITMILL_INLINE i32x16 left_each(i32x16 a, i32x16 n) {
  BITMILL_LANES(i32x16, (int32_t)((uint32_t)a.v[i] << n.v[i]));
}
BITMILL_INLINE i32x16 right_each(i32x16 a, i32x16 n) { BITMILL_LANES(i32x16, a.v[i] >> n.v[i]); }
struct i64x16 {
  int64_t v[16];
};
BITMILL_INLINE i64x16 times_2_31(i32x16 a) { BITMILL_LANES(i64x16, (int64_t)a.v[i] << 31); }
BITMILL_INLINE i32x16 mul_high(i32x16 a, i32x16 b, i64x16 c) {
  BITMILL_LANES(i32x16, (int32_t)(((int64_t)a.v[i] * b.v[i] + c.v[i]) >> 32));
}
BITMILL_INLINE i32x16 mul_high(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (int32_t)(((int64_t)a.v[i] * b.v[i]) >> 32));
}
BITMILL_INLINE i32x16 mul_q31(i32x16 a, i32x16 b) {
  BITMILL_LANES(i32x16, (int32_t)(((int64_t)a.v[i] * b.v[i] + (1 << 30)) >> 31));
}

// Between 2^23 and 2^24 the floats are the whole numbers, so adding 2^23 (with the sign of x)
// rounds to nearest even, and subtracting it is exact. From 2^23 on every float is whole already.
BITMILL_INLINE int32_t nearest(float x) {
  if (!(x >= -0x1p31f && x < 0x1p31f)) return INT32_MIN;
  const float shift = x < 0 ? -0x1p23f : 0x1p23f;
  return (int32_t)(x > -0x1p23f && x < 0x1p23f ? (x + shift) - shift : x);
}
BITMILL_INLINE i32x16 to_i32(f32x16 x) { BITMILL_LANES(i32x16, nearest(x.v[i])); }
BITMILL_INLINE f32x16 to_f32(i32x16 x) { BITMILL_LANES(f32x16, (float)x.v[i]); }
#undef BITMILL_LANES

#define BITMILL_LANES(expression)                                                                  \
  f64x8 r;                                                                                         \
  for (int i = 0; i < 8; ++i) r.v[i] = (expression);                                               \
  return r

template <class T> BITMILL_INLINE f64x8 load_f64(const T* p) {
  BITMILL_LANES((double)widen(get(p + i)));
}
BITMILL_INLINE f64x8 splat_f64(double x) { BITMILL_LANES(x); }
BITMILL_INLINE f64x8 add(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] + b.v[i]); }
BITMILL_INLINE f64x8 sub(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] - b.v[i]); }
BITMILL_INLINE f64x8 mul(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] * b.v[i]); }
BITMILL_INLINE f64x8 max(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
BITMILL_INLINE f64x8 min(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
BITMILL_INLINE f64x8 div(f64x8 a, f64x8 b) { BITMILL_LANES(a.v[i] / b.v[i]); }
BITMILL_INLINE f64x8 greater(f64x8 a, f64x8 b, f64x8 x, f64x8 y) {
  BITMILL_LANES(a.v[i] > b.v[i] ? x.v[i] : y.v[i]);
}
BITMILL_INLINE f64x8 first_f64(i32x16 x) { BITMILL_LANES((double)x.v[i]); }
BITMILL_INLINE f64x8 second_f64(i32x16 x) { BITMILL_LANES((double)x.v[8 + i]); }
BITMILL_INLINE f64x8 first_f64(f32x16 x) { BITMILL_LANES((double)x.v[i]); }
BITMILL_INLINE f64x8 second_f64(f32x16 x) { BITMILL_LANES((double)x.v[8 + i]); }
BITMILL_INLINE f64x8 read_f64(const double* p) { BITMILL_LANES(p[i]); }
BITMILL_INLINE void write_f64(double* p, f64x8 x) { memcpy(p, x.v, sizeof x.v); }
BITMILL_INLINE f64x8 round(f64x8 x) { BITMILL_LANES((x.v[i] + 0x1.8p52) - 0x1.8p52); }
BITMILL_INLINE f64x8 add_product(f64x8 sum, f64x8 a, f64x8 b) {
  BITMILL_LANES(sum.v[i] + a.v[i] * b.v[i]);
}

#undef BITMILL_LANES

// For measuring alone.
constexpr int kAccumulators = 1;
BITMILL_INLINE i32x16 add_dot_u8i8(i32x16 sum, i32x16 a, i32x16 b) {
  for (int i = 0; i < 64; ++i)
    sum.v[i / 4] += (a.v[i / 4] >> i % 4 * 8 & 255) * (int8_t)(b.v[i / 4] >> i % 4 * 8 & 255);
  return sum;
}

BITMILL_INLINE u8x64 load_bytes(const void* p) {
  u8x64 r;
  memcpy(r.v, p, 64);
  return r;
}
BITMILL_INLINE void store_bytes(void* p, u8x64 x) { memcpy(p, x.v, 64); }
BITMILL_INLINE void store_quarters(uint8_t* p, uint8_t* q, uint8_t* r, uint8_t* s, u8x64 x) {
  memcpy(p, x.v, 16);
  memcpy(q, x.v + 16, 16);
  memcpy(r, x.v + 32, 16);
  memcpy(s, x.v + 48, 16);
}
BITMILL_INLINE void stream_bytes(void* p, u8x64 x) { store_bytes(p, x); }
BITMILL_INLINE u8x64 bytes_of(f32x16 x) { return load_bytes(&x); }
BITMILL_INLINE u8x64 bytes_of(i32x16 x) { return load_bytes(&x); }
BITMILL_INLINE u8x64 twice_i16(i32x16 x) {
  for (int32_t& v : x.v) v = (int32_t)(((uint32_t)v << 16) | ((uint32_t)v & 0xffff));
  return bytes_of(x);
}
BITMILL_INLINE void end_stream() {}
BITMILL_INLINE void prefetch(const void*) {}
BITMILL_INLINE void prefetch_far(const void*) {}

#define BITMILL_BYTES(verb, expression)                                                            \
  BITMILL_INLINE u8x64 verb(u8x64 a, u8x64 b) {                                                    \
    for (int i = 0; i < 64; ++i) a.v[i] = (uint8_t)(expression);                                   \
    return a;                                                                                      \
  }
BITMILL_BYTES(or_, a.v[i] | b.v[i])
BITMILL_BYTES(and_, a.v[i] & b.v[i])
BITMILL_BYTES(add_u8, a.v[i] + b.v[i])
BITMILL_BYTES(min_u8, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
#undef BITMILL_BYTES
BITMILL_INLINE u8x64 lookup16(const u8x64& table, u8x64 at) {
  for (uint8_t& x : at.v) x = table.v[x];
  return at;
}

#define BITMILL_HALVES(verb, type, expression)                                                     \
  BITMILL_INLINE u8x64 verb(u8x64 a, u8x64 b) {                                                    \
    for (int i = 0; i < 64; i += 2) {                                                              \
      const type x = get((const type*)(a.v + i)), y = get((const type*)(b.v + i));                 \
      put((type*)(a.v + i), (type)(expression));                                                   \
    }                                                                                              \
    return a;                                                                                      \
  }
BITMILL_HALVES(max_u16, uint16_t, x > y ? x : y)
BITMILL_HALVES(max_i16, int16_t, x > y ? x : y)
BITMILL_HALVES(min_i16, int16_t, x < y ? x : y)
BITMILL_HALVES(mul_q15, int16_t, (x * y + (1 << 14)) >> 15)
BITMILL_HALVES(add_sat_i16, int16_t, x + y > 32767 ? 32767 : x + y < -32768 ? -32768 : x + y)
#undef BITMILL_HALVES

BITMILL_INLINE u8x64 left_i16(u8x64 a, int n) {
  for (int i = 0; i < 64; i += 2)
    put((uint16_t*)(a.v + i), (uint16_t)(get((const uint16_t*)(a.v + i)) << n));
  return a;
}
BITMILL_INLINE u8x64 right_i16(u8x64 a, int n) {
  for (int i = 0; i < 64; i += 2)
    put((int16_t*)(a.v + i), (int16_t)(get((const int16_t*)(a.v + i)) >> n));
  return a;
}
BITMILL_INLINE i32x16 dot_i16(u8x64 a, u8x64 b) {
  const auto at = [](const u8x64& v, int i) { return (int32_t)get((const int16_t*)v.v + i); };
  i32x16 r;
  for (int i = 0; i < 16; ++i)
    r.v[i] = at(a, 2 * i) * at(b, 2 * i) + at(a, 2 * i + 1) * at(b, 2 * i + 1);
  return r;
}
BITMILL_INLINE i32x16 add_dot_i16(i32x16 sum, u8x64 a, u8x64 b) { return add(sum, dot_i16(a, b)); }
BITMILL_INLINE uint32_t equal_bits(f64x8 a, f64x8 b) {
  uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) bits |= (uint32_t)(a.v[i] == b.v[i]) << i;
  return bits;
}

BITMILL_INLINE u8x64 splat_u8(int32_t x) {
  u8x64 r;
  memset(r.v, x, 64);
  return r;
}
BITMILL_INLINE u8x64 splat_u16(int32_t x) {
  u8x64 r;
  for (int i = 0; i < 64; i += 2) put((uint16_t*)(r.v + i), (uint16_t)x);
  return r;
}

template <class T> BITMILL_INLINE f32x16 first_of(u8x64 x) { return load((const T*)x.v); }
template <class T> BITMILL_INLINE f32x16 second_of(u8x64 x) { return load((const T*)x.v + 16); }
template <class T> BITMILL_INLINE u8x64 rounded(f32x16 a, f32x16 b) {
  u8x64 both;
  store((T*)both.v, a);
  store((T*)both.v + 16, b);
  return both;
}
template <class T>
BITMILL_INLINE u8x64 narrow(i32x16 a, i32x16 b, u8x64 s, i32x16 c, i32x16 d, u8x64 t) {
  u8x64 r;
  const i32x16 all[] = {a, b, c, d};
  for (int i = 0; i < 64; ++i) {
    const int64_t x = (int64_t)all[i / 16].v[i % 16] + get((const int16_t*)(i < 32 ? s : t).v);
    r.v[i] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
  }
  return r;
}

BITMILL_INLINE double reduce_max(f64x8 x) {
  for (int half = 4; half; half /= 2)
    for (int i = 0; i < half; ++i) x.v[i] = x.v[i] > x.v[i + half] ? x.v[i] : x.v[i + half];
  return x.v[0];
}
BITMILL_INLINE double reduce_add(f64x8 x) {
  for (int half = 4; half; half /= 2)
    for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
  return x.v[0];
}

BITMILL_INLINE f64x8 reduce_add_each(const f64x8* v) {
  f64x8 r;
  for (int i = 0; i < 8; ++i) r.v[i] = reduce_add(v[i]);
  return r;
}
BITMILL_INLINE i32x16 reduce_max_each(const i32x16* v) {
  i32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = v[i].v[0];
    for (int32_t x : v[i].v) r.v[i] = x > r.v[i] ? x : r.v[i];
  }
  return r;
}
BITMILL_INLINE i32x16 reduce_min_each(const i32x16* v) {
  i32x16 r;
  for (int i = 0; i < 16; ++i) {
    r.v[i] = v[i].v[0];
    for (int32_t x : v[i].v) r.v[i] = x < r.v[i] ? x : r.v[i];
  }
  return r;
}

template <int B> BITMILL_INLINE void pack64(uint8_t* p, u8x64 codes) {
  uint64_t x[8];
  memcpy(x, &codes, 64);
  for (int i = 0; i < 8; ++i) x[i] = join8<B>(x[i]);
  for (int i = 0; i < 8; ++i) memcpy(p + i * B, &x[i], B);
}
BITMILL_INLINE u8x64 nibbles(u8x64 a, u8x64 b) {
  u8x64 r;
  pack64<4>(r.v, a);
  pack64<4>(r.v + 32, b);
  return r;
}
template <int B> BITMILL_INLINE u8x64 unpack64(const uint8_t* p) {
  uint64_t x[8] = {};
  for (int i = 0; i < 8; ++i) memcpy(&x[i], p + i * B, B);
  for (int i = 0; i < 8; ++i) x[i] = split8<B>(x[i]);
  return load_bytes(x);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
