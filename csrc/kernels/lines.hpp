// SPDX-License-Identifier: MIT
// Output on its way to memory: straight there, or, where it is larger than the caches, through a small
// buffer that leaves by whole cache lines and is never read back.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// The line of T whose values are at(k), 16 of them from k on.
template <class T, class At> BITMILL_INLINE u8x64 line_of(At at) {
  if constexpr (sizeof(T) == 4)
    return bytes_of(at(0));
  else
    return rounded<T>(at(0), at(16));
}

// Where codes go; past the caches, lines of them.
template <class Code> struct Put {
  Code* to;
  bool past;

  BITMILL_INLINE Put operator+(int64_t n) const { return {to + n, past}; }
  BITMILL_INLINE void bytes(int64_t i, u8x64 codes) const {
    if (past)
      stream_bytes(to + i, codes);
    else
      store_bytes(to + i, codes);
  }
};

// A line is either streamed whole or stored: the two kinds mixed in one line cost several times more
// than either. So a buffer starts where `to` lies in its line, and the bytes left over after the last
// whole line go into the next one.
//
// There are two buffers, and one is emptied when the other is full: a load of what was stored a moment
// ago in other pieces waits until those have left the CPU's store queue, which made decoding to an
// address between two lines four times slower (Zen 3).
class Lines {
 public:
  static constexpr int64_t kLine = 64, kStep = 1024, kRoom = 4096;

  BITMILL_INLINE Lines(void* to, bool streams)
      : to_((char*)to), skip_(streams ? (int64_t)((uintptr_t)to % kLine) : 0), held_(skip_),
        streams_(streams) {
    to_ -= skip_;
  }
  // Where the next bytes go: there is room for kRoom, and what is taken is told to advance(). Better
  // about kStep at a time: what is streamed in one burst waits in the CPU's store queue.
  BITMILL_INLINE char* room() { return streams_ ? filling_ + held_ : to_; }
  BITMILL_INLINE void advance(int64_t bytes) {
    if (!streams_) {
      to_ += bytes;
    } else if ((held_ += bytes) >= kStep) {
      turn();
    }
  }
  // Of `bytes` that come next, how many are whole lines that need no buffer: line(i) streams those at i
  // from next() on, and pass() goes behind them.
  BITMILL_INLINE int64_t straight(int64_t bytes) const {
    return streams_ && held_ + full_bytes_ == 0 ? bytes & -kLine : 0;
  }
  BITMILL_INLINE void line(int64_t i, u8x64 bytes) const { stream_bytes(to_ + i, bytes); }
  BITMILL_INLINE char* next() const { return to_; }
  BITMILL_INLINE void pass(int64_t bytes) { to_ += bytes; }
  // The rest; whoever made the last of these calls end_stream().
  BITMILL_INLINE void finish() {
    if (!streams_) return;
    turn();
    turn();
    if (held_ > skip_) memcpy(to_ + skip_, filling_ + skip_, (size_t)(held_ - skip_));
  }

 private:
  // Empties the full buffer and begins to fill it; the other one is now the full one.
  void turn() {
    int64_t at = 0;
    if (skip_ && full_bytes_) { // the beginning of the first line belongs to others
      memcpy(to_ + skip_, full_ + skip_, (size_t)(kLine - skip_));
      skip_ = 0;
      at = kLine;
    }
    for (; at < full_bytes_; at += kLine) stream_bytes(to_ + at, load_bytes(full_ + at));
    to_ += full_bytes_;
    full_bytes_ = held_ & -kLine;
    held_ -= full_bytes_;
    store_bytes(full_, load_bytes(filling_ + full_bytes_));
    char* emptied = full_;
    full_ = filling_;
    filling_ = emptied;
  }

  char* to_;
  int64_t skip_, held_, full_bytes_ = 0; // held_ bytes lie at filling_, whole lines at full_
  bool streams_;
  // Where the stack happens to be must not matter: a store across the end of a page costs some 50 ns,
  // and a load waits for earlier stores with its own last 12 bits. So what is usually in use of the two
  // buffers, about half a page, lies within a page and at different places of it.
  static constexpr int64_t kPage = 4096, kSize = kStep + kRoom + kLine;
  static constexpr int64_t kSecond = 2 * kPage - (kPage / 2 + kLine);
  static_assert(kSize <= kSecond, "the buffers overlap");
  alignas(kPage) char space_[kSecond + kSize];
  char* filling_ = space_;
  char* full_ = space_ + kSecond;
};

} // namespace
} // namespace bitmill::BITMILL_ISA
