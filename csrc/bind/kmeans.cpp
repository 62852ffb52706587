// SPDX-License-Identifier: MIT
// Bindings of the k-means kernels.
#include "buffers.hpp"
#include <algorithm>
#include <limits>
#include <mutex>

namespace bitmill::bind {
namespace {

// Threads pay from far smaller inputs on than where memory is the limit.
constexpr int64_t kWork = 64;

// `weights` is None or [rows, cols]; the outputs are those of bitmill._results.Clusters.
void kmeans_edges(const py::array& values, const py::object& weights, int64_t rows, int64_t cols,
                  int64_t k, bool pin_zero, py::array& edges, py::array& centroids, py::array& cost,
                  py::array& zero, int threads) {
  require(k >= 1 && k <= kMostClusters && cols > 0, "bitmill._core: no such clusters");
  const double* from = (const double*)input(values, rows * cols, 8);
  const double* w = (const double*)optional(weights, rows * cols, 8, false);
  const Clusters out{(int64_t*)output(edges, rows * (k + 1), 8),
                     (double*)output(centroids, rows * k, 8), (double*)output(cost, rows, 8),
                     (int64_t*)output(zero, rows, 8)};
  const auto kernel = kernels().kmeans->kmeans_edges[0];
  const int64_t bytes = cluster_bytes(cols, k, pin_zero);
  Buffers buffers;
  const Pieces pieces(rows, cols, cols);
  run(pieces.count(), rows * cols * 8 * kWork, threads, [&](int64_t i) {
    const auto p = pieces[i];
    const auto memory = buffers.get<double>(bytes / 8 + 1);
    if (!memory) return;
    for (int64_t row = p.row; row < p.row + p.rows; ++row)
      kernel(from + row * cols, w ? w + row * cols : nullptr, cols, k, pin_zero, memory.get(),
             {out.edges + row * (k + 1), out.centroids + row * k, out.cost + row, out.zero + row});
  });
  buffers.check();
}

// How the values of a matrix are shared: without weights, in as many spans as there are threads; with them, which
// are added in order, row by row.
class Spans {
 public:
  Spans(int64_t rows, int64_t cols, bool weighted, int threads) : size_(rows * cols) {
    constexpr int64_t kLeast = int64_t(1) << 20, kMost = int64_t(1) << 31;
    shares_ = weighted ? 1 : std::clamp<int64_t>(size_ / kLeast, 1, threads);
    span_ = weighted ? cols : std::min(kMost, (size_ - 1) / shares_ + 1);
  }
  int64_t shares() const { return shares_; }
  // body(start, count) for all of one share.
  template <class Body> void each(int64_t share, const Body& body) const {
    for (int64_t start = share * span_; start < size_; start += shares_ * span_)
      body(start, std::min(span_, size_ - start));
  }

 private:
  int64_t size_, shares_, span_;
};

// `x` is [rows, cols] of 16 bits, `weights` None, [1, cols] or [rows, cols]; `counts` and `sums` have an entry
// per pattern.
void value_counts(const py::array& x, const py::object& weights, int64_t rows, int64_t cols,
                  bool by_row, py::array& counts, const py::object& sums, int threads) {
  constexpr int64_t kPatterns = 65536;
  const int64_t size = rows * cols;
  const uint16_t* from = (const uint16_t*)input(x, size, 2);
  const float* w = (const float*)optional(weights, by_row ? size : cols, 4, false);
  int64_t* to = (int64_t*)output(counts, kPatterns, 8);
  double* total = (double*)optional(sums, kPatterns, 8, true);
  require(!w == !total, "bitmill._core: weights and their sums go together");
  const auto kernel = kernels().kmeans->value_counts[0];
  const Spans spans(rows, cols, w, threads);
  Buffers buffers;
  std::mutex adding;
  run(spans.shares(), size * 2, threads, [&](int64_t share) {
    const auto memory = buffers.get<uint32_t>(2 * kPatterns);
    if (!memory) return;
    std::fill_n(memory.get(), 2 * kPatterns, 0u);
    const auto move = [&] {
      const std::lock_guard<std::mutex> lock(adding);
      for (int64_t i = 0; i < kPatterns; ++i) to[i] += memory[(size_t)i];
      for (int64_t i = 0; i < kPatterns; ++i) to[i] += memory[(size_t)(kPatterns + i)];
      std::fill_n(memory.get(), 2 * kPatterns, 0u);
    };
    int64_t counted = 0; // 32 bits must do
    spans.each(share, [&](int64_t start, int64_t count) {
      if ((counted += count) > int64_t(1) << 31) move(), counted = count;
      kernel(from + start, w ? w + (by_row ? start : 0) : nullptr, count, memory.get(), total);
    });
    move();
  });
  buffers.check();
}

// `x` is float32 [rows, cols], `weights` as above; each thread, of which there is but one where there are weights,
// has a row of `values`, `counts` and `sums`, which are [threads, 65536], and says in `sizes` how many it has
// found, or one more.
void distinct_values(const py::array& x, const py::object& weights, int64_t rows, int64_t cols,
                     bool by_row, py::array& values, py::array& counts, const py::object& sums,
                     py::array& sizes, int threads) {
  const int64_t size = rows * cols, room = threads * kMostDistinct;
  const float* from = (const float*)input(x, size, 4);
  const float* w = (const float*)optional(weights, by_row ? size : cols, 4, false);
  uint32_t* value = (uint32_t*)output(values, room, 4);
  int64_t* number = (int64_t*)output(counts, room, 8);
  double* sum = (double*)optional(sums, room, 8, true);
  int64_t* found = (int64_t*)output(sizes, threads, 8);
  require(!w == !sum, "bitmill._core: weights and their sums go together");
  const auto kernel = kernels().kmeans->distinct_values[0];
  const Spans spans(rows, cols, w, threads);
  Buffers buffers;
  run(spans.shares(), size * 4, threads, [&](int64_t share) {
    const auto places = buffers.get<uint32_t>(kPlaces);
    if (!places) return;
    std::fill_n(places.get(), kPlaces, 0u);
    const int64_t at = share * kMostDistinct;
    Distinct d{places.get(), value + at, number + at, w ? sum + at : nullptr, 0, 0x9e3779b1u, 64};
    spans.each(share, [&](int64_t start, int64_t count) {
      kernel(from + start, w ? w + (by_row ? start : 0) : nullptr, count, &d);
    });
    found[share] = d.size;
  });
  buffers.check();
}

// `x` is float32 [rows, cols], `weights` as above; `out` is [4, buckets] of 64 bits: counts, and the sums as
// double.
void bucket_sums(const py::array& x, const py::object& weights, int64_t rows, int64_t cols,
                 bool by_row, const py::array& slots, int shift, int64_t buckets, py::array& out,
                 int threads) {
  const int64_t size = rows * cols;
  const float* from = (const float*)input(x, size, 4);
  const float* w = (const float*)optional(weights, by_row ? size : cols, 4, false);
  const int32_t* slot = (const int32_t*)input(slots, 65536, 4);
  require(shift >= 0 && shift <= 16, "bitmill._core: shift is out of range");
  for (int64_t i = 0; i < 65536; ++i)
    require(slot[i] < 0 || slot[i] + (int64_t(65536) >> shift) <= buckets,
            "bitmill._core: a slot is out of range");
  char* to = output(out, 4 * buckets, 8);
  const auto kernel = kernels().kmeans->bucket_sums[0];
  const Spans spans(rows, cols, w, threads);
  Buffers buffers;
  std::mutex adding;
  const auto total = buffers.get<Bucket>(buckets);
  buffers.check();
  std::fill_n(total.get(), buckets, Bucket{});
  run(spans.shares(), size * 4, threads, [&](int64_t share) {
    const auto memory = buffers.get<Bucket>(buckets);
    if (!memory) return;
    std::fill_n(memory.get(), buckets, Bucket{});
    spans.each(share, [&](int64_t start, int64_t count) {
      kernel(from + start, w ? w + (by_row ? start : 0) : nullptr, count, slot, shift,
             memory.get());
    });
    const std::lock_guard<std::mutex> lock(adding);
    for (int64_t i = 0; i < buckets; ++i) {
      Bucket &sum = total[(size_t)i], &part = memory[(size_t)i];
      sum.count += part.count;
      if (w)
        sum = part;
      else
        sum.plain[0] += part.plain[0], sum.plain[1] += part.plain[1];
    }
  });
  buffers.check();
  for (int64_t i = 0; i < buckets; ++i) {
    const Bucket& sum = total[(size_t)i];
    ((int64_t*)to)[i] = sum.count;
    double* const sums = (double*)to + buckets + i;
    sums[0] = w ? sum.w : (double)sum.count;
    for (int k = 0; k < 2; ++k)
      sums[(k + 1) * buckets] = w ? sum.weighted[k] : (double)sum.plain[k];
  }
}

// Thresholds of one table, with infinities up to 2^levels - 1 of them.
class Ladder {
 public:
  explicit Ladder(int64_t thresholds) : count_(thresholds), levels_(4) {
    while ((int64_t(1) << levels_) <= thresholds) ++levels_;
  }
  int levels() const { return levels_; }
  int64_t size() const { return (int64_t(1) << levels_) - 1; }
  void fill(const float* thresholds, float* to) const {
    std::copy_n(thresholds, count_, to);
    std::fill(to + count_, to + size(), std::numeric_limits<float>::infinity());
  }

 private:
  int64_t count_;
  int levels_;
};

// `thresholds` is [tables, entries], one table for every `per_table` rows; `out` has words if bits is not 0, else
// codes, of two bytes where there are more than 255 thresholds.
void assign_codes(const py::array& x, int type, int64_t rows, int64_t cols,
                  const py::array& thresholds, int64_t entries, int64_t per_table, int bits,
                  py::array& out, int threads) {
  constexpr int64_t kChunk = 4096; // codes, and values that are widened, at a time
  require(bits >= 0 && bits <= 8 && per_table > 0 && entries <= 65535,
          "bitmill._core: no such codes");
  if (rows == 0 || cols == 0) return;
  const Float t = float_type(type);
  const bool wide = entries > 255;
  const int64_t size = item_size(t), tables = (rows - 1) / per_table + 1;
  const int64_t words = words_of(cols, bits), width = wide ? 2 : 1;
  const char* from = input(x, rows * cols, size);
  const float* given = (const float*)input(thresholds, tables * entries, 4);
  char* to = bits ? output(out, rows * words, 4) : output(out, rows * cols, width);
  const Ladder ladder(entries);
  const auto kernel = kernels().kmeans->assign_codes[0];
  const auto pack = bits ? kernels().pack->pack[bits] : nullptr;
  const auto widen = kernels().convert->to_float32[t];
  Buffers buffers;
  const Pieces pieces(rows, cols, kChunk);
  run(pieces.count(), rows * cols * size, threads, [&](int64_t i) {
    const auto p = pieces[i];
    const auto table = buffers.get<float>(ladder.size());
    if (!table) return;
    int64_t filled = -1;
    for (int64_t row = p.row; row < p.row + p.rows; ++row) {
      if (row / per_table != filled) {
        filled = row / per_table;
        ladder.fill(given + filled * entries, table.get());
      }
      for (int64_t col = p.col; col < p.col + p.cols; col += kChunk) {
        const int64_t n = std::min(kChunk, p.col + p.cols - col);
        const char* at = from + (row * cols + col) * size;
        float values[kChunk];
        if (t != kF32) widen(at, n, false, values), at = (const char*)values;
        uint8_t codes[kChunk];
        char* const made = bits ? (char*)codes : to + (row * cols + col) * width;
        kernel((const float*)at, n, table.get(), ladder.levels(), wide, made);
        bool out_of_range = false;
        if (bits)
          pack(codes, {1, n, n, false}, 0, (uint32_t*)to + row * words + col * bits / 32,
               &out_of_range);
      }
    }
  });
  buffers.check();
}

} // namespace

void add_kmeans(py::module_& m) {
  using py::arg;
  m.def("kmeans_edges", &kmeans_edges, arg("values").noconvert(), arg("weights").none(true),
        arg("rows"), arg("cols"), arg("k"), arg("pin_zero"), arg("edges").noconvert(),
        arg("centroids").noconvert(), arg("cost").noconvert(), arg("zero").noconvert(),
        arg("threads"));
  m.def("value_counts", &value_counts, arg("x").noconvert(), arg("weights").none(true), arg("rows"),
        arg("cols"), arg("by_row"), arg("counts").noconvert(), arg("sums").none(true),
        arg("threads"));
  m.def("distinct_values", &distinct_values, arg("x").noconvert(), arg("weights").none(true),
        arg("rows"), arg("cols"), arg("by_row"), arg("values").noconvert(),
        arg("counts").noconvert(), arg("sums").none(true), arg("sizes").noconvert(),
        arg("threads"));
  m.def("bucket_sums", &bucket_sums, arg("x").noconvert(), arg("weights").none(true), arg("rows"),
        arg("cols"), arg("by_row"), arg("slots").noconvert(), arg("shift"), arg("buckets"),
        arg("out").noconvert(), arg("threads"));
  m.def("assign_codes", &assign_codes, arg("x").noconvert(), arg("type"), arg("rows"), arg("cols"),
        arg("thresholds").noconvert(), arg("entries"), arg("per_table"), arg("bits"),
        arg("out").noconvert(), arg("threads"));
}

} // namespace bitmill::bind
