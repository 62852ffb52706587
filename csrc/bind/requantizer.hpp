// SPDX-License-Identifier: MIT
// Arguments that say how integer sums become codes.
#pragma once
#include "bind.hpp"

namespace bitmill::bind {

// multiplier and shift are int32 [cols].
inline Requantizer requantizer_of(const py::array& multiplier, const py::array& shift, int64_t cols,
                                  int32_t zero_point, int32_t qmin, int32_t qmax, bool twice) {
  require(qmin >= -128 && qmin <= qmax && qmax <= 255 && qmax - qmin <= 255,
          "bitmill._core: codes are of one byte");
  const auto* multipliers = (const int32_t*)input(multiplier, cols, 4);
  const auto* shifts = (const int32_t*)input(shift, cols, 4);
  bool right = zero_point >= -128 && zero_point <= 255;
  for (int64_t i = 0; i < cols; ++i)
    right &= multipliers[i] > 0 && shifts[i] >= kLeastRight && shifts[i] <= kMostRight;
  return {{qmin, qmax, kAbsmax, kF32, 0, kernels().pack},
          {multipliers, shifts, zero_point, twice, right},
          kernels().columns};
}

} // namespace bitmill::bind
