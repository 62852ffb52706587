// SPDX-License-Identifier: MIT
// Exact 1-D k-means by dynamic programming: the least cost of the first j points in t clusters is D[t][j] =
// min over i of D[t - 1][i] + C(i, j). The best i grows with j: once it is known for one j, those before it
// look below, those behind it above. Twin: bitmill/reference/divide.py.
#pragma once
#include "points.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int64_t kTogether = 8; // neighbours that are no longer divided: one in each lane

// For so many points and layers.
struct LayerMemory {
  double *before, *now;
  uint16_t* best;

  LayerMemory(Memory& memory, int64_t points, int64_t count)
      : before(memory.take<double>(points + 1 + kBeyond)),
        now(memory.take<double>(points + 1 + kBeyond)),
        best(memory.take<uint16_t>(count * (points + 1))) {}
};

class Layers {
 public:
  Layers(const Costs& costs, const LayerMemory& memory)
      : costs_(costs), before_(memory.before), now_(memory.now), best_(memory.best) {
    before_[0] = 0;
  }

  // D of the layer that was found last.
  const double* cost() const { return before_; }

  // Layer t, which must follow the one found last, for j = t ... last.
  void find(int64_t t, int64_t last) {
    divide(t, t, last, t - 1, t == 1 ? 0 : last - 1);
    double* const found = now_;
    now_ = before_, before_ = found;
  }
  // The best i for the last j of layer t alone.
  void find_one(int64_t t, int64_t j) { pick(t, j, t - 1, t == 1 ? 0 : j - 1); }

  // Where the first j points are cut for D[t][j]: t + 1 places from 0 to j.
  void path(int64_t t, int64_t j, int32_t* places) const {
    for (places[t] = (int32_t)j; t > 0; --t) places[t - 1] = row(t)[places[t]];
  }

 private:
  uint16_t* row(int64_t t) const { return best_ + (t - 1) * (costs_.points + 1); }

  // The least of eight sums at a time; equal ones: the least i.
  BITMILL_APART int64_t pick(int64_t t, int64_t j, int64_t low, int64_t high) {
    const int64_t last = least(high, j - 1);
    const f64x8 infinite = splat_f64(kInfinite), end = splat_f64((double)last);
    f64x8 best = infinite, at = splat_f64(0), i = add(splat_f64((double)low), read_f64(kLanes));
    for (int64_t n = low; n <= last; n += 8, i = add(i, splat_f64(8))) {
      const f64x8 all = add(read_f64(before_ + n), costs_.from_each(n, j));
      const f64x8 cost = greater(i, end, infinite, all);
      at = greater(best, cost, i, at);
      best = min(cost, best);
    }
    double bests[8], ats[8];
    write_f64(bests, best), write_f64(ats, at);
    int lane = 0;
    for (int n = 1; n < 8; ++n)
      if (bests[n] < bests[lane] || (bests[n] == bests[lane] && ats[n] < ats[lane])) lane = n;
    now_[j] = bests[lane];
    row(t)[j] = (uint16_t)ats[lane];
    return (int64_t)ats[lane];
  }

  // At most eight neighbours j, whose best i lie in low ... high.
  BITMILL_APART void pick_together(int64_t t, int64_t first, int64_t last, int64_t low,
                                   int64_t high) {
    const f64x8 infinite = splat_f64(kInfinite);
    const f64x8 j = add(splat_f64((double)first), read_f64(kLanes));
    const f64x8 w = read_f64(costs_.w + first), s = read_f64(costs_.s + first),
                q = read_f64(costs_.q + first);
    f64x8 best = infinite, at = splat_f64(0);
    const auto consider = [&](int64_t i, auto there) {
      const f64x8 one = splat_f64((double)i);
      const f64x8 spread =
          Costs::spread(sub(w, splat_f64(costs_.w[i])), sub(s, splat_f64(costs_.s[i])),
                        sub(q, splat_f64(costs_.q[i])));
      const f64x8 cost = there(one, add(splat_f64(before_[i]), spread));
      at = greater(best, cost, one, at);
      best = min(cost, best);
    };
    int64_t i = low;
    for (; i <= least(high, first - 1); ++i) consider(i, [](f64x8, f64x8 cost) { return cost; });
    for (; i <= least(high, last - 1); ++i)
      consider(i, [&](f64x8 one, f64x8 cost) { return greater(j, one, cost, infinite); });
    double bests[8], ats[8];
    write_f64(bests, best), write_f64(ats, at);
    for (int64_t n = 0; n <= last - first; ++n)
      now_[first + n] = bests[n], row(t)[first + n] = (uint16_t)ats[n];
  }

  void divide(int64_t t, int64_t first, int64_t last, int64_t low, int64_t high) {
    if (last - first < kTogether) return pick_together(t, first, last, low, high);
    const int64_t middle = (first + last) / 2, at = pick(t, middle, low, high);
    divide(t, first, middle - 1, low, at);
    divide(t, middle + 1, last, at, high);
  }

  const Costs& costs_;
  double *before_, *now_;
  uint16_t* best_;
};

// Where the points are cut into k clusters of least cost.
inline void divided(const Costs& costs, int64_t k, Memory memory, int32_t* places) {
  const LayerMemory room(memory, costs.points, k);
  Layers layers(costs, room);
  for (int64_t t = 1; t < k; ++t) layers.find(t, costs.points - (k - t));
  layers.find_one(k, costs.points);
  layers.path(k, costs.points, places);
}

// The points on one side of 0, which is behind the last: `n` clusters, then that of 0, for every n up to
// `most`.
struct Side {
  int64_t most;
  double* cost;
  int32_t* ends; // where the clusters end and that of 0 begins
};

// Prefix sums of w x^2 turned into what the cluster of 0 costs from each point on.
inline void zero_costs(const double* x, const double* w, int64_t count, double* zeros) {
  Sum square;
  zeros[0] = 0;
  for (int64_t i = 0; i < count; ++i) {
    square.add(w[i] * x[i] * x[i]);
    zeros[i + 1] = square.value();
  }
  const double all = zeros[count];
  for (int64_t i = 0; i <= count; ++i) zeros[i] = all - zeros[i] > 0 ? all - zeros[i] : 0;
}

inline void end_at_zero(const Layers& layers, const double* zeros, int64_t n, const Side& side,
                        int64_t points) {
  int64_t at = n;
  double best = kInfinite;
  for (int64_t i = n; i <= (n == 0 ? 0 : points); ++i) {
    const double cost = layers.cost()[i] + zeros[i];
    if (cost < best) best = cost, at = i;
  }
  side.cost[n] = best, side.ends[n] = (int32_t)at;
}

// One of the two sides, and the memory that both have in turn.
struct Flank {
  Side side;
  LayerMemory room;
  int64_t points;

  Flank(Memory& memory, int64_t count, int64_t k)
      : side{least(k - 1, count), memory.take<double>(k), memory.take<int32_t>(k)},
        room(memory, count, least(k - 1, count)), points(count) {}

  void solve(const double* x, const double* w, Costs& costs, double* zeros) {
    sum_up(costs, x, w, points);
    zero_costs(x, w, points, zeros);
    Layers layers(costs, room);
    end_at_zero(layers, zeros, 0, side, points);
    for (int64_t t = 1; t <= side.most; ++t) {
      layers.find(t, points);
      end_at_zero(layers, zeros, t, side, points);
    }
  }
  void path(int64_t n, int32_t* places) const {
    Costs costs{};
    costs.points = points;
    Layers(costs, room).path(n, side.ends[n], places);
  }
};

// Where the points are cut if one of at most k centroids is 0; returns the number of clusters, and in `zero`
// that of the one around 0.
inline int64_t around_zero(const Points& points, int64_t k, Costs& costs, Memory memory,
                           int32_t* places, int64_t* zero) {
  int64_t negative = 0;
  while (negative < points.count && points.x[negative] < 0) ++negative;
  const int64_t positive = points.count - negative;
  double* const zeros = memory.take<double>(points.count + 1);
  double* const x = memory.take<double>(positive);
  double* const w = memory.take<double>(positive);
  int32_t* const cuts = memory.take<int32_t>(k + 1);
  for (int64_t i = 0; i < positive; ++i)
    x[i] = -points.x[points.count - 1 - i], w[i] = points.w[points.count - 1 - i];
  Flank left(memory, negative, k), right(memory, positive, k);
  left.solve(points.x, points.w, costs, zeros);
  right.solve(x, w, costs, zeros);
  const auto behind = [&](int64_t below) { return least(k - 1 - below, right.side.most); };
  int64_t below = 0;
  double best = kInfinite;
  for (int64_t n = 0; n <= left.side.most; ++n) {
    const double cost = left.side.cost[n] + right.side.cost[behind(n)];
    if (cost < best) best = cost, below = n;
  }
  const int64_t above = behind(below);
  left.path(below, places);
  right.path(above, cuts);
  for (int64_t i = 0; i <= above; ++i)
    places[below + 1 + i] = (int32_t)(points.count - cuts[above - i]);
  *zero = below;
  return below + above + 1;
}

} // namespace
} // namespace bitmill::BITMILL_ISA
