// SPDX-License-Identifier: MIT
// The pass over memory of order statistics: keys within a window are kept, those above are counted. Few
// are either, so 128 values are looked at together, and mostly passed over. Twin, together with
// bind/select.hpp: bitmill.reference.order_statistics.
#pragma once
#include "keys.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int64_t kLooked = 128; // values at a time

// The window in vectors.
class Look {
 public:
  BITMILL_INLINE explicit Look(const Window& w)
      : mask_(splat(w.keys.mask)), flip_(splat(w.keys.flip)), lo_(splat(w.lo)), hi_(splat(w.hi)) {}

  BITMILL_INLINE i32x16 key(f32x16 x) const {
    return xor_(ordered(and_(bits_of(x), mask_)), flip_);
  }
  BITMILL_INLINE i32x16 below(i32x16 key) const { return greater(lo_, key); }
  BITMILL_INLINE i32x16 above(i32x16 key) const { return greater(key, hi_); }

 private:
  i32x16 mask_, flip_, lo_, hi_;
};

// The least and the greatest key, lane by lane.
struct Ends {
  i32x16 least = splat(INT32_MAX), most = splat(INT32_MIN);

  BITMILL_INLINE void see(i32x16 key) {
    least = min(least, key);
    most = max(most, key);
  }
  // The keys of infinity and of what lies beyond are the same in either direction.
  bool nonfinite() const {
    constexpr int32_t kInfinity = 0x7f800000;
    return sign_bits(greater(least, splat(~kInfinity))) != 0xffff ||
           sign_bits(greater(splat(kInfinity), most)) != 0xffff;
  }
};

struct Taken {
  Ends ends;
  i32x16 above = splat(0); // how many, lane by lane
  int64_t kept = 0;
};

constexpr int32_t kAll[16] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

// At most a block of values, vector by vector. Lanes that are not there are neither kept nor counted.
BITMILL_INLINE void take(const Look& look, const float* x, int64_t count, int32_t* to,
                         Taken* taken) {
  Taken t = *taken;
  each_vector(count, [&](int64_t i, auto lanes) {
    const i32x16 key = look.key(load(x + i, lanes)), there = load_i32(kAll, lanes);
    const i32x16 below = look.below(key), above = look.above(key);
    t.ends.see(key);
    t.above = sub(t.above, and_(above, there));
    t.kept += store_unless(to + t.kept, key, select(there, select(above, above, below), splat(-1)));
  });
  *taken = t;
}

// The pass itself, over a part of the values.
struct Pass {
  Ends passed_over{splat(0), splat(0)};
  Taken taken;

  // How many of `count` were read: fewer where there is no room for another block.
  BITMILL_APART int64_t run(const Window& window, const float* x, int64_t count, Kept* out) {
    const Look look(window);
    Ends ends = passed_over;
    Taken found = taken;
    int32_t* const to = out->to;
    const int64_t room = out->room;
    int64_t read = 0, n = 0;
    for (; read < count && found.kept + kLooked <= room; read += n) {
      n = least(count - read, kLooked);
      if (n == kLooked) {
        Ends block;
        BITMILL_NOT_UNROLLED
        for (int64_t i = 0; i < kLooked; i += 32) {
          block.see(look.key(load(x + read + i)));
          block.see(look.key(load(x + read + i + 16)));
        }
        if (sign_bits(look.below(block.most)) == 0xffff) {
          ends.see(block.least);
          continue;
        }
      }
      take(look, x + read, n, to, &found);
    }
    passed_over = ends, taken = found;
    return read;
  }
};

BITMILL_INLINE void finish(const Pass& pass, int64_t read, Kept* out) {
  int32_t above[16];
  store((float*)above, float_of(pass.taken.above));
  out->read = read, out->kept = pass.taken.kept, out->above = 0;
  for (int32_t lane : above) out->above += lane;
  out->nonfinite = pass.passed_over.nonfinite() || pass.taken.ends.nonfinite();
}

// Ends early, with `read` below `count`, when there is no room for another block. Values that are not float
// are widened first, as many as stay in L1 together.
template <class T> void order_statistics(const void* x, int64_t count, Window window, Kept* out) {
  Pass pass;
  int64_t read = 0;
  if constexpr (sizeof(T) == sizeof(float)) {
    read = pass.run(window, (const float*)x, count, out);
  } else {
    constexpr int64_t kChunk = 512;
    float wide[kChunk];
    for (bool whole = true; whole && read < count;) {
      const int64_t n = least(count - read, kChunk);
      each_vector(n, [&](int64_t i, auto lanes) {
        store(wide + i, load((const T*)x + read + i, lanes), lanes);
      });
      const int64_t done = pass.run(window, wide, n, out);
      read += done, whole = done == n;
    }
  }
  finish(pass, read, out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
