// SPDX-License-Identifier: MIT
// The floating-point mode that results are defined in: rounding to nearest, subnormals kept. A host library may
// have set something else in a thread, and threads inherit it from their creator.
#pragma once
#include <stdint.h>
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#elif !defined(__aarch64__)
#include <fenv.h>
#endif

namespace bitmill {

// Sets the mode of this thread, in the terms of its processor, and returns the one before.
#if defined(__x86_64__) || defined(_M_X64)
constexpr uint64_t kDefaultFloats = 0x1f80;
inline uint64_t exchange_floats(uint64_t mode) {
  const uint64_t before = _mm_getcsr();
  _mm_setcsr((unsigned)mode);
  return before;
}
#elif defined(__aarch64__)
constexpr uint64_t kDefaultFloats = 0;
inline uint64_t exchange_floats(uint64_t mode) {
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(mode));
  return before;
}
#else
constexpr uint64_t kDefaultFloats = FE_TONEAREST;
inline uint64_t exchange_floats(uint64_t mode) {
  const uint64_t before = (uint64_t)fegetround();
  fesetround((int)mode);
  return before;
}
#endif

// The default mode as long as it lives; then what was there before.
class DefaultFloats {
 public:
  DefaultFloats() : before_(exchange_floats(kDefaultFloats)) {}
  ~DefaultFloats() { exchange_floats(before_); }

 private:
  uint64_t before_;
};

} // namespace bitmill
