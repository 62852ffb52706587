// SPDX-License-Identifier: MIT
// A Quantizer from the tuple (qmin, qmax, rule, scales, bits) that the Python wrappers pass.
#pragma once
#include "bind.hpp"

namespace bitmill::bind {

inline Quantizer quantizer_of(const py::tuple& t) {
  require(t.size() == 5, "bitmill._core: a quantizer has five entries");
  const Quantizer q{py::cast<int32_t>(t[0]), py::cast<int32_t>(t[1]), (Rule)py::cast<int>(t[2]),
                    (Float)py::cast<int>(t[3]), py::cast<int32_t>(t[4])};
  require(q.qmin <= 0 && q.qmax > 0 && q.qmax - q.qmin <= 65535 && q.bits >= 0 && q.bits <= 8 &&
              q.scales >= kF32 && q.scales <= kBF16 && q.rule >= kAbsmax && q.rule <= kOffset,
          "bitmill._core: a quantizer is out of range");
  return q;
}

} // namespace bitmill::bind
