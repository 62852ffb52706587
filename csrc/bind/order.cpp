// SPDX-License-Identifier: MIT
// Binding of order statistics: rows shared over threads, or the pieces of long ones.
#include "select.hpp"
#include <new>

namespace bitmill::bind {
namespace {

// The value of a key that is not turned around; zero is +0.0.
float value_of(int32_t key, const Keys& keys) {
  key ^= keys.flip;
  int32_t bits = key ^ (key < 0 ? INT32_MAX : 0);
  if (bits == INT32_MIN) bits = 0;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// Places are counted from the end that is nearer to the rank.
struct Wanted {
  Keys keys;
  Places places;

  Wanted(int64_t rank, int64_t count, bool magnitude) {
    const int64_t next = std::min(rank + 1, count - 1);
    const bool from_below = rank < count / 2;
    keys = {magnitude ? INT32_MAX : -1, from_below ? -1 : 0};
    places = from_below ? Places{rank, next} : Places{count - 1 - next, count - 1 - rank};
  }
  void store(const KeyPair& found, float* low, float* high) const {
    const float first = value_of(found.first, keys), second = value_of(found.second, keys);
    *low = keys.flip ? first : second;
    *high = keys.flip ? second : first;
  }
};

// `out` is [2, rows] of float32: the values of rank `rank` and of the next one. Returns how many rows hold
// NaN or an infinity.
int64_t order_statistics(const py::array& x, int type, int64_t rows, int64_t cols, int64_t rank,
                         bool magnitude, py::array& out, int threads) {
  constexpr int64_t kLong = int64_t(1) << 20; // values from which on a row is worth all threads
  const Float t = float_type(type);
  require(rank >= 0 && rank < cols, "bitmill._core: no such rank");
  const char* from = input(x, rows * cols, item_size(t));
  float* to = (float*)output(out, 2 * rows, 4);
  const Wanted wanted(rank, cols, magnitude);
  std::atomic<int64_t> nonfinite{0};
  const auto find = [&](int64_t i, int row_threads) {
    Row row(from + i * cols * item_size(t), t, cols, wanted.keys, row_threads);
    wanted.store(keys_at(row, wanted.places), to + i, to + rows + i);
    nonfinite += row.nonfinite();
  };
  if (cols >= kLong) {
    for (int64_t i = 0; i < rows; ++i) find(i, threads);
    return nonfinite;
  }
  std::atomic<bool> out_of_memory{false};
  run(rows, rows * cols * item_size(t), threads, [&](int64_t i) {
    try {
      find(i, 0);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  });
  if (out_of_memory) throw std::bad_alloc();
  return nonfinite;
}

// Rank below the percentile p of `count` values, and the weight of the next one, as NumPy rounds them. In a
// task, as the next function: there the floating-point mode is the default, whatever the caller has set.
std::pair<int64_t, double> percentile_place(double p, int64_t count) {
  double place = 0;
  run(1, 0, 1, [&](int64_t) { place = p / 100 * (double)(count - 1); });
  const int64_t rank = std::min((int64_t)place, count - 1);
  return {rank, place - (double)rank};
}

// out = low + (high - low) * weight, as NumPy's percentiles round it; zero is +0.0.
void interpolate(const py::array& low, const py::array& high, double weight, py::array& out) {
  const int64_t count = out.size();
  const float *a = (const float*)input(low, count, 4), *b = (const float*)input(high, count, 4);
  double* to = (double*)output(out, count, 8);
  run(1, 0, 1, [&](int64_t) {
    for (int64_t i = 0; i < count; ++i) {
      const double step = (double)b[i] - (double)a[i];
      to[i] = (weight < 0.5 ? a[i] + step * weight : b[i] - step * (1 - weight)) + 0.0;
    }
  });
}

} // namespace

void add_order(py::module_& m) {
  using py::arg;
  m.def("order_statistics", &order_statistics, arg("x").noconvert(), arg("type"), arg("rows"),
        arg("cols"), arg("rank"), arg("magnitude"), arg("out").noconvert(), arg("threads"));
  m.def("percentile_place", &percentile_place, arg("p"), arg("count"));
  m.def("interpolate", &interpolate, arg("low").noconvert(), arg("high").noconvert(), arg("weight"),
        arg("out").noconvert());
}

} // namespace bitmill::bind
