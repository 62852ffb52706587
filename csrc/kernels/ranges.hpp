// SPDX-License-Identifier: MIT
// Ranges of runs and of columns. Values are compared as integers: the bits of |x| order NaN beyond
// infinity, and so do the extremes of the bits of x, so that a result which is not finite says that the
// data are not. Twins: bitmill.reference.absmax, minmax, column_absmax, column_minmax.
#pragma once
#include "keys.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

BITMILL_INLINE f32x16 negate(f32x16 x) {
  return float_of(xor_(bits_of(x), splat((int32_t)0x80000000)));
}

constexpr int64_t kMostGroups = 64; // that are looked at together

template <class Seen> struct FoundBy;

// What is known of the values seen, lane by lane: made of kStep values, or of none, and merged.

// The bits of max |x|.
template <class T> struct AbsMax {
  static constexpr int64_t kStep = 16;
  i32x16 most_ = splat(0);

  AbsMax() = default;
  BITMILL_INLINE explicit AbsMax(const T* x) : most_(magnitude(load(x))) {}
  BITMILL_INLINE void merge(const AbsMax& other) { most_ = max(most_, other.most_); }
  BITMILL_INLINE i32x16 most() const { return most_; }
};

// The bits of elements of two bytes have the order of their values too, and are half as many.
template <class T> struct AbsMax16 {
  static constexpr int64_t kStep = 32;
  u8x64 most_ = splat_u8(0);

  AbsMax16() = default;
  BITMILL_INLINE explicit AbsMax16(const T* x) : most_(and_(load_bytes(x), splat_u16(0x7fff))) {}
  BITMILL_INLINE void merge(const AbsMax16& other) { most_ = max_u16(most_, other.most_); }
  BITMILL_INLINE i32x16 most() const {
    return max(bits_of(first_of<T>(most_)), bits_of(second_of<T>(most_)));
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
template <class T, bool kNear> struct MinMax {
  static constexpr int64_t kStep = 16;
  i32x16 most_ = splat((int32_t)0x80000000), far_ = splat(0), near_ = splat(0x7fffffff);

  MinMax() = default;
  BITMILL_INLINE explicit MinMax(const T* x) { most_ = far_ = near_ = bits_of(load(x)); }
  BITMILL_INLINE void merge(const MinMax& other) {
    most_ = max(most_, other.most_);
    far_ = max_u32(far_, other.far_);
    if constexpr (kNear) near_ = min(near_, other.near_);
  }
  BITMILL_INLINE i32x16 most() const { return most_; }
  BITMILL_INLINE i32x16 far() const { return far_; }
  BITMILL_INLINE i32x16 near() const { return near_; }
};

// Widening keeps the order.
template <class T, bool kNear> struct MinMax16 {
  static constexpr int64_t kStep = 32;
  u8x64 most_ = splat_u16(0x8000), far_ = splat_u8(0), near_ = splat_u16(0x7fff);

  MinMax16() = default;
  BITMILL_INLINE explicit MinMax16(const T* x) { most_ = far_ = near_ = load_bytes(x); }
  BITMILL_INLINE void merge(const MinMax16& other) {
    most_ = max_i16(most_, other.most_);
    far_ = max_u16(far_, other.far_);
    if constexpr (kNear) near_ = min_i16(near_, other.near_);
  }
  BITMILL_INLINE i32x16 most() const {
    return max(bits_of(first_of<T>(most_)), bits_of(second_of<T>(most_)));
  }
  BITMILL_INLINE i32x16 far() const {
    return max_u32(bits_of(first_of<T>(far_)), bits_of(second_of<T>(far_)));
  }
  BITMILL_INLINE i32x16 near() const {
    return min(bits_of(first_of<T>(near_)), bits_of(second_of<T>(near_)));
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

// What `Seen` knows of kCount values, a power of two: merged in a tree, so that the CPU does not wait for
// one accumulator, and read in order, which memory likes best.
template <class Seen, int64_t kCount, class T> BITMILL_INLINE Seen seen_all(const T* x) {
  if constexpr (kCount == Seen::kStep)
    return Seen(x);
  else
    return merged(seen_all<Seen, kCount / 2>(x), seen_all<Seen, kCount / 2>(x + kCount / 2));
}

// What `Seen` knows of n >= 1 values. A last step that is not full is filled up with the first value, which
// changes nothing.
template <class Seen, class T> BITMILL_INLINE Seen seen_in(const T* x, int64_t n) {
  constexpr int64_t kStep = Seen::kStep;
  Seen seen;
  for (; n >= 4 * kStep; x += 4 * kStep, n -= 4 * kStep) seen.merge(seen_all<Seen, 4 * kStep>(x));
  for (; n >= kStep; x += kStep, n -= kStep) seen.merge(Seen(x));
  if (n > 0) {
    T last[kStep];
    for (T& value : last) value = get(x);
    memcpy(last, x, (size_t)n * sizeof(T));
    seen.merge(Seen(last));
  }
  return seen;
}

// Ranges of 16 groups side by side.
struct Ranges {
  f32x16 lo, hi;
};

// -0.0 becomes +0.0.
BITMILL_INLINE f32x16 no_negative_zero(i32x16 bits) { return add(float_of(bits), splat(0.0f)); }

// What was seen of groups, in arrays: set for all of a group, add for a part of it, ranges(g) for 16 groups
// from g on, one in each lane. kApart says that one end may be NaN where the other is not. Here for
// -max |x| ... max |x|:
struct Magnitudes {
  static constexpr bool kApart = false;
  i32x16 most[kMostGroups] = {};

  template <class Seen> BITMILL_INLINE void set(int64_t g, const Seen& seen) {
    most[g] = seen.most();
  }
  template <class Seen> BITMILL_INLINE void add(int64_t g, const Seen& seen) {
    most[g] = max(most[g], seen.most());
  }
  Ranges ranges(int64_t g) const {
    const f32x16 hi = float_of(reduce_max_each(most + g));
    return {negate(hi), hi};
  }
};

// For the range of x, or without kNear of x and 0. `far` has its sign bits turned, which makes the unsigned
// order a signed one.
template <bool kNear> struct Limits {
  static constexpr bool kApart = true;
  i32x16 most[kMostGroups] = {}, far[kMostGroups] = {}, near[kNear ? kMostGroups : 1] = {};

  template <class Seen> BITMILL_INLINE void set(int64_t g, const Seen& seen) {
    most[g] = seen.most(), far[g] = turned(seen.far());
    if constexpr (kNear) near[g] = seen.near();
  }
  template <class Seen> BITMILL_INLINE void add(int64_t g, const Seen& seen) {
    most[g] = max(most[g], seen.most()), far[g] = max(far[g], turned(seen.far()));
    if constexpr (kNear) near[g] = min(near[g], seen.near());
  }
  Ranges ranges(int64_t g) const {
    const i32x16 up = reduce_max_each(most + g), down = turned(reduce_max_each(far + g));
    const i32x16 zero = splat(0);
    i32x16 other = zero;
    if constexpr (kNear) other = reduce_min_each(near + g);
    return {no_negative_zero(select(greater(zero, down), down, other)),
            no_negative_zero(select(greater(zero, up), other, up))};
  }

 private:
  static BITMILL_INLINE i32x16 turned(i32x16 bits) {
    return xor_(bits, splat((int32_t)0x80000000));
  }
};

template <class T> struct FoundBy<AbsMax<T>> {
  using Type = Magnitudes;
};
template <class T, bool kNear> struct FoundBy<MinMax<T, kNear>> {
  using Type = Limits<kNear>;
};
template <class Seen> using Found = typename FoundBy<Seen>::Type;

// use(Ranges, index of the first group, lanes) for the groups of every row, up to 16 at a time.
template <class Seen, class T, class Use>
BITMILL_INLINE void each_ranges(const T* x, const Block& block, Use use) {
  int64_t at = 0;
  Found<Seen> found;
  for (int64_t row = 0; row < block.rows; ++row)
    for (int64_t left = block.cols; left > 0;) {
      int64_t groups = 0;
      for (; groups < 16 && left > 0; ++groups) {
        const int64_t n = least(left, block.group);
        found.set(groups, seen_in<Seen>(x, n));
        x += n, left -= n;
      }
      const Ranges r = found.ranges(0);
      with_lanes(groups, [&](auto lanes) { use(r, at, lanes); });
      at += groups;
    }
}

template <class T> void absmax(const void* x, Block block, float* out) {
  each_ranges<AbsMax<T>>((const T*)x, block, [&](const Ranges& r, int64_t at, auto lanes) {
    store(out + at, r.hi, lanes);
  });
}

template <class T> void minmax(const void* x, Block block, float* lo, float* hi) {
  each_ranges<MinMax<T, true>>((const T*)x, block, [&](const Ranges& r, int64_t at, auto lanes) {
    store(lo + at, r.lo, lanes);
    store(hi + at, r.hi, lanes);
  });
}

// Columns: a few rows at a time are merged into `out`, which stays in cache (row by row, its loads and
// stores took half the time); row_step elements lie between the starts of two rows.
constexpr int kMergedRows = 4;

// merge(where, column, number of rows, lanes) for all columns of kMergedRows rows, then of the next ones,
// which are asked for meanwhile.
template <class T, class Merge>
BITMILL_INLINE void each_column(const T* x, int64_t rows, int64_t cols, int64_t row_step,
                                Merge merge) {
  for (int64_t row = 0; row < rows; row += kMergedRows, x += kMergedRows * row_step) {
    const int64_t n = least(rows - row, kMergedRows);
    each_vector(cols, [&](int64_t i, auto lanes) {
      for (int64_t r = 0; r < n; ++r) prefetch_far(x + (r + kMergedRows) * row_step + i);
      merge(x + i, i, n, lanes);
    });
  }
}

template <class T>
void column_absmax(const void* x, int64_t rows, int64_t cols, int64_t row_step, float* out) {
  memset(out, 0, (size_t)cols * sizeof(float));
  each_column((const T*)x, rows, cols, row_step,
              [&](const T* at, int64_t i, int64_t n, auto lanes) {
                i32x16 merged = bits_of(load(out + i, lanes));
                for (int64_t r = 0; r < n; ++r)
                  merged = max(merged, magnitude(load(at + r * row_step, lanes)));
                store(out + i, float_of(merged), lanes);
              });
}

// `lo` and `hi` hold ordered keys until the last row is in.
template <class T>
void column_minmax(const void* x, int64_t rows, int64_t cols, int64_t row_step, float* lo,
                   float* hi) {
  for (int64_t i = 0; i < cols; ++i) lo[i] = float_of(0x7fffffffu), hi[i] = float_of(0x80000000u);
  each_column((const T*)x, rows, cols, row_step,
              [&](const T* at, int64_t i, int64_t n, auto lanes) {
                i32x16 low = bits_of(load(lo + i, lanes)), high = bits_of(load(hi + i, lanes));
                for (int64_t r = 0; r < n; ++r) {
                  const i32x16 keys = ordered(load(at + r * row_step, lanes));
                  low = min(low, keys);
                  high = max(high, keys);
                }
                store(lo + i, float_of(low), lanes);
                store(hi + i, float_of(high), lanes);
              });
  each_vector(cols, [&](int64_t i, auto lanes) {
    store(lo + i, no_negative_zero(ordered(load(lo + i, lanes))), lanes);
    store(hi + i, no_negative_zero(ordered(load(hi + i, lanes))), lanes);
  });
}

} // namespace
} // namespace bitmill::BITMILL_ISA
