// SPDX-License-Identifier: MIT
// Float conversions through float32. Twins: bitmill.reference.to_float32, from_float32.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

template <class From, class To>
BITMILL_INLINE void convert_run(const From* x, int64_t count, To* out) {
  each_vector(count, [&](int64_t i, auto lanes) { store(out + i, load(x + i, lanes), lanes); });
}

template <class T> void to_float32(const void* x, int64_t count, float* out) {
  convert_run((const T*)x, count, out);
}

template <class T> void from_float32(const float* x, int64_t count, void* out) {
  convert_run(x, count, (T*)out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
