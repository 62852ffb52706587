// SPDX-License-Identifier: MIT
// What products with weights of 4 bits have in common. Rows of w lie in panels of 16, one a lane: each load gives
// eight columns of all of them.
#pragma once
#include "../simd/tile.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Some groups of a panel, and what sums of their codes less their zero-points are, for rows of x that have
// zero-points.
struct Groups4 {
  const uint8_t* codes;
  const char* scale;
  Float scales;
  const uint8_t* zero_point;
  int32_t zero;
  const int32_t* centred;
  int64_t groups, eights, eights_of_group; // the last group may have fewer
};

// `count` groups of a panel from some group on.
BITMILL_INLINE Groups4 groups_of(const Weights4& w, const Product& whole, int64_t panel,
                                 int64_t group, int64_t count) {
  const int64_t first = group * (w.group / kEight), at = panel * whole.groups(w.group) + group;
  return {w.codes + (panel * whole.eights() + first) * 4 * kPanel,
          (const char*)w.scale + at * kPanel * (w.scales == kF32 ? 4 : 2),
          w.scales,
          w.zero_point ? w.zero_point + at * kPanel : nullptr,
          w.zero,
          nullptr,
          count,
          whole.eights() - first,
          w.group / kEight};
}
BITMILL_INLINE i32x16 zeros_of(const Groups4& w, int64_t group) {
  return w.zero_point ? load_u8(w.zero_point + group * kPanel) : splat(w.zero);
}
BITMILL_INLINE f32x16 scales_of(const Groups4& w, int64_t group) {
  const char* at = w.scale + group * kPanel * (w.scales == kF32 ? 4 : 2);
  return w.scales == kF32   ? load((const float*)at)
         : w.scales == kF16 ? load((const f16*)at)
                            : load((const bf16*)at);
}

// value = sum * x_scale + bias, rounded after each.
template <class T>
BITMILL_APART void finish(const Tokens4& x, const Weights4& w, const Product& whole, const Patch& p,
                          const float* sums, void* out) {
  for (int64_t row = 0; row < p.rows; ++row) {
    const f32x16 scale = splat(x.scale ? x.scale[p.row + row] : 1.0f);
    T* to = (T*)out + (p.row + row) * whole.cols + p.col;
    each_vector(p.cols, [&](int64_t i, auto lanes) {
      // -0.0 changes nothing.
      const f32x16 bias = w.bias ? load(w.bias + p.col + i, lanes) : splat(-0.0f);
      store(to + i, add(mul(load(sums + row * kSpan + i), scale), bias), lanes);
    });
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
