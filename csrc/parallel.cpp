// SPDX-License-Identifier: MIT
// Threads, and the cutting of matrices into pieces.
#include "parallel.hpp"
#include "default_floats.hpp"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

namespace bitmill {
namespace {

// How many pieces a thread takes at a time: a value around half a megabyte of input keeps the
// counter cool and the ends of a call short.
int64_t stride_for(int64_t count, int64_t bytes, int threads) {
  const int64_t per_piece = std::max<int64_t>(1, bytes / count);
  const int64_t wanted = std::max<int64_t>(1, (int64_t(1) << 19) / per_piece);
  return std::max<int64_t>(1, std::min(wanted, count / (4 * threads)));
}

std::atomic<int64_t> alone{int64_t(6) << 20}; // where two threads break even (bench_threads.py)

constexpr int64_t kPiece = 131072; // values in a piece, about

int64_t round_up(int64_t x, int64_t to) { return (x - 1) / to * to + to; }

} // namespace

int64_t share_from(int64_t bytes) { return alone.exchange(bytes); }

bool run_parallel(int64_t count, int64_t bytes, int threads, Task task,
                  bool (*interrupted)()) noexcept {
  if (count <= 0) return true;
  if (bytes < alone.load(std::memory_order_relaxed)) threads = 1;
  threads = (int)std::min<int64_t>(threads, count);
  const int64_t stride = stride_for(count, bytes, threads);
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};

  auto work = [&](bool caller) {
    using clock = std::chrono::steady_clock;
    auto asked = clock::now();
    for (;;) {
      const int64_t begin = next.fetch_add(stride);
      if (begin >= count || stop.load(std::memory_order_relaxed)) return;
      {
        DefaultFloats floats;
        for (int64_t i = begin; i < std::min(begin + stride, count); ++i) task(i);
      }
      if (!caller || interrupted == nullptr) continue;
      if (clock::now() - asked < std::chrono::milliseconds(50)) continue;
      if (interrupted()) stop.store(true);
      asked = clock::now();
    }
  };

  std::vector<std::thread> helpers;
  try {
    helpers.reserve((size_t)threads - 1);
    while ((int)helpers.size() < threads - 1) helpers.emplace_back(work, false);
  } catch (const std::exception&) {
    // No more threads or memory to be had: those there are do the work, with the same result.
  }
  work(true);
  for (std::thread& helper : helpers) helper.join();
  return !stop.load();
}

Pieces::Pieces(int64_t rows, int64_t cols, int64_t align)
    : rows_(rows), cols_(cols), row_step_(1), col_step_(cols) {
  if (rows == 0 || cols == 0) {
    row_steps_ = col_steps_ = 0;
    return;
  }
  if (cols < 2 * kPiece || align > cols / 2)
    row_step_ = std::max<int64_t>(1, kPiece / cols);
  else
    col_step_ = round_up(std::max(kPiece, align), align);
  row_steps_ = (rows - 1) / row_step_ + 1;
  col_steps_ = (cols - 1) / col_step_ + 1;
}

Pieces::Piece Pieces::operator[](int64_t i) const {
  const int64_t row = i / col_steps_ * row_step_, col = i % col_steps_ * col_step_;
  return {row, std::min(row_step_, rows_ - row), col, std::min(col_step_, cols_ - col)};
}

} // namespace bitmill
