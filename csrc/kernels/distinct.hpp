// SPDX-License-Identifier: MIT
// How often each different value occurs, as long as there are few. Twin: bitmill.reference.distinct_values.
#pragma once
#include "totals.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

// The place where a value is looked for first; it lies there or behind.
BITMILL_INLINE uint32_t first_place(const Distinct& d, uint32_t bits) {
  return (bits ^ bits >> 15) * d.multiplier >> (32 - kPlaceBits);
}
BITMILL_INLINE uint32_t next_place(uint32_t place) { return (place + 1) & (kPlaces - 1); }

// Puts all values in other places, and allows for longer ways, so that this ends.
BITMILL_APART void spread_out(Distinct& d) {
  d.multiplier *= 0x2545f491u; // odd numbers are as many before as after
  d.longest *= 2;
  memset(d.places, 0, kPlaces * sizeof *d.places);
  for (uint32_t i = 0; i < d.size; ++i) {
    uint32_t place = first_place(d, d.values[i]);
    while (d.places[place]) place = next_place(place);
    d.places[place] = i + 1;
  }
}

// The number of a value, which is put in if it is new.
BITMILL_INLINE int64_t number_of(Distinct& d, uint32_t bits) {
  uint32_t place = first_place(d, bits);
  for (int32_t way = 0; d.places[place]; place = next_place(place)) {
    const uint32_t i = d.places[place] - 1;
    if (d.values[i] == bits) return i;
    if (++way > d.longest) spread_out(d), way = 0, place = first_place(d, bits);
  }
  const uint32_t i = d.size++;
  if (i < kMostDistinct) d.places[place] = i + 1, d.values[i] = bits;
  return i;
}

// Weights are added in order. Ends early at one value too many.
void distinct_values(const float* x, const float* w, int64_t count, Distinct* d) {
  for (int64_t i = 0; i < count && d->size <= kMostDistinct; ++i) {
    const int64_t n = number_of(*d, bits_without_negative_zero(x[i]));
    if (n >= kMostDistinct) return;
    ++d->counts[n];
    if (w) d->sums[n] += (double)w[i];
  }
}

} // namespace
} // namespace bitmill::BITMILL_ISA
