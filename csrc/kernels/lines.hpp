// SPDX-License-Identifier: MIT
// Output on its way to memory: straight there, or, where it is larger than the caches, through a small
// buffer that leaves by whole cache lines and is never read back.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// A line is either streamed whole or stored: the two kinds mixed in one line cost several times more
// than either. So the buffer starts where `to` lies in its line, and the bytes left over after the last
// whole line wait for more.
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
  BITMILL_INLINE char* room() { return streams_ ? buffer_ + held_ : to_; }
  BITMILL_INLINE void advance(int64_t bytes) {
    if (!streams_) {
      to_ += bytes;
    } else if ((held_ += bytes) >= kStep) {
      drain();
    }
  }
  // The rest; whoever made the last of these calls end_stream().
  BITMILL_INLINE void finish() {
    if (!streams_) return;
    drain();
    if (held_ > skip_) memcpy(to_ + skip_, buffer_ + skip_, (size_t)(held_ - skip_));
  }

 private:
  void drain() {
    int64_t at = 0;
    if (skip_ && held_ >= kLine) { // a line whose beginning belongs to others
      memcpy(to_ + skip_, buffer_ + skip_, (size_t)(kLine - skip_));
      skip_ = 0;
      at = kLine;
    }
    for (; at + kLine <= held_; at += kLine) stream_bytes(to_ + at, load_bytes(buffer_ + at));
    if (at == 0) return;
    to_ += at;
    held_ -= at;
    store_bytes(buffer_, load_bytes(buffer_ + at));
  }

  char* to_;
  int64_t skip_, held_;
  bool streams_;
  alignas(kLine) char buffer_[kStep + kRoom + kLine];
};

} // namespace
} // namespace bitmill::BITMILL_ISA
