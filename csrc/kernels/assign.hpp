// SPDX-License-Identifier: MIT
// code = how many thresholds are below x. Twin: bitmill.reference.assign_codes.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// `thresholds` are 2^levels - 1 of them, levels >= 4, in ascending order. The first four steps of the binary
// search read registers, the others memory.
template <class Code>
BITMILL_INLINE void assign(const float* x, int64_t count, const float* thresholds, int levels,
                           Code* codes) {
  const int32_t leaf = 1 << (levels - 4);
  float pivots[15];
  for (int i = 0; i < 15; ++i) pivots[i] = thresholds[(i + 1) * leaf - 1];
  const Thresholds16 top = thresholds16(pivots);
  each_vector(count, [&](int64_t i, auto lanes) {
    const f32x16 v = load(x + i, lanes);
    i32x16 rank = rank16(top, v);
    for (int level = 4; level < levels; ++level) rank = add(rank, rank);
    for (int32_t step = leaf / 2; step > 0; step /= 2) {
      const f32x16 probe = gather(thresholds + step - 1, rank);
      rank = add(rank, and_(greater(v, probe), splat(step)));
    }
    if constexpr (sizeof(Code) == 1)
      store_u8(codes + i, rank, lanes);
    else
      store_u16(codes + i, rank, lanes);
  });
}

void assign_codes(const float* x, int64_t count, const float* thresholds, int levels, bool wide,
                  void* codes) {
  if (wide)
    assign(x, count, thresholds, levels, (uint16_t*)codes);
  else
    assign(x, count, thresholds, levels, (uint8_t*)codes);
}

} // namespace
} // namespace bitmill::BITMILL_ISA
