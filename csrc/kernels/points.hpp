// SPDX-License-Identifier: MIT
// The points of exact 1-D k-means, and what it costs to join neighbours in a cluster. Twin:
// bitmill/reference/points.py.
#pragma once
#include "../simd/simd.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int64_t kBeyond = 8; // entries behind each array that vectors may read
constexpr double kLanes[8] = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr double kInfinite = __builtin_inf();
constexpr double kTiny = 0x1p-1022; // where rounding leaves no weight, nothing is divided by zero

// Memory that was given to a kernel, part by part.
class Memory {
 public:
  explicit Memory(void* at) : at_((char*)at) {}
  template <class T> T* take(int64_t count) {
    T* const part = (T*)at_;
    at_ += (count * (int64_t)sizeof(T) + 7) / 8 * 8;
    return part;
  }

 private:
  char* at_;
};

// A sum with what was rounded off (Knuth's TwoSum): as good as in twice the precision.
struct Sum {
  double rounded = 0, rest = 0;

  BITMILL_INLINE void add(double value) {
    const double total = rounded + value, part = total - rounded;
    rest += (rounded - (total - part)) + (value - part);
    rounded = total;
  }
  BITMILL_INLINE double value() const { return rounded + rest; }
};

// Different values in ascending order, with weights above 0. Point i stands for the values before ends[i]
// that do not belong to one before it.
struct Points {
  double *x, *w;
  int64_t* ends;
  int64_t count = 0;

  int64_t place(int64_t i) const { return i ? ends[i - 1] : 0; }
};

inline Points points_of(const double* values, const double* weights, int64_t n, Memory& memory) {
  bool any = false;
  for (int64_t i = 0; weights && i < n && !any; ++i) any = weights[i] != 0;
  Points p{memory.take<double>(n), memory.take<double>(n), memory.take<int64_t>(n)};
  for (int64_t i = 0, end = 0; i < n; i = end) {
    double w = 0;
    for (end = i; end < n && values[end] == values[i]; ++end) w += any ? weights[end] : 1;
    if (w > 0) p.x[p.count] = values[i], p.w[p.count] = w, ++p.count;
    if (p.count) p.ends[p.count - 1] = end;
  }
  return p;
}

// Prefix sums of weights, of w (x - c) and of w (x - c)^2, where c is the mean.
struct Costs {
  double *w, *s, *q;
  int64_t points;

  // Q - S^2 / W, at least 0.
  BITMILL_INLINE static f64x8 spread(f64x8 weight, f64x8 sum, f64x8 square) {
    return max(sub(square, div(mul(sum, sum), max(weight, splat_f64(kTiny)))), splat_f64(0));
  }
  // Of points i ... j - 1, for eight i from the one given on.
  BITMILL_INLINE f64x8 from_each(int64_t i, int64_t j) const {
    return spread(sub(splat_f64(w[j]), read_f64(w + i)), sub(splat_f64(s[j]), read_f64(s + i)),
                  sub(splat_f64(q[j]), read_f64(q + i)));
  }
  BITMILL_INLINE double between(int64_t i, int64_t j) const {
    const double weight = w[j] - w[i], sum = s[j] - s[i];
    const double cost = (q[j] - q[i]) - sum * sum / (weight > kTiny ? weight : kTiny);
    return cost > 0 ? cost : 0;
  }
};

inline Costs costs_in(Memory& memory, int64_t most) {
  const int64_t size = most + 1 + kBeyond;
  Costs c{memory.take<double>(size), memory.take<double>(size), memory.take<double>(size), 0};
  memset(c.w, 0, (size_t)size * 3 * sizeof(double));
  return c;
}

inline void sum_up(Costs& c, const double* x, const double* w, int64_t count) {
  Sum weight, first, square;
  for (int64_t i = 0; i < count; ++i) {
    weight.add(w[i]);
    first.add(w[i] * x[i]);
    c.w[i + 1] = weight.value();
  }
  const double total = c.w[count], center = first.value() / (total > kTiny ? total : kTiny);
  first = Sum();
  for (int64_t i = 0; i < count; ++i) {
    const double d = x[i] - center, wd = w[i] * d;
    first.add(wd);
    square.add(wd * d);
    c.s[i + 1] = first.value(), c.q[i + 1] = square.value();
  }
  c.points = count;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
