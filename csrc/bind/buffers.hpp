// SPDX-License-Identifier: MIT
// Memory of tasks, which must not throw, and values of double, which most kernels do not take, as floats.
#pragma once
#include "bind.hpp"
#include <memory>
#include <new>

namespace bitmill::bind {

// Gives memory to the tasks of one call, and remembers if there was none.
class Buffers {
 public:
  template <class T> std::unique_ptr<T[]> get(int64_t count) {
    std::unique_ptr<T[]> made(new (std::nothrow) T[(size_t)count]);
    if (!made) failed_ = true;
    return made;
  }
  // To be called when all tasks have ended.
  void check() const {
    if (failed_) throw std::bad_alloc();
  }

 private:
  std::atomic<bool> failed_{false};
};

inline Float taken_as(Float type) { return type == kF64 ? kF32 : type; }

// `count` values as kernels for floats of the type `as` read them, which is kF32 or the same; `at` is null if
// there was no memory.
class Taken {
 public:
  Taken(const char* from, Float type, Float as, int64_t count, Buffers& buffers) : at(from) {
    if (type == as) return;
    floats_ = buffers.get<float>(count);
    if (floats_) kernels().convert->to_float32[type](from, count, false, floats_.get());
    at = (const char*)floats_.get();
  }
  Taken(const char* from, Float type, int64_t count, Buffers& buffers)
      : Taken(from, type, taken_as(type), count, buffers) {}
  const char* at;

 private:
  std::unique_ptr<float[]> floats_;
};

// Where a kernel for the type `as`, which is kF32 or the same, writes `count` values; `finish` puts them in
// their place.
class Given {
 public:
  Given(char* to, Float type, Float as, int64_t count, Buffers& buffers)
      : at(to), to_(to), type_(type), count_(count) {
    if (type == as) return;
    floats_ = buffers.get<float>(count);
    at = (char*)floats_.get();
  }
  Given(char* to, Float type, int64_t count, Buffers& buffers)
      : Given(to, type, taken_as(type), count, buffers) {}
  void finish() const {
    if (floats_) kernels().convert->from_float32[type_](floats_.get(), count_, false, to_);
  }
  char* at;

 private:
  char* to_;
  Float type_;
  int64_t count_;
  std::unique_ptr<float[]> floats_;
};

} // namespace bitmill::bind
