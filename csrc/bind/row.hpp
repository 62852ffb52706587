// SPDX-License-Identifier: MIT
// One row of values, read as keys: by the thread that has it, or by all.
#pragma once
#include "bind.hpp"
#include <algorithm>

namespace bitmill::bind {

class Row {
 public:
  // Without threads (0), everything happens on the calling thread, which is in a task already.
  Row(const char* x, Float type, int64_t count, Keys keys, int threads)
      : x_(x), size_(item_size(type)), count_(count), keys_(keys), threads_(threads),
        kernel_(kernels().order->order_statistics[type]) {}

  const char* data() const { return x_; }
  int64_t size() const { return size_; } // of a value, in bytes
  int64_t count() const { return count_; }
  Window window(int32_t lo, int32_t hi) const { return {keys_, lo, hi}; }

  // Whether some value that was read is NaN or infinite.
  bool nonfinite() const { return nonfinite_.load(); }

  // The order_statistics kernel on values of this row.
  Kept keep(const char* x, int64_t count, const Window& window, int32_t* to, int64_t room) {
    Kept kept{to, room, 0, 0, 0, false};
    kernel_(x, count, window, &kept);
    if (kept.nonfinite) nonfinite_.store(true, std::memory_order_relaxed);
    return kept;
  }
  // The same for as many values as there are: use(kept) whenever `to` is full, and at the end.
  template <class Use>
  void keep_all(const char* x, int64_t count, const Window& window, int32_t* to, int64_t room,
                const Use& use) {
    while (count > 0) {
      const Kept kept = keep(x, count, window, to, room);
      use(kept);
      x += kept.read * size_, count -= kept.read;
    }
  }

  // task() where threads may not ask for the GIL and floats are in their default mode.
  template <class F> void once(const F& task) const {
    each(1, 0, [&](int64_t) { task(); });
  }
  // piece(x, count) for all values, in pieces that threads share.
  template <class Piece> void each_piece(const Piece& piece) const {
    const Pieces pieces(1, count_, 1);
    each(pieces.count(), count_ * size_, [&](int64_t i) {
      const auto p = pieces[i];
      piece(x_ + p.col * size_, p.cols);
    });
  }

 private:
  void each(int64_t count, int64_t bytes, Task task) const {
    if (threads_ != 0) return run(count, bytes, threads_, task);
    for (int64_t i = 0; i < count; ++i) task(i);
  }

  const char* x_;
  int64_t size_, count_;
  Keys keys_;
  int threads_;
  void (*kernel_)(const void*, int64_t, Window, Kept*);
  std::atomic<bool> nonfinite_{false};
};

// Places in the order of the keys, from 0 at the greatest: one and the next, or the same twice.
struct Places {
  int64_t first, second;
};
struct KeyPair {
  int32_t first, second;
};

} // namespace bitmill::bind
