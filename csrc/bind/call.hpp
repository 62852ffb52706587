// SPDX-License-Identifier: MIT
// A call of a kernel that makes values into codes by groups along rows, or codes into values.
#pragma once
#include "buffers.hpp"
#include "quantizer.hpp"
#include <numeric>
#include <vector>

namespace bitmill::bind {

// One call: values [rows, cols], their codes or words, and the parameters of their groups.
class GroupsCall {
 public:
  GroupsCall(const py::tuple& quantizer, int type, int64_t rows, int64_t cols, int64_t group)
      : q_(quantizer_of(quantizer)), block_{rows, cols, group, false}, type_(float_type(type)) {
    const Block& block = block_;
    require(block.group > 0 || block.rows * block.cols == 0, "bitmill._core: a group is empty");
  }

  const Quantizer& q() const { return q_; }
  Float type() const { return type_; }

  const char* values(const py::array& x) const { return input(x, count(), item_size(type_)); }
  char* values(py::array& x) const { return output(x, count(), item_size(type_)); }
  const char* codes(const py::array& x) const { return input(x, code_count(), code_size()); }
  char* codes(py::array& x) const { return output(x, code_count(), code_size()); }

  // Where the parameters of all groups lie; with `writable`, those of the quantizer's rule.
  Params params(const py::object& scale, const py::object& zero_point, const py::object& offset,
                bool writable) const {
    return params_of(q_, block_.rows * block_.groups(), scale, zero_point, offset, writable);
  }

  // Scales that are given, if there are any.
  char* scale(const py::object& given) const {
    return optional(given, block_.rows * block_.groups(), item_size(q_.scales), false);
  }
  int64_t groups() const { return block_.groups(); }    // of a row
  int64_t row_bytes() const { return code_byte(1, 0); } // of the codes of a row

  // Called with the piece's block, the offsets of its first value and code in bytes, and of its
  // first group; `i` is its index below pieces().count(). A group that fills the row may be cut if
  // its one set of parameters is known beforehand.
  Pieces pieces(bool known_params) const {
    const int64_t words = q_.bits ? 64 : 1; // 64 codes fill whole words at every width
    if (block_.group < block_.cols)
      return Pieces(block_.rows, block_.cols, std::lcm(block_.group, words));
    return Pieces(block_.rows, block_.cols, known_params ? words : block_.cols);
  }
  template <class One>
  void each(const Pieces& pieces, int64_t bytes_out, int threads, const One& one) const {
    run(pieces.count(), count() * item_size(type_), threads, [&](int64_t i) {
      const auto p = pieces[i];
      one(i, Block{p.rows, p.cols, block_.group, streams(bytes_out)},
          (p.row * block_.cols + p.col) * item_size(type_), code_byte(p.row, p.col),
          p.row * block_.groups() + p.col / block_.group);
    });
  }

 private:
  int64_t count() const { return block_.rows * block_.cols; }
  int64_t words() const { return words_of(block_.cols, q_.bits); }
  int64_t code_size() const { return q_.bits ? 4 : q_.wide() ? 2 : 1; }
  int64_t code_count() const { return block_.rows * (q_.bits ? words() : block_.cols); }
  int64_t code_byte(int64_t row, int64_t col) const {
    return q_.bits ? (row * words() + col * q_.bits / 32) * 4
                   : (row * block_.cols + col) * code_size();
  }

  Quantizer q_;
  Block block_;
  Float type_;
};

inline py::tuple counts_tuple(const std::vector<Counts>& all) {
  Counts sum{};
  for (const Counts& c : all) {
    sum.nonfinite += c.nonfinite;
    sum.overflowed += c.overflowed;
    sum.underflowed += c.underflowed;
  }
  return py::make_tuple(sum.nonfinite, sum.overflowed, sum.underflowed);
}

} // namespace bitmill::bind
