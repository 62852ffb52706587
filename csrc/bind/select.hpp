// SPDX-License-Identifier: MIT
// Keys at two neighbouring places of a row. A sample says between which keys they lie, one pass over memory
// keeps what is there, and they are found in that. Where the sample was wrong, or too many values are the
// same, digits are counted instead: the result is exact, and takes linear time, whatever the values.
#pragma once
#include "digits.hpp"
#include <cmath>
#include <functional>
#include <memory>
#include <optional>

namespace bitmill::bind {

constexpr int64_t kBlock = 128; // the room that the kernel wants to be free

// The keys at two places, of which the second is not before the first; puts `keys` in another order.
inline KeyPair select(int32_t* keys, int64_t count, Places places) {
  int32_t *const first = keys + places.first, *const second = keys + places.second;
  // While there are few of them, a heap of the greatest seldom changes.
  if (places.second < count / 64 + 8) {
    std::partial_sort(keys, second + 1, keys + count, std::greater<>());
  } else {
    std::nth_element(keys, second, keys + count, std::greater<>());
    if (first < second) std::nth_element(keys, first, second, std::greater<>());
  }
  return {*first, *second};
}

inline KeyPair select_directly(Row& row, Places places) {
  const int64_t room = row.count() + kBlock;
  const std::unique_ptr<int32_t[]> keys(new int32_t[(size_t)room]);
  KeyPair found{};
  row.once([&] {
    row.keep(row.data(), row.count(), row.window(INT32_MIN, INT32_MAX), keys.get(), room);
    found = select(keys.get(), row.count(), places);
  });
  return found;
}

// Keys of values that are evenly spread over the row, by 16 bytes at a time: those lie on a line of memory
// that has to be fetched anyway. More might be alike.
constexpr int64_t kRun = 16;
class Sample {
 public:
  explicit Sample(Row& row) {
    // More of them narrow the window, but take longer to put in order than that saves.
    const int64_t wanted = std::clamp<int64_t>(row.count() / 64, 1024, 65536);
    const int64_t per_run = kRun / row.size(), runs = wanted / per_run;
    const int64_t step = row.count() / runs * row.size();
    count_ = runs * per_run;
    keys_.reset(new int32_t[(size_t)(count_ + kBlock)]);
    const std::unique_ptr<char[]> raw(new char[(size_t)(runs * kRun)]);
    row.once([&] {
      for (int64_t i = 0; i < runs; ++i) memcpy(raw.get() + i * kRun, row.data() + i * step, kRun);
      row.keep(raw.get(), count_, row.window(INT32_MIN, INT32_MAX), keys_.get(), count_ + kBlock);
    });
  }

  // Keys that almost surely lie below and above those at `places` of `count`: five standard deviations of
  // the number of sampled ones that are greater.
  Window around(const Row& row, Places places) {
    Window window = row.window(INT32_MIN, INT32_MAX);
    row.once([&] {
      const double share = (double)count_ / (double)row.count();
      const double first = (double)places.first * share, second = (double)places.second * share;
      const double off = 5 * std::sqrt(second * (1 - second / (double)count_)) + 2;
      const Places ends{std::max<int64_t>(0, (int64_t)(first - off)),
                        std::min<int64_t>(count_ - 1, (int64_t)(second + off))};
      const KeyPair keys = select(keys_.get(), count_, ends);
      if (first >= off) window.hi = keys.first;
      if (second + off < (double)count_) window.lo = keys.second;
    });
    return window;
  }

 private:
  std::unique_ptr<int32_t[]> keys_;
  int64_t count_;
};

// Nothing if the window does not hold them, or holds far too many.
inline std::optional<KeyPair> select_within(Row& row, const Window& window, Places places) {
  const int64_t room = row.count() / 8 + 4096; // short rows have small samples, and wide windows
  const std::unique_ptr<int32_t[]> keys(new int32_t[(size_t)room]);
  std::atomic<int64_t> above{0}, kept{0};
  row.each_piece([&](const char* x, int64_t count) {
    if (kept > room) return;
    constexpr int64_t kRoom = 4096;
    int32_t few[kRoom];
    row.keep_all(x, count, window, few, kRoom, [&](const Kept& part) {
      above += part.above;
      const int64_t at = kept.fetch_add(part.kept);
      if (at + part.kept <= room) memcpy(keys.get() + at, few, (size_t)part.kept * sizeof *few);
    });
  });
  const Places within{places.first - above, places.second - above};
  if (within.first < 0 || within.second >= kept || kept > room) return std::nullopt;
  KeyPair found{};
  row.once([&] { found = select(keys.get(), kept, within); });
  return found;
}

inline KeyPair keys_at(Row& row, Places places) {
  constexpr int64_t kFew = 2048; // values that are not worth a sample
  if (row.count() <= kFew) return select_directly(row, places);
  const Window window = Sample(row).around(row, places);
  const std::optional<KeyPair> found = select_within(row, window, places);
  return found ? *found : keys_by_digits(row, places);
}

} // namespace bitmill::bind
