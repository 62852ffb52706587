// SPDX-License-Identifier: MIT
// Exact weighted k-means of numbers on a line. Twin: bitmill.reference.kmeans_edges.
#pragma once
#include "divide.hpp"
#include "penalty.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// Means, each as the first point and the mean distance from it, and their cost.
inline void find_centroids(const Points& points, const int32_t* places, int64_t count,
                           const Clusters& out) {
  Sum cost;
  for (int64_t c = 0; c < count; ++c) {
    const int64_t first = places[c], end = places[c + 1];
    double centroid = 0;
    if (c != *out.zero) {
      Sum weight, offset;
      for (int64_t i = first; i < end; ++i) {
        weight.add(points.w[i]);
        offset.add(points.w[i] * (points.x[i] - points.x[first]));
      }
      centroid = points.x[first] + offset.value() / weight.value() + 0.0;
    }
    for (int64_t i = first; i < end; ++i) {
      const double d = points.x[i] - centroid;
      cost.add(points.w[i] * (d * d));
    }
    out.centroids[c] = centroid;
  }
  *out.cost = cost.value();
}

// Where the points are cut; returns the number of clusters.
inline int64_t cut(const Points& points, int64_t k, bool pin_zero, Memory memory, int32_t* places,
                   int64_t* zero) {
  *zero = -1;
  if (!pin_zero && k >= points.count) {
    for (int64_t i = 0; i <= points.count; ++i) places[i] = (int32_t)i;
    return points.count;
  }
  Costs costs = costs_in(memory, points.count);
  if (pin_zero) return around_zero(points, k, costs, memory, places, zero);
  sum_up(costs, points.x, points.w, points.count);
  if (divides_clusters(points.count, k))
    divided(costs, k, memory, places);
  else
    Penalized(costs, memory).solve(k, places);
  return k;
}

// One row of n >= 1 values; `memory` has cluster_bytes.
void kmeans_edges(const double* values, const double* weights, int64_t n, int64_t k, bool pin_zero,
                  void* memory, Clusters out) {
  Memory rest(memory);
  int32_t* const places = rest.take<int32_t>(k + 1);
  const Points points = points_of(values, weights, n, rest);
  const int64_t count = cut(points, k, pin_zero, rest, places, out.zero);
  find_centroids(points, places, count, out);
  for (int64_t c = 0; c <= k; ++c) out.edges[c] = points.place(places[least(c, count)]);
  for (int64_t c = count; c < k; ++c) out.centroids[c] = out.centroids[count - 1];
}

} // namespace
} // namespace bitmill::BITMILL_ISA
