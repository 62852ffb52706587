// SPDX-License-Identifier: MIT
// Values to codes, by groups.
#pragma once
#include "batch.hpp"
#include "groups.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// n values of one group to codes. Codes of two bytes go by 16 lanes: they are for the API alone.
template <class Encode, class T, class Code>
BITMILL_INLINE void encode_span(const T* x, int64_t n, const Groups& groups, int64_t g,
                                const Stored& stored, Put<Code> codes, Ahead<T>& ahead) {
  const Steps steps = groups[g];
  const Encode encode(steps, stored.top);
  int64_t i = 0;
  if constexpr (sizeof(Code) == 1) {
    const u8x64 shift = groups.shift_i16(g);
    for (; i + 64 <= n; i += 64) {
      ahead.step();
      codes.bytes(i, encode64(x + i, encode, shift, encode, shift, stored));
    }
  }
  each_vector(n - i, [&](int64_t k, auto lanes) {
    const i32x16 quotient = encode(load(x + i + k, lanes));
    store_code(codes.to + i + k, stored.lanes(quotient, steps.shift), lanes);
  });
}

// Groups of 32, two at a time; the number of values done.
template <class Encode, class T>
BITMILL_INLINE int64_t encode_pairs(const T* x, int64_t n, const Groups& groups, int64_t g,
                                    const Stored& stored, Put<uint8_t> codes, Ahead<T>& ahead) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64, g += 2) {
    ahead.step();
    const Encode first(groups[g], stored.top), second(groups[g + 1], stored.top);
    codes.bytes(
        i, encode64(x + i, first, groups.shift_i16(g), second, groups.shift_i16(g + 1), stored));
  }
  return i;
}

// For batches in which a scale has no reciprocal, and codes of two bytes.
template <class T, class Code>
BITMILL_SELDOM void divide_groups(const T* x, int64_t n, int64_t group, const Groups& groups,
                                  int64_t g, const Stored& stored, Put<Code> codes,
                                  Ahead<T>& ahead) {
  for (int64_t done = 0; done < n; done += group, ++g)
    encode_span<DividingEncoder>(x + done, least(n - done, group), groups, g, stored, codes + done,
                                 ahead);
}

// The n values at x, which begin with group g.
template <class Encode, class T, class Code>
void encode_groups(const T* x, int64_t n, int64_t group, const Groups& groups, int64_t g,
                   const Stored& stored, Put<Code> codes, Ahead<T>& ahead) {
  if constexpr (sizeof(Code) == 1)
    if (!groups.divides) {
      int64_t done = 0;
      if (group == 32) done = encode_pairs<Encode>(x, n, groups, g, stored, codes, ahead);
      for (g += done / group; done < n; done += group, ++g)
        encode_span<Encode>(x + done, least(n - done, group), groups, g, stored, codes + done,
                            ahead);
      return;
    }
  divide_groups(x, n, group, groups, g, stored, codes, ahead);
}

constexpr int64_t kPart = 128; // values between looks ahead

// The same, while `look` reads as many values of the next batch: groups of kGroup, which divides kPart. The
// number of values done.
template <class Encode, int64_t kGroup, class Seen, class T>
int64_t encode_short_groups(const T* x, int64_t n, const Groups& groups, const Stored& stored,
                            Put<uint8_t> codes, Look<Seen, T>& look) {
  const T* next = look.x();
  Found<Seen>& found = look.found();
  const int64_t both = least(n, look.left()) & -kPart;
  Ahead<T> ahead = far_ahead(next);
  for (int64_t i = 0, g = 0; i < both; i += kPart) {
    if (kGroup == 32)
      encode_pairs<Encode>(x + i, kPart, groups, g, stored, codes + i, ahead);
    else
      for (int64_t k = 0; k < kPart; k += kGroup)
        encode_span<Encode>(x + i + k, kGroup, groups, g + k / kGroup, stored, codes + i + k,
                            ahead);
    for (int64_t k = 0; k < kPart; k += kGroup, ++g)
      found.set(g, seen_all<Seen, kGroup>(next + i + k));
  }
  look.skip(both / kGroup);
  return both;
}

// Whole groups, each a multiple of kPart, or, where a batch has a single one, a part of that.
template <class Encode, class Seen, class T>
int64_t encode_long_groups(const T* x, int64_t n, int64_t group, const Groups& groups,
                           const Stored& stored, Put<uint8_t> codes, Look<Seen, T>& look) {
  const int64_t unit = group < kChunk ? group : kPart;
  const int64_t both = least(n, look.left()) / unit * unit;
  Ahead<T> ahead = far_ahead(look.x());
  for (int64_t done = 0, g = 0; done < both; done += group, ++g) {
    const int64_t end = least(both - done, group);
    const T* next = look.x();
    Seen seen;
    for (int64_t i = 0; i < end; i += kPart) {
      encode_span<Encode>(x + done + i, kPart, groups, g, stored, codes + done + i, ahead);
      seen.merge(seen_all<Seen, kPart>(next + i));
    }
    look.take(seen, end);
  }
  return both;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
