// SPDX-License-Identifier: MIT
// Work shared over threads that live no longer than the call: nothing to fork, unload or configure.
#pragma once
#include <stdint.h>

namespace bitmill {

// Below so many bytes of input a call stays on its thread: spawning and joining costs 60 to 90
// microseconds. Sets the number, for bench/bench_threads.py to look for the break-even, and returns the
// one before.
int64_t share_from(int64_t bytes);

// A reference to something callable with one int64_t; the callee outlives the call.
class Task {
 public:
  template <class F>
  Task(const F& f)
      : object_(&f), call_([](const void* object, int64_t i) { (*(const F*)object)(i); }) {}
  void operator()(int64_t i) const { call_(object_, i); }

 private:
  const void* object_;
  void (*call_)(const void*, int64_t);
};

// task(i) for every i below `count`, on at most `threads` threads, the caller's among them, in
// pieces taken from one counter; `bytes` is the size of the whole input. Every piece runs under the
// default floating-point environment. The caller's thread asks `interrupted` (if there is one)
// every 50 ms or so; once that says yes, pieces not yet begun are left out and the result is false.
bool run_parallel(int64_t count, int64_t bytes, int threads, Task task,
                  bool (*interrupted)()) noexcept;

// How a matrix is cut into pieces: whole rows, or spans of one row that start at multiples of
// `align`.
class Pieces {
 public:
  Pieces(int64_t rows, int64_t cols, int64_t align);

  struct Piece {
    int64_t row, rows, col, cols;
  };
  int64_t count() const { return row_steps_ * col_steps_; }
  Piece operator[](int64_t i) const;

 private:
  int64_t rows_, cols_, row_step_, col_step_, row_steps_, col_steps_;
};

} // namespace bitmill
