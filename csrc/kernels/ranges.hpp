// SPDX-License-Identifier: MIT
// Ranges of runs and of columns. Values are compared as integers: the bits of |x| order NaN beyond
// infinity, and so do the extremes of the bits of x, so that a result which is not finite says that the
// data are not. Twins: bitmill.reference.absmax, minmax, column_absmax, column_minmax.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

BITMILL_INLINE i32x16 magnitude(f32x16 x) { return and_(bits_of(x), splat(0x7fffffff)); }
BITMILL_INLINE f32x16 negate(f32x16 x) {
  return float_of(xor_(bits_of(x), splat((int32_t)0x80000000)));
}

// What is known of the values seen, lane by lane: made of kStep values, or of none, and merged.

// The bits of max |x|.
template <class T> struct AbsMax {
  static constexpr int64_t kStep = 16;
  i32x16 most;

  BITMILL_INLINE AbsMax() : most(splat(0)) {}
  BITMILL_INLINE explicit AbsMax(const T* x) : most(magnitude(load(x))) {}
  BITMILL_INLINE void merge(const AbsMax& other) { most = max(most, other.most); }
  BITMILL_INLINE i32x16 bits() const { return most; }
};

// The bits of elements of two bytes have the order of their values too, and are half as many.
template <class T> struct AbsMax16 {
  static constexpr int64_t kStep = 32;
  u8x64 most;

  BITMILL_INLINE AbsMax16() : most(splat_u8(0)) {}
  BITMILL_INLINE explicit AbsMax16(const T* x) : most(and_(load_bytes(x), splat_u16(0x7fff))) {}
  BITMILL_INLINE void merge(const AbsMax16& other) { most = max_u16(most, other.most); }
  BITMILL_INLINE i32x16 bits() const {
    return max(bits_of(first_of<T>(most)), bits_of(second_of<T>(most)));
  }
};
template <> struct AbsMax<f16> : AbsMax16<f16> {
  using AbsMax16::AbsMax16;
};
template <> struct AbsMax<bf16> : AbsMax16<bf16> {
  using AbsMax16::AbsMax16;
};

// The bits of the values seen: the greatest as signed and as unsigned integers, and the least as signed
// ones. Signed, floats of one sign are in order, negative ones backwards; unsigned, negative ones come
// after all others. So `most` is the greatest value if it is not negative, `far` the least value if it is
// negative, and where all values have one sign, `near` is the one next to zero. A range that is to
// contain zero needs no `near`.
struct Extremes {
  i32x16 most, far, near;
};

template <class T, bool kNear> struct MinMax {
  static constexpr int64_t kStep = 16;
  Extremes e;

  BITMILL_INLINE MinMax() : e{splat((int32_t)0x80000000), splat(0), splat(0x7fffffff)} {}
  BITMILL_INLINE explicit MinMax(const T* x) { e.most = e.far = e.near = bits_of(load(x)); }
  BITMILL_INLINE void merge(const MinMax& other) {
    e.most = max(e.most, other.e.most);
    e.far = max_u32(e.far, other.e.far);
    if (kNear) e.near = min(e.near, other.e.near);
  }
  BITMILL_INLINE Extremes bits() const { return e; }
};

template <class T, bool kNear> struct MinMax16 {
  static constexpr int64_t kStep = 32;
  u8x64 most, far, near;

  BITMILL_INLINE MinMax16() : most(splat_u16(0x8000)), far(splat_u8(0)), near(splat_u16(0x7fff)) {}
  BITMILL_INLINE explicit MinMax16(const T* x) { most = far = near = load_bytes(x); }
  BITMILL_INLINE void merge(const MinMax16& other) {
    most = max_i16(most, other.most);
    far = max_u16(far, other.far);
    if (kNear) near = min_i16(near, other.near);
  }
  BITMILL_INLINE Extremes bits() const { // widening keeps the order
    return {max(bits_of(first_of<T>(most)), bits_of(second_of<T>(most))),
            max_u32(bits_of(first_of<T>(far)), bits_of(second_of<T>(far))),
            min(bits_of(first_of<T>(near)), bits_of(second_of<T>(near)))};
  }
};
template <bool kNear> struct MinMax<f16, kNear> : MinMax16<f16, kNear> {
  using MinMax16<f16, kNear>::MinMax16;
};
template <bool kNear> struct MinMax<bf16, kNear> : MinMax16<bf16, kNear> {
  using MinMax16<bf16, kNear>::MinMax16;
};

template <class Seen> BITMILL_INLINE Seen merged(Seen a, const Seen& b) {
  a.merge(b);
  return a;
}

// What `Seen` knows of n >= 1 values. Four steps are merged among themselves first, so that the CPU does
// not wait for one accumulator. A last step that is not full is filled up with the first value, which
// changes nothing.
template <class Seen, class T> BITMILL_INLINE auto range_bits(const T* x, int64_t n) {
  constexpr int64_t kStep = Seen::kStep;
  Seen seen;
  for (; n >= 4 * kStep; x += 4 * kStep, n -= 4 * kStep)
    seen.merge(
        merged(merged(Seen(x), Seen(x + kStep)), merged(Seen(x + 2 * kStep), Seen(x + 3 * kStep))));
  for (; n >= kStep; x += kStep, n -= kStep) seen.merge(Seen(x));
  if (n > 0) {
    T last[kStep];
    for (T& value : last) value = get(x);
    memcpy(last, x, (size_t)n * sizeof(T));
    seen.merge(Seen(last));
  }
  return seen.bits();
}

// Ranges of 16 groups side by side.
struct Ranges {
  f32x16 lo, hi;
};

// Which ranges are asked for: -max |x| ... max |x|, the range of x and 0, or the range of x.
enum Want { kMagnitudes, kWithZero, kRange };

// -0.0 becomes +0.0.
BITMILL_INLINE f32x16 no_negative_zero(i32x16 bits) { return add(float_of(bits), splat(0.0f)); }

// keep(bits, lane) for what `Seen` finds in each group of n values; the number of groups. With `usual` the
// usual sizes of groups are known to the compiler, which takes their loops apart.
template <class Seen, bool usual, class T, class Keep>
BITMILL_INLINE int each_group(const T* x, int64_t n, int64_t group, Keep keep) {
  int g = 0;
  const auto whole = [&](int64_t size) {
    for (; n >= size; ++g, x += size, n -= size) keep(range_bits<Seen>(x, size), g);
  };
  if (usual && kRegisters && group == 32)
    whole(32);
  else if (usual && kRegisters && group == 128)
    whole(128);
  else
    whole(group);
  if (n > 0) keep(range_bits<Seen>(x, n), g++);
  return g;
}

// Groups one after the other into the lanes of three vectors.
template <bool kNear, class T>
BITMILL_INLINE Ranges extremes_of(const T* x, int64_t n, int64_t group) {
  i32x16 most[16], far[16], near[16];
  const i32x16 top = splat((int32_t)0x80000000); // makes the unsigned order a signed one
  int g = each_group<MinMax<T, kNear>, !kNear>(x, n, group, [&](const Extremes& e, int i) {
    most[i] = e.most, far[i] = xor_(e.far, top), near[i] = e.near;
  });
  for (; g < 16; ++g) most[g] = far[g] = near[g] = splat(0);
  const i32x16 up = reduce_max_each(most), down = xor_(reduce_max_each(far), top);
  const i32x16 other = kNear ? reduce_min_each(near) : splat(0), zero = splat(0);
  return {no_negative_zero(select(greater(zero, down), down, other)),
          no_negative_zero(select(greater(zero, up), other, up))};
}

// The ranges of at most 16 groups of `group` values, of which there are n in all; other lanes are
// unspecified.
template <class T> Ranges ranges_of(const T* x, int64_t n, int64_t group, Want want) {
  if (want == kRange) return extremes_of<true>(x, n, group);
  if (want == kWithZero) return extremes_of<false>(x, n, group);
  i32x16 most[16];
  int g = each_group<AbsMax<T>, true>(x, n, group, [&](i32x16 bits, int i) { most[i] = bits; });
  for (; g < 16; ++g) most[g] = splat(0);
  const f32x16 hi = float_of(reduce_max_each(most));
  return {negate(hi), hi};
}

// use(Ranges, index of the first group, lanes) for the groups of every row, up to 16 at a time.
template <class T, class Use>
BITMILL_INLINE void each_ranges(const T* x, const Block& block, Want want, Use use) {
  int64_t at = 0;
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t left = block.cols; left > 0;) {
      const int64_t n = least(left, 16 * block.group);
      const int64_t groups = (n - 1) / block.group + 1;
      use(ranges_of(x, n, block.group, want), at, groups);
      x += n, left -= n, at += groups;
    }
}

template <class T> void absmax(const void* x, Block block, float* out) {
  each_ranges((const T*)x, block, kMagnitudes, [&](const Ranges& r, int64_t at, int64_t groups) {
    with_lanes(groups, [&](auto lanes) { store(out + at, r.hi, lanes); });
  });
}

template <class T> void minmax(const void* x, Block block, float* lo, float* hi) {
  each_ranges((const T*)x, block, kRange, [&](const Ranges& r, int64_t at, int64_t groups) {
    with_lanes(groups, [&](auto lanes) {
      store(lo + at, r.lo, lanes);
      store(hi + at, r.hi, lanes);
    });
  });
}

// Integers in the order of the floats (negative ones have their magnitude flipped); its own
// inverse.
BITMILL_INLINE i32x16 ordered(i32x16 bits) {
  return xor_(bits, and_(sign_mask(bits), splat(0x7fffffff)));
}
BITMILL_INLINE i32x16 ordered(f32x16 x) { return ordered(bits_of(x)); }

// Columns: rows are read one after another and merged into `out`, which stays in cache; row_step
// elements lie between the starts of two rows.
template <class T>
void column_absmax(const void* x_, int64_t rows, int64_t cols, int64_t row_step, float* out) {
  memset(out, 0, (size_t)cols * sizeof(float));
  const T* x = (const T*)x_;
  for (int64_t row = 0; row < rows; ++row, x += row_step)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const i32x16 merged = max(bits_of(load(out + i, lanes)), magnitude(load(x + i, lanes)));
      store(out + i, float_of(merged), lanes);
    });
}

// `lo` and `hi` hold ordered keys until the last row is in.
template <class T>
void column_minmax(const void* x_, int64_t rows, int64_t cols, int64_t row_step, float* lo,
                   float* hi) {
  const T* x = (const T*)x_;
  for (int64_t i = 0; i < cols; ++i) lo[i] = float_of(0x7fffffffu), hi[i] = float_of(0x80000000u);
  for (int64_t row = 0; row < rows; ++row, x += row_step)
    each_vector(cols, [&](int64_t i, auto lanes) {
      const i32x16 keys = ordered(load(x + i, lanes));
      store(lo + i, float_of(min(bits_of(load(lo + i, lanes)), keys)), lanes);
      store(hi + i, float_of(max(bits_of(load(hi + i, lanes)), keys)), lanes);
    });
  each_vector(cols, [&](int64_t i, auto lanes) {
    store(lo + i, no_negative_zero(ordered(load(lo + i, lanes))), lanes);
    store(hi + i, no_negative_zero(ordered(load(hi + i, lanes))), lanes);
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
