// SPDX-License-Identifier: MIT
// Exact 1-D k-means by a penalty for every cluster: F[j] = min over i of F[i] + C(i, j) + p, whatever their
// number. A larger penalty makes fewer clusters, and some penalty makes k, or some make fewer and more at the
// same total. Twin: bitmill/reference/penalty.py.
#pragma once
#include "points.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Where points are cut into `count` clusters, what those cost, and with which penalty they were found.
struct Path {
  int32_t* places;
  int64_t count;
  double cost, penalty;

  void measure(const Costs& costs) {
    cost = 0;
    for (int64_t i = 0; i < count; ++i) cost += costs.between(places[i], places[i + 1]);
  }
};

// Which i may still be the best, and from which j on: a later i wins from some j on, if ever.
class Queue {
 public:
  Queue(const Costs& costs, double* cost, int32_t* who, int32_t* start)
      : costs_(costs), cost_(cost), who_(who), start_(start) {
    cost_[0] = 0, who_[0] = 0, start_[0] = 1;
  }

  // F[i] + C(i, j).
  BITMILL_INLINE double value(int64_t i, int64_t j) const {
    return cost_[i] + costs_.between(i, j);
  }
  // The best i for the next j.
  BITMILL_INLINE int32_t best(int64_t j) {
    while (front_ + 1 < end_ && start_[front_ + 1] <= j) ++front_;
    return who_[front_];
  }
  // Puts in i, whose F is known: behind those that are better for some j from i + 1 on.
  BITMILL_INLINE void add(int64_t i) {
    for (; end_ > front_; --end_) {
      const int64_t last = who_[end_ - 1], from = start_[end_ - 1] > i ? start_[end_ - 1] : i + 1;
      if (value(i, from) < value(last, from)) continue;
      if (const int64_t at = first(i, last, from)) push(i, at);
      return;
    }
    push(i, i + 1);
  }

 private:
  BITMILL_INLINE void push(int64_t i, int64_t from) {
    who_[end_] = (int32_t)i, start_[end_] = (int32_t)from;
    ++end_;
  }
  // The first j behind `low` for which i is better than `last`; 0 if there is none. It is seldom far.
  BITMILL_INLINE int64_t first(int64_t i, int64_t last, int64_t low) const {
    int64_t high = low;
    for (int64_t step = 1;; step *= 2) {
      if (low == costs_.points) return 0;
      high = least(low + step, costs_.points);
      if (value(i, high) < value(last, high)) break;
      low = high;
    }
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (value(i, middle) < value(last, middle))
        high = middle;
      else
        low = middle;
    }
    return high;
  }

  const Costs& costs_;
  double* cost_;
  int32_t *who_, *start_;
  int64_t front_ = 0, end_ = 1;
};

class Penalized {
 public:
  Penalized(const Costs& costs, Memory memory)
      : costs_(costs), cost_(memory.take<double>(costs.points + 1)), best_(ints(memory)),
        who_(ints(memory)), start_(ints(memory)), few_{ints(memory), 1, 0, kInfinite},
        many_{ints(memory), costs.points, 0, 0}, found_{ints(memory), 0, 0, 0} {
    few_.places[0] = 0, few_.places[1] = (int32_t)costs.points;
    for (int64_t i = 0; i <= costs.points; ++i) many_.places[i] = (int32_t)i;
    few_.measure(costs);
    many_.measure(costs);
  }

  // Where the points are cut into k clusters of least cost, 1 < k < m.
  void solve(int64_t k, int32_t* places) {
    constexpr int kGuesses = 8; // passes in which a power law may say which penalty to try next
    const double cube = (double)k * (double)k * (double)k;
    double penalty = 4 * few_.cost / cube;
    bool guess = true;
    for (int64_t passes = 1;; ++passes) {
      if (!guess) penalty = (few_.cost - many_.cost) / (double)(many_.count - few_.count);
      find(penalty);
      if (found_.count == k) break;
      if (!(few_.count < found_.count && found_.count < many_.count)) {
        if (!guess) {
          splice(k);
          break;
        }
      } else if (found_.count < k) {
        swap(found_, few_);
      } else {
        swap(found_, many_);
      }
      guess = false;
      if (passes < kGuesses) { // costs of clusters fall with the cube of their number, about
        const double ratio = (double)last_count_ / (double)k;
        penalty *= ratio * ratio * ratio;
        guess = many_.penalty < penalty && penalty < few_.penalty;
      } else if (passes % 2) { // halve what is left
        penalty = (many_.penalty + few_.penalty) / 2;
        guess = many_.penalty < penalty && penalty < few_.penalty;
      }
    }
    memcpy(places, found_.places, (size_t)(k + 1) * sizeof *places);
  }

 private:
  int32_t* ints(Memory& memory) const { return memory.take<int32_t>(costs_.points + 1); }
  static void swap(Path& a, Path& b) {
    const Path kept = a;
    a = b, b = kept;
  }

  // The path of least cost and penalties.
  BITMILL_APART void find(double penalty) {
    const int64_t points = costs_.points;
    Queue queue(costs_, cost_, who_, start_);
    for (int64_t j = 1; j <= points; ++j) {
      best_[j] = queue.best(j);
      cost_[j] = queue.value(best_[j], j) + penalty;
      if (j < points) queue.add(j);
    }
    int64_t count = 0;
    for (int64_t j = points; j > 0; j = best_[j]) ++count;
    found_.count = last_count_ = count, found_.penalty = penalty;
    found_.places[count] = (int32_t)points;
    for (; count > 0; --count) found_.places[count - 1] = best_[found_.places[count]];
    found_.measure(costs_);
  }

  // k clusters from two paths of the same total, of which one has fewer and the other more. Somewhere a
  // cluster of the first contains one of the other: there the start of the other, up to and with that
  // place, goes on as the first. What is left has the same total again, or less.
  void splice(int64_t k) {
    const int64_t more = k - few_.count;
    int64_t i = few_.count - 1;
    while (few_.places[i] > many_.places[i + more]) --i;
    const size_t start = (size_t)(i + more + 1), rest = (size_t)(few_.count - i);
    memcpy(found_.places, many_.places, start * sizeof *found_.places);
    memcpy(found_.places + start, few_.places + i + 1, rest * sizeof *found_.places);
  }

  const Costs& costs_;
  double* cost_;
  int32_t *best_, *who_, *start_;
  Path few_, many_, found_;
  int64_t last_count_ = 0;
};

} // namespace
} // namespace bitmill::BITMILL_ISA
