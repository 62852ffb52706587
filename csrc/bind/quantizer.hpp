// SPDX-License-Identifier: MIT
// What the Python wrappers say about codes: the tuple (qmin, qmax, rule, scales, bits), and the arrays
// of scales, zero-points and offsets.
#pragma once
#include "bind.hpp"

namespace bitmill::bind {

inline Quantizer quantizer_of(const py::tuple& t) {
  const char* const mistake = "bitmill._core: a quantizer is out of range";
  require(t.size() == 5, mistake);
  int64_t v[5];
  for (size_t i = 0; i < 5; ++i) v[i] = py::cast<int64_t>(t[i]);
  require(v[0] <= 0 && v[0] >= -32768 && v[1] > 0 && v[1] <= 65535 && v[1] - v[0] <= 65535,
          mistake);
  require(v[2] >= kAbsmax && v[2] <= kOffset && v[3] >= kF32 && v[3] <= kBF16, mistake);
  require(v[4] >= 0 && v[4] <= 8, mistake);
  return {(int32_t)v[0], (int32_t)v[1], (Rule)v[2], (Float)v[3], (int32_t)v[4], kernels().pack};
}

inline int64_t zero_point_size(const Quantizer& q) { return q.wide_zero_point() ? 2 : 1; }

// The parameters of `count` groups; with `writable`, those that the quantizer's rule makes.
inline Params params_of(const Quantizer& q, int64_t count, const py::object& scale,
                        const py::object& zero_point, const py::object& offset, bool writable) {
  require(!scale.is_none(), "bitmill._core: there are no scales");
  require(!writable || zero_point.is_none() == (q.rule != kAsymmetric),
          "bitmill._core: zero-points do not go with the rule");
  require(!writable || offset.is_none() == (q.rule != kOffset),
          "bitmill._core: offsets do not go with the rule");
  return {optional(scale, count, item_size(q.scales), writable),
          optional(zero_point, count, zero_point_size(q), writable),
          optional(offset, count, item_size(q.scales), writable)};
}

// Those from group `at` on.
inline Params params_from(const Quantizer& q, Params all, int64_t at) {
  const auto moved = [at](void* p, int64_t size) { return p ? (char*)p + at * size : nullptr; };
  return {moved(all.scale, item_size(q.scales)), moved(all.zero_point, zero_point_size(q)),
          moved(all.offset, item_size(q.scales))};
}

} // namespace bitmill::bind
