// SPDX-License-Identifier: MIT
// Keys at two places of a row, by counting digits: some six passes whatever the values, and no memory.
#pragma once
#include "row.hpp"
#include <mutex>
#include <vector>

namespace bitmill::bind {

// Bits `shift` ... `shift + bits - 1` of a key in unsigned order.
struct Digit {
  int shift, bits;
};
constexpr Digit kDigits[] = {{21, 11}, {10, 11}, {0, 10}};
constexpr int kMostDigits = 1 << 11;

// How often each digit comes in the keys that have all bits above it in common with `prefix`.
inline std::vector<int64_t> count_digits(Row& row, uint32_t prefix, Digit digit) {
  std::vector<int64_t> total(kMostDigits);
  std::mutex lock;
  row.each_piece([&](const char* x, int64_t count) {
    constexpr int64_t kRoom = 4096;
    int32_t keys[kRoom];
    uint32_t counts[kMostDigits] = {};
    row.keep_all(x, count, row.window(INT32_MIN, INT32_MAX), keys, kRoom, [&](const Kept& kept) {
      for (int64_t i = 0; i < kept.kept; ++i) {
        const uint32_t key = (uint32_t)keys[i] ^ 0x80000000u;
        if ((uint64_t)(key ^ prefix) >> (digit.shift + digit.bits) == 0)
          ++counts[key >> digit.shift & ((1u << digit.bits) - 1)];
      }
    });
    const std::lock_guard<std::mutex> locked(lock);
    for (int d = 0; d < kMostDigits; ++d) total[(size_t)d] += counts[d];
  });
  return total;
}

// The key at a place, and how many are greater.
inline int32_t key_by_digits(Row& row, int64_t place, int64_t* greater) {
  uint32_t prefix = 0;
  *greater = 0;
  for (const Digit digit : kDigits) {
    const std::vector<int64_t> counts = count_digits(row, prefix, digit);
    size_t d = kMostDigits - 1;
    for (; place - *greater >= counts[d]; --d) *greater += counts[d];
    prefix |= (uint32_t)d << digit.shift;
  }
  return (int32_t)(prefix ^ 0x80000000u);
}

inline KeyPair keys_by_digits(Row& row, Places places) {
  int64_t greater = 0;
  const int32_t second = key_by_digits(row, places.second, &greater);
  if (places.first >= greater) return {second, second};
  return {key_by_digits(row, places.first, &greater), second};
}

} // namespace bitmill::bind
