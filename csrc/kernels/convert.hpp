// SPDX-License-Identifier: MIT
// Float conversions through float32. Twins: bitmill.reference.to_float32, from_float32.
#pragma once
#include "lines.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

template <class From, class To>
BITMILL_INLINE void convert_run(const From* x, int64_t count, bool streams, To* out) {
  constexpr int64_t kStep = Lines::kStep / (int64_t)sizeof(To);
  Lines lines(out, streams);
  if constexpr (kRegisters && sizeof(To) <= 4) {
    constexpr int64_t kSize = sizeof(To);
    const int64_t whole = lines.straight(kSize * count) / kSize;
    for (int64_t i = 0; i < whole; i += 64 / kSize)
      lines.line(kSize * i, line_of<To>([&](int64_t k) {
                   prefetch_ahead(x + i + k, 16 * (int64_t)sizeof(From));
                   return load(x + i + k);
                 }));
    lines.pass(kSize * whole);
    x += whole, count -= whole;
  }
  while (count > 0) {
    const int64_t n = least(count, kStep);
    To* to = (To*)lines.room();
    each_vector(n, [&](int64_t i, auto lanes) {
      prefetch_ahead(x + i, 16 * (int64_t)sizeof(From));
      store(to + i, load(x + i, lanes), lanes);
    });
    lines.advance(n * (int64_t)sizeof(To));
    x += n, count -= n;
  }
  lines.finish();
  end_stream();
}

template <class T> void to_float32(const void* x, int64_t count, bool streams, float* out) {
  convert_run((const T*)x, count, streams, out);
}

template <class T> void from_float32(const float* x, int64_t count, bool streams, void* out) {
  convert_run(x, count, streams, (T*)out);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
