// SPDX-License-Identifier: MIT
// Rows in batches of groups, and the ranges of one batch, found a little at a time: while the codes of the
// batch before are made, so that memory is read all the time, and not between bursts of arithmetic. That
// made the quantization of int4 and of int8 rows 10 to 17 % faster (Zen 3).
#pragma once
#include "ranges.hpp"

namespace bitmill::BITMILL_ISA {
namespace {

constexpr int64_t kChunk = 2048; // values at a time: at most 8 KiB of float32, in L1

// Groups that are looked at together: several, or a single long one.
template <class T> struct Batch {
  const T* x;
  int64_t n, at; // values, none after the last batch; index of the first group
  bool ends_row;
};

// All batches of a block.
template <class T> class Batches {
 public:
  Batches(const T* x, const Block& block)
      : x_(x), group_(block.group), cols_(block.cols), step_(group_ < kChunk ? several() : group_),
        rows_(block.rows), left_(block.cols) {}
  Batch<T> next() {
    if (rows_ == 0) return {x_, 0, at_, false};
    const int64_t n = least(left_, step_);
    const Batch<T> batch = {x_, n, at_, n == left_};
    x_ += n, left_ -= n, at_ += (n - 1) / group_ + 1;
    if (left_ == 0) left_ = cols_, --rows_;
    return batch;
  }

 private:
  int64_t several() const { return least(kMostGroups, kChunk / group_) * group_; }

  const T* x_;
  int64_t group_, cols_, step_, rows_, left_, at_ = 0;
};

// What was seen of the groups of a batch, which may be read in parts.
template <class Seen, class T> class Look {
 public:
  explicit Look(int64_t group) : group_(group) {}
  // Forgets what was seen before.
  void start(const Batch<T>& batch) {
    x_ = batch.x, left_ = batch.n, count_ = 0, missing_ = group_;
  }
  void finish() {
    while (left_ > 0) {
      const int64_t n = least(left_, missing_);
      take(seen_in<Seen>(x_, n), n);
    }
    if (missing_ < group_) ++count_; // the last group of a row may be short
  }
  // After finish().
  const Found<Seen>& found() const { return found_; }
  int64_t count() const { return count_; }

  // For whoever reads a part: where it is and how much is left; then what was seen of the next n values,
  // all of one group, or, where a batch begins, how many of its groups were put into found().
  const T* x() const { return x_; }
  int64_t left() const { return left_; }
  void take(const Seen& seen, int64_t n) {
    if (missing_ == group_)
      found_.set(count_, seen);
    else
      found_.add(count_, seen);
    x_ += n, left_ -= n, missing_ -= n;
    if (missing_ == 0) ++count_, missing_ = group_;
  }
  void skip(int64_t groups) { x_ += groups * group_, left_ -= groups * group_, count_ += groups; }
  Found<Seen>& found() { return found_; }

 private:
  const T* x_ = nullptr;
  int64_t group_, left_ = 0;
  int64_t count_ = 0, missing_ = 0; // groups that are complete; values that the next one lacks
  Found<Seen> found_;
};

} // namespace
} // namespace bitmill::BITMILL_ISA
