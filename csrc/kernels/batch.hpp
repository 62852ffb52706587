// SPDX-License-Identifier: MIT
// Where the codes of a batch go, whatever makes them.
#pragma once
#include "codes.hpp"
#include "look.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Memory that is asked for while codes are made, since DRAM would idle: as much as they are made of, from
// `at` on. Far ahead where other loops run in between, for ranges or to pack: with no more lines on their
// way than L1 can wait for, the quantization of float32 took half as long again (Zen 4). But near is faster
// where memory has nothing to wait for.
template <class T> struct Ahead {
  const T* at;
  bool far;

  // For the next 64 values.
  BITMILL_INLINE void step() {
    constexpr int kLine = 64 / sizeof(T);
    if (far)
      for (int i = 0; i < 64; i += kLine) prefetch_far(at + i);
    else
      for (int i = 0; i < 64; i += kLine) prefetch(at + i);
    at += 64;
  }
};
template <class T> BITMILL_INLINE Ahead<T> near_ahead(const T* x) {
  return {x + kAhead / (int64_t)sizeof(T), false};
}
template <class T> BITMILL_INLINE Ahead<T> far_ahead(const T* x) {
  return {x + kFarAhead / (int64_t)sizeof(T), true};
}

// Those of a batch, `encode` at most kChunk at a time: more than once only if its one group is long.
template <class T, class Codes, class Encode>
BITMILL_INLINE void encode_batch(const Batch<T>& batch, int64_t group, Codes& codes,
                                 Encode encode) {
  using Code = typename Codes::Code;
  const int64_t step = group < kChunk ? batch.n : kChunk;
  for (int64_t done = 0; done < batch.n; done += step) {
    const int64_t n = least(batch.n - done, step);
    if constexpr (sizeof(Code) == 1)
      if ((group % 64 == 0 || group == 32 || group >= kChunk) && codes.straight(n)) {
        encode(batch.x + done, n, Put<Code>{codes.line(), true});
        codes.pass(n);
        continue;
      }
    encode(batch.x + done, n, Put<Code>{codes.room(), false});
    codes.give(n);
  }
  if (batch.ends_row) codes.end_row();
}

} // namespace
} // namespace bitmill::BITMILL_ISA
